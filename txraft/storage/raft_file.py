"""The SQLite file: how it is made, checked, read and written. Every call blocks.

Each SQL statement gives up the interpreter's lock and takes it again, which beside a busy reactor costs more than the
work it does. So a write is as few statements as can be: many rows each, and `executemany`, a statement a row, never.
"""

import sqlite3
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

from txraft.core.messages import Entry, EntryKind, NodeId
from txraft.core.ready import Save, TermAndVote
from txraft.errors import CorruptLog, StorageError, WriteFailed
from txraft.interfaces import Identity, Stored
from txraft.storage.directory import sync_directory
from txraft.storage.identity import columns_of, identity_of, require_same
from txraft.storage.merging import require_no_gap

FORMAT = 2

ROWS_PER_STATEMENT = 500
"""Five parameters a row; SQLite takes 32,766 (999 before 3.32 of 2020)."""

SCHEMA = """
CREATE TABLE identity (
    format INTEGER NOT NULL, node_id INTEGER NOT NULL, cluster_id TEXT NOT NULL, voters TEXT NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE term_and_vote (
    id INTEGER PRIMARY KEY CHECK (id = 0), current_term INTEGER NOT NULL, voted_for INTEGER, checksum INTEGER NOT NULL
);
CREATE TABLE log (
    idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, kind INTEGER NOT NULL, data BLOB NOT NULL, checksum INTEGER NOT NULL
);
"""

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

