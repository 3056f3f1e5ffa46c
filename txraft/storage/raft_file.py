"""The SQLite file: how it is made, read and written. Every call blocks.

Each SQL statement gives up the interpreter's lock and takes it again, which beside a busy reactor costs more than the
work it does. So a write is as few statements as can be: many rows each, and `executemany`, a statement a row, never.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from txraft import wal
from txraft.core.ready import Save, TermAndVote
from txraft.errors import REMEDY_FOR_LOST_DATA, CorruptLog, StorageError, TxraftError, WriteFailed
from txraft.interfaces import Identity, Stored
from txraft.storage.directory import sync_directory
from txraft.storage.durable import DurableRecord, SaveNumbers
from txraft.storage.identity import require_same
from txraft.storage.merging import require_no_gap
from txraft.storage.raft_reading import (
    Contents,
    Damage,
    OtherFormat,
    connect_to_read,
    read_contents,
    read_identity,
    require_durable,
)
from txraft.storage.raft_rows import FORMAT, TABLES, Statement, insert_entries, insert_identity, write_vote

ROW_SIZE = 40
"""Bytes of an entry's row beside its data."""

Connect: TypeAlias = Callable[[Path], sqlite3.Connection]


def connect(path: Path) -> sqlite3.Connection:
    """Open a file so that a commit is durable when it returns."""
    return wal.connect(path, "FULL")


