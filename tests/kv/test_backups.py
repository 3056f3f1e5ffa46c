"""Backups: what is in one, and how many a node keeps for how long."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from tests.kv.backed_up import INDEX, ORIGIN, Snapshots, backups_of, data_file
from tests.storage.recording import record
from tests.storage.worker import HandWorker
from txraft.errors import CorruptLog, NotApplied, Overloaded, SnapshotFailed, StorageError
from txraft.kv import backup
from txraft.kv.backup import Backup, describe, put_in_place, read_backup
from txraft.kv.backups import IDLE_SECONDS, LONGEST_SECONDS, KeptBackup
from txraft.kv.data_reading import count_of_keys
from txraft.kv.data_snapshot import CHUNK_SIZE


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

    def test_longest(self) -> None:
        """None stays for ever: who still reads it is told."""
        reading = self.make().read_from(0)
        self.clock.advance(LONGEST_SECONDS)
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

    def test_cannot_be_made(self) -> None:
        """A disk that is full, at either step, leaves nothing; the next is made (hazard S11)."""
        self.snapshots.failure = SnapshotFailed("no room")
        self.failureResultOf(self.backups.make(), SnapshotFailed)
        self.snapshots.failure = None
        for error in (OSError("no room"), sqlite3.OperationalError("database or disk is full")):
            with patch("txraft.kv.backups.describe", side_effect=error):
                self.assertIn(str(error), str(self.failureResultOf(self.backups.make(), SnapshotFailed).value))
            self.assertEqual(self.snapshots.names(), set())
        self.make()
        self.make()

    def test_stopped_meanwhile(self) -> None:
        """One that is being made when the node stops leaves nothing."""
        worker = HandWorker()
        self.backups = backups_of(self.snapshots, self.clock, worker)
        made = self.backups.make()
        self.successResultOf(self.backups.stop())
        worker.work()
        self.failureResultOf(made, NotApplied)
