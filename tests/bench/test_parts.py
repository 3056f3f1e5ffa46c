"""What of the measurements needs neither processes nor wrk."""

import json
import os
import sys
from argparse import Namespace
from io import StringIO
from pathlib import Path
from typing import Any

from attrs import asdict, evolve
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.bench import __main__ as command
from tests.bench import compare, load
from tests.bench.fill import MOST_BYTES, in_chunks
from tests.bench.grow import Point, measured_points, points
from tests.bench.load import MOST_DATA, TICKS, TRIES, Disturbed, Machine, Run, Summary, Work, keys_for, received
from tests.bench.systems import Etcd, running

RUN = Run(rate=100, p50=1, p99=2, p999=3, leader_cpu=40, follower_cpu=20, wire=600, disturbed=0.01)
NOISY = evolve(RUN, disturbed=0.9)
TOO_LOUD = Disturbed("too loud")

OUTPUT = """\
Running 1s test @ http://127.0.0.1:24522
  1 threads and 16 connections
  115 requests in 1.12s, 58.40KB read
Requests/sec:    102.77
Transfer/sec:     52.19KB
latency 50 1500
latency 99 20500
latency 99.9 162310
cpu 60000
"""

LISTING = """\
0 0 127.0.0.1:25020 127.0.0.1:53810
\t cubic rto:204 bytes_sent:1102 bytes_retrans:2 bytes_acked:1100 bytes_received:730 segs_out:9
0 0 127.0.0.1:53810 127.0.0.1:25020
\t cubic rto:204 bytes_sent:730 bytes_acked:731 bytes_received:1100 segs_out:9
0 0 127.0.0.1:53812 127.0.0.1:25021
\t cubic rto:204 segs_out:1
"""


