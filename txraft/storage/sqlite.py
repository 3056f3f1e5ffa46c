"""The storage of a real node: `raft.sqlite` in the node's data directory, written on a worker's thread."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.core.messages import NodeId
from txraft.core.ready import Save
from txraft.errors import StorageError, WriteFailed
from txraft.file_names import LOG
from txraft.interfaces import Identity, Incarnation, IPeerMemory, IStorage, IWorker, Stored
from txraft.storage.bulk_checkpoint import BulkCheckpoint
from txraft.storage.directory import DirectoryLock, make_directory
from txraft.storage.half_made import require_whole
from txraft.storage.identity import Bootstrap
from txraft.storage.merging import merge
from txraft.storage.raft_file import Connect, RaftFile, connect

OnFailure: TypeAlias = Callable[[StorageError], object]


@implementer(IStorage, IPeerMemory)
class SQLiteStorage:
    """An `IStorage`, and an `IPeerMemory`, in `directory`, which is made where it does not exist. `worker` is its
    owner's to stop, after `close` has fired; others may use it too.

    `bootstrap` is what the directory becomes, where it is new; one that is not has to be that node's, and keeps its
    members. A cluster id that is on disk already counts and may differ, unless it was named. `lock` is the directory's,
    where it was taken before. `connect` is for tests.
    """

    def __init__(
        self,
        directory: Path,
        bootstrap: Bootstrap,
        worker: IWorker,
        connect: Connect = connect,
        lock: DirectoryLock | None = None,
    ) -> None:
        self._directory = directory
        self._file = RaftFile(directory / LOG, bootstrap, connect)
        self._lock = lock or DirectoryLock(directory)
        self._worker = worker
        # What is known of the peers, and what of that is durable.
        self._known: dict[NodeId, Incarnation] = {}
        self._durable: dict[NodeId, Incarnation] = {}
        # These two belong to the worker's thread, as does the file after `load`.
        self._opened = False
        self._ended: str | None = None
        # Checkpoints; these belong to the other worker.
        self._bulk = BulkCheckpoint(directory / LOG)
        self._bulk_worker: IWorker | None = None
        self._on_failure: OnFailure | None = None
        self._checkpoint: Deferred[None] | None = None  # the one under way
        self._closing = False  # which does the last one itself

    @property
    def identity(self) -> Identity:
        """After `load`: whose the directory is."""
        return self._file.identity

    @property
    def own(self) -> Incarnation:
        """After `count_start`, as IPeerMemory."""
        return self._file.history.incarnation

    def drawn_at(self, starts: int) -> bytes:
        """After `count_start`, as IPeerMemory."""
        return self._file.history.drawn_at(starts)

    def load(self) -> Stored:
        """Take the directory's lock, and read and check everything. Nothing is changed but in a directory that is new,
        so that a start may still be refused, and leave what is damaged as it was. Blocks. No connection is open
        afterwards, so the process may fork.

        Raises DirectoryLocked, WrongDirectory, CorruptLog, or StorageError where the directory cannot be used; the
        lock is then free again."""
        make_directory(self._directory)
        self._lock.acquire()
        try:
            require_whole(self._directory)
            stored = self._file.load()
        except BaseException:
            self._lock.release()
            raise
        self._known, self._durable = dict(self._file.peers), dict(self._file.peers)
        return stored

    def count_start(self) -> None:
        """After `load`: the node starts, and others may hear of it when this is done. Blocks, and leaves no connection
        open. Raises StorageError."""
        self._file.count_start()

    def unlock(self) -> None:
        """After `load`, in place of everything else: another may have the directory."""
        self._lock.release()

    def start(self, bulk_worker: IWorker, on_failure: OnFailure) -> None:
        """Open every file, in the process that will write it (hazard S19), and checkpoint them from now on (hazard
        S16): most of it on `bulk_worker`, while writes go on. `on_failure` is told what fails of all this, and the node
        is to end."""
        self._bulk_worker, self._on_failure = bulk_worker, on_failure
        opened = self._worker.run(self._open)
        # Then the other: the first to open a new file changes its journal mode, and locks everybody else out meanwhile.
        opened.addCallback(lambda _: bulk_worker.run(self._bulk.open)).addErrback(self._fail)

    def save(self, saves: Sequence[Save]) -> "Deferred[None]":
        """Write `saves` in one transaction; fires when it is durable. One call at a time.

        Fails with WriteFailed, and so does every later call: nothing is tried again (hazard S1). Fails with
        InvariantViolated, and writes nothing, where entries would leave a gap."""
        return self._worker.run(self._save, saves).addCallback(self._saved)

    def close(self) -> "Deferred[None]":
        """Finish the write that is under way, and let go of files and lock. Fails with WriteFailed; they are let go of
        all the same."""
        return Deferred.fromCoroutine(self._stop())

    def known(self, peer: NodeId) -> Incarnation | None:
        """As IPeerMemory."""
        return self._known.get(peer)

    def meet(self, peer: NodeId, incarnation: Incarnation) -> "Deferred[None]":
        """As IPeerMemory. Where it cannot be written, the node ends, as by any other write that fails."""
        self._known[peer] = incarnation
        if self._durable.get(peer) == incarnation:
            return succeed(None)
        return Deferred.fromCoroutine(self._keep(peer, incarnation))

    # On the reactor's thread

    async def _keep(self, peer: NodeId, incarnation: Incarnation) -> None:
        try:
            await self._worker.run(self._meet, peer, incarnation)
        except Exception:
            if not self._closing:
                self._fail(Failure())
            raise
        self._durable[peer] = incarnation

    def _saved(self, is_checkpoint_due: bool) -> None:
        is_wanted = is_checkpoint_due and self._checkpoint is None and not self._closing
        if is_wanted and self._bulk_worker is not None:
            self._checkpoint = Deferred.fromCoroutine(self._do_checkpoint(self._bulk_worker)).addErrback(self._fail)
            self._checkpoint.addCallback(self._checkpointed)

    async def _do_checkpoint(self, bulk_worker: IWorker) -> None:
        await bulk_worker.run(self._bulk.copy)
        await self._worker.run(self._copy_rest)

    def _checkpointed(self, _: object) -> None:
        self._checkpoint = None

    def _fail(self, failure: Failure) -> None:
        assert self._on_failure is not None
        self._ended = self._ended or failure.getErrorMessage()
        error = failure.value
        self._on_failure(error if isinstance(error, StorageError) else WriteFailed(self._ended))

    async def _stop(self) -> None:
        self._closing = True
        try:
            if self._checkpoint is not None:
                await self._checkpoint
            await self._worker.run(self._close)
        finally:
            if self._bulk_worker is not None:
                await self._bulk_worker.run(self._bulk.close)
            await self._worker.run(self._file.release)
            self._lock.release()

    # On the worker's

    def _open(self) -> None:
        """What `start` has done, or the first save does."""
        if not self._opened:
            self._lock.write_pid()  # the process may have forked since `load`
            self._file.open()
            self._opened = True

    def _save(self, saves: Sequence[Save]) -> bool:
        """Gives whether it is time for a checkpoint."""
        with self._ending():
            self._open()
            self._file.write(merge(saves))
        return self._file.is_checkpoint_due

    def _meet(self, peer: NodeId, incarnation: Incarnation) -> None:
        with self._ending():
            self._open()
            self._file.meet(peer, incarnation)

    def _copy_rest(self) -> None:
        with self._ending():
            self._file.checkpoint()

    def _close(self) -> None:
        failed, self._ended = self._ended is not None, self._ended or f"cannot write {self._directory}: it is closed"
        self._file.close(failed)

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """What fails in it is the last that is tried (hazard S1)."""
        if self._ended is not None:
            raise WriteFailed(self._ended)
        try:
            yield
        except StorageError as error:
            self._ended = str(error)
            raise
