"""The backups that a node has made and still keeps, so that a client who was cut off goes on where it was.

Each is one file, the snapshot itself, under a name that the next start removes. It is told from every other by its
SHA-256. A worker of its own describes, sums up and reads them, so that neither the log nor the data wait (hazard S11).
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable
from io import FileIO

from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from txraft.errors import NotApplied, Overloaded, SnapshotFailed, WorkerStopped
from txraft.interfaces import IWorker
from txraft.kv.backup import Origin, describe
from txraft.kv.data_snapshot import CHUNK_SIZE, DataSnapshot

MOST = 2
"""So many are kept, or being made, at once: each may take as much of the disk as the data."""
IDLE_SECONDS = 10 * 60.0
"""One that nobody reads is kept so long."""
LONGEST_SECONDS = 6 * 3600.0
"""And none longer than this, even while it is read."""


class KeptBackup:
    """One of them."""

    def __init__(self, owner: "Backups", snapshot: DataSnapshot, file: FileIO, digest: str, size: int) -> None:
        self.index = snapshot.index
        """Of the last entry that is in it."""
        self.digest = digest
        """SHA-256 of the file, in hex."""
        self.size = size
        """Bytes."""
        self.readers = 0
        self._owner = owner
        self._snapshot = snapshot
        self._file = file
        self._is_dropped = False
        self._idle: IDelayedCall | None = None
        self._longest = owner.clock.callLater(LONGEST_SECONDS, owner.drop, self)
        self._begin_idling()

    def read_from(self, offset: int) -> "Reading":
        """Begin to read it. It is kept until the reading is closed, unless that takes too long."""
        self.readers += 1
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        return Reading(self, offset)

    def read(self, offset: int, size: int) -> "Deferred[bytes]":
        """Fails with SnapshotFailed."""
        if self._is_dropped:
            return fail(SnapshotFailed("the backup was kept as long as one is, and is gone; ask for another"))
        return self._owner.worker.run(_read, self._file, offset, size)

    def closed(self) -> None:
        """A reading has ended."""
        self.readers -= 1
        if not self.readers and not self._is_dropped:
            self._begin_idling()

    def drop(self) -> "Deferred[None]":
        """Give back its room on the disk. Fires also where that fails: the next start does it."""
        self._is_dropped = True
        for timer in (self._idle, self._longest):
            if timer is not None and timer.active():
                timer.cancel()
        closed = self._owner.worker.run(self._file.close).addErrback(lambda failure: failure.trap(WorkerStopped))
        return closed.addCallback(lambda _: self._snapshot.close())

    def _begin_idling(self) -> None:
        self._idle = self._owner.clock.callLater(IDLE_SECONDS, self._owner.drop, self)


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
            backup.closed()


class Backups:
    """Makes and keeps them. `snapshot` makes one of the data, and `origin` says what it is of."""

    def __init__(
        self,
        snapshot: "Callable[[], Deferred[DataSnapshot]]",
        origin: Callable[[], Origin],
        worker: IWorker,
        clock: IReactorTime,
    ) -> None:
        self.worker = worker
        self.clock = clock
        self._snapshot = snapshot
        self._origin = origin
        self._kept: list[KeptBackup] = []
        """The one that was made first comes first."""
        self._being_made = 0
        self._stopping = False

    def make(self) -> "Deferred[KeptBackup]":
        """Everything that was applied before this call, and perhaps more.

        Fails with Overloaded where as many as may be are read or made, and with SnapshotFailed, where the disk is too
        full above all; with NotApplied where the node stops."""
        return Deferred.fromCoroutine(self._make())

    def kept(self, digest: str) -> KeptBackup | None:
        """The one with this SHA-256, if it is kept."""
        return next((each for each in self._kept if each.digest == digest), None)

    def drop(self, backup: KeptBackup) -> "Deferred[None]":
        """Keep it no longer."""
        self._kept.remove(backup)
        return backup.drop()

    def stop(self) -> "Deferred[None]":
        """Keep none any longer. Fires when their files are gone."""
        self._stopping = True
        return gatherResults([self.drop(each) for each in list(self._kept)]).addCallback(lambda _: None)

    async def _make(self) -> KeptBackup:
        room = self._make_room()
        self._being_made += 1
        try:
            if room is not None:
                await room
            snapshot = await self._snapshot()
            try:
                file, digest, size = await self.worker.run(self._finish, snapshot, self._origin())
            except BaseException:
                await snapshot.close()
                raise
        except WorkerStopped as error:
            raise NotApplied("this node stops; ask another node") from error
        finally:
            self._being_made -= 1
        backup = KeptBackup(self, snapshot, file, digest, size)
        self._kept.append(backup)
        if self._stopping:
            await self.drop(backup)
            raise NotApplied("this node stops; ask another node")
        return backup

    def _make_room(self) -> "Deferred[None] | None":
        """Raises Overloaded."""
        if len(self._kept) + self._being_made < MOST:
            return None
        unread = next((each for each in self._kept if not each.readers), None)
        if unread is None:
            raise Overloaded(
                f"{MOST} backups are being taken of this node, which is as many as may be; try again later"
            )
        return self.drop(unread)

    def _finish(self, snapshot: DataSnapshot, origin: Origin) -> tuple[FileIO, str, int]:
        """Make a backup of the snapshot: its file, open, its SHA-256 and its size. On the worker."""
        try:
            describe(snapshot.path, origin)
            file = FileIO(snapshot.path)
            try:
                digest = hashlib.sha256()
                while chunk := file.read(CHUNK_SIZE):
                    digest.update(chunk)
                    if self._stopping:
                        raise WorkerStopped("the node stops")
                return file, digest.hexdigest(), file.tell()
            except BaseException:
                file.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise SnapshotFailed(f"cannot make a backup at {snapshot.path}: {error}") from error


def _read(file: FileIO, offset: int, size: int) -> bytes:
    try:
        return os.pread(file.fileno(), size, offset)
    except OSError as error:
        raise SnapshotFailed(f"cannot read a backup: {error.strerror}") from error
