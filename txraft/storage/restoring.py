"""Makes the directory of a new node, of a cluster that begins with data that are there already. Every call blocks.

The order, so that a crash anywhere leaves what no start takes for whole, and what is begun again: (1) a mark says that
the directory is being made; (2) the data, the caller's to make, have their name; (3) the log begins after them, in a
file that is whole when it has its name; (4) the mark goes. While it is there nothing but this has the directory: a
start is refused (`require_whole`), so whatever lies beside it is of no use to anybody.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from txraft.core.configuration import Configuration, Snapshot
from txraft.errors import StorageError
from txraft.file_names import LOG
from txraft.interfaces import Identity
from txraft.storage.directory import DirectoryLock, make_directory, unusable
from txraft.storage.raft_file import RaftFile
from txraft.wal import sync_directory

MARK = "restoring"
FIRST_TERM = 1
"""In which the data were written, as the new cluster has it."""


@contextmanager
def restoring(directory: Path) -> Iterator[None]:
    """While `directory` is being made: it is this process's, and empty at first, apart from the mark.

    Raises DirectoryLocked, and StorageError where there is anything in it that an earlier attempt has not left."""
    make_directory(directory)
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        _begin(directory)
        yield
        (directory / MARK).unlink()
        sync_directory(directory)
    except OSError as error:
        raise unusable(directory, error) from error
    finally:
        lock.release()


def begin_log(directory: Path, identity: Identity, index: int) -> None:
    """The log of a node whose data go up to entry `index`. The data are durable, and so are their names afterwards.

    Raises StorageError."""
    sync_directory(directory)
    start = Snapshot(index, FIRST_TERM, Configuration(identity.voters)) if index else None
    file = RaftFile(directory / LOG, identity, named=True)
    file.create(start, FIRST_TERM)
    file.load()


def require_whole(directory: Path) -> None:
    """Raises StorageError where `restoring` was cut off in `directory`."""
    if os.path.lexists(directory / MARK):
        raise StorageError(
            f"{directory} is only half made: `txraft restore` was cut off; run that again, with the same file, or"
            " remove the directory where no backup was to be restored"
        )


def _begin(directory: Path) -> None:
    there = {path.name for path in directory.iterdir()} - {"lock"}
    if there and MARK not in there:
        raise StorageError(
            f"{directory} is not empty, and nothing in it was changed: a backup becomes a new node in an empty"
            " directory; give another --data-dir"
        )
    (directory / MARK).touch()
    sync_directory(directory)
    for name in there - {MARK}:
        (directory / name).unlink()
