"""Makes the data of a new node of a backup. Every call blocks."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from txraft import wal
from txraft.errors import CorruptLog, StorageError
from txraft.kv.backup import REMEDY, Backup, read_backup
from txraft.kv.data_file import DataFile
from txraft.kv.data_snapshot import CHUNK_SIZE
from txraft.kv.tables import applied_row
from txraft.snapshot_writing import SnapshotWriting


def copy_backup(backup: Path, path: Path, report: Callable[[int], None] = lambda _: None) -> None:
    """Copy the file at `backup` to `path`, durably but for its name. `report` is called with the bytes that are there.

    Raises StorageError."""
    try:
        with backup.open("rb") as source, closing(SnapshotWriting(path)) as copy:
            while piece := source.read(CHUNK_SIZE):
                copy.write(piece)
                report(copy.size)
            copy.sync()
    except OSError as error:
        raise StorageError(f"cannot copy {backup} to {path}: {error.strerror}; see to the disk and its room") from error


def make_data(path: Path, cluster_id: str, report: Callable[[int], None] = lambda _: None) -> Backup:
    """Make of the backup at `path`, a copy, the data of the cluster `cluster_id`, durably but for their name. Gives
    what it was. `report` is called with the number of keys that have been checked.

    Raises StorageError, CorruptLog where it is damaged or no backup."""
    backup = read_backup(path, report)
    data = backup.data
    columns = (data.contents.last_applied, data.contents.revision, data.row_count, data.row_checksums)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DROP TABLE backup")
            row = applied_row(cluster_id, columns)
            connection.execute("INSERT OR REPLACE INTO applied VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StorageError(f"cannot write {path}: {error}; {wal.remedy_for_write(path, error)}") from error
    found = DataFile(path, cluster_id, REMEDY).load()  # as the node's start reads it
    if found.records != data.contents.records:
        raise CorruptLog(f"{path} is not what was written to it: see to the disk, and restore again")
    return backup
