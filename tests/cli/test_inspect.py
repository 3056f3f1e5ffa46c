"""`txraft inspect`: what it finds in directories of stopped nodes, whole and damaged."""

import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.cli import running
from tests.storage.contract import FOUNDERS
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save, TermAndVote
from txraft.errors import CorruptLog
from txraft.interfaces import Incarnation, SnapshotFile
from txraft.kv import Batch, Condition, Conditional, Delete, Get, Once, Set, encode
from txraft.kv.contents import Delta
from txraft.kv.data_file import DataFile
from txraft.kv.records import record_of
from txraft.storage.directory import DirectoryLock
from txraft.storage.identity import Bootstrap
from txraft.storage.raft_file import RaftFile
from txraft.storage.snapshot_reading import header_of

MEMBERS = Configuration({0, 1, 2})
BOOTSTRAP = Bootstrap(1, "ours", MEMBERS, named=True)
MET = Incarnation(bytes(range(8)), 3, bytes(range(8, 16)))
"""What node 1 knows of node 2."""


def entry(index: int, term: int = 2) -> Entry:
    return Entry(index, term, EntryKind.COMMAND, encode(Set(b"k%d" % index, b"v")))


run = partial(running.run, "inspect")
"""What `txraft inspect` gives."""


class InspectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def write_log(self, saves: Sequence[Save], crash: bool = False) -> None:
        """Where it is to `crash`, everything stays in the -wal."""
        file = RaftFile(self.directory / "raft.sqlite", BOOTSTRAP)
        file.load()
        file.count_start()
        self.own = file.history.incarnation
        file.open()
        file.meet(2, MET)
        for save in saves:
            file.write(save)
        if crash:
            left = {path: path.read_bytes() for path in self.directory.iterdir()}
        file.close(failed=False)
        file.release()
        if crash:
            for path, content in left.items():
                path.write_bytes(content)

    def write_data(self, index: int, cluster_id: str = "ours", crash: bool = False) -> None:
        file = DataFile(self.directory / "kv.sqlite", cluster_id)
        file.load()
        file.prepare()
        file.open()
        file.write(Delta(index, {b"k%d" % index: record_of(b"v", index + 1, None)}, index + 1))
        left = {path: path.read_bytes() for path in self.directory.iterdir()}
        file.close()
        if crash:
            for path, content in left.items():
                path.write_bytes(content)

    def write_snapshot(self, index: int, term: int, data: bytes = b"data") -> Path:
        directory = self.directory / "snapshots"
        directory.mkdir(exist_ok=True)
        path = directory / f"received-{index}-{term}"
        file = SnapshotFile(Snapshot(index, term, MEMBERS), len(data), hashlib.sha256(data).digest())
        path.write_bytes(header_of(file) + data)
        return path

    def content(self) -> dict[Path, tuple[bytes, int]]:
        """Of every file: what is in it, and when it was changed."""
        files = [path for path in self.directory.rglob("*") if path.is_file()]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    def test_whole(self) -> None:
        """Everything that a node has, for a person and for a program; not a byte is changed, and no file is made, after
        a clean end and after a crash."""
        first = Save(TermAndVote(2, 0), (Entry(1, 2, EntryKind.NOOP, b""), entry(2), entry(3)))
        for crash in (False, True):
            self.directory = Path(self.mktemp())
            self.directory.mkdir()
            DirectoryLock(self.directory).acquire()
            self.write_log([first, Save(None, (), Snapshot(1, 2, MEMBERS)), Save(TermAndVote(3, None), ())], crash)
            self.write_data(2)
            self.write_snapshot(1, 2)
            (self.directory / "snapshots" / "made").write_bytes(b"x")
            before = self.content()
            size = len(before[self.directory / "kv.sqlite"][0])
            status, out, err = run(self.directory, "--last", "1")
            self.assertEqual((status, err), (0, ""))
            self.assertEqual(
                out.splitlines(),
                [
                    'node       1 of cluster "ours"',
                    "made       with the members 0, 1, 2",
                    f"directory  {self.own.directory.hex()}, at start 1 ({self.own.start.hex()})",
                    "met        node 2, directory 0001020304050607, at start 3 (08090a0b0c0d0e0f)",
                    "term       3, no vote",
                    "members    voters 0, 1, 2",
                    f"log        entries 2 to 3: 2 entries, {2 * len(entry(2).data)} bytes",
                    "           compacted up to entry 1 of term 2",
                    "         3  term 2  set 'k3' to 'v'",
                    f"kv.sqlite  up to entry 2, revision 3, 1 keys, {size:,} bytes",
                    "snapshots/made  not a whole one that was received; the next start removes it, 1 bytes",
                    f"snapshots/received-1-2  up to entry 1 of term 2, "
                    f"{len(before[self.directory / 'snapshots' / 'received-1-2'][0])} bytes",
                    "every checksum matches",
                ],
            )
            status, out, err = run("--json", self.directory)
            found = json.loads(out)
            self.assertEqual((status, err, found["problems"]), (0, "", []))
            self.assertEqual((found["term"], found["voted_for"], found["log"]["first_index"]), (3, None, 2))
            self.assertEqual([each["index"] for each in found["log"]["last"]], [2, 3])
            self.assertEqual(found["incarnation"]["directory"], self.own.directory.hex())
            self.assertEqual([(each["id"], each["starts"]) for each in found["peers"]], [(2, 3)])
            self.assertEqual(self.content(), before)

    def test_members(self) -> None:
        """The membership in force, which is the last in the log, with its addresses; and each change of it."""
        before = Configuration({0, 1}, {0, 1, 2}, {4}, {2}, joining={4: 1}, addresses=FOUNDERS.addresses)
        after = Configuration({0, 1}, learners={2, 4}, joining={4: None}, addresses=FOUNDERS.addresses, removed={7, 5})
        changes = [Entry(2 + n, 2, EntryKind.CONFIGURATION, each.to_bytes()) for n, each in enumerate((before, after))]
        self.write_log([Save(TermAndVote(2, 0), (entry(1), *changes))])
        status, out, err = run(self.directory)
        self.assertEqual((status, err), (0, ""))
        for line in (
            "made       with the members 0, 1, 2",
            "members    voters 0, 1; learners 2, 4 (to vote)",
            "           node 0 at a:1, for clients at a:2",
            "removed    5, 7: no node of these ids is let in again",
            "         2  term 2  from here on, voters 0, 1; together with the voters before them, 0, 1, 2; learners"
            " 4 (to vote in place of 1); learners from then on 2",
            "         3  term 2  from here on, voters 0, 1; learners 2, 4 (to vote)",
        ):
            self.assertIn(f"{line}\n", out)
        found = json.loads(run(self.directory, "--json")[1])
        self.assertEqual(found["identity"]["founders"], [0, 1, 2])
        configuration = found["configuration"]
        self.assertEqual(configuration, found["log"]["last"][-1]["configuration"])
        self.assertEqual((configuration["voters"], configuration["learners"]), ([0, 1], [2, 4]))
        self.assertEqual((configuration["outgoing"], configuration["removed"]), ([], [5, 7]))
        self.assertEqual(configuration["joining"], [{"id": 4, "replaces": None}])
        self.assertEqual(configuration["addresses"][2], {"id": 2, "addresses": ["c:1", "c:2"]})

    def test_progress(self) -> None:
        """Whatever takes long shows how far it is: of the data's keys how many, and of the snapshots how many bytes."""
        self.write_log([])
        self.write_data(2)
        self.write_data(3)
        self.write_snapshot(1, 2, bytes(5000))
        shown: list[tuple[str, int | None, str, list[int]]] = []

        @contextmanager
        def progress(what: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
            reported: list[int] = []
            shown.append((what, total, unit, reported))
            yield reported.append

        with patch("txraft.cli.findings.progress", progress), patch("txraft.cli.findings.waiting") as waiting:
            run(self.directory)
        self.assertEqual(shown, [("checking kv.sqlite", 2, " keys", [2]), ("checking snapshots", None, "B", [5000])])
        waiting.assert_called_once_with("checking raft.sqlite")

    def test_new(self) -> None:
        """A node that was started and did nothing."""
        self.write_log([])
        status, out, err = run(self.directory)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("log        no entries\n", out)
        self.assertIn("kv.sqlite  nothing that can be read\n", out)

    def test_running(self) -> None:
        """The directory of a node that runs is refused in a line that says who has it; two that look do not disturb
        each other."""
        self.write_log([])
        lock = DirectoryLock(self.directory)
        lock.acquire()
        status, out, err = run(self.directory)
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))
        self.assertIn(f"{self.directory} is in use by process", err)
        lock.release()
        lock.share()
        self.addCleanup(lock.release)
        self.assertEqual(run(self.directory)[0], 0)

    def test_snapshots_that_are_none(self) -> None:
        """The line names what is in the way."""
        self.write_log([])
        path = self.directory / "snapshots"
        path.touch()
        self.assertIn(f"cannot use {path}: {path} is a file; it has to be a directory", run(self.directory)[2])

    def test_no_reader(self) -> None:
        """Where nobody reads what is printed any more, as with `head`, there is no traceback."""
        self.write_log([Save(TermAndVote(2, 0), tuple(map(entry, range(1, 900))))])
        command = [sys.executable, "-m", "txraft", "inspect", str(self.directory), "--json", "--last", "900"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(1)
            process.stdout.close()
            self.assertEqual((process.stderr.read(), process.wait()), (b"", 128 + signal.SIGPIPE))

    def test_whole_commands(self) -> None:
        """For a program, they are as `/batch` takes them, and nothing is left out (README, "A majority")."""
        command = Once.of(b"id", Conditional(Set(b"k", b"v" * 2000), (Condition((7, 9), True),)))
        given = [encode(command), encode(Batch((Delete(b"\xff"), Get(b"k")), 10)), b"of another machine"]
        entries = [Entry(index, 2, EntryKind.COMMAND, data) for index, data in enumerate(given, 1)]
        self.write_log([Save(TermAndVote(2, 0), tuple(entries))])
        found = json.loads(run(self.directory, "--json")[1])["log"]["last"]
        for each in found:
            del each["what"]
        number = {"term": 2, "kind": "command"}
        first = {
            "operations": [{"set": {"key": "k", "val": "v" * 2000}}],
            "idempotency_key": "id",
            "conditions": [{"mod_revision_is": [7, 9]}],
        }
        self.assertEqual(
            found,
            [
                {"index": 1, **number, **first},
                {"index": 2, **number, "operations": [{"delete": {"key": {"base64": "/w=="}}}, {"get": {"key": "k"}}]},
                {"index": 3, **number, "data": "of another machine"},
            ],
        )

    def test_no_node(self) -> None:
        """What is not a node's directory is said in one line, and where there are some."""
        self.assertIn("is not a directory", run(self.directory / "x")[2])
        self.assertIn("has no raft.sqlite", run(self.directory)[2])
        outer = self.directory
        self.directory = outer / "1"
        self.directory.mkdir()
        self.write_log([])
        self.assertIn(f"inspect {self.directory}\n", run(outer)[2])
        self.assertEqual(run()[0], 2)
        self.assertEqual(run(outer, "--last", "x")[0], 2)

    def test_a_full_disk(self) -> None:
        """It is to be run again; to start the node is another matter."""
        self.write_log([])
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        with patch("txraft.wal._is_full", return_value=True), patch("txraft.wal.connect_to_inspect", side_effect=error):
            err = run(self.directory)[2]
        self.assertTrue(err.endswith("; the disk is full: make room on it and run the command again\n"), err)

    def test_log_is_lost(self) -> None:
        """Where the log is missing, or empty, it says what a start says: nothing invites to start the node anew (hazard
        S6). What else there is, is shown."""
        self.write_log([Save(TermAndVote(2, 0), (entry(1),))])
        path = self.directory / "raft.sqlite"
        path.write_bytes(b"")
        for is_there, has_data in ((True, False), (False, False), (False, True)):
            if not is_there:
                path.unlink(missing_ok=True)
            if has_data:
                self.write_data(1)
            line = str(self.assertRaises(CorruptLog, RaftFile(path, BOOTSTRAP).load))
            status, out, err = run(self.directory)
            self.assertEqual((status, err), (1, f"txraft: {line}\n"))
            self.assertEqual("kv.sqlite  up to entry 1" in out, has_data)
            self.assertEqual(run(self.directory.parent)[2].count(f"inspect {self.directory}"), 1)

    def test_damaged_wals(self) -> None:
        """Nothing that is looked into is changed, wherever it is damaged: SQLite removes a `-wal` from which it can
        take nothing (hazard S15)."""
        self.write_log([Save(TermAndVote(2, 0), (entry(1), entry(2))), Save(TermAndVote(3, None), ())], crash=True)
        self.write_data(2, crash=True)
        whole = {path: path.read_bytes() for path in self.directory.iterdir()}
        seed = 15
        random = Random(seed)
        for path in sorted(whole):
            content = whole[path]
            if not content:
                continue
            frame = min(32, len(content))  # the first one's header begins there, and has 24 bytes
            flips = [*range(0, frame, 3), *range(frame, min(frame + 24, len(content)), 3), 4000 % len(content)]
            flips += [random.randrange(len(content)) for _ in range(12)]
            cuts = [0, 1, 31, 32, 56, len(content) // 2, len(content) - 1]
            damaged = [content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :] for place in flips]
            for left in [*damaged, *(content[:cut] for cut in cuts)]:
                path.write_bytes(left)
                before = self.content()
                run(self.directory, "--last", "0")
                self.assertEqual(self.content(), before, f"seed {seed}, {path}")
                if random.random() < 0.1:
                    for shm in self.directory.glob("*-shm"):
                        shm.unlink()
            for each, its in whole.items():
                each.write_bytes(its)

    def damage(self, name: str, statement: str) -> None:
        with closing(sqlite3.connect(self.directory / name, isolation_level=None)) as connection:
            connection.execute(statement)

    def test_damage(self) -> None:
        """What is damaged is named, and everything else is shown all the same (hazard S4)."""
        self.write_log([Save(TermAndVote(2, 0), (entry(1), entry(2)))])
        self.write_data(2)
        path = self.write_snapshot(9, 2)
        self.damage("raft.sqlite", "UPDATE log SET data = x'00' WHERE idx = 2")
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        status, out, err = run(self.directory)
        self.assertEqual(status, 1)
        self.assertIn("entry 2 does not match its checksum", err)
        self.assertIn(f"{path} is damaged", err)
        self.assertIn("kv.sqlite  up to entry 2", out)
        self.damage("kv.sqlite", "UPDATE data SET record = x'00'")
        status, out, err = run(self.directory, "--json")
        self.assertEqual((status, err.count("\n"), len(json.loads(out)["problems"])), (1, 3, 3))
        self.assertIn("the row of key b'k2' does not match its checksum", err)

    def test_lost(self) -> None:
        """So is less than was durable (hazard S15), and what no start could go on from (hazard S18)."""
        self.write_log([Save(TermAndVote(2, 0), (entry(1), entry(2))), Save(None, (), Snapshot(1, 2, MEMBERS))])
        self.assertIn("the log begins behind entry 1, kv.sqlite goes up to 0", run(self.directory)[2])
        self.write_data(3, "theirs")
        err = run(self.directory)[2]
        self.assertIn("goes up to entry 3, and the log to 2", err)
        self.assertIn('has data of the cluster "theirs"', err)
        (self.directory / "raft.sqlite-durable").unlink()
        self.assertIn("raft.sqlite-durable, which says what it has to hold, is missing", run(self.directory)[2])
        (self.directory / "raft.sqlite-journal").touch()
        self.assertIn("is no file of txraft's", run(self.directory)[2])

    def test_flips(self) -> None:
        """A flipped bit anywhere is found, or changes nothing of what is shown (hazard S4)."""
        self.write_log([Save(TermAndVote(2, 0), tuple(map(entry, range(1, 30))))])
        self.write_data(20)
        whole = run("--json", "--last", "30", self.directory)
        seed = 10
        random = Random(seed)
        for name in ("raft.sqlite", "kv.sqlite"):
            path = self.directory / name
            content = path.read_bytes()
            for _ in range(60):
                place = random.randrange(len(content))
                path.write_bytes(
                    content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :]
                )
                found = run("--json", "--last", "30", self.directory)
                self.assertTrue(found == whole or (found[0] == 1 and found[2]), f"seed {seed}: byte {place} of {name}")
            path.write_bytes(content)
