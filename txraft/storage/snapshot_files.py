"""The snapshots in files of their own: `snapshots/` in the node's data directory.

    made                    made here, for followers that need what is compacted; gone a while after the last of them
                            had it, and after a restart
    receiving               on its way from another node; gone after a restart
    received-INDEX-TERM     whole: what the state machine is, or is to be, restored from

A snapshot is installed in an order that may be cut off between any two steps:

1. The file is written as `receiving`. Its size and SHA-256 are those that were offered; it is synced, gets the name of
   a whole one, and that name is synced. So a half one never has such a name (hazard S10).
2. One transaction of the log: it begins after the snapshot (`Save.log_start`).
3. The state machine is restored, durably.
4. The file is removed.

A start that finds the state machine behind `Stored.log_start` is between 2 and 4, and goes on with 3: the file of that
index and term is there. Any such file will do: what is applied up to an entry is the same on every node (State Machine
Safety). A start that does not is before 2, or 3 is done, and the files are left over.
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from zope.interface import implementer

from txraft.core.configuration import Snapshot
from txraft.errors import BadSnapshot, CorruptLog, SnapshotFailed
from txraft.interfaces import ISnapshotFiles, IWorker, SnapshotFile
from txraft.snapshot_writing import SnapshotWriting, require_room
from txraft.storage.directory import make_directory, unusable
from txraft.storage.snapshot_reading import header_of, read_chunks, read_header
from txraft.wal import sync_directory

RECEIVED = re.compile(r"received-([0-9]+)-([0-9]+)")


def name_of(snapshot: Snapshot) -> str:
    """Of the file of one that was received whole."""
    return f"received-{snapshot.index}-{snapshot.term}"


@define
class _Open:
    """A file whose content is, or is to be, `file`."""

    file: SnapshotFile
    writing: SnapshotWriting


@implementer(ISnapshotFiles)
class SnapshotFiles:
    """As ISnapshotFiles, in `directory`, which is the node's. `worker` is its owner's to stop, after `close`; it is not
    the one that writes the log, which would have to wait (hazard S11)."""

    def __init__(self, directory: Path, worker: IWorker) -> None:
        self._directory = directory / "snapshots"
        self._worker = worker
        # These belong to the worker's thread after `open`.
        self._made: _Open | None = None
        self._receiving: _Open | None = None

    def open(self) -> tuple[Snapshot, ...]:
        """As ISnapshotFiles."""
        make_directory(self._directory)
        try:
            for name in ("made", "made.new", "receiving"):
                (self._directory / name).unlink(missing_ok=True)
            return tuple(snapshot_in(path) for _, path in self._received())
        except OSError as error:
            raise unusable(self._directory, error) from error

    def make(self, snapshot: Snapshot, chunks: Iterable[bytes], size: int | None = None) -> "Deferred[SnapshotFile]":
        """As ISnapshotFiles."""
        return self._run("make", self._make, snapshot, chunks, size)

    def read(self, file: SnapshotFile, offset: int, size: int) -> "Deferred[bytes]":
        """As ISnapshotFiles."""
        return self._run("read", self._read, file, offset, size)

    def offered(self, file: SnapshotFile) -> "Deferred[int]":
        """As ISnapshotFiles."""
        return self._run("receive", self._offered, file)

    def received(self, file: SnapshotFile, offset: int, data: bytes) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self._run("receive", self._append, file, offset, data)

    def finished(self, file: SnapshotFile) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self._run("receive", self._finish, file)

    def chunks(self, snapshot: Snapshot) -> Iterable[bytes]:
        """As ISnapshotFiles."""
        return read_chunks(self._path_of(snapshot))

    def discard(self, snapshot: Snapshot) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self._run("remove", self._discard, snapshot)

    def discard_made(self) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self._run("remove", self._discard_made)

    def close(self) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self._run("close", self._close)

    # On the worker's thread

    def _run(self, verb: str, function: Callable[..., Any], *args: Any) -> "Deferred[Any]":
        return self._worker.run(partial(self._translate, verb, function, *args))

    def _translate(self, verb: str, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = "make room on the disk" if full else "the disk may be failing"
            raise SnapshotFailed(
                f"cannot {verb} a snapshot in {self._directory}: {error.strerror or error}; {advice}"
            ) from error

    def _make(self, snapshot: Snapshot, chunks: Iterable[bytes], size: int | None) -> SnapshotFile:
        require_room(self._directory, size or 0)
        writing = SnapshotWriting(self._directory / "made.new", expected=size)
        with _dropped_on(BaseException, writing.drop):
            for chunk in chunks:
                writing.write(chunk)
            writing.rename(self._directory / "made")
        if self._made is not None:
            self._made.writing.close()
        file = SnapshotFile(snapshot, writing.size, writing.checksum)
        self._made = _Open(file, writing)
        return file

    def _read(self, file: SnapshotFile, offset: int, size: int) -> bytes:
        if self._made is None or self._made.file != file:
            raise BadSnapshot(f"the snapshot up to entry {file.snapshot.index} is not here any more")
        return os.pread(self._made.writing.descriptor, size, offset)

    def _offered(self, file: SnapshotFile) -> int:
        if self._path_of(file.snapshot).exists():
            return file.size
        if self._receiving is None or self._receiving.file != file:
            self._drop()
            require_room(self._directory, 2 * file.size)  # it is written once more when it is restored
            writing = SnapshotWriting(self._directory / "receiving", header_of(file), file.size)
            self._receiving = _Open(file, writing)
        return self._receiving.writing.size

    def _append(self, file: SnapshotFile, offset: int, data: bytes) -> None:
        writing = self._writing_of(file)
        if offset != writing.size or offset + len(data) > file.size:
            raise BadSnapshot(
                f"{len(data)} bytes at {offset} of a snapshot of {file.size} bytes, of which {writing.size} are here"
            )
        with _dropped_on(OSError, self._drop):
            writing.write(data)

    def _finish(self, file: SnapshotFile) -> None:
        path = self._path_of(file.snapshot)
        if path.exists():
            return
        writing = self._writing_of(file)
        if writing.size != file.size:
            raise BadSnapshot(f"{writing.size} bytes are here of a snapshot of {file.size} bytes")
        with _dropped_on((OSError, BadSnapshot), self._drop):
            if writing.checksum != file.checksum:
                raise BadSnapshot(f"the snapshot up to entry {file.snapshot.index} arrived with another checksum")
            writing.sync()
            writing.rename(path)
            sync_directory(self._directory)
        writing.close()
        self._receiving = None

    def _writing_of(self, file: SnapshotFile) -> SnapshotWriting:
        if self._receiving is None or self._receiving.file != file:
            raise BadSnapshot(
                f"the snapshot up to entry {file.snapshot.index} was not offered, or another one after it"
            )
        return self._receiving.writing

    def _drop(self) -> None:
        """What is here of one that is not whole."""
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            receiving.writing.drop()

    def _path_of(self, snapshot: Snapshot) -> Path:
        return self._directory / name_of(snapshot)

    def _received(self) -> list[tuple[int, Path]]:
        """Those that are whole, with their indexes, the earliest first."""
        found = [(RECEIVED.fullmatch(path.name), path) for path in self._directory.iterdir()]
        return sorted((int(match[1]), path) for match, path in found if match)

    def _discard(self, snapshot: Snapshot) -> None:
        if self._receiving is not None and self._receiving.file.snapshot.index <= snapshot.index:
            self._drop()
        for index, path in self._received():
            if index <= snapshot.index:  # where a power cut brings it back, the next start finds it left over
                path.unlink(missing_ok=True)

    def _discard_made(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            made.writing.drop()

    def _close(self) -> None:
        for each in (self._made, self._receiving):
            if each is not None:
                each.writing.close()
        self._made = self._receiving = None


def snapshot_in(path: Path) -> Snapshot:
    """What a file of that name is. Raises OSError and CorruptLog."""
    snapshot = read_header(path).snapshot
    if path.name != name_of(snapshot):
        raise CorruptLog(f"{path} is not where it was: it is {name_of(snapshot)}; give it its name back")
    return snapshot


@contextmanager
def _dropped_on(
    errors: type[BaseException] | tuple[type[BaseException], ...], drop: Callable[[], None]
) -> Iterator[None]:
    """Where it fails so, what is written is removed, also to make room."""
    try:
        yield
    except errors:
        drop()
        raise
