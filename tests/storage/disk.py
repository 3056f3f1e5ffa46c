"""A node's directory, for the tests of what is in it."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import BEGINNING, FOUNDERS, entries
from tests.storage.worker import InlineWorker
from txraft.core.ready import Save, TermAndVote
from txraft.errors import DirectoryLocked, StorageError
from txraft.interfaces import Stored
from txraft.storage.identity import Bootstrap
from txraft.storage.sqlite import SQLiteStorage

BOOTSTRAP = Bootstrap(0, "ours", FOUNDERS, named=True)


def storage_in(directory: Path, bootstrap: Bootstrap = BOOTSTRAP) -> SQLiteStorage:
    return SQLiteStorage(directory, bootstrap, InlineWorker())


class FailingConnection(sqlite3.Connection):
    """Any of them, at the next statement that starts with `fails_at`, once."""

    fails_at = "nothing"

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql.startswith(FailingConnection.fails_at):
            FailingConnection.fails_at = "nothing"
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, parameters)


def connect_to_failing(path: Path) -> sqlite3.Connection:
    """One of these."""
    connection = sqlite3.connect(path, isolation_level=None, factory=FailingConnection)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


class SQLiteTestCase(SynchronousTestCase):
    """A node's directory, with five entries, a term and a vote in it."""

    stored = Stored(TermAndVote(2, 1), entries(1, 5), BEGINNING)

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.path = self.directory / "raft.sqlite"
        self.save(Save(self.stored.term_and_vote, self.stored.entries))

    def start(self, **arguments: Any) -> SQLiteStorage:
        storage = SQLiteStorage(self.directory, BOOTSTRAP, InlineWorker(), **arguments)
        storage.load()
        storage.count_start()
        return storage

    def save(self, *saves: Save) -> None:
        storage = self.start()
        self.successResultOf(storage.save(saves))
        self.successResultOf(storage.close())

    def load(self, directory: Path | None = None) -> Stored:
        storage = storage_in(directory or self.directory)
        stored = storage.load()
        self.successResultOf(storage.close())
        return stored

    def copy(self) -> Path:
        """What is on the disk now, in another place, as after `kill -9`."""
        copy = Path(self.mktemp())
        shutil.copytree(self.directory, copy, ignore=shutil.ignore_patterns("lock", "*-shm"))
        return copy

    def execute(self, sql: str, *parameters: object) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(sql, parameters)

    def assertRefused(self, error: type[StorageError], *parts: str, storage: SQLiteStorage | None = None) -> None:
        """The start is refused, with one line that has `parts`, and the directory is not locked afterwards."""
        line = str(self.assertRaises(error, (storage or storage_in(self.directory)).load))
        self.assertNotIn("\n", line)
        for part in (str(self.directory), *parts):
            self.assertIn(part, line)
        self.assertNotIsInstance(self.assertRaises(StorageError, storage_in(self.directory).load), DirectoryLocked)
