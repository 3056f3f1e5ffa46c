"""The storage of a real node: `raft.sqlite` in the node's data directory, written on a worker's thread."""

from collections.abc import Sequence
from pathlib import Path

from twisted.internet.defer import Deferred
from zope.interface import implementer

from txraft.core.ready import Save
from txraft.errors import WriteFailed
from txraft.interfaces import Identity, IStorage, IWorker, Stored
from txraft.storage.directory import DirectoryLock, make_directory
from txraft.storage.merging import merge
from txraft.storage.raft_file import Connect, RaftFile, connect


@implementer(IStorage)
class SQLiteStorage:
    """An `IStorage` in `directory`, which is made where it does not exist. `worker` is its owner's to stop, after
    `close` has fired; others may use it too.

    `identity` is whose the directory becomes, where it is new; one that is not has to be that node's, with the same
    voters. A cluster id that is on disk already counts and may differ, unless it was `named`. `connect` is for tests.
    """

    def __init__(
        self, directory: Path, identity: Identity, named: bool, worker: IWorker, connect: Connect = connect
    ) -> None:
        self._directory = directory
        self._file = RaftFile(directory / "raft.sqlite", identity, named, connect)
        self._lock = DirectoryLock(directory)
        self._worker = worker
        # These two belong to the worker's thread, as does the file after `load`.
        self._wrote = False
        self._ended: str | None = None

    @property
    def identity(self) -> Identity:
        """After `load`: whose the directory is."""
        return self._file.identity

    def load(self) -> Stored:
        """Take the directory's lock, then read and check everything. Blocks. No connection is open afterwards, so the
        process may fork.

        Raises DirectoryLocked, WrongDirectory, CorruptLog, or StorageError where the directory cannot be used; the
        lock is then free again."""
        make_directory(self._directory)
        self._lock.acquire()
        try:
            return self._file.load()
        except BaseException:
            self._lock.release()
            raise

    def save(self, saves: Sequence[Save]) -> "Deferred[None]":
        """Write `saves` in one transaction; fires when it is durable. One call at a time.

        Fails with WriteFailed, and so does every later call: nothing is tried again (hazard S1). Fails with
        InvariantViolated, and writes nothing, where entries would leave a gap."""
        return self._worker.run(self._save, saves)

    def close(self) -> "Deferred[None]":
        """Finish the write that is under way, and let go of file and lock. Fails with WriteFailed."""
        return self._worker.run(self._close)

    def _save(self, saves: Sequence[Save]) -> None:
        if self._ended is not None:
            raise WriteFailed(self._ended)
        if not self._wrote:
            self._lock.write_pid()  # the process may have forked since `load`
            self._wrote = True
        try:
            self._file.write(merge(saves))
        except WriteFailed as error:
            self._ended = str(error)
            raise

    def _close(self) -> None:
        self._ended = self._ended or f"cannot write in {self._directory}: it has been closed"
        try:
            self._file.close()
        finally:
            self._lock.release()