Statement: TypeAlias = tuple[str, tuple[object, ...]]
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
    name, which has to be that of the disk. `connect` is for tests."""

    def __init__(self, path: Path, identity: Identity, named: bool, connect: Connect = connect) -> None:
        self.identity = identity
        self._path = path
        self._named = named
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._last_index = 0

    def load(self) -> Stored:
        """Read everything and check it; make the file where there is none.

        Raises CorruptLog, WrongDirectory, or StorageError where the file cannot be used for another reason."""
        try:
            if not self._path.exists():
                self._create()
            connection = self._connect(self._path)
            try:
                stored = self._read(connection)
            finally:
                connection.close()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in CANNOT_USE:
                raise StorageError(
                    f"cannot use {self._path}: {error}; see that this user may write it, that the disk is well and"
                    " has room, and that no other program has it open"
                ) from error
            raise self._corrupt(str(error)) from error
        except OSError as error:
            raise StorageError(f"cannot make {self._path}: {error.strerror}; see to the disk and its room") from error
        self._last_index = len(stored.entries)
        return stored

    def write(self, save: Save) -> None:
        """Write `save` in one transaction, durably.

        Raises InvariantViolated before it does anything where the entries would leave a gap, and WriteFailed."""
        require_no_gap(save.entries, self._last_index)
        statements = list(self._statements(save))
        if len(statements) > 1:  # one statement is a transaction by itself
            statements = [("BEGIN IMMEDIATE", ()), *statements, ("COMMIT", ())]
        try:
            if self._connection is None:
                self._connection = self._connect(self._path)
            for sql, parameters in statements:
                self._connection.execute(sql, parameters)
        except (sqlite3.Error, OSError) as error:
            raise WriteFailed(f"cannot write {self._path}: {error}; {_remedy(error)}") from error
        if save.entries:
            self._last_index = save.entries[-1].index

    def close(self) -> None:
        """Let go of the file, and of a transaction that failed: SQLite rolls it back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _create(self) -> None:
        """Make the file under another name, whole, then give it its own."""
        if Path(f"{self._path}-wal").exists():
            raise self._corrupt("it is missing, while its -wal file is there")
        new = Path(f"{self._path}.new")
        new.unlink(missing_ok=True)  # from a start that was cut off
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = MEMORY")  # no second file that a crash could leave behind
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA}")
            connection.execute("INSERT INTO identity VALUES (?, ?, ?, ?, ?)", (FORMAT, *columns_of(self.identity)))
            connection.execute(*_write_term_and_vote(TermAndVote(0, None)))
            connection.execute("COMMIT")
        finally:
            connection.close()
        new.rename(self._path)
        sync_directory(self._path.parent)

    def _read(self, connection: sqlite3.Connection) -> Stored:
        self._check_identity(connection)
        ((report,),) = connection.execute("PRAGMA quick_check(1)")
        if report != "ok":
            raise self._corrupt(report.splitlines()[-1])
        return Stored(self._read_term_and_vote(connection), tuple(self._read_entries(connection)))

    def _check_identity(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT format FROM identity").fetchone()
        if row is None:
            raise self._corrupt("it does not say whose it is")
        if row != (FORMAT,):
            raise StorageError(
                f"{self._path} is in format {row[0]}, this txraft reads format {FORMAT}: start the txraft that wrote it"
            )
        columns = connection.execute("SELECT node_id, cluster_id, voters, checksum FROM identity").fetchone()
        found = identity_of(*columns)
        if found is None:
            raise self._corrupt("what it says of whose it is does not match its checksum")
        require_same(self._path.parent, found, self.identity, self._named)
        self.identity = found

    def _read_term_and_vote(self, connection: sqlite3.Connection) -> TermAndVote:
        row = connection.execute("SELECT current_term, voted_for, checksum FROM term_and_vote").fetchone()
        if row is None:
            raise self._corrupt("term and vote are missing")
        current_term, voted_for, checksum = row
        if not _matches(checksum, _checksum_of_vote, current_term, voted_for):
            raise self._corrupt("term and vote do not match their checksum")
        return TermAndVote(current_term, voted_for)

    def _read_entries(self, connection: sqlite3.Connection) -> Iterator[Entry]:
        last_index = last_term = 0
        for index, term, kind, data, checksum in connection.execute("SELECT * FROM log ORDER BY idx"):
            if index != last_index + 1:
                raise self._corrupt(f"entries are missing between {last_index} and {index}")
            if not _matches(checksum, checksum_of_entry, index, term, kind, data):
                raise self._corrupt(f"entry {index} does not match its checksum")
            if term < last_term:
                raise self._corrupt(f"entry {index} is of term {term}, entry {last_index} of term {last_term}")
            try:
                yield Entry(index, term, EntryKind(kind), data)
            except ValueError as error:
                raise self._corrupt(f"entry {index} is of kind {kind}, which does not exist") from error
            last_index, last_term = index, term

    def _statements(self, save: Save) -> Iterator[Statement]:
        if save.term_and_vote is not None:
            yield _write_term_and_vote(save.term_and_vote)
        entries = save.entries
        if entries and entries[0].index <= self._last_index:
            yield "DELETE FROM log WHERE idx >= ?", (entries[0].index,)
        for start in range(0, len(entries), ROWS_PER_STATEMENT):
            chunk = entries[start : start + ROWS_PER_STATEMENT]
            yield _insert_of(len(chunk)), tuple(column for entry in chunk for column in _row_of(entry))

    def _corrupt(self, reason: str) -> CorruptLog:
        return CorruptLog(
            f"{self._path} is damaged: {reason}; node {self.identity.node_id} may not go on without what it promised,"
            " not even emptied or from a backup: see to its disk, and replace it by a node with an id never used before"
        )


def _remedy(error: Exception) -> str:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return "make room on the disk and start the node again"
    return "the disk may be failing: see to it before the node is started again"


def _write_term_and_vote(value: TermAndVote) -> Statement:
    checksum = _checksum_of_vote(value.current_term, value.voted_for)
    return "INSERT OR REPLACE INTO term_and_vote VALUES (0, ?, ?, ?)", (value.current_term, value.voted_for, checksum)


def _row_of(entry: Entry) -> tuple[object, ...]:
    kind = int(entry.kind)
    checksum = checksum_of_entry(entry.index, entry.term, kind, entry.data)
    return entry.index, entry.term, kind, entry.data, checksum


@cache
def _insert_of(rows: int) -> str:
    return f"INSERT INTO log VALUES {','.join(['(?,?,?,?,?)'] * rows)}"


_ENTRY = struct.Struct(">qqq")
_VOTE = struct.Struct(">q?q")


def checksum_of_entry(index: int, term: int, kind: int, data: bytes) -> int:
    """CRC-32 of index, term and kind, eight bytes each, high byte first, and the data."""
    return crc32(data, crc32(_ENTRY.pack(index, term, kind)))


def _checksum_of_vote(current_term: int, voted_for: NodeId | None) -> int:
    return crc32(_VOTE.pack(current_term, voted_for is not None, voted_for or 0))


def _matches(checksum: object, compute: Callable[..., int], *columns: Any) -> bool:
    """Whether columns are what was written. A flipped bit may also have changed a column's type."""
    try:
        return compute(*columns) == checksum
    except (TypeError, struct.error):
        return False
