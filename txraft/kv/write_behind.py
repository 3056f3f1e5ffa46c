"""When the copy on disk is written: behind the state machine's back.

What each entry changed collects in a batch, which is full when it has FLUSH_KEYS keys or FLUSH_SIZE bytes, and ends
with an entry: none is torn between two batches (hazard S17). A batch is written, with the index of its last entry, when
it is full, or FLUSH_SECONDS after it was begun. It is written on the worker's thread, while the next ones collect; one
at a time. Nothing waits for that but `stop`.
"""

from collections import deque
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from txraft.errors import StorageError, WriteFailed
from txraft.interfaces import IWorker
from txraft.kv.answers import KeptAnswer
from txraft.kv.contents import Changes, Contents, Delta
from txraft.kv.data_file import DataFile

FLUSH_KEYS = 10_000
"""Neighbours share a page of the file, which is written once for all that changed on it: a change of one key of 20,000
takes 10 µs in batches of 10,000 and 41 in batches of 500, and a seventh of the bytes. etcd commits as many at once."""
FLUSH_SIZE = 8 << 20
FLUSH_SECONDS = 5.0
"""What a start after a crash applies again is what came in so many seconds, and in the two batches before them."""


class OnFailure(Protocol):
    """Called once, with what ended the writing; the node is to end too."""

    def __call__(self, error: StorageError, /) -> object: ...


class WriteBehind:
    """Keeps the SQLite file at `path`, with data of the cluster `cluster_id`. It is written on `worker`, which its
    owner stops once `stop` has fired."""

    def __init__(
        self, path: Path, cluster_id: str, worker: IWorker, clock: IReactorTime, on_failure: OnFailure
    ) -> None:
        self._file = DataFile(path, cluster_id)
        self._worker = worker
        self._clock = clock
        self._on_failure = on_failure
        self._full: deque[Delta] = deque()
        self._batch = Delta()
        self._timer: IDelayedCall | None = None  # set only while no flush is under way
        self._flush: Deferred[None] | None = None  # the one under way
        self._failed = False
        self._stopping = False

    def load(self) -> Contents:
        """The data, from the file. Blocks, and leaves nothing open.

        Raises StorageError where the file cannot be used."""
        return self._file.load()

    def start(self) -> None:
        """Open the file, in the process that will write it. Called once, before `applied`."""
        self._worker.run(self._file.open).addErrback(self._fail)

    def applied(self, index: int, revision: int, changes: Changes, kept: KeptAnswer | None = None) -> None:
        """Entry `index` gave these keys these records, and removed those whose record is None; the store has this
        revision then; and this answer is kept. Called for every entry, in their order, also for those that change
        nothing. Returns at once."""
        batch = self._batch
        batch.add(index, revision, changes, kept)
        if batch.count >= FLUSH_KEYS or batch.size >= FLUSH_SIZE:
            self._full.append(batch)
            self._batch = Delta()
        self._schedule()

    def stop(self) -> "Deferred[None]":
        """Write what is left and close the file. Fires when that is done, or has gone to `on_failure`."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        self._begin_flush()
        while self._flush is not None:
            await self._flush
            self._begin_flush()
        await self._worker.run(self._file.close).addErrback(self._fail)

    def _schedule(self) -> None:
        """Flush if there is enough; otherwise see to it that there will be a flush."""
        if self._flush is not None or self._failed or self._stopping:
            return
        if self._full:
            self._begin_flush()
        elif self._timer is None and self._batch.index:
            self._timer = self._clock.callLater(FLUSH_SECONDS, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._begin_flush()

    def _begin_flush(self) -> None:
        """Write the oldest batch, if there is one and no other is being written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flush is not None or self._failed:
            return
        if not self._full and self._batch.index:
            self._full.append(self._batch)
            self._batch = Delta()
        if self._full:
            batch = self._full.popleft()
            written = self._worker.run(self._file.write, batch)
            self._flush = Deferred()
            written.addErrback(self._fail).addCallback(self._flushed)

    def _flushed(self, _: object) -> None:
        flush, self._flush = self._flush, None
        assert flush is not None
        flush.callback(None)
        self._schedule()

    def _fail(self, failure: Failure) -> None:
        """Write nothing any more, and say so once."""
        error = failure.value
        if not isinstance(error, StorageError):
            error = WriteFailed(f"cannot write the key-value data: {failure.getErrorMessage()}")
        if not self._failed:
            self._failed = True
            self._on_failure(error)
