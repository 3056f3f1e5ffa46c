"""Makes the data of a new node of a backup. Every call blocks."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from txraft import wal
from txraft.errors import StorageError
from txraft.kv.backup import REMEDY, Backup, read_origin
from txraft.kv.data_reading import read_applied, read_data, translated
from txraft.kv.data_snapshot import CHUNK_SIZE
from txraft.kv.tables import applied_row
from txraft.snapshot_writing import SnapshotWriting, require_room


def copy_backup(backup: Path, size: int, path: Path, report: Callable[[int], None] = lambda _: None) -> bytes:
    """Copy the file at `backup`, of `size` bytes, to `path`, durably but for its name. Gives the SHA-256 of what was
    copied: the file may be replaced by another while, or after, it is read. `report` is called with the bytes that are
    there.

    Raises StorageError, before anything is copied where there is no room for all of it."""
    try:
        require_room(path.parent, size)
        with backup.open("rb") as source, closing(SnapshotWriting(path, expected=size)) as copy:
            while piece := source.read(CHUNK_SIZE):
                copy.write(piece)
                report(copy.size)
            copy.sync()
            return copy.checksum
    except OSError as error:
        raise StorageError(f"cannot copy {backup} to {path}: {error.strerror}; see to the disk and its room") from error


def make_data(path: Path, cluster_id: str, report: Callable[[int], None] = lambda _: None) -> Backup:
    """Make of the backup at `path`, a copy, the data of the cluster `cluster_id`, durably but for their name. Gives
    what it was. `report` is called with the number of keys that have been checked.

    All of it is read once, when it has been written: what was damaged before is found then, too.

    Raises StorageError, CorruptLog where it is damaged or no backup."""
    with translated(path, REMEDY, wal.RUN_AGAIN):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            origin, applied = read_origin(connection), read_applied(connection)
            columns = (applied.last_applied, applied.revision, applied.row_count, applied.row_checksums)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DROP TABLE backup")
            row = applied_row(cluster_id, columns)
            connection.execute("INSERT OR REPLACE INTO applied VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute("COMMIT")
        with closing(wal.connect_to_inspect(path)) as connection:
            data = read_data(connection, partial(wal.connect_to_inspect, path), report=report)
    return Backup(origin, applied.cluster_id, applied.last_applied, applied.revision, len(data.contents.records))
