"""The SQLite file: how it is made, read and written. Every call blocks.

Each SQL statement gives up the interpreter's lock and takes it again, which beside a busy reactor costs more than the
work it does. So a write is as few statements as can be: many rows each, and `executemany`, a statement a row, never.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from txraft.core.ready import Save, TermAndVote
from txraft.errors import CorruptLog, StorageError, TxraftError, WriteFailed
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

CANNOT_USE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
"""Codes that blame the place a file is in; all others, while it is read, blame the file."""

Connect: TypeAlias = Callable[[Path], sqlite3.Connection]


def connect(path: Path) -> sqlite3.Connection:
    """Open a file so that a commit is durable when it returns, and with no transaction that was not asked for."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
    except BaseException:
        connection.close()
        raise
    return connection


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
        self._durable = DurableRecord(Path(f"{path}-durable"))
        # Of what the file holds: the numbers of its last saves, its last entry and the checksum of that.
        self._saves = SaveNumbers()
        self._last_index = 0
        self._checksum = 0

    def load(self) -> Stored:
        """Read everything and check it; make the file where there is none. A file that is refused is left as it was,
        so the next start is refused too.

        Raises CorruptLog, WrongDirectory, or StorageError where the file cannot be used for another reason."""
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
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in CANNOT_USE:
                raise StorageError(
                    f"cannot use {self._path}: {error}; see that this user may write it, that the disk is well and"
                    " has room, and that no other program has it open"
                ) from error
            raise self._corrupt(error) from error
        except OSError as error:
            raise StorageError(f"cannot use {self._path}: {error.strerror}; see to the disk and its room") from error
        except Exception as error:  # a bit that flipped has made something else of a value
            raise self._corrupt(error) from error
        self._saves = contents.saves
        self._last_index = len(contents.stored.entries)
        self._checksum = contents.checksum
        return contents.stored

    def write(self, save: Save) -> None:
        """Write `save` in one transaction, durably.

        Raises InvariantViolated before it does anything where the entries would leave a gap, and WriteFailed."""
        require_no_gap(save.entries, self._last_index)
        number = self._saves.last + 1
        try:
            if self._connection is None:
                self._connection = self._connect(self._path)
            statements, checksum = self._statements(self._connection, save, number)
            for sql, parameters in statements:
                self._connection.execute(sql, parameters)
            self._saves = SaveNumbers(
                vote=self._saves.vote if save.term_and_vote is None else number,
                log=number if save.entries else self._saves.log,
            )
            self._durable.write(self._saves)
        except (sqlite3.Error, OSError) as error:
            raise WriteFailed(f"cannot write {self._path}: {error}; {_remedy(error)}") from error
        self._checksum = checksum
        if save.entries:
            self._last_index = save.entries[-1].index

    def close(self) -> None:
        """Let go of the file, and of a transaction that failed: SQLite rolls it back. Raises WriteFailed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        try:
            self._durable.close()
        except OSError as error:
            raise WriteFailed(f"cannot write {self._durable.path}: {error}; {_remedy(error)}") from error

    def _create(self) -> None:
        """Make the file under another name, whole, then give it its own. What is durable in it is said first."""
        if Path(f"{self._path}-wal").exists() or (self._durable.read() or SaveNumbers()).last > 0:
            raise Damage("it is missing, while the files beside it are there")
        self._durable.create()
        new = Path(f"{self._path}.new")
        new.unlink(missing_ok=True)  # from a start that was cut off
        with closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY")  # no second file that a crash could leave behind
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for table in TABLES.values():
                connection.execute(table)
            connection.execute(*insert_identity(self.identity))
            connection.execute(*write_vote(TermAndVote(0, None), save=0))
            connection.execute("COMMIT")
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
        reason = "".join(character if character.isprintable() else "?" for character in str(error))
        return CorruptLog(
            f"{self._path} is damaged: {reason}; node {self.identity.node_id} may not go on without what it promised,"
            " not even emptied or from a backup: see to its disk, and replace it by a node with an id never used before"
        )


def _remedy(error: Exception) -> str:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return "make room on the disk and start the node again"
    return "the disk may be failing: see to it before the node is started again"
