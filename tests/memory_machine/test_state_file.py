import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from itertools import count as counting
from pathlib import Path
from random import Random
from types import SimpleNamespace
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.descriptors import open_files
from tests.memory_machine.counters import Counters, count, outcome, started
from tests.storage.names import Names, watch
from tests.storage.steps import is_killed
from tests.storage.worker import InlineWorker
from txraft.errors import CorruptLog, SnapshotFailed, StorageError, WriteFailed, WrongDirectory
from txraft.memory_machine import MemoryMachine, adapter
from txraft.memory_machine.state_file import REMEDY
from txraft.snapshot_writing import RESERVE
from txraft.testing.quick_disk import quick_directory


class FileCase(SynchronousTestCase):
    """A machine with a file."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.path = self.directory / "state"
        self.counters, self.machine = started(self.directory, InlineWorker())
        count(self.machine, b"a", b"b", b"a")
        outcome(self.machine.persist())

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


class StartTests(FileCase):
    """What a start finds."""

    def assert_refused(self, kind: type[StorageError], reason: str, cluster_id: str = "ours") -> None:
        """The start says why in one line, changes nothing, and never loads any of it."""
        content = self.path.read_bytes()
        counters = Counters()
        line = str(self.assertRaises(kind, MemoryMachine, counters, self.directory, cluster_id, InlineWorker()))
        self.assertTrue(line.isprintable(), line)
        self.assertIn(reason, line)
        self.assertEqual(counters.counts, {})
        self.assertEqual(self.path.read_bytes(), content)

    def test_flipped_bits(self) -> None:
        """hazard S4: every bit of the file, one at a time."""
        content = self.path.read_bytes()
        for place in range(8 * len(content)):
            damaged = bytearray(content)
            damaged[place // 8] ^= 1 << place % 8
            self.path.write_bytes(damaged)
            self.assert_refused(CorruptLog, f"{self.path} is damaged: it does not match its checksum; {REMEDY}")

    def test_other_length(self) -> None:
        """hazard S4: bytes lost from the end, or more behind it."""
        content = self.path.read_bytes()
        for length in range(len(content)):
            self.path.write_bytes(content[:length])
            self.assert_refused(CorruptLog, "is damaged: ")
        self.path.write_bytes(content + b"\0")
        self.assert_refused(CorruptLog, "is damaged: ")

    def with_header(self, header: bytes) -> None:
        """Another first line, and the checksum that belongs to it."""
        _, _, rest = self.path.read_bytes().partition(b"\n")
        content = header + b"\n" + rest[:-32]
        self.path.write_bytes(content + hashlib.sha256(content).digest())

    def test_other_format(self) -> None:
        self.with_header(json.dumps({"format": 2, "cluster": "ours", "index": 3}).encode())
        self.assert_refused(StorageError, "is in format 2, and this txraft reads format 1: start the txraft that wrote")

    def test_not_ours(self) -> None:
        """It matches its checksum all the same."""
        for header in (b"", b"state", b"[]", b'{"format": 1}', b'{"format": 1, "cluster": "ours", "index": "x"}'):
            self.with_header(header)
            self.assert_refused(CorruptLog, "its first line is not txraft's; remove it")

    def test_other_cluster(self) -> None:
        """Its entry 3 has done something else."""
        self.assert_refused(
            WrongDirectory, 'is of the cluster "ours", and this node is of "theirs": remove it', "theirs"
        )

    def test_removed(self) -> None:
        """As the line says: the machine is as new then, and comes from the log; where that does not go back so far, it
        is behind the log's start, and the node refuses (hazard S18)."""
        self.path.unlink()
        counters, machine = started(self.directory, InlineWorker())
        self.assertEqual((machine.last_applied, counters.counts), (0, {}))

    def test_leftovers(self) -> None:
        """A half file is removed, and nothing else is."""
        for name in ("state.new", "raft.sqlite"):
            (self.directory / name).touch()
        started(self.directory, InlineWorker())
        self.assertEqual(self.names(), ["raft.sqlite", "state"])

    def test_unusable(self) -> None:
        """Something else has the file's name."""
        self.path.unlink()
        self.path.mkdir()
        line = str(self.assertRaises(StorageError, started, self.directory, InlineWorker()))
        self.assertIn(f"cannot use {self.path}: ", line)

    def test_directory_is_made(self) -> None:
        started(self.directory / "data" / "0", InlineWorker())
        self.assertEqual(self.names(), ["data", "state"])

    def test_nothing_stays_open(self) -> None:
        """After a start, which may be before a fork; nor after a write."""
        count(self.machine, *[b"a"] * 10)
        outcome(self.machine.persist())
        self.assertEqual(open_files(self.directory), set())


