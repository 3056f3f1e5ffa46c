"""When the copy on disk is written: behind the state machine's back.

What each entry changed collects in a batch, which is full when it has FLUSH_KEYS keys or FLUSH_SIZE bytes, and ends
with an entry: none is torn between two batches (hazard S17). A batch is written, with the index of its last entry, when
it is full, or FLUSH_SECONDS after it was begun. It is written on the worker's thread, while the next ones collect; one
at a time. Nothing waits for that, unless WAITING_BATCHES wait for a disk that hangs.

What has been written may be lost in a power cut, until `persist` has made it durable. Snapshots are made, and read, on
a worker of their own, while batches are written and made durable.
"""

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from txraft.errors import StorageError, WorkerStopped, WriteFailed
from txraft.interfaces import IWorker
from txraft.kv.answers import KeptAnswer
from txraft.kv.contents import Changes, Contents, Delta
from txraft.kv.data_file import DataFile
from txraft.kv.data_snapshot import DataSnapshot, SnapshotMaker, read_aside, remove_leftovers

FLUSH_KEYS = 10_000
"""Neighbours share a page of the file, which is written once for all that changed on it: a change of one key of 20,000
takes 10 µs in batches of 10,000 and 41 in batches of 500, and a seventh of the bytes. etcd commits as many at once."""
FLUSH_SIZE = 8 << 20
FLUSH_SECONDS = 5.0
"""What a start after a crash applies again is what came in so many seconds, and in the two batches before them."""

WAITING_BATCHES = 8
"""So many may wait while one is written: 64 MiB of keys and values, or 80,000 changes."""


class OnFailure(Protocol):
    """Called once, with what ended the writing; the node is to end too."""

    def __call__(self, error: StorageError, /) -> object: ...


