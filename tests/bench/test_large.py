"""The commands of large stores: what they compute, print, and do where something fails."""

import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.bench import __main__ as command
from tests.bench import catchup, fill, large, overwrites, restart, soak
from tests.bench.catchup import Catchup, Phase
from tests.bench.connections import Answer
from tests.bench.load import Disturbed
from tests.bench.overwrites import Overwrites, Sample
from tests.bench.pace import Period
from tests.bench.restart import Restart, Restarts
from tests.bench.soak import Look, Soak
from tests.bench.systems import Etcd, Position, System, Txraft
from tests.bench.watch import MIB, Pause, Roles, Taken

TAKEN = Taken(rss=10 * MIB, anonymous=8 * MIB, peak=12 * MIB, data=20 * MIB)
ROLES = Roles(TAKEN, TAKEN)
TWICE = Roles(evolve(TAKEN, rss=20 * MIB), evolve(TAKEN, rss=30 * MIB))
PERIOD = Period(seconds=10, written=5000, failed=0, p50=2, p99=10, longest=20)
PHASE = Phase("before", PERIOD, Pause(0.01), long=0, asked=1000, blind=0.002, leader=TAKEN, others=0.1)


def rows(text: str) -> dict[str, list[str]]:
    """The cells of a table by the first of its row."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]
    return {first: rest for first, *rest in filter(None, lines)}


class RestartTests(SynchronousTestCase):
    def restarts(self, name: str, *seconds: float, before: Roles = ROLES) -> Restarts:
        each = [Restart(first, first + 1, ROLES, 0.1) for first in seconds]
        return Restarts(name, 60, before, ROLES, each)

    def test_table(self) -> None:
        """Medians, the worst, and ratios of the first to the second."""
        found = rows(restart.table([self.restarts("txraft", 1, 9, 2), self.restarts("etcd", 4, 4, 4, before=TWICE)]))
        self.assertEqual(found["first node serves, s"], ["2.00", "4.00", "0.50"])
        self.assertEqual(found["worst of them, s"], ["9.00", "4.00", "2.25"])
        self.assertEqual(found["all nodes serve, s"], ["3.00", "5.00", "0.60"])
        self.assertEqual(found["memory before, MiB"], ["10.0 / 10.0", "20.0 / 30.0", "0.50 / 0.33"])

    def test_one_alone(self) -> None:
        """It has no ratio."""
        found = rows(restart.table([self.restarts("txraft", 1)]))
        self.assertEqual(found["first node serves, s"], ["1.00"])
        self.assertEqual(found["data after, MiB"], ["20.0 / 20.0"])
        self.assertEqual(restart.ratio([1, 0]), ["-"])

    def test_lost_keys(self) -> None:
        """A store that has lost some is not measured."""
        asked: list[bytes] = []

        async def ask(_reactor: object, _url: str, request: bytes, _patience: float) -> Answer:
            asked.append(request)
            return Answer(200, b"vvv" if len(asked) < 50 else b"")

        self.patch(restart, "ask", ask)
        system: Any = Txraft(None, Path(self.make()), 1)
        looking = ensureDeferred(restart.look(None, system, system.nodes[0], 1000, 3))
        self.assertIn("key 491 is lost", str(self.failureResultOf(looking, Disturbed).value))
        self.assertEqual(len(asked), 50)

    def make(self) -> str:
        path = self.mktemp()
        Path(path).mkdir()
        return path


class CatchupTests(SynchronousTestCase):
    FOUND = Catchup("txraft", 12.5, 0, True, 900, TAKEN, [PHASE, evolve(PHASE, when="meanwhile"), PHASE])

    def test_summary(self) -> None:
        """Where it came from, what it cost, and whether somebody else led."""
        slow = evolve(PHASE, period=evolve(PERIOD, p99=25))
        said = catchup.summary(evolve(self.FOUND, phases=[PHASE, slow, PHASE]))
        self.assertIn("in 12.5 s, by a snapshot and entries from 900; 0 terms passed, the same leader", said)
        self.assertIn("p99 meanwhile 2.5 times that before", said)
        self.assertIn("by entries alone", catchup.summary(evolve(self.FOUND, first=1)))
        said = catchup.summary(evolve(self.FOUND, first=None, terms=2, led_on=False))
        self.assertIn("in 12.5 s; 2 terms passed, another leader", said)

    def test_nothing_written_before(self) -> None:
        """There is nothing to compare with."""
        none = evolve(PHASE, period=Period(1, 0, 5, 0, 0, 0))
        self.assertEqual(evolve(self.FOUND, phases=[none, PHASE, PHASE]).slower, 0)

    def test_table(self) -> None:
        """A row for each phase, and the ratio where there are two systems."""
        text = catchup.table([self.FOUND, evolve(self.FOUND, system="etcd", took=25)])
        self.assertEqual(rows(text)["txraft"][:3], ["before", "10.0", "5000"])
        self.assertIn("ratio: 0.50", text)
        self.assertNotIn("ratio:", catchup.table([self.FOUND]))

    def caught_up(self, *positions: tuple[int, int], running: bool = True) -> "Deferred[None]":
        """With what leader and newcomer have applied at each look."""
        clock, looks = Clock(), iter(positions)
        left = [next(looks)]

        async def ask(_reactor: object, url: str, *_arguments: object) -> Answer | None:
            leader, newcomer = left[0]
            if url == "leader":
                left[0] = next(looks, left[0])
                return Answer(200, str(leader).encode())
            return None if newcomer < 0 else Answer(200, str(newcomer).encode())

        system: Any = Namespace(
            name="fake",
            url=str,
            position_request=b"",
            position=lambda answer: Position(1, int(answer.body), 1),
            is_running=lambda _node: running,
        )
        self.patch(catchup, "ask", ask)
        waiting = ensureDeferred(catchup.caught_up(clock, system, "leader", "newcomer"))
        clock.pump([0.05] * 100)
        return waiting

    def test_caught_up(self) -> None:
        """With what the leader had a look before; a newcomer that does not answer yet has nothing."""
        self.successResultOf(self.caught_up((100, -1), (110, 0), (120, 110)))
        waiting = self.caught_up((100, -1), (110, 0), (120, 109))
        self.assertNoResult(waiting)
        waiting.addErrback(lambda _failure: None)
        waiting.cancel()

    def test_newcomer_that_ends(self) -> None:
        """Nobody waits for it."""
        self.failureResultOf(self.caught_up((100, -1), running=False), Disturbed)


class OverwritesTests(SynchronousTestCase):
    def test_table(self) -> None:
        """The verdict stands below each column."""
        found = Overwrites("txraft", "single", 256, seconds=10, restarted=Restart(1.5, 2, ROLES, 0))
        for count in range(0, 41_000, 1000):
            growing = Roles(TAKEN, evolve(TAKEN, rss=TAKEN.rss + 400 * count))
            found.samples.append(Sample(count, growing))
        text = overwrites.table(found)
        lines = text.splitlines()
        verdicts = next(line for line in lines if "bounded" in line)
        self.assertEqual(
            [each.strip() for each in verdicts.split("  ") if each.strip()],
            ["bounded", "not bounded", "bounded", "bounded"],
        )
        self.assertEqual(rows(text)["growth"], ["0.0", "400.0", "0.0", "0.0"])
        self.assertEqual(rows(text)["most"][0], "10.0")
        self.assertIn("served after 1.50 s", lines[-1])

    def test_interrupted(self) -> None:
        """What there is stands there without a verdict, and without a restart."""
        text = overwrites.table(Overwrites("txraft", "batch", 256, [Sample(0, ROLES)]))
        self.assertIn("too few samples", text)
        self.assertNotIn("restart", text)

    def test_keys_in_turn(self) -> None:
        """From the first to the last and again, until there were as many as asked for."""
        system: Any = Namespace(most_in_a_request=4)
        chunks = list(fill.numbers_in_order(16, 6, 1, system, single=False))
        self.assertEqual(chunks, [range(1, 5), range(5, 7), range(1, 5), range(5, 7), range(1, 5)])
        self.assertEqual([len(each) for each in fill.numbers_in_order(3, 2, 1, system, single=True)], [1, 1, 1])


class SoakTests(SynchronousTestCase):
    def found(self, growth: int, looks: int = 20) -> Soak:
        found = Soak("txraft", 1000, 256)
        for number in range(1, looks + 1):
            taken = evolve(TAKEN, rss=TAKEN.rss + growth * number * 10_000)
            found.looks.append(Look(number * 10, number * 10_000, PERIOD, Roles(taken, TAKEN), 0.1))
        return found

    def test_summary(self) -> None:
        """How far it got, and what a day of it would take."""
        said = soak.summary(self.found(growth=100)).splitlines()
        self.assertIn("200,000 writes of 256 bytes in 200 s, which is 0.23% of the 86,400,000", said[0])
        self.assertIn("+100.00 bytes a write, 8239.7 MiB a day of 1,000 a second: not bounded", said[1])
        self.assertIn("memory of a follower: at most 10.0 MiB; +0.00 bytes a write", said[2])

    def test_short(self) -> None:
        """Too few looks tell nothing."""
        self.assertIn("too few looks", soak.summary(self.found(growth=100, looks=2)))


class FillTests(SynchronousTestCase):
    def send(self, *answers: Answer | Exception) -> tuple["Deferred[None]", list[int]]:
        """One key, with what is answered to each try."""
        left, done = list(answers), list[int]()

        class FakePool:
            def __init__(self, *_arguments: object) -> None: ...

            async def ask(self, _request: bytes) -> Answer:
                answer = left.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer

            def close(self) -> None: ...

        async def leader() -> None: ...

        self.patch(fill, "Pool", FakePool)
        system: Any = Namespace(name="fake", url=str, leader=leader)
        return ensureDeferred(fill.send(None, system, [(5, b"")], False, done.append)), done

    def test_tried_again(self) -> None:
        """A write that is refused is, and not for ever."""
        sending, done = self.send(Answer(503, b""), Answer(200, b""))
        self.successResultOf(sending)
        self.assertEqual(done, [5])
        sending, done = self.send(*[Answer(503, b"no leader")] * 3)
        self.assertIn("no leader", str(self.failureResultOf(sending, Disturbed).value))
        self.assertEqual(done, [])

    def test_lost(self) -> None:
        """A node that is gone ends it in one line."""
        sending, _ = self.send(ConnectionError("gone"))
        self.assertIn("fake was lost: gone", str(self.failureResultOf(sending, Disturbed).value))

    def test_progress(self) -> None:
        """A line now and then, with the rate since the last."""
        clock, out = Clock(), StringIO()
        self.patch(sys, "stdout", out)
        progress = fill.Progress(clock, "filled", 10_000)
        for _ in range(3):
            clock.advance(5)
            progress(1000)
        clock.advance(5)
        progress(4000)
        self.assertEqual(
            out.getvalue().splitlines(),
            ["filled: 2,000 of 10,000, 200 a second", "filled: 7,000 of 10,000, 500 a second"],
        )


class SystemTests(SynchronousTestCase):
    """What is asked of both, and what they answer."""

    def made(self, make: Any) -> System:
        directory = Path(self.mktemp())
        directory.mkdir()
        system: System = make(None, directory, 1)
        return system

    def body(self, request: bytes) -> str:
        return request.partition(b"\r\n\r\n")[2].decode()

    def test_txraft(self) -> None:
        """Forms, JSON for many keys, and the value itself."""
        system = self.made(Txraft)
        self.assertEqual(self.body(system.set_one(7, 3)), "key=key7&val=vvv")
        self.assertEqual(self.body(system.get_one(7, stale=True)), "key=key7&consistency=stale")
        self.assertEqual(
            json.loads(self.body(system.set_many([1, 2], 1))),
            [{"set": {"key": "key1", "val": "v"}}, {"set": {"key": "key2", "val": "v"}}],
        )
        self.assertTrue(system.is_value(Answer(200, b"vvv"), 3))
        self.assertFalse(system.is_value(Answer(404, b"vvv"), 3) or system.is_value(Answer(200, b"vv"), 3))
        status = json.dumps({"term": 3, "last_applied": 9, "first_log_index": 5}).encode()
        self.assertEqual(system.position(Answer(200, status)), Position(3, 9, 5))

    def test_etcd(self) -> None:
        """JSON, with base64 in it, and numbers as texts."""
        system = self.made(Etcd)
        self.assertEqual(json.loads(self.body(system.set_one(7, 3))), {"key": "a2V5MDAwMDA3", "value": "dnZ2"})
        self.assertTrue(json.loads(self.body(system.get_one(7, stale=True)))["serializable"])
        self.assertTrue(system.is_value(Answer(200, b'{"kvs":[{"key":"x","value":"dnZ2"}],"count":"1"}'), 3))
        self.assertFalse(system.is_value(Answer(200, b'{"header":{}}'), 3))
        status = b'{"raftTerm":"3","raftAppliedIndex":"9"}'
        self.assertEqual(system.position(Answer(200, status)), Position(3, 9, None))


class CommandTests(SynchronousTestCase):
    def parse(self, *arguments: str) -> Namespace:
        return command._parser().parse_args(arguments)

    def test_what_is_measured(self) -> None:
        """Where nothing else is asked for, it is what is told of in the closing notes."""
        given = self.parse("restart")
        self.assertEqual((given.keys, given.size, given.fill), (1_000_000, 256, "single"))
        self.assertEqual((self.parse("catchup").rate, self.parse("soak").rate), (500, 1000))
        given = self.parse("overwrites")
        self.assertEqual((given.count, given.keys, given.how), (5_000_000, 1000, ["batch", "single"]))

    def test_room(self) -> None:
        """It is asked for before anything starts, and only where much is written."""
        self.patch(command, "missing", lambda _names: None)
        directory = self.mktemp()
        Path(directory).mkdir()
        self.patch(tempfile, "tempdir", directory)
        self.assertIsNone(command._lacking(self.parse("restart", "--keys", "10000")))
        many = ["overwrites", "--count", str(10**12)]
        self.assertIsNone(command._lacking(self.parse(*many)))
        lacking = command._lacking(self.parse(*many, "--systems", "txraft", "etcd")) or ""
        self.assertIn("GB left, and this may take 3768000.0 GB", lacking)
        self.assertIsNone(command._lacking(self.parse("compare")))

    def test_etcd_is_missing(self) -> None:
        """It is said before anything starts, and only where it is measured."""
        self.patch(command, "missing", sorted)
        for name in ("restart", "catchup", "overwrites", "soak"):
            self.assertIn("etcd", command._lacking(self.parse(name, "--systems", "txraft", "etcd")) or "")
            self.assertNotIn("etcd", command._lacking(self.parse(name)) or "")

    def test_interrupted(self) -> None:
        """The systems that were measured are in the table and in the file."""
        path, out = Path(self.mktemp()), StringIO()
        self.patch(sys, "stdout", out)

        async def measured(_reactor: object, name: str, *_arguments: object) -> Restarts:
            if name == "etcd":
                raise Disturbed("etcd was lost")
            return Restarts(name, 1, ROLES, ROLES, [Restart(1, 2, ROLES, 0)])

        self.patch(restart, "restarts", measured)
        given = self.parse("restart", "--systems", "txraft", "etcd", "--json", str(path))
        self.failureResultOf(ensureDeferred(large._restart(None, given)), Disturbed)
        self.assertIn("first node serves", out.getvalue())
        self.assertEqual([each["system"] for each in json.loads(path.read_text())["results"]], ["txraft"])


class SoakingTests(SynchronousTestCase):
    """A soak of a node in memory."""

    def setUp(self) -> None:
        self.clock, self.room = Clock(), soak.SPARED
        self.answer = Answer(200, b"")
        self.patch(sys, "stdout", StringIO())
        node = Namespace(pid=1)
        test = self

        class FakePool:
            def __init__(self, *_arguments: object) -> None: ...

            async def ask(self, _request: bytes) -> Answer:
                return test.answer

            def close(self) -> None: ...

        async def leader() -> Namespace:
            return node

        system = Namespace(nodes=[node], leader=leader, url=str, data=str, set_one=lambda *_arguments: b"")

        @contextmanager
        def running(*_arguments: object) -> Iterator[list[Namespace]]:
            yield [system]

        self.patch(soak, "running", running)
        self.patch(soak, "Pool", FakePool)
        self.patch(soak, "roles", lambda *_arguments: ROLES)
        self.patch(soak, "room", lambda _directory: self.room)
        self.patch(soak, "Others", lambda _pids: Namespace(share=lambda: 0.25))

    def soak(self) -> tuple["Deferred[None]", Soak]:
        found = Soak("txraft", 10, 256)
        soaking = ensureDeferred(soak.soak(self.clock, found, 3, seconds=20, every=5))
        self.clock.pump([0.05] * 500)
        return soaking, found

    def test_to_the_end(self) -> None:
        """A look now and then, each with what was written since the one before."""
        soaking, found = self.soak()
        self.successResultOf(soaking)
        self.assertEqual([round(each.at) for each in found.looks], [5, 10, 15, 20])
        self.assertEqual(found.looks[-1].written, sum(each.period.written for each in found.looks))
        self.assertIn(found.looks[-1].written, (200, 201))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_writes(self) -> None:
        """It does not wait for the end where none is taken any more."""
        self.answer = Answer(503, b"")
        soaking, found = self.soak()
        self.failureResultOf(soaking, Disturbed)
        self.assertEqual(len(found.looks), 1)

    def test_full_disk(self) -> None:
        """It ends before the disk is full; what was found stays."""
        self.room -= 1
        soaking, found = self.soak()
        self.assertIn("MiB left", str(self.failureResultOf(soaking, Disturbed).value))
        self.assertEqual(len(found.looks), 1)