class FailureTests(FileCase):
    """The disk refuses. What was there stays, and the node goes on where the log is not concerned."""

    def line_of_persist(self) -> str:
        count(self.machine, *[b"a"] * 10)
        line = str(self.failureResultOf(self.machine.persist(), SnapshotFailed).value)
        self.assertTrue(line.isprintable())
        return line

    def test_full(self) -> None:
        """hazard S2: what was written is removed. With room, it is written again."""
        self.patch(adapter, "RETRY_SIZE", 0)
        with patch.object(os, "write", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            line = self.line_of_persist()
        self.assertEqual(line, f"cannot write {self.path}.new: No space left on device; make room on the disk")
        self.assertEqual(self.names(), ["state"])
        self.assertEqual(outcome(self.machine.snapshot()).index, 3)
        count(self.machine, *[b"a"] * 10)
        self.assertEqual(outcome(self.machine.persist()), 23)

    def test_sync_fails(self) -> None:
        """hazard S1: the file's sync, or the directory's, which makes its name durable. Nothing of it is believed."""
        self.patch(adapter, "RETRY_SIZE", 0)
        for fails_at in (0, 1):
            outcomes = [None] * fails_at + [OSError(errno.EIO, "Input/output error")]
            with patch.object(os, "fsync", side_effect=outcomes):
                self.assertIn("Input/output error; the disk may be failing", self.line_of_persist())
            self.assertEqual(self.names(), ["state"])
        self.assertEqual(outcome(self.machine.persist()), 3)
        started(self.directory, InlineWorker())
        # With its name it may be what the next start finds, so it counts as what a snapshot is.
        self.assertEqual(outcome(self.machine.snapshot()).index, 23)

    def test_restore_fails(self) -> None:
        """The log has begun behind the old data by now: the node ends, and the next start tries it again."""
        other = started(self.directory / "other", InlineWorker())[1]
        count(other, *[b"x"] * 9)
        blocks = list(outcome(other.snapshot()).chunks())
        with patch.object(os, "write", side_effect=OSError(errno.EDQUOT, "Disk quota exceeded")):
            restored = self.machine.restore(9, blocks)
        line = str(self.failureResultOf(restored, WriteFailed).value)
        self.assertEqual(line, f"cannot write {self.path}.new: Disk quota exceeded; make room on the disk")
        self.assertEqual((self.machine.last_applied, self.counters.counts), (3, {b"a": 2, b"b": 1}))
        self.assertEqual(self.names(), ["other", "state"])
        with patch.object(shutil, "disk_usage", return_value=SimpleNamespace(free=RESERVE - 1)):  # the log's
            restored = self.machine.restore(9, iter(self.fail, None))
        self.assertIn("make room on the disk", str(self.failureResultOf(restored, WriteFailed).value))
        outcome(self.machine.restore(9, blocks))
        self.assertEqual((self.machine.last_applied, self.counters.counts), (9, {b"x": 9}))

    def test_restore_is_checked(self) -> None:
        """hazards S4, S10: damaged, half, another cluster's, another index, or blocks that raise. What was there stays,
        and nothing of it is loaded."""
        foreign = started(self.directory / "foreign", InlineWorker(), "theirs")[1]
        count(foreign, *[b"x"] * 9)
        theirs = list(outcome(foreign.snapshot()).chunks())
        other = started(self.directory / "other", InlineWorker())[1]
        count(other, *[b"x"] * 9)
        ours = list(outcome(other.snapshot()).chunks())

        def broken() -> Iterator[bytes]:
            yield ours[0]
            raise CorruptLog("what was received is damaged")

        for index, blocks, kind, reason in (
            (
                9,
                [b"", *ours, b"\0"],
                CorruptLog,
                "state.new is damaged: it does not match its checksum; restart",
            ),
            (9, ours[:-1], CorruptLog, "state.new is damaged: "),
            (9, [], CorruptLog, "state.new is damaged: "),
            (9, theirs, WrongDirectory, 'is of the cluster "theirs"'),
            (8, ours, CorruptLog, "is a snapshot of entry 9, and not of 8; restart the node"),
            (9, broken(), CorruptLog, "what was received is damaged"),
        ):
            with patch.object(self.counters, "load", side_effect=AssertionError):
                error = self.failureResultOf(self.machine.restore(index, blocks), kind).value
            self.assertIn(reason, str(error))
            self.assertEqual(self.names(), ["foreign", "other", "state"])
            self.assertEqual((self.machine.last_applied, self.counters.counts), (3, {b"a": 2, b"b": 1}))
        self.assertEqual(started(self.directory, InlineWorker())[0].counts, {b"a": 2, b"b": 1})


class KilledTests(FileCase):
    """The process ends between any two steps."""

    def test_persist(self) -> None:
        """hazard S5: the data are the old or the new, and the index is theirs; when `persist` has fired, the new."""
        found: list[int] = []
        for steps in counting():
            self.setUp()
            count(self.machine, b"a", b"c", b"-b")
            killed = is_killed(self, steps, lambda: outcome(self.machine.persist()))
            found.append(self.found({3: {b"a": 2, b"b": 1}, 6: {b"a": 3, b"c": 1}}))
            if not killed:
                break
        self.assertEqual(found, sorted(found))
        self.assertEqual((found[-1], found.count(3) > 2), (6, True))

    def test_restore(self) -> None:
        """hazards S5, S10: the same for a snapshot."""
        other = started(Path(self.mktemp()), InlineWorker())[1]
        count(other, *[b"x"] * 9)
        blocks = list(outcome(other.snapshot()).chunks())
        found: list[int] = []
        for steps in counting():
            self.setUp()
            killed = is_killed(self, steps, lambda: outcome(self.machine.restore(9, blocks)))
            found.append(self.found({3: {b"a": 2, b"b": 1}, 9: {b"x": 9}}))
            if not killed:
                break
        self.assertEqual(found, sorted(found))
        self.assertEqual((found[-1], found.count(3) > 2), (9, True))

    def found(self, expected: dict[int, dict[bytes, int]]) -> int:
        """The index that a start finds, with what belongs to it."""
        counters, machine = started(self.directory, InlineWorker())
        self.assertEqual(counters.counts, expected[machine.last_applied])
        self.assertEqual(self.names(), ["state"])
        return machine.last_applied


class PowerTests(SynchronousTestCase):
    """The power is cut at each call that changes a file."""

    def setUp(self) -> None:
        temporary = quick_directory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        other, machine = started(self.directory / "other", InlineWorker())
        count(machine, *[b"x"] * 1000)
        self.blocks = list(outcome(machine.snapshot()).chunks())
        self.counters, self.machine = started(self.directory / "node", InlineWorker())
        self.expected = {0: {}, 1000: other.counts}
        """All that a start may find, by index."""
        self.durable = 0
        self.found: list[int] = []
        self.disk = Names(self.directory / "node", Random(1))
        watch(self, self.disk, self.look)

    def look(self) -> None:
        """Start on what some cuts leave."""
        for _ in range(5):
            directory = self.directory / f"image {len(self.found)}"
            directory.mkdir()
            for name, content in self.disk.image().items():
                (directory / name).write_bytes(content)
            counters = Counters()
            machine = MemoryMachine(counters, directory, "ours", InlineWorker())
            self.assertGreaterEqual(machine.last_applied, self.durable)
            self.assertEqual(counters.counts, self.expected[machine.last_applied])
            self.found.append(machine.last_applied)

    def test_cut(self) -> None:
        """hazards S3, S5: a start finds all that was durable, the data and their index of one moment."""
        for number in range(10):
            count(self.machine, *[b"%d" % number * 3000] * 30)
            self.expected[self.machine.last_applied] = dict(self.counters.counts)
            self.durable = outcome(self.machine.persist())
            self.assertEqual(self.durable, self.machine.last_applied)
        outcome(self.machine.restore(1000, self.blocks))
        self.durable = 1000
        self.look()
        self.assertEqual({*self.found}, {*self.expected})
