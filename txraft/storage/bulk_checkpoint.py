"""Most of a checkpoint, on another thread than the one that writes.

SQLite copies what is in the `-wal` while commits go on, but calls fsync only where it found no new ones. That is left
to the writer, who takes the rest between two commits: were it not called here, the writer would wait for all of it.
"""

import os
import sqlite3
from pathlib import Path

from txraft import wal
from txraft.errors import WriteFailed


class BulkCheckpoint:
    """A second connection to the file at `path`. All calls come from one thread, and block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._descriptor: int | None = None

    def open(self) -> None:
        """Open all that is needed (hazard S19), after the connection that writes. Raises WriteFailed."""
        try:
            self._connection = wal.connect(self._path, "FULL")
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except (sqlite3.Error, OSError) as error:
            raise WriteFailed(f"cannot open {self._path}: {error}; {wal.remedy_for_start(self._path)}") from error

    def copy(self) -> None:
        """Copy what the `-wal` has by now into the file, durably. Raises WriteFailed."""
        assert self._connection is not None
        assert self._descriptor is not None
        try:
            wal.checkpoint(self._connection)
            os.fsync(self._descriptor)
        except (sqlite3.Error, OSError) as error:
            raise WriteFailed(
                f"cannot write {self._path}: {error}; {wal.remedy_for_write(self._path, error)}"
            ) from error

    def close(self) -> None:
        """Let go of the file, after the connection that writes it has: closing a descriptor takes all of the process's
        locks from its file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
