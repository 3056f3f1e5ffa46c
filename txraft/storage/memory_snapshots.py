"""The simple twin of `SnapshotFiles`: bytes in a dict. For tests and simulation."""

import hashlib
from collections.abc import Iterable, Iterator

from attrs import define, field
from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from txraft.core.configuration import Snapshot
from txraft.errors import BadSnapshot, CorruptLog
from txraft.interfaces import ISnapshotFiles, SnapshotFile


@define(eq=False)
class MemorySnapshotDisk:
    """What survives a restart: the snapshots that were received whole."""

    received: dict[Snapshot, bytes] = field(factory=dict)

    def of(self, snapshot: Snapshot) -> bytes | None:
        """The data of the one of this index and term."""
        key = (snapshot.index, snapshot.term)
        return next((data for each, data in self.received.items() if (each.index, each.term) == key), None)


@implementer(ISnapshotFiles)
@define(eq=False)
class MemorySnapshotFiles:
    """As ISnapshotFiles. Every Deferred has already fired. Anything else (slow, failing, full) is for a test to
    wrap."""

    disk: MemorySnapshotDisk = field(factory=MemorySnapshotDisk)
    _made: tuple[SnapshotFile, bytes] | None = None
    _receiving: tuple[SnapshotFile, bytes] | None = None

    def open(self) -> tuple[Snapshot, ...]:
        """As ISnapshotFiles."""
        return tuple(sorted(self.disk.received, key=lambda snapshot: snapshot.index))

    def make(self, snapshot: Snapshot, chunks: Iterable[bytes], size: int | None = None) -> "Deferred[SnapshotFile]":
        """As ISnapshotFiles."""
        return execute(self._make, snapshot, chunks, size)

    def read(self, file: SnapshotFile, offset: int, size: int) -> "Deferred[bytes]":
        """As ISnapshotFiles."""
        return execute(lambda: _data_of(file, self._made)[offset : offset + size])

    def offered(self, file: SnapshotFile) -> "Deferred[int]":
        """As ISnapshotFiles."""
        if self.disk.of(file.snapshot) is not None:
            return succeed(file.size)
        if self._receiving is None or self._receiving[0] != file:
            self._receiving = (file, b"")
        return succeed(len(self._receiving[1]))

    def received(self, file: SnapshotFile, offset: int, data: bytes) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return execute(self._append, file, offset, data)

    def finished(self, file: SnapshotFile) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return execute(self._finish, file)

    def chunks(self, snapshot: Snapshot) -> Iterator[bytes]:
        """As ISnapshotFiles."""
        data = self.disk.of(snapshot)
        if data is None:
            raise CorruptLog(f"the snapshot up to entry {snapshot.index} is missing")
        yield from (data[start : start + 1024] for start in range(0, len(data), 1024))

    def discard(self, snapshot: Snapshot) -> "Deferred[None]":
        """As ISnapshotFiles."""
        received = self.disk.received
        self.disk.received = {each: data for each, data in received.items() if each.index > snapshot.index}
        if self._receiving is not None and self._receiving[0].snapshot.index <= snapshot.index:
            self._receiving = None
        return succeed(None)

    def discard_made(self) -> "Deferred[None]":
        """As ISnapshotFiles."""
        self._made = None
        return succeed(None)

    def close(self) -> "Deferred[None]":
        """Nothing to do."""
        return succeed(None)

    def _make(self, snapshot: Snapshot, chunks: Iterable[bytes], size: int | None) -> SnapshotFile:
        data = b"".join(chunks)
        assert size in (None, len(data)), "a snapshot is as long as it says"
        file = SnapshotFile(snapshot, len(data), hashlib.sha256(data).digest())
        self._made = (file, data)
        return file

    def _append(self, file: SnapshotFile, offset: int, data: bytes) -> None:
        here = _data_of(file, self._receiving)
        if offset != len(here) or offset + len(data) > file.size:
            raise BadSnapshot(f"{len(data)} bytes at {offset}, where {len(here)} of {file.size} are here")
        self._receiving = (file, here + data)

    def _finish(self, file: SnapshotFile) -> None:
        if self.disk.of(file.snapshot) is not None:
            return
        data = _data_of(file, self._receiving)
        if len(data) != file.size:
            raise BadSnapshot(f"{len(data)} bytes are here of a snapshot of {file.size} bytes")
        self._receiving = None
        if hashlib.sha256(data).digest() != file.checksum:
            raise BadSnapshot(f"the snapshot up to entry {file.snapshot.index} arrived with another checksum")
        self.disk.received[file.snapshot] = data


def _data_of(file: SnapshotFile, here: tuple[SnapshotFile, bytes] | None) -> bytes:
    if here is None or here[0] != file:
        raise BadSnapshot(f"the snapshot up to entry {file.snapshot.index} is not here")
    return here[1]
