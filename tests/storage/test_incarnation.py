"""What a directory knows of itself and of those of the other nodes, and keeps (hazards S6, M7)."""

import sqlite3
from pathlib import Path
from unittest.mock import patch

from zope.interface.verify import verifyObject

from tests.storage.contract import entries, save_of
from tests.storage.disk import BOOTSTRAP, SQLiteTestCase, storage_in
from tests.storage.worker import HandWorker, InlineWorker
from txraft.errors import CorruptLog, DirectoryLocked, StorageError, WriteFailed
from txraft.interfaces import Incarnation, IPeerMemory
from txraft.storage.forgetting import forget
from txraft.storage.memory import PeersInMemory
from txraft.storage.raft_file import RaftFile
from txraft.storage.sqlite import SQLiteStorage

PEER = Incarnation(b"itsfiles", 3, b"itsstart")
LATER = Incarnation(b"itsfiles", 4, b"another1")


class StartTests(SQLiteTestCase):
    """Each start counts."""

    def own(self, directory: Path | None = None) -> Incarnation:
        """Start, and end as by `kill -9`. Gives what the others would have been told."""
        storage = storage_in(directory or self.directory)
        storage.load()
        storage.count_start()
        storage.unlock()
        return storage.own

    def test_starts(self) -> None:
        """The directory's bits stay, each start draws new ones, and they are counted."""
        first, second = self.own(), self.own()
        self.assertEqual((second.directory, second.starts), (first.directory, first.starts + 1))
        self.assertNotEqual(second.start, first.start)
        self.assertEqual({len(bits) for bits in (first.directory, first.start, second.start)}, {8})

    def test_what_was_drawn(self) -> None:
        """A directory knows it of every start, and a copy only of those before it was made, however often it is
        started itself."""
        copy = self.copy()
        met = self.own()
        storage = storage_in(self.directory)
        storage.load()
        storage.count_start()
        storage.unlock()
        self.assertEqual(storage.drawn_at(met.starts), met.start)
        self.assertEqual(storage.drawn_at(storage.own.starts), storage.own.start)
        self.assertEqual([storage.drawn_at(starts) for starts in (-1, 0, 99)], [b""] * 3)
        for _ in range(5):
            older = storage_in(copy)
            older.load()
            older.count_start()
            older.unlock()
            self.assertNotEqual(older.drawn_at(met.starts), met.start)
        self.assertGreater(older.own.starts, met.starts)

    def test_wiped(self) -> None:
        """Another directory has other bits, and its first start is the first."""
        new = self.own(Path(self.mktemp()))
        self.assertNotEqual(new.directory, self.own().directory)
        self.assertEqual(new.starts, 1)

    def test_copies(self) -> None:
        """Of two copies that are started as often, each draws bits of its own."""
        one, another = self.own(self.copy()), self.own(self.copy())
        self.assertEqual((one.directory, one.starts), (another.directory, another.starts))
        self.assertNotEqual(one.start, another.start)

    def test_before_anybody_hears_of_it(self) -> None:
        """A start is counted on the disk when `count_start` is over, and nothing is left in the `-wal`, where a bit
        that flips could hide it."""
        storage = storage_in(self.directory)
        storage.load()
        storage.count_start()
        self.assertEqual(Path(f"{self.path}-wal").stat().st_size, 0)
        self.assertEqual(self.own(self.copy()).starts, storage.own.starts + 1)
        self.successResultOf(storage.close())

    def test_refused(self) -> None:
        """A start that is refused does not count: the file stays as it was."""
        starts = self.own().starts
        kept = self.path.read_bytes()
        self.execute("UPDATE log SET term = 9 WHERE idx = 1")
        damaged = self.path.read_bytes()
        self.assertRefused(CorruptLog, "entry 1")
        self.assertEqual(self.path.read_bytes(), damaged)
        self.path.write_bytes(kept)
        self.assertEqual(self.own().starts, starts + 1)

    def test_cannot_be_counted(self) -> None:
        """A start that cannot be written is none."""

        def full(_: Path) -> sqlite3.Connection:
            raise sqlite3.OperationalError("database or disk is full")

        storage = SQLiteStorage(self.directory, BOOTSTRAP, InlineWorker(), full)
        storage.load()
        error = self.assertRaises(StorageError, storage.count_start)
        self.assertIn(f"cannot write {self.path}: database or disk is full; ", str(error))
        storage.unlock()
        self.load()

    def test_damage(self) -> None:
        """hazard S4: a bit of what the others are told."""
        kept = self.path.read_bytes()
        for column, value in (("directory", b"8 others"), ("starts", b"8 others"), ("starts", b""), ("starts", "many")):
            with self.subTest(column=column, value=value):
                self.execute(f"UPDATE identity SET {column} = ?", value)
                self.assertRefused(CorruptLog, "")
                self.path.write_bytes(kept)


