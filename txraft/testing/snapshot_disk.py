"""Snapshots on a simulated disk: what is done with them takes time, and there may be no room."""

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import implementer

from txraft.core.configuration import Snapshot
from txraft.errors import SnapshotFailed
from txraft.interfaces import ISnapshotFiles, IWorker, SnapshotFile
from txraft.storage.memory_snapshots import MemorySnapshotFiles
from txraft.testing.disk import Disk


@implementer(ISnapshotFiles)
@frozen(eq=False)
class DiskSnapshots:
    """The `ISnapshotFiles` of one process on a disk. Only what is whole survives the process."""

    disk: Disk
    worker: IWorker
    on_change: Callable[[], None]
    """Called when something may have become whole, or has been removed."""
    watched: Callable[[Iterable[bytes]], Iterable[bytes]]
    """Sees to it where the data of a snapshot are read."""
    files: MemorySnapshotFiles

    def open(self) -> tuple[Snapshot, ...]:
        """As ISnapshotFiles."""
        return self.files.open()

    def make(self, snapshot: Snapshot, chunks: Iterable[bytes], size: int | None = None) -> "Deferred[SnapshotFile]":
        """As ISnapshotFiles."""
        return self.worker.run(self._write, self.files.make, snapshot, chunks, size)

    def read(self, file: SnapshotFile, offset: int, size: int) -> "Deferred[bytes]":
        """As ISnapshotFiles."""
        return self.worker.run(self.files.read, file, offset, size)

    def offered(self, file: SnapshotFile) -> "Deferred[int]":
        """As ISnapshotFiles."""
        return self.worker.run(self._write, self.files.offered, file)

    def received(self, file: SnapshotFile, offset: int, data: bytes) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self.worker.run(self._write, self.files.received, file, offset, data)

    def finished(self, file: SnapshotFile) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self.worker.run(self._write, self.files.finished, file)

    def chunks(self, snapshot: Snapshot) -> Iterable[bytes]:
        """As ISnapshotFiles."""
        return self.watched(self.files.chunks(snapshot))

    def discard(self, snapshot: Snapshot) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self.worker.run(self._write, self.files.discard, snapshot)

    def discard_made(self) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self.worker.run(self._write, self.files.discard_made)

    def close(self) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self.files.close()

    def _write(self, function: Callable[..., "Deferred[Any]"], *args: Any) -> "Deferred[Any]":
        if self.disk.has_no_room or self.disk.full:
            raise SnapshotFailed("there is no room on the simulated disk")
        done = function(*args)
        self.on_change()
        return done
