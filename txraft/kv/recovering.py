"""Gives the data of one cluster to another, which goes on with them. Every call blocks."""

from pathlib import Path

from txraft import wal
from txraft.kv.data_reading import read_applied, translated
from txraft.kv.tables import applied_row


def give_to(path: Path, cluster_id: str, remedy: str) -> None:
    """Let the data at `path`, which no node has open, be those of the cluster `cluster_id`, durably. Nothing else of
    them changes, and to do so again changes nothing. They have been checked before (`inspect_data`).

    Raises StorageError, with `remedy` where the file is damaged."""
    with translated(path, remedy, wal.RUN_AGAIN):
        connection = wal.connect(path, "FULL")
        opened = wal.inodes(path)
        try:
            applied = read_applied(connection)
            columns = (applied.last_applied, applied.revision, applied.row_count, applied.row_checksums)
            row = applied_row(cluster_id, columns)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT OR REPLACE INTO applied VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        wal.close(connection, opened)