class RaftFile:
    """The file at `path`. `load` is called once and leaves nothing open; the calls after it all come from one thread.

    `identity` is the configuration's until `load` has read what the disk has. `named` says whether its cluster id is a
    name, which has to be that of the disk. `connect`, with which the file is written, is for tests."""

    def __init__(self, path: Path, identity: Identity, named: bool, connect: Connect = connect) -> None:
        self.identity = identity
        self._path = path
        self._named = named
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._guard: sqlite3.Connection | None = None
        """Reads only. While it is open no other is the last to close, so SQLite does not checkpoint by itself."""
        self._opened: wal.Inodes = {}
        self._durable = DurableRecord(Path(f"{path}-durable"))
        # Of what the file holds: the numbers of its last saves, its last entry and the checksum of that.
        self._saves = SaveNumbers()
        self._last_index = 0
        self._checksum = 0
        self._not_checkpointed = 0
        """Bytes in the `-wal`, roughly."""

    def load(self) -> Stored:
        """Read everything and check it; make the file where there is none. A file that is refused is left as it was,
        so the next start is refused too.

        Raises CorruptLog, WrongDirectory, or StorageError where the file cannot be used for another reason."""
        remedy = f"put back what was there; where it is gone, {REMEDY_FOR_LOST_DATA}"
        wal.require_files(self._path, self._durable.path, remedy=remedy)
        if os.path.lexists(journal := f"{self._path}-journal"):
            raise StorageError(f"{journal} is no file of txraft's, and SQLite would heed it; move it elsewhere")
        try:
            if not self._path.exists():
                self._create()
            contents = self._read()
        except TxraftError:
            raise
        except OtherFormat as error:
            raise StorageError(
                f"{self._path} is in format {error}, this txraft reads format {FORMAT}: start the txraft that wrote it"
            ) from error
        except sqlite3.Error as error:
            if wal.is_damage(error):
                raise self._corrupt(error) from error
            raise StorageError(f"cannot use {self._path}: {error}; {wal.remedy_for_start(self._path)}") from error
        except OSError as error:
            raise StorageError(f"cannot use {self._path}: {error.strerror}; see to the disk and its room") from error
        except Exception as error:  # a bit that flipped has made something else of a value
            raise self._corrupt(error) from error
        self._saves = contents.saves
        self._last_index = len(contents.stored.entries)
        self._checksum = contents.checksum
        return contents.stored

    def open(self) -> None:
        """Open everything that `write` needs (hazard S19), and checkpoint what is there. Raises WriteFailed."""
        try:
            self._connection = self._connect(self._path)
            wal.checkpoint(self._connection, "TRUNCATE")
            self._guard = connect_to_read(self._path)
            self._guard.execute("PRAGMA user_version").fetchall()  # a first look takes the lock
            self._durable.open()
            self._opened = wal.inodes(self._path)
        except (sqlite3.Error, OSError) as error:
            raise WriteFailed(f"cannot open {self._path}: {error}; {wal.remedy_for_start(self._path)}") from error

    def write(self, save: Save) -> None:
        """Write `save` in one transaction, durably.

        Raises InvariantViolated before it does anything where the entries would leave a gap, and WriteFailed."""
        require_no_gap(save.entries, self._last_index)
        assert self._connection is not None
        number = self._saves.last + 1
        try:
            statements, checksum = self._statements(self._connection, save, number)
            for sql, parameters in statements:
                self._connection.execute(sql, parameters)
            self._saves = SaveNumbers(
                vote=self._saves.vote if save.term_and_vote is None else number,
                log=number if save.entries else self._saves.log,
            )
            self._durable.write(self._saves)
        except (sqlite3.Error, OSError) as error:
            raise self._cannot_write(error) from error
        self._not_checkpointed += 2 * wal.PAGE_SIZE + sum(ROW_SIZE + len(entry.data) for entry in save.entries)
        self._checksum = checksum
        if save.entries:
            self._last_index = save.entries[-1].index

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether the `-wal` is long."""
        return self._not_checkpointed >= wal.CHECKPOINT_SIZE

    def checkpoint(self) -> None:
        """Copy the rest of the `-wal` into the file, so that the next write begins it again. Raises WriteFailed."""
        assert self._connection is not None
        try:
            wal.require_in_place(self._opened)
            wal.checkpoint(self._connection)
        except (sqlite3.Error, OSError) as error:
            raise self._cannot_write(error) from error
        self._not_checkpointed = 0

    def close(self, failed: bool) -> None:
        """Stop writing. Nothing is left in the `-wal` then. Where something has `failed`, or does so here, the `-wal`
        stays as it is, for the next start: SQLite takes pages whose sync failed for copied (hazard S1). `release` is
        called afterwards. Raises WriteFailed."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None and not failed:
                wal.finish(connection, self._opened)
                self.release()
        except (sqlite3.Error, OSError) as error:
            raise self._cannot_write(error) from error
        finally:
            if connection is not None:
                connection.close()
            self._close_durable()

    def release(self) -> None:
        """Let go of the file, after every connection that writes it has."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.close()

    def _close_durable(self) -> None:
        try:
            self._durable.close()
        except OSError as error:
            path = self._durable.path
            raise WriteFailed(f"cannot write {path}: {error}; {wal.remedy_for_write(path, error)}") from error

    def _create(self) -> None:
        """Make the file under another name, whole, then give it its own. What is durable in it is said first.

        It has its journal mode from here on: SQLite keeps a rollback journal while it changes the mode, and `_read`,
        which may not write, could not roll back one that a crash left behind."""
        beside = [Path(f"{self._path}-wal"), *self._path.parent.glob("kv.sqlite*")]  # which are made later
        if any(path.exists() for path in beside) or (self._durable.read() or SaveNumbers()).last > 0:
            raise Damage("it is missing, while the files beside it are there")
        self._durable.create()
        new = Path(f"{self._path}.new")
        for leftover in new.parent.glob(f"{new.name}*"):  # of a start that was cut off
            leftover.unlink()
        with closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY")  # no second file that a crash could leave behind
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for table in TABLES.values():
                connection.execute(table)
            connection.execute(*insert_identity(self.identity))
            connection.execute(*write_vote(TermAndVote(0, None), save=0))
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        new.rename(self._path)
        sync_directory(self._path.parent)

    def _read(self) -> Contents:
        with closing(connect_to_read(self._path)) as connection:
            found = read_identity(connection)
            require_same(self._path.parent, found, self.identity, self._named)
            self.identity = found
            contents = read_contents(connection)
        require_durable(contents.saves, self._durable.read())
        return contents

    def _statements(self, connection: sqlite3.Connection, save: Save, number: int) -> tuple[list[Statement], int]:
        """What writes `save`, and the checksum of the last entry then."""
        statements = [] if save.term_and_vote is None else [write_vote(save.term_and_vote, number)]
        checksum, entries = self._checksum, save.entries
        if entries and entries[0].index <= self._last_index:
            first = entries[0].index
            row = connection.execute("SELECT checksum FROM log WHERE idx = ?", (first - 1,)).fetchone()
            checksum = row[0] if row else 0
            statements.append(("DELETE FROM log WHERE idx >= ?", (first,)))
        inserts, checksum = insert_entries(entries, checksum, number)
        statements += inserts
        if len(statements) > 1:  # one statement is a transaction by itself
            statements = [("BEGIN IMMEDIATE", ()), *statements, ("COMMIT", ())]
        return statements, checksum

    def _corrupt(self, error: Exception) -> CorruptLog:
        return CorruptLog(
            f"{self._path} is damaged: {wal.printable(str(error))}; see to the disk, and {REMEDY_FOR_LOST_DATA}"
        )

    def _cannot_write(self, error: Exception) -> WriteFailed:
        return WriteFailed(f"cannot write {self._path}: {error}; {wal.remedy_for_write(self._path, error)}")
