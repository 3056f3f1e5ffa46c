"""The data in an SQLite file: read as a whole at the start, then written in batches. Every call blocks.

WAL with `synchronous=NORMAL`: a power cut may lose the last transactions, each of them whole, and the log has what
they did. Every row carries a checksum, for a wrong value here would be served as a right one.

Each SQL statement gives up the interpreter's lock and takes it again, which beside a busy reactor costs more than the
work it does; so a batch is few statements of many rows each, and never `executemany`.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from txraft.errors import CorruptLog, StorageError, WriteFailed

T = TypeVar("T")

FORMAT = 1
"""The `user_version` of the file; 0 is a new file."""

ROWS_PER_STATEMENT = 300
"""Three parameters a row, and older SQLite takes 999."""

SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS data (key BLOB PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS applied (id INTEGER PRIMARY KEY CHECK (id = 0), last_applied INTEGER, checksum INTEGER);
PRAGMA user_version = {FORMAT};
COMMIT;
"""


class DataFile:
    """The file at `path`. `load` is called once and leaves nothing open, so that the process may fork after it; the
    other calls all come from one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def load(self) -> tuple[int, dict[bytes, bytes]]:
        """The applied index and the data as of it; 0 and nothing where there is no file yet: it is made.

        Raises CorruptLog where the file is damaged, StorageError where it cannot be used for another reason."""
        try:
            connection = _connect(self._path)
            try:
                return self._read(connection)
            finally:
                connection.close()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self._corrupt(str(error)) from error
            raise StorageError(f"cannot use {self._path}: {error}") from error

    def write(self, index: int, changes: Mapping[bytes, bytes | None]) -> None:
        """Bring the data to entry `index`: new values, and None for keys that are gone. One transaction (hazard S5).

        Raises WriteFailed."""
        try:
            if self._connection is None:
                self._connection = _connect(self._path)
            self._connection.execute("BEGIN IMMEDIATE")
            _store(self._connection, [(key, value) for key, value in changes.items() if value is not None])
            _remove(self._connection, [key for key, value in changes.items() if value is None])
            self._connection.execute("INSERT OR REPLACE INTO applied VALUES (0, ?, ?)", (index, _checksum_of(index)))
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise WriteFailed(f"cannot write {self._path}: {error}") from error

    def close(self) -> None:
        """Let go of the file, and of a transaction that failed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, connection: sqlite3.Connection) -> tuple[int, dict[bytes, bytes]]:
        ((version,),) = connection.execute("PRAGMA user_version")
        if version == 0:
            connection.executescript(SCHEMA)
        elif version != FORMAT:
            raise StorageError(f"{self._path} is in format {version}, of another txraft; this one reads {FORMAT}")
        ((report,),) = connection.execute("PRAGMA quick_check(1)")
        if report != "ok":
            raise self._corrupt(report.splitlines()[-1])
        values: dict[bytes, bytes] = {}
        for key, value, checksum in connection.execute("SELECT key, value, checksum FROM data"):
            if crc32(value, crc32(key)) != checksum:
                raise self._corrupt(f"the value of key {key[:60]!r} does not match its checksum")
            values[key] = value
        row = connection.execute("SELECT last_applied, checksum FROM applied").fetchone()
        if row is None and values:
            raise self._corrupt("the applied index is missing")
        index, checksum = row or (0, _checksum_of(0))
        if _checksum_of(index) != checksum:
            raise self._corrupt("the applied index does not match its checksum")
        return index, values

    def _corrupt(self, reason: str) -> CorruptLog:
        remedy = "remove it and the -wal and -shm files beside it, and it is rebuilt from the log"
        return CorruptLog(f"{self._path} is damaged: {reason}; {remedy}")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _store(connection: sqlite3.Connection, items: Sequence[tuple[bytes, bytes]]) -> None:
    for batch in _batches(items):
        rows = ",".join(["(?,?,?)"] * len(batch))
        parameters = [column for key, value in batch for column in (key, value, crc32(value, crc32(key)))]
        connection.execute(f"INSERT OR REPLACE INTO data VALUES {rows}", parameters)


def _remove(connection: sqlite3.Connection, keys: Sequence[bytes]) -> None:
    for batch in _batches(keys):
        connection.execute(f"DELETE FROM data WHERE key IN ({','.join('?' * len(batch))})", batch)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + ROWS_PER_STATEMENT] for start in range(0, len(items), ROWS_PER_STATEMENT))


def _checksum_of(index: int) -> int:
    return crc32(b"%d" % index)
