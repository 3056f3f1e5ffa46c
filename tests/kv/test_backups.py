"""Backups: what is in one, and how many a node keeps for how long."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from tests.kv.backed_up import INDEX, ORIGIN, Snapshots, backups_of, data_file
from tests.storage.recording import record
from tests.storage.worker import HandWorker
from txraft.errors import CorruptLog, NotApplied, Overloaded, SnapshotFailed, StorageError
from txraft.kv import backup, kept_backup
from txraft.kv import backups as backups_module
from txraft.kv.backup import Backup, describe, put_in_place, read_backup
from txraft.kv.backups import KEEP_FREE, LOOK_SECONDS, SILENCE
from txraft.kv.data_reading import count_of_keys
from txraft.kv.data_snapshot import CHUNK_SIZE, DataSnapshot
from txraft.kv.kept_backup import IDLE_SECONDS, SENT_SECONDS, SLOWEST, KeptBackup
from txraft.snapshot_writing import RESERVE


class BackupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        data_file(self.path)
        describe(self.path, ORIGIN)

    def test_content(self) -> None:
        """The data, and what they are of."""
        found = read_backup(self.path)
        self.assertEqual(found, Backup(ORIGIN, "ours", INDEX, revision=1, keys=1))
        self.assertEqual(count_of_keys(self.path), 1)

    def test_damaged(self) -> None:
        """Whatever does not match its checksum is refused, what it says of itself too (hazards S4, S14)."""
        whole = self.path.read_bytes()
        for change in (
            "UPDATE backup SET node_id = 2",
            "UPDATE backup SET made = 7",
            "DELETE FROM backup",
            "UPDATE data SET record = x'00'",
            "UPDATE applied SET last_applied = 6",
            "DROP TABLE backup",
        ):
            self.path.write_bytes(whole)
            with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
                connection.execute(change)
            error = self.assertRaises(CorruptLog, read_backup, self.path)
            self.assertIn(backup.REMEDY, str(error))
        self.path.write_bytes(whole[: len(whole) // 2])
        self.assertRaises(CorruptLog, read_backup, self.path)

    def test_no_snapshot(self) -> None:
        """A file of data is no backup, though it is whole."""
        other = Path(self.mktemp())
        data_file(other)
        self.assertRaises(CorruptLog, read_backup, other)

    def test_another_format(self) -> None:
        """It says which, before it looks any further."""
        other = Path(self.mktemp())
        data_file(other)
        with patch("txraft.kv.backup.FORMAT", 9):
            describe(other, ORIGIN)
        self.assertIn("format 9", str(self.assertRaises(StorageError, read_backup, other)))

    def test_put_in_place(self) -> None:
        """It takes the place of what was there, synced before it has its name, and with its name before that is said
        (hazard S3)."""
        target = Path(self.mktemp()).absolute()
        target.write_bytes(b"old")
        events = record(self)
        put_in_place(self.path, target)
        self.assertEqual(
            events,
            [
                ("sync", str(self.path.absolute())),
                ("rename", str(self.path), str(target)),
                ("sync", str(target.parent)),
            ],
        )
        self.assertEqual((read_backup(target).origin, self.path.exists()), (ORIGIN, False))

    def test_origin(self) -> None:
        """Two that differ in any of it differ in their checksums."""
        row = backup._row_of(ORIGIN)
        self.assertNotEqual(backup._row_of(evolve(ORIGIN, version="2"))[-1], row[-1])


class KeptBackupsTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.snapshots = Snapshots(directory, 2 * CHUNK_SIZE)
        self.clock = Clock()
        self.backups = backups_of(self.snapshots, self.clock)

    def make(self) -> KeptBackup:
        return self.successResultOf(self.backups.make())

    def tearDown(self) -> None:
        self.successResultOf(self.backups.stop())
        self.assertEqual((self.snapshots.names(), self.clock.getDelayedCalls()), (set(), []))

    def test_read(self) -> None:
        """Piece by piece, from any byte on; the digest is that of the file, which is a backup."""
        made = self.make()
        self.assertEqual(made.index, INDEX)
        self.assertIs(self.backups.kept(made.digest), made)
        self.assertIsNone(self.backups.kept("0" * 64))
        content = (self.snapshots.directory / "snapshot-1").read_bytes()
        self.assertEqual((made.size, made.digest), (len(content), hashlib.sha256(content).hexdigest()))
        for offset in (0, 1000):
            reading = made.read_from(offset)
            pieces = []
            while piece := self.successResultOf(reading.read()):
                pieces.append(piece)
            reading.close()
            reading.close()
            self.assertEqual((b"".join(pieces), len(pieces)), (content[offset:], 3))
        self.assertEqual(read_backup(self.snapshots.directory / "snapshot-1").origin, ORIGIN)

    def test_idle(self) -> None:
        """One that nobody reads goes after a while; one that is read stays."""
        self.patch(kept_backup, "SLOWEST", 1)
        made = self.make()
        self.clock.advance(IDLE_SECONDS - 1)
        first, second = made.read_from(0), made.read_from(0)
        self.clock.advance(2 * IDLE_SECONDS)
        first.close()
        self.clock.advance(2 * IDLE_SECONDS)
        second.close()
        self.clock.advance(IDLE_SECONDS - 1)
        self.assertIs(self.backups.kept(made.digest), made)
        self.clock.advance(1)
        self.assertIsNone(self.backups.kept(made.digest))
        self.assertEqual(self.snapshots.names(), set())

    def test_sent(self) -> None:
        """One that a client was given to its end goes soon, but not while another one reads it."""
        made = self.make()
        reading, other = made.read_from(0), made.read_from(0)
        while self.successResultOf(reading.read()):
            pass
        reading.close()
        self.clock.advance(SENT_SECONDS)
        other.close()
        self.clock.advance(SENT_SECONDS - 1)
        self.assertEqual(self.snapshots.names(), {"snapshot-1"})
        self.clock.advance(1)
        self.assertEqual(self.snapshots.names(), set())

    def test_longest(self) -> None:
        """Who reads too slowly does not keep it, and is told (hazard N6). The larger it is, the longer it stays."""
        for size in (1, 100 * CHUNK_SIZE):
            self.snapshots.size = size
            made = self.make()
            reading = made.read_from(0)
            self.clock.advance(2 * IDLE_SECONDS + made.size / SLOWEST - 1)
            self.successResultOf(reading.read())
            self.clock.advance(1)
            self.assertEqual(self.snapshots.names(), set())
            self.failureResultOf(reading.read(), SnapshotFailed)
            reading.close()

    def test_no_more_than_two(self) -> None:
        """A third takes the place of one that nobody reads, and is refused where both are read."""
        first, _ = self.make(), self.make()
        reading = first.read_from(0)
        third = self.make()
        self.assertEqual(self.snapshots.names(), {"snapshot-1", "snapshot-3"})
        others = third.read_from(0)
        self.failureResultOf(self.backups.make(), Overloaded)
        reading.close()
        self.make()
        self.assertEqual(self.snapshots.names(), {"snapshot-3", "snapshot-4"})
        others.close()

    def test_the_least_wanted_goes(self) -> None:
        """Of two that nobody reads, a third takes the place of the one whose time is over first."""
        first, _ = self.make(), self.make()
        self.clock.advance(1)
        first.read_from(0).close()
        third = self.make()
        self.assertEqual(self.snapshots.names(), {"snapshot-1", "snapshot-3"})
        self.clock.advance(1)
        third.read_from(third.size).close()
        self.make()
        self.assertEqual(self.snapshots.names(), {"snapshot-1", "snapshot-4"})

    def test_room_is_given_back(self) -> None:
        """Its file is closed, or it would keep its room; and the snapshots' worker, which may be making another for
        minutes, has nothing to do with it, also at a stop."""
        self.snapshots.worker = HandWorker()
        made, other = self.make(), self.make()
        self.successResultOf(self.backups.drop(made))
        self.assertEqual((made._file.closed, self.snapshots.names()), (True, {"snapshot-2"}))
        self.successResultOf(self.backups.stop())
        self.assertEqual((other._file.closed, self.snapshots.names()), (True, set()))

    def test_cannot_be_removed(self) -> None:
        """Then a start does it, and the log says so."""
        made = self.make()
        with patch.object(Path, "unlink", side_effect=OSError("is read only")), capturedLogs() as events:
            self.successResultOf(self.backups.drop(made))
        self.assertIn("is read only; the next start does", str(formatEvent(events[-1])))
        (self.snapshots.directory / "snapshot-1").unlink()

    # The disk

    def test_cannot_be_made(self) -> None:
        """What fails, at any step, leaves nothing; the log says why, once a minute, and the client learns no path. The
        next is made."""
        reasons: list[str] = []

        def fails() -> None:
            with capturedLogs() as events:
                refused = str(self.failureResultOf(self.backups.make(), SnapshotFailed).value)
            self.assertEqual(refused, "this node cannot make a backup, and its log says why; ask another node")
            reasons.extend(str(formatEvent(event)) for event in events)
            self.assertEqual(self.snapshots.names(), set())

        self.snapshots.failure = SnapshotFailed("no room at /var")
        fails()
        fails()
        self.assertEqual(reasons, ["cannot make a backup: no room at /var"])
        self.snapshots.failure = None
        for error in (OSError("no room"), sqlite3.OperationalError("database or disk is full")):
            self.clock.advance(SILENCE)
            with patch("txraft.kv.backups.describe", side_effect=error):
                fails()
            self.assertEqual(reasons[-1], f"cannot make a backup: {error}")
        with patch("txraft.kv.backups._sum_up", side_effect=OSError("no such block")) as sum_up:
            fails()
        self.assertTrue(sum_up.call_args.args[0].closed)
        self.make()
        self.make()

    def disk_has(self, *free: int) -> None:
        """So many bytes left, each time that somebody looks."""
        left = list(free)
        self.patch(shutil, "disk_usage", lambda _: SimpleNamespace(free=left.pop(0) if len(left) > 1 else left[0]))

    def test_room_to_be_made(self) -> None:
        """Beside one, another copy of the data fits on the disk, for a follower, and what has to stay free."""
        self.snapshots.path.write_bytes(bytes(1000))
        Path(f"{self.snapshots.path}-wal").write_bytes(bytes(100))
        self.disk_has(KEEP_FREE + 2199)
        with capturedLogs() as events:
            self.failureResultOf(self.backups.make(), SnapshotFailed)
        self.assertIn("it may take 1,100 bytes, and a snapshot", str(formatEvent(events[-1])))
        self.assertEqual(self.snapshots.names(), set())
        self.disk_has(KEEP_FREE + 2200)
        self.make()
        self.assertGreaterEqual(KEEP_FREE, 8 * RESERVE)

    def test_disk_fills_up(self) -> None:
        """They go, one after the other until there is room: first those that nobody reads, then those that somebody
        does, who is cut off."""
        reading = self.make().read_from(0)
        self.make()
        self.disk_has(KEEP_FREE)
        self.clock.pump([LOOK_SECONDS] * 3)
        self.assertEqual(self.snapshots.names(), {"snapshot-1", "snapshot-2"})
        self.disk_has(KEEP_FREE - 1, KEEP_FREE)
        with capturedLogs() as events:
            self.clock.advance(LOOK_SECONDS)
        self.assertIn(f"has {KEEP_FREE - 1} bytes left; make room", str(formatEvent(events[-1])))
        self.assertEqual(self.snapshots.names(), {"snapshot-1"})
        self.successResultOf(reading.read())
        self.disk_has(0)
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.snapshots.names(), set())
        self.failureResultOf(reading.read(), SnapshotFailed)
        reading.close()
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.disk_has(10 * KEEP_FREE)
        self.make()
        self.make()
        self.disk_has(0)
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.snapshots.names(), set())

    def test_disk_that_does_not_answer(self) -> None:
        """Whether it has room is asked once, on the worker. A disk of which that cannot be told keeps none."""
        worker = HandWorker()
        self.backups = backups_of(self.snapshots, self.clock, worker)
        self.backups.make()
        worker.work()
        self.clock.pump([LOOK_SECONDS] * 5)
        self.assertEqual(len(worker.waiting), 1)
        with patch.object(shutil, "disk_usage", side_effect=OSError("gone")):
            worker.work_once()
        worker.work()
        self.assertEqual(self.snapshots.names(), set())

    def test_stops_while_the_disk_does_not_answer(self) -> None:
        """Nothing is left of the look."""
        worker = HandWorker()
        self.backups = backups_of(self.snapshots, self.clock, worker)
        self.backups.make()
        worker.work()
        self.clock.advance(LOOK_SECONDS)
        stopped = self.backups.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        worker.work()
        self.successResultOf(stopped)

    # The worker

    def test_on_the_worker(self) -> None:
        """The reactor touches no file, neither when one is made nor when it is read or dropped; and what is done for
        one client is done in steps, between which another is served (hazard S11)."""
        self.patch(backups_module, "STEP", CHUNK_SIZE)
        worker = HandWorker()
        self.backups = backups_of(self.snapshots, self.clock, worker)
        with no_files():
            first = self.backups.make()
        worker.work()
        reading = self.successResultOf(first).read_from(0)
        second = self.backups.make()
        for _ in range(3):  # the room, the description, and the first step
            worker.work_once()
        with no_files():
            piece = reading.read()
        worker.work_once()
        self.assertNoResult(piece)
        worker.work_once()
        self.assertEqual(len(self.successResultOf(piece)), CHUNK_SIZE)
        self.assertNoResult(second)
        worker.work()
        with no_files():
            self.backups.drop(self.successResultOf(second))
        self.assertEqual(self.snapshots.names(), {"snapshot-1", "snapshot-2"})
        worker.work()
        self.assertEqual(self.snapshots.names(), {"snapshot-1"})
        reading.close()
        self.backups.stop()
        worker.work()

    def test_stopped_meanwhile(self) -> None:
        """One that is being made when the node stops leaves nothing, and is not made to its end."""
        self.patch(backups_module, "STEP", CHUNK_SIZE)
        for steps in range(4):
            worker = HandWorker()
            self.backups = backups_of(self.snapshots, self.clock, worker)
            made = self.backups.make()
            for _ in range(steps):
                worker.work_once()
            self.successResultOf(self.backups.stop())
            more = 0
            while worker.waiting:
                worker.work_once()
                more += 1
            self.assertEqual(more, max(1, 3 - steps))  # the room, the description, and a step
            self.failureResultOf(made, NotApplied)
            self.assertEqual(self.snapshots.names(), set())

    def test_interrupted_by_a_stop(self) -> None:
        """Then the node's log says nothing of it."""
        made: Deferred[DataSnapshot] = Deferred()
        with patch.object(self.snapshots, "make", lambda: made):
            self.backups = backups_of(self.snapshots, self.clock)
        backup = self.backups.make()
        self.successResultOf(self.backups.stop())
        with capturedLogs() as events:
            made.errback(SnapshotFailed("interrupted"))
        self.failureResultOf(backup, NotApplied)
        self.assertEqual(events, [])


@contextmanager
def no_files() -> Iterator[None]:
    """Nobody opens, reads or asks for one meanwhile."""
    touched = AssertionError("a file is touched")
    with ExitStack() as patches:
        for where, name in ((os, "pread"), (shutil, "disk_usage"), (sqlite3, "connect"), (Path, "unlink")):
            patches.enter_context(patch.object(where, name, side_effect=touched))
        yield
