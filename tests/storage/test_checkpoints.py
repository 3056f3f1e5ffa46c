"""Checkpoints of the log: when they are made, by which thread, and what becomes of one that fails."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.descriptors import forbidden_to_open, open_files
from tests.storage.contract import compaction, entry, save_of
from tests.storage.disk import BOOTSTRAP, FailingConnection, SQLiteTestCase
from tests.storage.worker import HandWorker, InlineWorker
from txraft import wal
from txraft.errors import StorageError, WriteFailed
from txraft.storage.bulk_checkpoint import BulkCheckpoint
from txraft.storage.raft_file import connect
from txraft.storage.sqlite import SQLiteStorage

SIZE = 1 << 18
"""Bytes after which a checkpoint is due here."""


class CheckpointTests(SQLiteTestCase):
    """Hazard S16."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(wal, "CHECKPOINT_SIZE", SIZE)
        self.bulk_worker = HandWorker()
        self.errors: list[StorageError] = []
        self.index = 5

    def started(self, **arguments: object) -> SQLiteStorage:
        storage = self.start(**arguments)
        storage.start(self.bulk_worker, self.errors.append)
        self.bulk_worker.work()
        return storage

    def write(self, storage: SQLiteStorage, size: int) -> None:
        """Save entries of so many bytes, one after the other."""
        for _ in range(0, size, 8192):
            self.index += 1
            self.successResultOf(storage.save([save_of(entry(self.index, data=bytes(8192)))]))

    def close(self, storage: SQLiteStorage) -> None:
        closed = storage.close()
        self.bulk_worker.work()
        self.successResultOf(closed)

    def wal_size(self) -> int:
        return self.path.with_name("raft.sqlite-wal").stat().st_size

    def test_bounded_under_load(self) -> None:
        """The `-wal` is begun again however much is written, though nobody ever pauses, also while most of it is being
        copied; and all is there in the end."""
        storage = self.started()
        sizes = []
        for _ in range(10):
            while not self.bulk_worker.waiting:
                self.write(storage, 1)
            self.write(storage, SIZE // 2)  # while the other thread is busy
            self.assertEqual(len(self.bulk_worker.waiting), 1)
            self.bulk_worker.work()
            sizes.append(self.wal_size())
        self.assertLess(max(sizes), 4 * SIZE)
        self.assertGreater(self.path.stat().st_size, 10 * SIZE)
        self.close(storage)
        self.assertEqual(len(self.load().entries), self.index)
        self.assertEqual(self.errors, [])

    def test_bounded_while_compacting(self) -> None:
        """What is deleted goes through the `-wal` too. The file takes up deleted entries' room again."""
        storage = self.started()
        sizes = []
        for bite in range(60):
            first = 6 + 100 * bite
            new = tuple(entry(index, term=2, data=bytes(300)) for index in range(first, first + 100))
            self.successResultOf(storage.save([save_of(*new)]))
            self.successResultOf(storage.save([compaction(first + 50, term=2)]))
            self.bulk_worker.work()
            sizes.append((self.wal_size(), self.path.stat().st_size))
        self.assertLess(max(size for size, _ in sizes), 2 * SIZE)
        self.assertLess(max(size for _, size in sizes), SIZE)
        self.close(storage)

    def test_what_is_left_for_the_writer(self) -> None:
        """The other thread copies and syncs all that was there when it began; the writer takes what came meanwhile."""
        copied: list[tuple[str, int]] = []
        checkpoint = wal.checkpoint

        def count(connection: sqlite3.Connection, *mode: str) -> None:
            before = self.path.stat().st_size
            checkpoint(connection, *mode)  # type: ignore[arg-type]  # as it was called
            copied.append((type(connection).__name__, self.path.stat().st_size - before))

        def connect_by_name(path: Path) -> sqlite3.Connection:
            connection = sqlite3.connect(path, isolation_level=None, factory=FailingConnection)
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            return connection

        storage = self.started(connect=connect_by_name)
        self.patch(wal, "checkpoint", count)
        while not self.bulk_worker.waiting:
            self.write(storage, 1)
        self.bulk_worker.work()
        (who, bulk), (writer, rest) = copied
        self.assertEqual((who, writer), ("Connection", "FailingConnection"))
        self.assertGreater(bulk, SIZE // 2)
        self.assertEqual(rest, 0)
        self.close(storage)

    def test_the_writers_part_fails(self) -> None:
        """The node is told in one line, at once, and nothing is written any more (hazard S1)."""

        def connect_to_failing(path: Path) -> sqlite3.Connection:
            return sqlite3.connect(path, isolation_level=None, factory=FailingConnection)

        storage = self.started(connect=connect_to_failing)
        self.patch(FailingConnection, "fails_at", "PRAGMA wal_checkpoint(PASSIVE)")
        while not self.bulk_worker.waiting:
            self.write(storage, 1)
        self.bulk_worker.work()
        self.assert_ended(storage)

    def test_the_other_part_fails(self) -> None:
        """As above; the bulk of it."""
        storage = self.started()

        def fail(_: BulkCheckpoint) -> None:
            raise WriteFailed(f"cannot write {self.path}: disk I/O error; the disk may be failing")

        self.patch(BulkCheckpoint, "copy", fail)
        while not self.bulk_worker.waiting:
            self.write(storage, 1)
        self.bulk_worker.work()
        self.assert_ended(storage)

    def test_a_sync_fails_once(self) -> None:
        """The pages that it was for are lost, and SQLite takes them for copied. Nothing is checkpointed any more, also
        at the close, so the next start has everything from the `-wal` (hazards S1, S16)."""
        storage = self.started()
        while not self.bulk_worker.waiting:
            self.write(storage, 1)
        old = self.path.read_bytes()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM log").fetchall()
            self.write(storage, 1)  # is not copied while there is a reader of what was before
            synced: list[int] = []

            def fail(descriptor: int) -> None:
                synced.append(descriptor)
                self.path.write_bytes(old)
                raise OSError(errno.EIO, "Input/output error")

            failing = self.patch(os, "fsync", fail)
            self.bulk_worker.work_once()
            failing.restore()
        self.assertEqual(len(synced), 1)
        size = self.wal_size()
        self.close(storage)
        self.assertEqual(len(self.errors), 1)
        self.assertEqual((self.wal_size(), self.path.read_bytes()), (size, old))
        self.assertEqual(open_files(self.directory), set())
        self.assertEqual(len(self.load().entries), self.index)

    def assert_ended(self, storage: SQLiteStorage) -> None:
        (error,) = self.errors
        self.assertIsInstance(error, WriteFailed)
        self.assertIn(f"cannot write {self.path}: disk I/O error; the disk may be failing", str(error))
        failure = self.failureResultOf(storage.save([save_of(entry(self.index + 1))]), WriteFailed)
        self.assertEqual(failure.getErrorMessage(), str(error))
        self.close(storage)
        self.assertEqual(len(self.load().entries), self.index)

    def assert_ends_when(self, move: Callable[[], object], name: str = "raft.sqlite") -> None:
        """The checkpoint after `move` ends the node in one line: the next start would not find what was written."""
        storage = self.started()
        move()
        while not self.bulk_worker.waiting:
            self.write(storage, 1)
        self.bulk_worker.work()
        (error,) = self.errors
        self.assertIsInstance(error, WriteFailed)
        line = f"cannot write {self.path}: {name} is not where it was opened any more, but was removed, renamed or"
        self.assertIn(line, str(error))
        self.assertIn("; put it back before the node is started again; where it is gone, never ", str(error))
        self.failureResultOf(storage.save([save_of(entry(self.index + 1))]), WriteFailed)
        self.close(storage)

    def test_directory_renamed(self) -> None:
        self.assert_ends_when(lambda: self.directory.rename(self.mktemp()))

    def test_directory_removed(self) -> None:
        self.assert_ends_when(lambda: shutil.rmtree(self.directory))

    def test_directory_replaced(self) -> None:
        """By a copy, as a restore does."""
        self.assert_ends_when(
            lambda: (copy := self.copy(), self.directory.rename(self.mktemp()), copy.rename(self.directory))
        )

    def test_file_removed(self) -> None:
        self.assert_ends_when(self.path.unlink)

    def test_log_of_writes_removed(self) -> None:
        """What is in it would be lost by a crash, though the file itself is there."""
        self.assert_ends_when(self.path.with_name("raft.sqlite-wal").unlink, "raft.sqlite-wal")

    def test_closed_elsewhere(self) -> None:
        """A node that is stopped before any checkpoint says so too."""
        storage = self.started()
        self.directory.rename(self.mktemp())
        closed = storage.close()
        self.bulk_worker.work()
        error = self.failureResultOf(closed, WriteFailed).getErrorMessage()
        self.assertIn("raft.sqlite is not where it was opened any more", error)

    def test_closed_during_a_checkpoint(self) -> None:
        """It is finished first, without a failure. Then nothing is left in the `-wal`, and nothing open."""
        storage = self.started()
        while not self.bulk_worker.waiting:
            self.write(storage, 1)
        closed = storage.close()
        self.assertNoResult(closed)
        self.bulk_worker.work()
        self.successResultOf(closed)
        self.assertEqual(self.errors, [])
        self.assertEqual(open_files(self.directory), set())
        names = {path.name for path in self.directory.iterdir()}
        self.assertEqual(names, {"lock", "raft.sqlite", "raft.sqlite-durable"})
        self.assertEqual(len(self.load().entries), self.index)

    def test_closed_during_a_save(self) -> None:
        """The save is finished. The checkpoint that it makes due is the one of the close: none is begun beside that,
        which would find the file closed and call it a failure."""
        writer = HandWorker()
        storage = SQLiteStorage(self.directory, BOOTSTRAP, writer)
        storage.load()
        storage.start(self.bulk_worker, self.errors.append)
        saved = storage.save([save_of(entry(6, data=bytes(SIZE)))])
        closed = storage.close()
        for _ in range(2):
            writer.work()
            self.bulk_worker.work()
        self.successResultOf(saved)
        self.successResultOf(closed)
        self.assertEqual(self.errors, [])

    def test_opened_at_the_start(self) -> None:
        """All that is ever written is open from the start on: a full table of descriptors ends nobody (hazard S19)."""
        storage = self.started()
        before = open_files(self.directory)
        self.assertLessEqual({"raft.sqlite", "raft.sqlite-wal", "raft.sqlite-durable", "lock"}, before)
        with forbidden_to_open():
            self.write(storage, 2 * SIZE)
            self.bulk_worker.work()
        self.assertEqual(open_files(self.directory), before)
        self.assertEqual(self.errors, [])
        self.close(storage)

    def test_opened_one_after_the_other(self) -> None:
        """The first to open a new file changes its journal mode. Of two threads at it one would find the file locked,
        and the node would end."""
        writer = HandWorker()
        storage = SQLiteStorage(self.directory, BOOTSTRAP, writer)
        storage.load()
        storage.start(self.bulk_worker, self.errors.append)
        self.assertEqual((len(writer.waiting), len(self.bulk_worker.waiting)), (1, 0))
        writer.work()
        self.assertEqual(len(self.bulk_worker.waiting), 1)
        self.bulk_worker.work()
        closed = storage.close()
        for worker in (writer, self.bulk_worker, writer):
            worker.work()
        self.successResultOf(closed)
        self.assertEqual(self.errors, [])

    def test_cannot_be_opened(self) -> None:
        """That is told at the start, in one line (hazard S19)."""
        storage = self.start()
        self.path.rename(self.directory / "elsewhere")
        self.path.mkdir()
        storage.start(InlineWorker(), self.errors.append)
        self.assertIn(f"cannot open {self.path}: unable to open database file; see that ", str(self.errors[0]))
        self.failureResultOf(storage.save([save_of(entry(6))]), WriteFailed)
        self.successResultOf(storage.close())

    def test_long_when_it_starts(self) -> None:
        """What a killed process left in the `-wal` is copied when the next one starts."""
        storage = self.started()
        self.write(storage, SIZE // 2)
        killed = self.copy()
        self.close(storage)
        self.directory, self.path = killed, killed / "raft.sqlite"
        self.assertGreater(self.wal_size(), SIZE // 2)
        storage = self.started(connect=connect)
        self.assertEqual(self.wal_size(), 0)
        self.close(storage)
