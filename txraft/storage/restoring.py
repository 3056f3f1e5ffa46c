"""Makes the directory of a new node, of a cluster that begins with data that are there already. Every call blocks.

The order, so that a crash anywhere leaves what no start takes for whole, and what is begun again: (1) a mark says that
the directory is being made, and a directory that is new has it from the first moment: it gets its name with the mark in
it; (2) the data, the caller's to make, have their name; (3) the log begins after them, in a file that is whole when it
has its name; (4) the mark goes. While it is there nothing but this has the directory: a start is refused
(`require_whole`), so whatever lies beside it is of no use to anybody.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from txraft.core.configuration import Snapshot
from txraft.errors import StorageError
from txraft.file_names import LOG
from txraft.storage.directory import DirectoryLock, make_directory, unusable
from txraft.storage.half_made import RESTORING, aside_of
from txraft.storage.identity import Bootstrap
from txraft.storage.raft_file import RaftFile
from txraft.wal import sync_directory

FIRST_TERM = 1
"""In which the data were written, as the new cluster has it."""


@contextmanager
def restoring(directory: Path) -> Iterator[None]:
    """While `directory` is being made: it is this process's, and empty at first, apart from the mark. Where that fails,
    the mark alone is left.

    Raises DirectoryLocked, and StorageError where there is anything in it that an earlier attempt has not left."""
    try:
        _make_with_mark(directory)
        lock = DirectoryLock(directory)
        lock.acquire()
    except OSError as error:
        raise unusable(directory, error) from error
    try:
        _begin(directory)
        try:
            yield
        except Exception:
            with suppress(OSError):
                _clear(directory)  # it is of no use, and may be large
            raise
        (directory / RESTORING).unlink()
        sync_directory(directory)
    except OSError as error:
        raise unusable(directory, error) from error
    finally:
        lock.release()


def begin_log(directory: Path, bootstrap: Bootstrap, index: int) -> None:
    """The log of a node whose data go up to entry `index`. The data are durable, and so are their names afterwards.

    Raises StorageError."""
    sync_directory(directory)
    file = RaftFile(directory / LOG, bootstrap)
    file.create(Snapshot(index, FIRST_TERM if index else 0, bootstrap.configuration), FIRST_TERM)
    file.load()


def _make_with_mark(directory: Path) -> None:
    """Where there is no `directory`, make it, and its parents, so that it is never there without the mark."""
    if os.path.lexists(directory):
        return
    make_directory(directory.parent)
    aside = aside_of(directory)
    aside.mkdir(mode=0o700, exist_ok=True)
    _require_empty(aside)
    (aside / RESTORING).touch()
    sync_directory(aside)
    aside.rename(directory)
    sync_directory(directory.parent)


def _require_empty(directory: Path) -> None:
    """Raises StorageError where it has anything that is not of an earlier attempt."""
    there = {path.name for path in directory.iterdir()} - {"lock"}
    if there and RESTORING not in there:
        raise StorageError(
            f"{directory} is not empty, and nothing in it was changed: a backup becomes a new node in an empty"
            " directory; give another --data-dir"
        )


def _begin(directory: Path) -> None:
    _require_empty(directory)
    (directory / RESTORING).touch()
    sync_directory(directory)
    _clear(directory)
    aside = aside_of(directory)
    if aside.is_dir():  # of one that was cut off, after which somebody has made the directory
        (aside / RESTORING).unlink(missing_ok=True)
        aside.rmdir()


def _clear(directory: Path) -> None:
    """Remove everything but the mark, and the lock, which is taken."""
    for path in directory.iterdir():
        if path.name not in (RESTORING, "lock"):
            path.unlink()
