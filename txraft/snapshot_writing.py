"""A file of a snapshot while it is written: on a worker, and so that it never stands in the log's way (hazard S11).

It is synced every few MiB. Left to the end, the sync of 400 MiB held up a save of the log for 0.4 to 0.8 s on the disk
where this was measured; so, for 30 ms. And it stops before the disk is full: the log, on the same disk, could not go on
without room.
"""

import errno
import hashlib
import os
import shutil
from pathlib import Path

SYNC_SIZE = 8 << 20
"""Bytes that are written between two syncs."""

RESERVE = 32 << 20
"""Bytes of the disk that are left to the log and the data: twice what their write-ahead logs take."""


def require_room(directory: Path, size: int) -> None:
    """Raises OSError, with numbers, where `size` bytes more would leave too little room on the disk of `directory`."""
    free = shutil.disk_usage(directory).free
    if free < size + RESERVE:
        need = f"it takes {size:,} bytes more, and {RESERVE:,} have to stay free; the disk has {free:,}"
        raise OSError(errno.ENOSPC, need)


class SnapshotWriting:
    """A new file at `path`, which begins with `header`; what was there is gone. Every call blocks, and raises OSError,
    upon which the file is to be dropped: after a failed sync nobody knows what the disk has (hazard S1).

    Where it is known how many bytes are `expected`, there has to be room for all that are still to come, and the error
    says for how many."""

    def __init__(self, path: Path, header: bytes = b"", expected: int | None = None) -> None:
        self.path = path
        self.size = 0
        """Bytes, without the header."""
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._hash = hashlib.sha256()
        self._not_synced = 0
        self._expected = expected
        self._put(header)

    @property
    def checksum(self) -> bytes:
        """Of what has been written, without the header."""
        return self._hash.digest()

    def write(self, data: bytes) -> None:
        """Append `data`."""
        if self._not_synced >= SYNC_SIZE:
            left = SYNC_SIZE if self._expected is None else max(0, self._expected - self.size)
            require_room(self.path.parent, left)
            self.sync()
        self._put(data)
        self._hash.update(data)
        self.size += len(data)

    def sync(self) -> None:
        """Make all of it durable, the name excepted."""
        os.fsync(self.descriptor)
        self._not_synced = 0

    def rename(self, path: Path) -> None:
        """Take the name of `path`, and the place of what had it."""
        self.path.rename(path)
        self.path = path

    def close(self) -> None:
        """Let go of the file, which stays."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def drop(self) -> None:
        """Remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self.descriptor, left) :]
        self._not_synced += len(data)
