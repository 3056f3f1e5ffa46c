"""The data in an SQLite file: read as a whole at the start, then written in batches. Every call blocks.

A power cut may lose the last batches, each of them whole, and the log has what they did. What is damaged is refused at
the start (hazards S4, S14). A key stands in one place only, the b-tree of `data`, so that there is no second copy which
could differ. Each row has a checksum. The row of `applied`, which changes with every batch, has a checksum too. It
says how many rows there are and what their checksums add up to: pages of two different moments, which a damaged `-wal`
can leave, do not match it. SQLite checks the rest.

The row of `applied` also names the cluster, because entry 8 of another one has done something else. The file of another
node of the same cluster has the same in it, where its index is no further than this node's log; a log that has other
entries there ends the node when the leader is heard (`txraft.core.follower`).

Each SQL statement gives up the interpreter's lock and takes it again, and so does each row that it gives back, which
beside a busy reactor costs more than the work it does. So a write is few statements of many rows each, which give back
one row or none. They go through the keys in the order of the b-tree, so that each of its pages is met once.
"""

import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zlib import crc32

from txraft import wal
from txraft.errors import CorruptLog, StorageError, WriteFailed, WrongDirectory

FORMAT = 3
"""The `user_version` of the file; 0 is a new file."""

ROWS_PER_STATEMENT = 300
"""Three parameters a row, and older SQLite takes 999."""

SCHEMA = [
    ("data", "CREATE TABLE data (key BLOB PRIMARY KEY, checksum INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID"),
    (
        "applied",
        "CREATE TABLE applied (id INTEGER PRIMARY KEY CHECK (id = 0), cluster_id TEXT NOT NULL,"
        " last_applied INTEGER NOT NULL, row_count INTEGER NOT NULL, row_checksums INTEGER NOT NULL,"
        " checksum INTEGER NOT NULL)",
    ),
]
"""Name and text of each table, as SQLite keeps them."""

REMEDY = "remove it and the -wal and -shm files beside it, and it is rebuilt from the log"

APPLIED = struct.Struct(">qqq")