class PeersTests(SQLiteTestCase):
    """What is kept of the others."""

    def test_interface(self) -> None:
        """Both keep it."""
        verifyObject(IPeerMemory, self.start())
        verifyObject(IPeerMemory, PeersInMemory())

    def test_kept(self) -> None:
        """Durably when the Deferred fires; a later start takes the place of an earlier one."""
        for incarnation in (PEER, LATER):
            storage = self.start()
            self.successResultOf(storage.meet(1, incarnation))
            self.assertEqual(storage.known(1), incarnation)
            copy = storage_in(self.copy())
            copy.load()
            self.assertEqual((copy.known(1), copy.known(2)), (incarnation, None))
            self.successResultOf(storage.close())

    def test_among_saves(self) -> None:
        """The log is as without."""
        storage = self.start()
        self.successResultOf(storage.save([save_of(*entries(6, 7))]))
        self.successResultOf(storage.meet(1, PEER))
        self.successResultOf(storage.save([save_of(*entries(8, 9))]))
        self.successResultOf(storage.close())
        self.assertEqual(self.load().entries, entries(1, 9))

    def test_writes(self) -> None:
        """None for a peer that is known so, durably. One that is asked for again meanwhile waits as long."""
        worker = HandWorker()
        storage = SQLiteStorage(self.directory, BOOTSTRAP, worker)
        storage.load()
        first, second = storage.meet(1, PEER), storage.meet(1, PEER)
        self.assertEqual(storage.known(1), PEER)  # what is judged meanwhile is judged by it
        self.assertNoResult(first)
        self.assertNoResult(second)
        worker.work()
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(storage.meet(1, PEER))
        self.assertEqual(worker.waiting, [])
        storage.close()
        worker.work()

    def test_failure(self) -> None:
        """One that cannot be written is a write that failed: the node is to end, and nothing is tried again (hazard
        S1)."""
        storage, errors = self.start(), list[StorageError]()
        storage.start(InlineWorker(), errors.append)
        with patch.object(RaftFile, "meet", side_effect=WriteFailed("no room")):
            self.failureResultOf(storage.meet(1, PEER), WriteFailed)
        self.assertEqual(list(map(str, errors)), ["no room"])
        self.failureResultOf(storage.save([save_of(*entries(6, 7))]), WriteFailed)
        self.failureResultOf(storage.meet(1, PEER), WriteFailed)
        self.successResultOf(storage.close())

    def test_damage(self) -> None:
        """hazard S4: a bit of what is known of a peer, or of whom it is known."""
        storage = self.start()
        self.successResultOf(storage.meet(1, PEER))
        self.successResultOf(storage.close())
        kept = self.path.read_bytes()
        for column, value in (("directory", b"8 others"), ("starts", 2), ("starts", "2"), ("start", b""), ("id", 2)):
            with self.subTest(column=column, value=value):
                self.execute(f"UPDATE peers SET {column} = ?", value)
                self.assertRefused(CorruptLog, "does not match its checksum")
                self.path.write_bytes(kept)


class ForgetTests(SQLiteTestCase):
    """What is kept of one of them is lifted."""

    def setUp(self) -> None:
        """Nodes 1 and 2 are known."""
        super().setUp()
        storage = self.start()
        for peer in (1, 2):
            self.successResultOf(storage.meet(peer, PEER))
        self.successResultOf(storage.close())

    def refused(self, error: type[StorageError], peer: int, directory: Path | None = None) -> str:
        return str(self.assertRaises(error, forget, directory or self.directory, peer))

    def test_forgotten(self) -> None:
        """That one alone, and nothing else changes; not even the count of starts."""
        storage = self.start()
        storage.unlock()
        self.assertEqual(forget(self.directory, 1), (0, True))
        self.assertEqual(forget(self.directory, 1), (0, False))
        again = self.start()
        self.assertEqual((again.known(1), again.known(2)), (None, PEER))
        self.assertEqual(again.own.starts, storage.own.starts + 1)
        self.successResultOf(again.close())
        self.assertEqual(self.load(), self.stored)

    def test_durable(self) -> None:
        """When it is done, and also after a node that was killed."""
        storage = self.start()
        self.successResultOf(storage.save([save_of(*entries(6, 7))]))
        copy = self.copy()
        self.assertEqual(forget(copy, 1), (0, True))
        again = storage_in(copy)
        self.assertEqual(len(again.load().entries), 7)
        self.assertEqual(again.known(1), None)
        self.successResultOf(storage.close())

    def test_running(self) -> None:
        """Not under a node that runs."""
        storage = self.start()
        self.assertIn("is in use by process", self.refused(DirectoryLocked, 1))
        self.successResultOf(storage.close())

    def test_whom(self) -> None:
        """Another node of the cluster, and no other."""
        for peer in (0, 7):
            line = self.refused(StorageError, peer)
            self.assertIn(f"node 0, which can forget any of the nodes 1, 2, and not node {peer}", line)

    def test_no_directory(self) -> None:
        """Nothing is made where nothing is."""
        for directory in (Path(self.mktemp()), Path(self.mktemp())):
            self.assertIn("is not the directory of a node", self.refused(StorageError, 1, directory))
            self.assertFalse(directory.exists())
            directory.mkdir()

    def test_lost(self) -> None:
        """One whose log is missing is that of a node."""
        (self.directory / "kv.sqlite").touch()
        self.path.unlink()
        self.assertIn("is damaged: it is missing, while the files beside it", self.refused(CorruptLog, 1))

    def test_damaged(self) -> None:
        """A directory that no node would start on is left as it is, and free."""
        self.execute("UPDATE log SET term = 9 WHERE idx = 1")
        damaged = self.path.read_bytes()
        self.assertIn("entry 1 does not match", self.refused(CorruptLog, 1))
        self.assertEqual(self.path.read_bytes(), damaged)
        self.assertRefused(CorruptLog, "entry 1")

    def test_cannot_be_written(self) -> None:
        """The directory is free afterwards, and as it was."""
        with patch.object(RaftFile, "forget", side_effect=WriteFailed("no room")):
            self.refused(WriteFailed, 1)
        self.assertEqual(forget(self.directory, 1), (0, True))