class SummaryTests(SynchronousTestCase):
    def test_figures(self) -> None:
        """Of wrk itself, and of the scripts."""
        self.assertEqual(Summary.read(OUTPUT), Summary(102.77, 115, 1.5, 20.5, 162.31, cpu=0.06, failed=False))

    def test_requests_that_failed(self) -> None:
        """A run says nothing where some were refused, or their connections broke."""
        for words in ("  Non-2xx or 3xx responses: 1\n", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"):
            self.assertTrue(Summary.read(OUTPUT + words).failed, words)


class ReceivedTests(SynchronousTestCase):
    def test_both_ways(self) -> None:
        """Each byte counts once, though both ends of a connection are listed."""
        self.assertEqual(received(LISTING), 730 + 1100)


class FillTests(SynchronousTestCase):
    def test_every_key_once(self) -> None:
        """The last request has what is left."""
        self.assertEqual(list(in_chunks(21, 1, 10)), [range(1, 11), range(11, 21), range(21, 22)])

    def test_large_values(self) -> None:
        """A request is bounded in bytes, but has one key at least."""
        self.assertEqual({len(chunk) for chunk in in_chunks(8, MOST_BYTES // 4, 1000)}, {4})
        self.assertEqual({len(chunk) for chunk in in_chunks(8, MOST_BYTES * 2, 1000)}, {1})

    def test_fewer_keys_of_large_values(self) -> None:
        """So that all of them together fit into memory."""
        self.assertEqual((keys_for(255), keys_for(1024 * 1024), keys_for(2 * MOST_DATA)), (10_000, 32, 1))


class MedianTests(SynchronousTestCase):
    def test_each_figure_by_itself(self) -> None:
        """The middle rate may be of another run than the middle latency."""
        runs = [evolve(RUN, rate=rate, p50=p50) for rate, p50 in ((100, 3), (400, 1), (200, 9))]
        self.assertEqual(compare.median(runs), evolve(RUN, rate=200, p50=3))

    def test_ratio(self) -> None:
        """Of the first system to the second; there is none for one alone."""
        runs = {"ours": [evolve(RUN, rate=300)], "theirs": [RUN]}
        self.assertEqual(compare.ratio(runs), ", ratio 3.00")
        self.assertEqual(compare.ratio({"ours": [RUN]}), "")


class MachineTests(SynchronousTestCase):
    def test_share_of_others(self) -> None:
        """Of all that the processors could have done, idle or not: others cannot have more than that."""
        before = Machine.read("cpu  100 100 100 1000 100 100 100 100 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
        after = Machine.read("cpu  200 150 150 1150 150 150 150 200 0 0\n")
        self.assertEqual((before.busy, before.idle), (600 / TICKS, 1100 / TICKS))
        self.assertEqual(after.share_of_others(before, own=100 / TICKS), 300 / 600)
        self.assertEqual(after.share_of_others(before, own=500 / TICKS), 0)


class FakeSystem:
    """Two nodes, of which the first leads."""

    name = "fake"

    def __init__(self) -> None:
        self.nodes = [Namespace(pid=1), Namespace(pid=2)]
        self.closed = False

    def start(self, nodes: Any) -> None: ...

    def close(self) -> None:
        self.closed = True

    def url(self, node: Any) -> str:
        return str(node.pid)

    async def leader(self) -> Any:
        return self.nodes[0]


class QuietTests(SynchronousTestCase):
    def tries(self, *runs: Run, environment: dict[str, str]) -> tuple[object, int]:
        """What comes of `load` where the machine was as in `runs`, and how many of them it took."""
        left = list(runs)

        async def run(*_arguments: object) -> Run:
            return left.pop(0)

        async def at_rest(*_arguments: object) -> None: ...

        self.patch(load, "_run", run)
        self.patch(load, "at_rest", at_rest)
        self.patch(os, "environ", environment)
        self.patch(sys, "stderr", StringIO())
        system: Any = FakeSystem()
        loading = ensureDeferred(load.load(None, system, Work("set", 1), seconds=1))
        return self.successResultOf(loading.addErrback(lambda failure: failure.trap(Disturbed))), len(runs) - len(left)

    def test_again_where_others_had_the_machine(self) -> None:
        """Until a run was quiet, and not for ever."""
        self.assertEqual(self.tries(NOISY, RUN, environment={}), (RUN, 2))
        self.assertEqual(self.tries(*[NOISY] * (TRIES + 1), environment={}), (Disturbed, TRIES))

    def test_measured_anyway(self) -> None:
        """The first run counts where the environment says so, and only there."""
        self.assertEqual(self.tries(NOISY, RUN, environment={"BENCH_ANYWAY": "1"}), (NOISY, 1))
        self.assertEqual(self.tries(NOISY, RUN, environment={"BENCH_ANYWAY": "0"}), (RUN, 2))


class RefusedTests(SynchronousTestCase):
    """What was measured before a run is refused is not lost."""

    WORKS = tuple(Work("set", each) for each in (1, 16, 64))

    def compared(self, refusal: Exception = TOO_LOUD) -> compare.Measured[Work]:
        """Of `WORKS`, the second is refused."""

        async def loaded(_reactor: object, _system: object, work: Work, *_arguments: object) -> Run:
            if work == self.WORKS[1]:
                raise refusal
            return RUN

        async def fill(*_arguments: object) -> None: ...

        self.patch(compare, "load", loaded)
        self.patch(compare, "fill", fill)
        self.patch(compare, "SYSTEMS", {"fake": lambda *_arguments: FakeSystem()})
        self.patch(sys, "stdout", StringIO())
        measured: compare.Measured[Work] = self.successResultOf(
            ensureDeferred(compare.compare(None, ["fake"], self.WORKS, 1, 1, 3, False))
        )
        return measured

    def test_compare(self) -> None:
        """It ends at the refused run, and says what is missing."""
        measured = self.compared()
        self.assertEqual(measured.results, {self.WORKS[0]: {"fake": [RUN]}})
        self.assertEqual(measured.complaint, "too loud; not measured: set 16; set 64")
        self.assertIsNone(compare.Measured(self.WORKS[:1], measured.results).complaint)

    def test_interrupted(self) -> None:
        """It is the same where the process is told to end."""
        measured = self.compared(CancelledError())
        self.assertEqual(measured.results, {self.WORKS[0]: {"fake": [RUN]}})
        self.assertEqual(measured.complaint, "interrupted; not measured: set 16; set 64")

    def test_json(self) -> None:
        """It has the same."""
        path, measured = Path(self.mktemp()), self.compared()
        compare.write(path, measured)
        written = json.loads(path.read_text())
        self.assertEqual([each["runs"] for each in written["results"]], [{"fake": [asdict(RUN)]}])
        self.assertEqual(written["missing"], [asdict(work) for work in self.WORKS[1:]])

    def test_growth(self) -> None:
        """Tables and pictures have the points that there are, and nothing of what never grew."""
        results: dict[Point, compare.Runs] = {point: {"set": [RUN], "get": [RUN]} for point in points("keys")[2:]}
        self.assertEqual(measured_points(["keys", "values"], results), {"keys": points("keys")[2:]})

    @staticmethod
    def draw(path: Path) -> None:
        path.write_text("a picture")

    def report(self, measured: compare.Measured[Work], **paths: Path) -> tuple[str, str]:
        """What is printed, and said at the end."""
        out = StringIO()
        self.patch(sys, "stdout", out)
        given = Namespace(**{"json": None, "picture": None, **paths})
        with self.assertRaises(SystemExit) as caught:
            command._report(given, measured, lambda _results: "the table", self.draw)
        return out.getvalue(), str(caught.exception)

    def test_reported(self) -> None:
        """The table and the files first, then what is missing."""
        path = Path(self.mktemp())
        out, said = self.report(self.compared(), picture=path)
        self.assertEqual((out, path.read_text()), ("the table\n", "a picture"))
        self.assertEqual(said, "bench: too loud; not measured: set 16; set 64")

    def test_files_that_cannot_be_written_after_all(self) -> None:
        """The table is printed, the other file written, and every trouble told."""
        path, nowhere = Path(self.mktemp()), Path(self.mktemp(), "x")
        out, said = self.report(self.compared(), json=nowhere, picture=path)
        self.assertEqual((out, path.read_text()), ("the table\n", "a picture"))
        self.assertEqual(
            said.splitlines(),
            [
                f"bench: cannot write {nowhere}: No such file or directory",
                "bench: too loud; not measured: set 16; set 64",
            ],
        )


class RunningTests(SynchronousTestCase):
    def test_what_cannot_start(self) -> None:
        """The error that is told is the first one, and every cluster is closed."""
        first, second = FakeSystem(), FakeSystem()

        def start(_nodes: Any) -> None:
            raise FileNotFoundError("etcd")

        self.patch(second, "start", start)
        made: Any = iter([first, second])
        with self.assertRaisesRegex(FileNotFoundError, "etcd"), running(None, [lambda *_: next(made)] * 2, 3):
            self.fail("one of them does not run")
        self.assertTrue(first.closed and second.closed)

    def test_etcd_that_was_never_started(self) -> None:
        """There is nothing to end."""
        Etcd(None, Path(self.mktemp()), 3).close()
