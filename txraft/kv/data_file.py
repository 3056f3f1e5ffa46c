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
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from txraft import wal
from txraft.errors import StorageError, WriteFailed, WrongDirectory
from txraft.kv.answers import KeptAnswer
from txraft.kv.contents import Contents, Delta
from txraft.kv.data_reading import is_new, read_data, translated
from txraft.kv.tables import FORMAT, SCHEMA, applied_row, checksum_of, checksum_of_answer

ROWS_PER_STATEMENT = 249
"""Three parameters a row, or four of an answer, and older SQLite takes 999."""

Row = TypeVar("Row")

REMEDY = (
    "move it and the -wal and -shm files beside it elsewhere and start the node again: it is rebuilt from the log, and"
    " where that does not go back so far, the start says what to do"
)


class DataFile:
    """The file at `path`, with data of the cluster `cluster_id`. `load` and then `prepare` are called once and leave
    nothing open, so that the process may fork after them; the other calls, from `open` to `close`, all come from one
    thread. `remedy` is what to do where the file cannot be used."""

    def __init__(self, path: Path, cluster_id: str, remedy: str = REMEDY) -> None:
        self._path = path
        self._cluster_id = cluster_id
        self._remedy = remedy
        self._index = 0
        self._revision = 1
        self._connection: sqlite3.Connection | None = None
        self._opened: wal.Inodes = {}
        self._row_count = 0
        self._row_checksums = 0
        self._not_checkpointed = 0
        """Bytes in the `-wal`, roughly."""

    def load(self) -> Contents:
        """The data and their applied index; nothing, and 0, where there is no file yet. Nothing is written, so that
        where the start is refused, for this or for another reason, what is damaged is there to be looked into.

        Raises CorruptLog where the file is damaged, WrongDirectory where it is of another cluster, and StorageError
        where it cannot be used for another reason."""
        wal.require_files(self._path, remedy=self._remedy)
        with translated(self._path, self._remedy):
            if Path(f"{self._path}-journal").exists():  # `prepare` was cut off; a connection that writes takes it back
                wal.connect(self._path, "NORMAL").close()
            if wal.is_empty(self._path):
                return Contents()
            with closing(wal.connect_to_read(self._path)) as connection:
                return Contents() if is_new(connection) else self._read(connection)

    def prepare(self) -> None:
        """After `load`: make the file where there is none. One that cannot be written is found out now, and what is in
        the `-wal` is copied. Raises StorageError."""
        with (
            translated(self._path, self._remedy),
            closing(wal.connect(self._path, "NORMAL", shrinks=True)) as connection,
        ):
            if is_new(connection):
                self._create(connection)
            else:
                self._write_applied(connection, self._index, self._revision)
            wal.checkpoint(connection, "TRUNCATE")

    def open(self) -> None:
        """Open everything that `write` needs (hazard S19). Raises StorageError."""
        try:
            self._connection = wal.connect(self._path, "NORMAL")
            self._opened = wal.inodes(self._path)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"cannot open {self._path}: {error}; {wal.remedy_for_start(self._path)}") from error

    def write(self, delta: Delta) -> None:
        """Bring the data to entry `delta.index`. One transaction (hazard S5), and now and then a checkpoint after it
        (hazard S16).

        Raises WriteFailed; the file is closed then (hazard S1)."""
        assert self._connection is not None
        connection, changes = self._connection, delta.changes
        try:
            connection.execute("BEGIN IMMEDIATE")
            for keys in _slices(sorted(changes)):
                self._forget(connection, f"FROM data WHERE key IN ({','.join('?' * len(keys))})", keys)
                self._store(connection, [(key, record) for key in keys if (record := changes[key]) is not None])
                self._remove(connection, [key for key in keys if changes[key] is None])
            if delta.answers:
                self._write_answers(connection, delta.answers)
            self._write_applied(connection, delta.index, delta.revision)
            connection.execute("COMMIT")
            self._index, self._revision = delta.index, delta.revision
            self._not_checkpointed += sum(len(record or b"") + wal.PAGE_SIZE for record in changes.values())
            self._not_checkpointed += sum(len(each.key) + len(each.answer) for each in delta.answers)
            if self._not_checkpointed >= wal.CHECKPOINT_SIZE:
                wal.require_in_place(self._opened)
                wal.shrink(connection)
                wal.checkpoint(connection)
                self._not_checkpointed = 0
        except (sqlite3.Error, OSError) as error:
            raise self._given_up(error) from error

    def persist(self) -> int:
        """Make durable what has been written; gives its index.

        SQLite syncs the `-wal` with all that is in it. A checkpoint would do as much, but not while another connection
        reads the file.

        Raises WriteFailed; the file is closed then (hazard S1)."""
        assert self._connection is not None
        try:
            wal.require_in_place(self._opened)
            self._connection.execute("PRAGMA synchronous = FULL")
            self._write_applied(self._connection, self._index, self._revision)
            self._connection.execute("PRAGMA synchronous = NORMAL")
        except (sqlite3.Error, OSError) as error:
            raise self._given_up(error) from error
        return self._index

    def replace_with(self, other: "DataFile") -> None:
        """`other`, which was loaded and prepared, takes this file's place and name, and is open then.

        A crash leaves the one or the other, whole: the old one has nothing left in its `-wal`, and is seen to have none
        after a power cut either, before the new one gets its name. SQLite would take an old `-wal` for the new file's.

        Raises StorageError; the file is closed then."""
        try:
            self.close()
            if Path(f"{self._path}-wal").exists():
                raise StorageError(f"another program has {self._path} open: end it, and start the node again")
            wal.sync_directory(self._path.parent)
            other._path.replace(self._path)
            wal.sync_directory(self._path.parent)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._index, self._revision, self._not_checkpointed = other._index, other._revision, 0
        self._row_count, self._row_checksums = other._row_count, other._row_checksums
        self.open()

    def close(self) -> None:
        """Let go of the file, with nothing left in its `-wal`, if it is open. Raises WriteFailed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                wal.close(connection, self._opened)
            except (sqlite3.Error, OSError) as error:
                raise self._cannot_write(error) from error

    # Reading

    def _read(self, connection: sqlite3.Connection) -> Contents:
        found = read_data(connection, partial(wal.connect_to_read, self._path))
        if found.cluster_id != self._cluster_id:
            raise WrongDirectory(
                f'{self._path} has data of the cluster "{found.cluster_id}", and this node is of "{self._cluster_id}":'
                f" {self._remedy}"
            )
        self._index, self._revision = found.contents.last_applied, found.contents.revision
        self._row_count, self._row_checksums = found.row_count, found.row_checksums
        return found.contents

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for _, table in SCHEMA:
            connection.execute(table)
        self._write_applied(connection, self._index, self._revision)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")

    # Writing

    def _store(self, connection: sqlite3.Connection, items: Sequence[tuple[bytes, bytes]]) -> None:
        if items:
            rows = [(key, checksum_of(key, record), record) for key, record in items]
            connection.execute(
                f"INSERT OR REPLACE INTO data VALUES {','.join(['(?,?,?)'] * len(rows))}",
                [column for row in rows for column in row],
            )
            self._row_count += len(rows)
            self._row_checksums += sum(checksum for _, checksum, _ in rows)

    def _remove(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> None:
        if keys:
            connection.execute(f"DELETE FROM data WHERE key IN ({','.join('?' * len(keys))})", keys)

    def _write_answers(self, connection: sqlite3.Connection, answers: Sequence[KeptAnswer]) -> None:
        for some in _slices(answers):
            rows = [
                (each.number, each.key, checksum_of_answer(each.number, each.key, each.answer), each.answer)
                for each in some
            ]
            connection.execute(
                f"INSERT INTO answers VALUES {','.join(['(?,?,?,?)'] * len(rows))}",
                [column for row in rows for column in row],
            )
            self._row_count += len(rows)
            self._row_checksums += sum(checksum for _, _, checksum, _ in rows)
        dropped = "FROM answers WHERE number < ?", (answers[-1].oldest,)
        self._forget(connection, *dropped)
        connection.execute("DELETE " + dropped[0], dropped[1])

    def _forget(self, connection: sqlite3.Connection, which: str, parameters: Sequence[bytes | int]) -> None:
        """Take rows, as they are in the file, out of count and sum."""
        ((count, checksums),) = connection.execute(
            f"SELECT count(*), ifnull(sum(checksum), 0) {which}", parameters
        ).fetchall()
        self._row_count -= count
        self._row_checksums -= checksums

    def _write_applied(self, connection: sqlite3.Connection, index: int, revision: int) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO applied VALUES (?, ?, ?, ?, ?, ?, ?)",
            applied_row(self._cluster_id, (index, revision, self._row_count, self._row_checksums)),
        )

    def _given_up(self, error: Exception) -> WriteFailed:
        if self._connection is not None:
            self._connection.close()  # and with it the transaction
            self._connection = None
        return self._cannot_write(error)

    def _cannot_write(self, error: Exception) -> WriteFailed:
        return WriteFailed(f"cannot write {self._path}: {error}; {wal.remedy_for_write(self._path, error)}")


def _slices(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[start : start + ROWS_PER_STATEMENT] for start in range(0, len(rows), ROWS_PER_STATEMENT))
