"""The file of a machine, as another node gets it."""

import os
from collections.abc import Iterator

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.errors import CorruptLog, SnapshotFailed, WorkerStopped
from txraft.interfaces import ISnapshot, IWorker
from txraft.memory_machine.state_file import Kept, StateFile, checked_blocks


@implementer(ISnapshot)
class StateSnapshot:
    """`kept` of `file`, which is open as `descriptor` and stays what it is though another takes its place. `worker`
    closes it."""

    def __init__(self, file: StateFile, kept: Kept, descriptor: int, worker: IWorker) -> None:
        self.index = kept.index
        self.size = kept.size
        self._file = file
        self._kept = kept
        self._descriptor = descriptor
        self._worker = worker

    def chunks(self) -> Iterator[bytes]:
        """As ISnapshot. Where the file is damaged by now, the next snapshot is of one that is written anew."""
        try:
            yield from checked_blocks(self._descriptor, self._file.path, "it is written anew")
        except (CorruptLog, OSError) as error:
            if self._file.kept is self._kept:
                self._file.kept = None
            raise SnapshotFailed(f"cannot read a snapshot: {error}") from error

    def close(self) -> "Deferred[None]":
        """As ISnapshot."""
        return self._worker.run(os.close, self._descriptor).addErrback(self._close_here)

    def _close_here(self, failure: Failure) -> None:
        failure.trap(WorkerStopped)
        os.close(self._descriptor)
