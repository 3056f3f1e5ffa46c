"""The data as a file of its own: how one is made of those of a running node, and how one is read to take their place.

A snapshot is an SQLite file with all that the data's own file has in it, so that the same checks can be made of it.
SQLite makes it in one statement, and needs the interpreter's lock at its ends only. Meanwhile the `-wal` of the data's
file is not begun again: it grows by what is written, and is cut back when it is begun again (`wal.KEPT_SIZE`).

What is here is under names that no start reads, and a start removes it.
"""

import errno
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from io import FileIO
from itertools import count
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft import wal
from txraft.errors import CorruptLog, SnapshotFailed, StorageError
from txraft.interfaces import ISnapshot, IWorker
from txraft.kv.contents import Contents
from txraft.kv.data_file import DataFile
from txraft.snapshot_writing import SnapshotWriting, require_room

CHUNK_SIZE = 1 << 18
"""Bytes."""

SNAPSHOT = "-snapshot-"
RESTORED = "-restored"
"""What the name of the data's file goes on with: with a number behind it, and without."""

REMEDY = (
    "restart the node that sent it, which checks its own data, and replace this one as the README says under"
    ' "A disk is lost"'
)
"""What to do where a snapshot is not whole."""

_log = Logger()


@implementer(ISnapshot)
class DataSnapshot:
    """The file at `path`, of `size` bytes, with what the entries up to `index` have done. `worker` removes it."""

    def __init__(self, path: Path, index: int, size: int, worker: IWorker) -> None:
        self.index = index
        self.size = size
        self.path = path
        self._worker = worker
        self._file: FileIO | None = None

    def chunks(self) -> Iterator[bytes]:
        """As ISnapshot. Blocks. Raises SnapshotFailed."""
        try:
            self._file = FileIO(self.path)
            while chunk := self._file.read(CHUNK_SIZE):
                yield chunk
        except OSError as error:
            raise SnapshotFailed(f"cannot read {self.path}: {error.strerror}; it is made again later") from error

    def close(self) -> "Deferred[None]":
        """Remove the file. Fires also where that fails: the next start does it."""
        return self._worker.run(self._remove).addErrback(self._not_removed)

    def _remove(self) -> None:
        if self._file is not None:  # it may have been read in part only, and an open file keeps its room on the disk
            self._file.close()
        self.path.unlink(missing_ok=True)

    def _not_removed(self, failure: Failure) -> None:
        _log.warn(
            "cannot remove {path}: {reason}; the next start does", path=self.path, reason=failure.getErrorMessage()
        )


class SnapshotMaker:
    """Makes snapshots of the file at `path`, which another connection has open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = count(1)
        self._connection: sqlite3.Connection | None = None
        self.interrupts = 0
        """How often `interrupt` was called."""

    def make(self, interrupts: int) -> tuple[Path, int, int]:
        """A new file, the applied index that is in it, and its bytes. Blocks; one call at a time. `interrupts` is what
        this had when the snapshot was asked for. There has to be room for it twice: it is copied to be sent.

        Raises SnapshotFailed: the disk is too full, or what `interrupt` does. Nothing is left then."""
        target = self._path.with_name(f"{self._path.name}{SNAPSHOT}{next(self._numbers)}")
        try:
            files = (self._path, Path(f"{self._path}-wal"))
            require_room(self._path.parent, 2 * sum(path.stat().st_size for path in files))
            # One that only reads: were it the last to close, SQLite would checkpoint, and swallow what goes wrong.
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                self._connection = connection
                if interrupts != self.interrupts:
                    raise SnapshotFailed(f"a snapshot of {self._path} is not needed any more")
                # The file is read once, and no start reads it. To sync all of it at once would hold up the log's saves
                # for half a second (hazard S11).
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute("VACUUM INTO ?", (str(target),))
            with closing(sqlite3.connect(target)) as connection:
                ((index,),) = connection.execute("SELECT last_applied FROM applied")
            size = target.stat().st_size
        except (sqlite3.Error, OSError) as error:
            with suppress(OSError):
                target.unlink(missing_ok=True)
            reason = error.strerror if isinstance(error, OSError) else error
            advice = "; make room on the disk" if _is_full(error) else ""
            raise SnapshotFailed(f"cannot make a snapshot of {self._path}: {reason}{advice}") from error
        finally:
            self._connection = None
        return target, index, size

    def interrupt(self) -> None:
        """End those that were asked for by now, as failures: the one that is being made too. From another thread."""
        self.interrupts += 1
        if (connection := self._connection) is not None:
            with suppress(sqlite3.ProgrammingError):  # it has just been closed
                connection.interrupt()


def read_aside(path: Path, cluster_id: str, index: int, chunks: Iterable[bytes]) -> tuple[DataFile, Contents]:
    """Write `chunks` beside the file at `path`, durably, and check them as that is checked at a start: a snapshot of
    this cluster with everything up to entry `index`. Gives the file, ready for `replace_with`, and the data. Blocks.

    Raises StorageError, CorruptLog above all, and what `chunks` raises. Nothing is left then."""
    aside = Path(f"{path}{RESTORED}")
    try:
        _write(aside, chunks)
        file = DataFile(aside, cluster_id, REMEDY)
        contents = file.load()
        if contents.last_applied != index:
            raise CorruptLog(f"{aside} is a snapshot of entry {contents.last_applied}, and not of {index}; {REMEDY}")
        file.prepare()
    except OSError as error:
        _remove(aside)
        reason = error.strerror or error
        raise StorageError(f"cannot write {aside}: {reason}; {wal.remedy_for_write(aside, error)}") from error
    except BaseException:
        _remove(aside)
        raise
    return file, contents


def remove_leftovers(path: Path) -> None:
    """Remove what a crash left beside the file at `path`. Raises StorageError."""
    try:
        for name in path.parent.iterdir():
            if name.name.startswith((f"{path.name}{SNAPSHOT}", f"{path.name}{RESTORED}")):
                name.unlink()
    except OSError as error:
        raise StorageError(f"cannot remove what a snapshot left in {path.parent}: {error}; remove it") from error


def _is_full(error: sqlite3.Error | OSError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL  # the module's own errors have none


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    require_room(path.parent, 0)
    with closing(SnapshotWriting(path)) as writing:
        for chunk in chunks:
            writing.write(chunk)
        writing.sync()


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
