"""When the copy on disk is written: behind the state machine's back.

Changed keys collect in a dict until there are FLUSH_KEYS of them, or FLUSH_SECONDS have passed since the first. Then
all of them, and the index of the last change, go to the worker's thread as one batch, while the next ones collect. One
flush is under way at most. Nothing waits for a flush but `stop`.
"""

from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from txraft.errors import WriteFailed
from txraft.interfaces import IWorker
from txraft.kv.data_file import DataFile

FLUSH_KEYS = 500
FLUSH_SECONDS = 1.0


class OnFailure(Protocol):
    """Called once, with what ended the writing; the node is to end too."""

    def __call__(self, error: WriteFailed, /) -> object: ...


class WriteBehind:
    """Keeps the SQLite file at `path`. It is written on `worker`, which its owner stops once `stop` has fired."""

    def __init__(self, path: Path, worker: IWorker, clock: IReactorTime, on_failure: OnFailure) -> None:
        self._file = DataFile(path)
        self._worker = worker
        self._clock = clock
        self._on_failure = on_failure
        self._changes: dict[bytes, bytes | None] = {}
        self._index = 0
        self._timer: IDelayedCall | None = None  # set only while no flush is under way
        self._flush: Deferred[None] | None = None  # the one under way
        self._failed = False
        self._stopping = False

    def load(self) -> tuple[int, dict[bytes, bytes]]:
        """The applied index and the data as of it, from the file. Blocks, and leaves nothing open.

        Raises StorageError where the file cannot be used."""
        return self._file.load()

    def changed(self, index: int, key: bytes, value: bytes | None) -> None:
        """Entry `index` gave `key` this value, or removed it (None). Returns at once."""
        self._changes[key] = value
        self._index = index
        self._schedule()

    def stop(self) -> "Deferred[None]":
        """Write what is left and close the file. Fires when that is done, or has gone to `on_failure`."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        if self._flush is not None:
            await self._flush
        self._begin_flush()
        if self._flush is not None:
            await self._flush
        await self._worker.run(self._file.close)

    def _schedule(self) -> None:
        """Flush if there is enough; otherwise see to it that there will be a flush."""
        if self._flush is not None or self._failed or self._stopping:
            return
        if len(self._changes) >= FLUSH_KEYS:
            self._begin_flush()
        elif self._timer is None and self._changes:
            self._timer = self._clock.callLater(FLUSH_SECONDS, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._begin_flush()

    def _begin_flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._failed or not self._changes:
            return
        changes, self._changes = self._changes, {}
        self._flush = Deferred()
        self._worker.run(self._file.write, self._index, changes).addCallbacks(self._flushed, self._flush_failed)

    def _flushed(self, _: object) -> None:
        self._end_flush()
        self._schedule()

    def _flush_failed(self, failure: Failure) -> None:
        self._failed = True
        error = failure.value
        if not isinstance(error, WriteFailed):
            error = WriteFailed(f"cannot write the key-value data: {failure.getErrorMessage()}")
        self._end_flush()
        self._on_failure(error)

    def _end_flush(self) -> None:
        flush, self._flush = self._flush, None
        assert flush is not None
        flush.callback(None)
