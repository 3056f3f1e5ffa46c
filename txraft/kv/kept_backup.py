"""A backup that a node has made: one file, for as long as somebody may want to read it.

Its owner's worker reads the file and removes it, and nothing else waits for that: neither the reactor, nor the log or
the data (hazard S11), nor the room that the file takes, for a snapshot that is being made.
"""

import os
from collections.abc import Callable
from io import FileIO
from math import inf
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.errors import SnapshotFailed, WorkerStopped
from txraft.interfaces import IWorker
from txraft.kv.data_snapshot import CHUNK_SIZE, DataSnapshot

IDLE_SECONDS = 10 * 60.0
"""One that nobody reads is kept so long for a client who was cut off."""
SENT_SECONDS = 60.0
"""And so long once a client was given all of it, who may not have received the last bytes."""
SLOWEST = 1 << 20
"""Bytes a second. Also while it is read, one is kept no longer than it takes to read it so slowly, and twice
IDLE_SECONDS: a client who takes a little now and then has it for minutes, and yet 20 GB come over 10 Mbit/s."""

_log = Logger()


class KeptBackup:
    """One of them. Its `owner` is told when its time is over."""

    def __init__(
        self,
        snapshot: DataSnapshot,
        file: FileIO,
        digest: str,
        size: int,
        worker: IWorker,
        clock: IReactorTime,
        on_over: "Callable[[KeptBackup], object]",
    ) -> None:
        self.index = snapshot.index
        """Of the last entry that is in it."""
        self.digest = digest
        """SHA-256 of the file, in hex."""
        self.size = size
        """Bytes."""
        self.readers = 0
        self._path = snapshot.path
        self._file = file
        self._worker = worker
        self._clock = clock
        self._on_over = on_over
        self._is_dropped = False
        self._was_sent = False
        """All of it, to one client at least."""
        self._idle: IDelayedCall | None = None
        self._longest = clock.callLater(2 * IDLE_SECONDS + size / SLOWEST, on_over, self)
        self._begin_idling()

    @property
    def goes_at(self) -> float:
        """When it goes if nobody reads it, by the clock; infinite while somebody does."""
        return inf if self._idle is None else self._idle.getTime()

    def read_from(self, offset: int) -> "Reading":
        """Begin to read it. It is kept until the reading is closed, unless that takes too long, or the room is
        needed."""
        self.readers += 1
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        return Reading(self, offset)

    def read(self, offset: int, size: int) -> "Deferred[bytes]":
        """Fails with SnapshotFailed."""
        if self._is_dropped:
            return fail(SnapshotFailed("the backup is kept no longer, and its client has to take another"))
        return self._worker.run(_read, self._file, offset, size)

    def closed(self, was_sent: bool) -> None:
        """A reading has ended, at the end of the file or before."""
        self.readers -= 1
        self._was_sent |= was_sent
        if not self.readers and not self._is_dropped:
            self._begin_idling()

    def drop(self) -> "Deferred[None]":
        """Give back its room on the disk. Fires also where that fails: the next start does it."""
        self._is_dropped = True
        for timer in (self._idle, self._longest):
            if timer is not None and timer.active():
                timer.cancel()
        return self._worker.run(_remove, self._file, self._path).addErrback(self._not_removed)

    def _begin_idling(self) -> None:
        seconds = SENT_SECONDS if self._was_sent else IDLE_SECONDS
        self._idle = self._clock.callLater(seconds, self._on_over, self)

    def _not_removed(self, failure: Failure) -> None:
        if failure.check(WorkerStopped, CancelledError) is None:
            _log.warn(
                "cannot remove {path}: {reason}; the next start does",
                path=self._path,
                reason=failure.getErrorMessage(),
            )


class Reading:
    """Of one client: a backup from some byte on, piece by piece."""

    def __init__(self, backup: KeptBackup, offset: int) -> None:
        self._backup: KeptBackup | None = backup
        self._offset = offset

    def read(self) -> "Deferred[bytes]":
        """The next piece; nothing at the end. One call at a time. Fails with SnapshotFailed."""
        assert self._backup is not None
        return self._backup.read(self._offset, CHUNK_SIZE).addCallback(self._has_read)

    def _has_read(self, piece: bytes) -> bytes:
        self._offset += len(piece)
        return piece

    def close(self) -> None:
        """Read no more. May be called twice."""
        backup, self._backup = self._backup, None
        if backup is not None:
            backup.closed(was_sent=self._offset >= backup.size)


def _read(file: FileIO, offset: int, size: int) -> bytes:
    try:
        return os.pread(file.fileno(), size, offset)
    except OSError as error:
        raise SnapshotFailed(f"cannot read a backup: {error.strerror}") from error


def _remove(file: FileIO, path: Path) -> None:
    file.close()  # an open file keeps its room on the disk
    path.unlink(missing_ok=True)
