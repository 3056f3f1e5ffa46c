"""Makes the directory of a new node, of a cluster that begins with data that are there already. Every call blocks.

The order, so that a crash anywhere leaves what no start takes for whole, and what is begun again: (1) a mark says that
the directory is being made; (2) the data, the caller's to make, have their name; (3) the log begins after them, in a
file that is whole when it has its name; (4) the mark goes. A start without the log's file, beside the data's or the
mark, is refused (`RaftFile.load`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from txraft.core.configuration import Configuration, Snapshot
from txraft.errors import StorageError
from txraft.interfaces import Identity
from txraft.storage.directory import DirectoryLock, make_directory, unusable
from txraft.storage.raft_file import RaftFile
from txraft.wal import sync_directory

MARK = "kv.sqlite-restoring"
"""Its name is one that a start finds beside a log that is missing."""
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
    file = RaftFile(directory / "raft.sqlite", identity, named=True)
    file.create(start, FIRST_TERM)
    file.load()


def _begin(directory: Path) -> None:
    there = {path.name for path in directory.iterdir()} - {"lock"}
    if there and (MARK not in there or "raft.sqlite" in there):
        raise StorageError(
            f"{directory} is not empty, and nothing in it was changed: a backup becomes a new node in an empty"
            " directory; give another --data-dir"
        )
    (directory / MARK).touch()
    sync_directory(directory)
    for name in there - {MARK}:
        (directory / name).unlink()
