import errno
import os
import shutil
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.trial.unittest import TestCase

from tests.descriptors import open_files
from tests.storage import contract
from tests.storage.contract import BEGINNING, NOTHING, compaction, entries, entry, install, save_of, snapshot
from tests.storage.disk import BOOTSTRAP, FailingConnection, SQLiteTestCase, connect_to_failing, storage_in
from txraft.core.ready import Save, TermAndVote
from txraft.errors import WriteFailed
from txraft.interfaces import IStorage, Stored
from txraft.storage.raft_file import connect
from txraft.storage.raft_rows import ROWS_PER_STATEMENT
from txraft.storage.sqlite import SQLiteStorage
from txraft.storage.worker import ThreadWorker


class SQLiteStorageTests(contract.StorageContract):
    """SQLite, under the contract, where logs are compacted and snapshots are installed too (hazards S7, S8, S9)."""

    def new_disk(self) -> None:
        self.directory = Path(self.mktemp())

    def open(self) -> IStorage:
        return storage_in(self.directory)


class WritingTests(SQLiteTestCase):
    """How it is written, and what happens when it cannot be."""

    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())

    def test_pragmas(self) -> None:
        """A commit is durable when it returns: write-ahead log, an fsync at each commit."""
        opened: list[sqlite3.Connection] = []

        def connect_and_keep(path: Path) -> sqlite3.Connection:
            opened.append(connect(path))
            return opened[-1]

        storage = self.start(connect=connect_and_keep)
        self.successResultOf(storage.save([save_of(entry(6))]))
        pragmas = ("journal_mode", "synchronous", "fullfsync")
        values = [opened[-1].execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas]
        self.assertEqual(values, ["wal", 2, 1])
        self.successResultOf(storage.close())

    def test_nothing_open_before_the_first_save(self) -> None:
        """A connection does not cross a fork: nothing is open after load but the lock. After close nothing is, and
        nothing is left in the -wal."""
        storage = self.start()
        self.assertEqual(open_files(self.directory), {"lock"})
        self.successResultOf(storage.save([save_of(entry(6))]))
        self.assertLessEqual(
            {"raft.sqlite-durable", "lock", "raft.sqlite", "raft.sqlite-wal"}, open_files(self.directory)
        )
        self.successResultOf(storage.close())
        self.assertEqual(open_files(self.directory), set())
        self.assertEqual(self.files(), ["lock", "raft.sqlite", "raft.sqlite-durable"])

    def test_statements(self) -> None:
        """Each statement costs a turn at the interpreter's lock: few of them, and no DELETE with nothing to delete."""
        statements: list[str] = []

        def connect_and_trace(path: Path) -> sqlite3.Connection:
            connection = connect(path)
            connection.set_trace_callback(lambda sql: statements.append(sql.split(" ")[0]))
            return connection

        storage = self.start(connect=connect_and_trace)
        self.successResultOf(storage.save([]))  # opens the file
        for save, expected in (
            (save_of(*entries(6, 100)), ["INSERT"]),
            (Save(TermAndVote(3, None), ()), ["INSERT"]),
            (Save(TermAndVote(4, None), entries(101, 102)), ["BEGIN", "INSERT", "INSERT", "COMMIT"]),
            (save_of(*entries(102, 103)), ["SELECT", "BEGIN", "DELETE", "INSERT", "COMMIT"]),
            (save_of(*entries(104, 104 + ROWS_PER_STATEMENT)), ["BEGIN", "INSERT", "INSERT", "COMMIT"]),
            (compaction(90), ["SELECT", "BEGIN", "DELETE", "INSERT", "COMMIT"]),
            (install(snapshot(200), entry(201)), ["BEGIN", "DELETE", "INSERT", "INSERT", "COMMIT"]),
        ):
            statements.clear()
            self.successResultOf(storage.save([save]))
            self.assertEqual(statements, expected)
        self.successResultOf(storage.close())

    def test_killed(self) -> None:
        """A process that is killed after a save has what it saved: here, the files as they are at that moment."""
        storage = self.start()
        self.successResultOf(storage.save([Save(TermAndVote(3, 2), entries(4, 6, term=3))]))
        copy = self.copy()
        self.successResultOf(storage.close())
        self.assertEqual(self.load(copy), Stored(TermAndVote(3, 2), entries(1, 3) + entries(4, 6, term=3), BEGINNING))

    def test_cut_off_anywhere(self) -> None:
        """hazard E1: wherever the writing stopped, each save is there whole, term, vote and entries, or not at all.

        What is known to be durable stays as it was before: it is not synced, and here the power is cut."""
        storage = self.start()
        durable = (self.directory / "raft.sqlite-durable").read_bytes()
        states = [self.stored]
        for term in (3, 4, 5):
            save = Save(TermAndVote(term, term), entries(term + 2, term + 3, term=term))
            self.successResultOf(storage.save([save]))
            states.append(Stored(TermAndVote(term, term), states[-1].entries[:-1] + save.entries, BEGINNING))
        wal = (self.directory / "raft.sqlite-wal").read_bytes()
        copy = self.copy()
        (copy / "raft.sqlite-durable").write_bytes(durable)
        self.successResultOf(storage.close())
        found = []
        for size in range(0, len(wal) + 512, 512):
            again = Path(self.mktemp())
            shutil.copytree(copy, again)
            (again / "raft.sqlite-wal").write_bytes(wal[:size])
            found.append(states.index(self.load(again)))
        self.assertEqual(found, sorted(found))
        self.assertEqual(set(found), {0, 1, 2, 3})

    def test_no_space(self) -> None:
        """hazard S2: no space left: it says so, saves nothing more, and has lost nothing at the next start."""

        def connect_to_full(path: Path) -> sqlite3.Connection:
            connection = connect(path)
            connection.execute("PRAGMA max_page_count = 1")  # not less than there are
            return connection

        storage = self.start(connect=connect_to_full)
        self.successResultOf(storage.save([save_of(entry(6))]))
        large = Save(TermAndVote(9, 9), (entry(7, data=bytes(100_000)),))
        line = str(self.failureResultOf(storage.save([large]), WriteFailed).value)
        self.assertIn(f"cannot write {self.path}: ", line)
        self.assertIn("make room on the disk", line)
        again = self.failureResultOf(storage.save([save_of(entry(7))]), WriteFailed).value
        self.assertEqual(str(again), line)
        self.successResultOf(storage.close())
        self.assertEqual(self.load(), Stored(TermAndVote(2, 1), entries(1, 6), BEGINNING))

    def test_failure(self) -> None:
        """hazard S1: a write that fails once, at any statement, is not tried again, and leaves nothing half-written."""
        for statement in (
            "BEGIN",
            "DELETE FROM log WHERE idx <=",
            "INSERT INTO log",
            "INSERT OR REPLACE",
            "COMMIT",
            "PRAGMA synchronous",
        ):
            with self.subTest(statement=statement):
                self.assertNothingWritten(statement)

    def assertNothingWritten(self, fails_at: str) -> None:
        storage = self.start(connect=connect_to_failing)
        save = Save(TermAndVote(9, 9), entries(2, 3, term=9), snapshot(1))
        self.patch(FailingConnection, "fails_at", fails_at)
        line = str(self.failureResultOf(storage.save([save]), WriteFailed).value)
        self.assertIn(f"{self.path}: disk I/O error; ", line)
        for after in ([save], [save_of(entry(6))], []):
            self.assertEqual(str(self.failureResultOf(storage.save(after), WriteFailed).value), line)
        self.successResultOf(storage.close())
        self.assertEqual(self.load(), self.stored)

    def test_failure_at_close(self) -> None:
        """A sync that fails at the end is told, and the lock is free all the same."""
        storage = self.start()
        self.successResultOf(storage.save([save_of(entry(6))]))
        with patch.object(os, "fsync", side_effect=OSError(errno.EIO, "Input/output error")):
            line = str(self.failureResultOf(storage.close(), WriteFailed).value)
        self.assertIn("raft.sqlite-durable: ", line)
        self.assertEqual(self.load(), Stored(TermAndVote(2, 1), entries(1, 6), BEGINNING))

    def test_closed(self) -> None:
        """Nothing is saved after close, which would be without the lock."""
        storage = self.start()
        self.successResultOf(storage.close())
        self.failureResultOf(storage.save([save_of(entry(6))]), WriteFailed)
        self.assertEqual(self.load(), self.stored)


class ThreadTests(TestCase):
    """With the real thread."""

    @inlineCallbacks
    def test_saves(self) -> Generator[Deferred[Any], Any, None]:
        """Saves on the worker's thread, after a load on this one, as in a node."""
        directory = Path(self.mktemp())
        worker = ThreadWorker(reactor, "disk")  # type: ignore[arg-type]  # typed as a module
        storage = SQLiteStorage(directory, BOOTSTRAP, worker)
        self.assertEqual(storage.load(), NOTHING)
        for index in range(1, 6):
            yield storage.save([save_of(entry(index))])
        yield storage.close()
        again = SQLiteStorage(directory, BOOTSTRAP, worker)
        self.assertEqual(again.load().entries, entries(1, 5))
        yield again.close()
        yield worker.stop()