class WriteBehind:
    """Keeps the SQLite file at `path`, with data of the cluster `cluster_id`. It is written on `worker`, and snapshots
    are made and read on `snapshot_worker`. Their owner stops them once `stop` has fired."""

    def __init__(
        self,
        path: Path,
        cluster_id: str,
        worker: IWorker,
        snapshot_worker: IWorker,
        clock: IReactorTime,
        on_failure: OnFailure,
    ) -> None:
        self._path = path
        self._cluster_id = cluster_id
        self._file = DataFile(path, cluster_id)
        self._maker = SnapshotMaker(path)
        self._worker = worker
        self._snapshot_worker = snapshot_worker
        self._clock = clock
        self._on_failure = on_failure
        self._full: deque[Delta] = deque()
        self._batch = Delta()
        self._timer: IDelayedCall | None = None  # set only while no flush is under way
        self._flush: Deferred[None] | None = None  # the one under way
        self._taken = self._written = self._persisted = 0  # the last entry that came in, is in the file, is durable
        self._waiting: list[Deferred[None]] = []  # of `caught_up`
        self._alone = DeferredLock()  # of `persist`, `restore`, `stop`, and of `snapshot` until it is the worker's
        self._held = False  # no flush is to begin
        self._failure: StorageError | None = None
        self._stopping = False

    def load(self) -> Contents:
        """The data, from the file, to which nothing is written yet. Blocks, and leaves nothing open.

        Raises StorageError where the file cannot be used."""
        remove_leftovers(self._path)
        contents = self._file.load()
        self._taken = self._written = self._persisted = contents.last_applied
        return contents

    def prepare(self) -> None:
        """After `load`, and before `start`: as `DataFile.prepare`. Blocks, and leaves nothing open.

        Raises StorageError where the file cannot be written."""
        self._file.prepare()

    def start(self) -> None:
        """Open the file, in the process that will write it. Called once, before `applied`."""
        self._worker.run(self._file.open).addErrback(self._fail)

    def applied(self, index: int, revision: int, changes: Changes, kept: KeptAnswer | None = None) -> None:
        """Entry `index` gave these keys these records, and removed those whose record is None; the store has this
        revision then; and this answer is kept. Called for every entry, in their order, also for those that change
        nothing. Returns at once."""
        self._taken = index
        batch = self._batch
        batch.add(index, revision, changes, kept)
        if batch.count >= FLUSH_KEYS or batch.size >= FLUSH_SIZE:
            self._full.append(batch)
            self._batch = Delta()
        self._schedule()

    @property
    def is_behind(self) -> bool:
        """Whether the disk is so slow that nothing is to be applied before `caught_up` has fired."""
        return len(self._full) > WAITING_BATCHES

    def caught_up(self) -> "Deferred[None]":
        """Fires when the disk is not behind any more; fails with what ended the writing."""
        caught_up: Deferred[None] = Deferred()
        self._waiting.append(caught_up)
        self._tell_waiting()
        return caught_up

    def persist(self) -> "Deferred[int]":
        """Write what came in before this call, and sync it. Fires with the index of the last entry that is durable.

        Fails with WriteFailed, or with WorkerStopped after `stop`."""
        return self._alone.run(self._persist)

    def snapshot(self) -> "Deferred[DataSnapshot]":
        """What came in before this call, and perhaps more, in a file of its own. May be called while another is under
        way, which IStateMachine does not ask for: a backup, and one for a peer. They are made one after the other.

        Fails with SnapshotFailed, upon which all goes on, also where `restore` or `stop` is called meanwhile; with
        WriteFailed; or with WorkerStopped after `stop`."""
        return Deferred.fromCoroutine(self._snapshot(self._maker.interrupts))

    def restore(self, index: int, chunks: Iterable[bytes]) -> "Deferred[Contents]":
        """The data of a snapshot, with everything up to entry `index`, take the place of all that came in. Fires with
        them when that is durable. Nothing comes in meanwhile. `chunks` are read on the snapshots' worker.

        Fails with StorageError, CorruptLog above all, where they are not such a snapshot, and with what they raise: the
        data are untouched then. Fails with WriteFailed, or with WorkerStopped after `stop`."""
        self._maker.interrupt()
        return self._alone.run(self._restore, index, chunks)

    def release(self, contents: Contents) -> None:
        """Free the memory of data that are of no use any more: a million keys at once would keep every thread waiting
        for a tenth of a second."""
        self._snapshot_worker.run(contents.empty).addErrback(lambda failure: failure.trap(WorkerStopped))

    def stop(self) -> "Deferred[None]":
        """Write what is left and close the file. Fires when that is done, or has gone to `on_failure`."""
        self._maker.interrupt()
        return self._alone.run(self._stop)

    # What happens one at a time

    async def _persist(self) -> int:
        await self._flush_all()
        if self._persisted < self._written:
            self._persisted = await self._worker.run(self._file.persist).addErrback(self._fail_with)
        return self._persisted

    async def _snapshot(self, interrupts: int) -> DataSnapshot:
        made: Deferred[tuple[Path, int, int]] = Deferred()

        async def begin() -> None:
            await self._flush_all()
            self._snapshot_worker.run(self._maker.make, interrupts).chainDeferred(made)

        await self._alone.run(begin)
        path, index, size = await made
        return DataSnapshot(path, index, size, self._snapshot_worker)

    async def _restore(self, index: int, chunks: Iterable[bytes]) -> Contents:
        self._require_open()
        file: DataFile
        contents: Contents
        file, contents = await self._snapshot_worker.run(read_aside, self._path, self._cluster_id, index, chunks)
        self._held = True
        if self._flush is not None:
            await self._flush
        self._require_open()
        await self._worker.run(self._file.replace_with, file).addErrback(self._fail_with)
        self._full.clear()
        self._batch = Delta()
        self._taken = self._written = self._persisted = index
        self._held = False
        return contents

    async def _stop(self) -> None:
        with suppress(StorageError, WorkerStopped):  # told already, or stopped before
            await self._flush_all()
        self._stopping = True
        self._stop_timer()
        with suppress(WorkerStopped):  # a snapshot that is being made has the file open
            await self._snapshot_worker.run(lambda: None)
        await self._worker.run(self._file.close).addErrback(self._fail)

    async def _flush_all(self) -> None:
        """Write everything that came in before this call."""
        last = self._taken
        self._require_open()
        self._begin_flush()
        while self._flush is not None and self._written < last:
            await self._flush
            self._require_open()
            self._begin_flush()

    def _require_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._stopping:
            raise WorkerStopped("the key-value data have been closed")

    # Flushes

    def _schedule(self) -> None:
        """Flush if there is enough; otherwise see to it that there will be a flush."""
        if self._flush is not None or self._held or self._failure is not None or self._stopping:
            return
        if self._full:
            self._begin_flush()
        elif self._timer is None and self._batch.index:
            self._timer = self._clock.callLater(FLUSH_SECONDS, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._begin_flush()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_flush(self) -> None:
        """Write the oldest batch, if there is one and no other is being written."""
        self._stop_timer()
        if self._flush is not None or self._held or self._failure is not None:
            return
        if not self._full and self._batch.index:
            self._full.append(self._batch)
            self._batch = Delta()
        if self._full:
            batch = self._full.popleft()
            written = self._worker.run(self._file.write, batch)
            self._flush = Deferred()
            written.addCallback(lambda _: self._wrote(batch.index)).addErrback(self._fail).addCallback(self._flushed)

    def _wrote(self, index: int) -> None:
        self._written = index

    def _flushed(self, _: object) -> None:
        flush, self._flush = self._flush, None
        assert flush is not None
        flush.callback(None)
        self._schedule()
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        """Let those go on who wait for the disk to catch up, if it has, or never will."""
        if self._waiting and (self._failure is not None or not self.is_behind):
            waiting, self._waiting = self._waiting, []
            for caught_up in waiting:
                if self._failure is not None:
                    caught_up.errback(self._failure)
                else:
                    caught_up.callback(None)

    def _fail(self, failure: Failure) -> None:
        """Write nothing any more, and say so once."""
        error = failure.value
        if not isinstance(error, StorageError):
            error = WriteFailed(f"cannot write the key-value data: {failure.getErrorMessage()}")
        if self._failure is None:
            self._failure = error
            self._tell_waiting()
            self._on_failure(error)

    def _fail_with(self, failure: Failure) -> NoReturn:
        """`_fail`, where somebody waits for the outcome."""
        self._fail(failure)
        assert self._failure is not None
        raise self._failure