class DataFile:
    """The file at `path`, with data of the cluster `cluster_id`. `load` is called once and leaves nothing open, so that
    the process may fork after it; the other calls, from `open` to `close`, all come from one thread."""

    def __init__(self, path: Path, cluster_id: str) -> None:
        self._path = path
        self._cluster_id = cluster_id
        self._connection: sqlite3.Connection | None = None
        self._opened: wal.Inodes = {}
        self._row_count = 0
        self._row_checksums = 0
        self._not_checkpointed = 0
        """Bytes in the `-wal`, roughly."""

    def load(self) -> tuple[int, dict[bytes, bytes]]:
        """The applied index and the data as of it; 0 and nothing where there is no file yet: it is made.

        Raises CorruptLog where the file is damaged, WrongDirectory where it is of another cluster, and StorageError
        where it cannot be used for another reason."""
        wal.require_files(self._path, remedy=REMEDY)
        try:
            connection = wal.connect(self._path, "NORMAL")
            try:
                index, values = self._read(connection)
                self._write_applied(connection, index)  # a file that cannot be written is found out now
                wal.checkpoint(connection, "TRUNCATE")
            finally:
                connection.close()
        except sqlite3.Error as error:
            if wal.is_damage(error):
                raise self._corrupt(str(error)) from error
            raise StorageError(f"cannot use {self._path}: {error}; {wal.remedy_for_start(self._path)}") from error
        except UnicodeDecodeError as error:  # SQLite quotes what is damaged, byte for byte
            raise self._corrupt("its tables are not as they were made") from error
        return index, values

    def open(self) -> None:
        """Open everything that `write` needs (hazard S19). Raises StorageError."""
        try:
            self._connection = wal.connect(self._path, "NORMAL")
            self._opened = wal.inodes(self._path)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"cannot open {self._path}: {error}; {wal.remedy_for_start(self._path)}") from error

    def write(self, index: int, changes: Mapping[bytes, bytes | None]) -> None:
        """Bring the data to entry `index`: new values, and None for keys that are gone. One transaction (hazard S5),
        and now and then a checkpoint after it (hazard S16).

        Raises WriteFailed; the file is closed then (hazard S1)."""
        assert self._connection is not None
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for keys in _batches(sorted(changes)):
                self._forget_rows(self._connection, keys)
                self._store(self._connection, [(key, value) for key in keys if (value := changes[key]) is not None])
                self._remove(self._connection, [key for key in keys if changes[key] is None])
            self._write_applied(self._connection, index)
            self._connection.execute("COMMIT")
            self._not_checkpointed += sum(len(value or b"") + wal.PAGE_SIZE for value in changes.values())
            if self._not_checkpointed >= wal.CHECKPOINT_SIZE:
                wal.require_in_place(self._opened)
                wal.checkpoint(self._connection)
                self._not_checkpointed = 0
        except (sqlite3.Error, OSError) as error:
            self._connection.close()  # and with it the transaction
            self._connection = None
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Let go of the file, with nothing left in its `-wal`, if it is open. Raises WriteFailed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                wal.close(connection, self._opened)
            except (sqlite3.Error, OSError) as error:
                raise self._cannot_write(error) from error

    # Reading

    def _read(self, connection: sqlite3.Connection) -> tuple[int, dict[bytes, bytes]]:
        ((version,),) = connection.execute("PRAGMA user_version")
        schema = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
        if version == 0 and not schema:
            self._create(connection)
        elif version != FORMAT:
            raise StorageError(
                f"{self._path} is in format {version}, and this txraft reads format {FORMAT}: start the txraft that"
                f" wrote it, or {REMEDY}"
            )
        elif schema != SCHEMA:
            raise self._corrupt("its tables are not as they were made")
        ((report,),) = connection.execute("PRAGMA quick_check(1)")
        if report != "ok":
            raise self._corrupt(report.splitlines()[-1])
        values = self._read_rows(connection)
        return self._read_applied(connection), values

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for _, table in SCHEMA:
            connection.execute(table)
        self._write_applied(connection, 0)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")

    def _read_rows(self, connection: sqlite3.Connection) -> dict[bytes, bytes]:
        values: dict[bytes, bytes] = {}
        last = None
        # In the order of the b-tree, which an ORDER BY might mend: only where keys ascend are they found one by one.
        for key, checksum, value in connection.execute("SELECT key, checksum, value FROM data"):
            if not isinstance(key, bytes) or not isinstance(value, bytes) or checksum != checksum_of(key, value):
                raise self._corrupt(f"the row of key {key!r:.60} does not match its checksum")
            if last is not None and key <= last:
                raise self._corrupt(f"key {key!r:.60} is out of order")
            values[key] = value
            last = key
            self._row_checksums += checksum
        self._row_count = len(values)
        return values

    def _read_applied(self, connection: sqlite3.Connection) -> int:
        match rows := connection.execute("SELECT * FROM applied").fetchall():
            case [(_, str() as cluster_id, int() as index, *_)] if rows == [self._applied_row(cluster_id, index)]:
                if cluster_id == self._cluster_id:
                    return index
                raise WrongDirectory(
                    f'{self._path} has data of the cluster "{cluster_id}", and this node is of "{self._cluster_id}":'
                    f" {REMEDY}"
                )
        raise self._corrupt("the data and their applied index do not match, or not their checksums")

    def _corrupt(self, reason: str) -> CorruptLog:
        return CorruptLog(f"{self._path} is damaged: {wal.printable(reason)}; {REMEDY}")

    # Writing

    def _forget_rows(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> None:
        """Take the rows of `keys`, as they are in the file, out of count and sum."""
        ((count, checksums),) = connection.execute(
            f"SELECT count(*), ifnull(sum(checksum), 0) FROM data WHERE key IN ({','.join('?' * len(keys))})", keys
        ).fetchall()
        self._row_count -= count
        self._row_checksums -= checksums

    def _store(self, connection: sqlite3.Connection, items: Sequence[tuple[bytes, bytes]]) -> None:
        if items:
            rows = [(key, checksum_of(key, value), value) for key, value in items]
            connection.execute(
                f"INSERT OR REPLACE INTO data VALUES {','.join(['(?,?,?)'] * len(rows))}",
                [column for row in rows for column in row],
            )
            self._row_count += len(rows)
            self._row_checksums += sum(checksum for _, checksum, _ in rows)

    def _remove(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> None:
        if keys:
            connection.execute(f"DELETE FROM data WHERE key IN ({','.join('?' * len(keys))})", keys)

    def _write_applied(self, connection: sqlite3.Connection, index: int) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO applied VALUES (?, ?, ?, ?, ?, ?)", self._applied_row(self._cluster_id, index)
        )

    def _applied_row(self, cluster_id: str, index: int) -> tuple[int, str, int, int, int, int]:
        columns = (index, self._row_count, self._row_checksums)
        return 0, cluster_id, *columns, crc32(cluster_id.encode(), crc32(APPLIED.pack(*columns)))

    def _cannot_write(self, error: Exception) -> WriteFailed:
        return WriteFailed(f"cannot write {self._path}: {error}; {wal.remedy_for_write(self._path, error)}")


def checksum_of(key: bytes, value: bytes) -> int:
    """CRC-32 of a row. It begins with the key's length, so that a byte cannot move from the key to the value."""
    return crc32(value, crc32(key, len(key)))


def _batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[start : start + ROWS_PER_STATEMENT] for start in range(0, len(keys), ROWS_PER_STATEMENT))
