"""The follower's side of a snapshot's way to it: what is let in, and when it is removed again.

One transfer at a time, from the leader that this node follows: so those of two leaders are not mixed (hazard S10).
What is here of one stays until the state machine is as far, by it or by the log. So where a crash ends an install, the
next start goes on with it (`txraft.storage.snapshot_files` has the order of an install).
"""

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.core.configuration import Snapshot
from txraft.core.messages import NodeId
from txraft.errors import NotApplied, SnapshotFailed, WorkerStopped
from txraft.interfaces import ISnapshotFiles, SnapshotFile
from txraft.node.pending_requests import STOPPED, AppliedIndex


class SnapshotReceiving:
    """What one node receives."""

    log = Logger()

    def __init__(
        self,
        files: ISnapshotFiles,
        whole: Iterable[Snapshot],
        applied: AppliedIndex,
        followed: "Callable[[], tuple[int, NodeId | None]]",
        log_start: Callable[[], int],
    ) -> None:
        """`whole` are those that `files` had when it was opened. `followed` gives the current term and its leader, None
        where this node does not know it. `log_start` gives the last entry that the log does not
        have any more."""
        self._files = files
        self._applied = applied
        self._followed = followed
        self._log_start = log_start
        self._stopped = False
        self._sender: NodeId | None = None
        """Of the transfer that was begun last."""
        self._found = tuple(whole)
        self._whole = {(snapshot.index, snapshot.term): snapshot for snapshot in self._found}
        self._to_remove: set[int] = set()
        """Up to these indexes, something is to be removed when the state machine is as far."""

    def start(self) -> None:
        """Remove what is not needed, now or when it is not any more."""
        for snapshot in self._found:
            self._remove_in_time(snapshot)

    def stop(self) -> None:
        """Take nothing more."""
        self._stopped = True

    def has(self, snapshot: Snapshot) -> bool:
        """Whether its data are here, whole and durable."""
        return (snapshot.index, snapshot.term) in self._whole

    def offered(self, sender: NodeId, term: int, file: SnapshotFile) -> "Deferred[int]":
        """As IPeerHandler.snapshot_offered."""
        if self._stopped:
            return fail(NotApplied(STOPPED))
        current_term, leader = self._followed()
        if term != current_term or leader not in (None, sender):
            return fail(NotApplied(f"this node follows node {leader} in term {current_term}, not {sender} in {term}"))
        self._sender = sender
        if self._is_applied(file):
            return succeed(file.size)
        self._remove_overtaken(file.snapshot)
        self._remove_in_time(file.snapshot)
        return self._files.offered(file).addErrback(self._refused, sender)

    def received(self, sender: NodeId, file: SnapshotFile, offset: int, data: bytes) -> "Deferred[None]":
        """As IPeerHandler.snapshot_received."""
        if self._stopped or sender != self._sender:
            return self._not_taken(sender)
        return self._files.received(file, offset, data).addErrback(self._refused, sender)

    def finished(self, sender: NodeId, file: SnapshotFile) -> "Deferred[None]":
        """As IPeerHandler.snapshot_finished."""
        if self._stopped or sender != self._sender:
            return self._not_taken(sender)
        if self._is_applied(file):
            return succeed(None)
        return self._files.finished(file).addCallbacks(
            lambda _: self._is_whole(file), self._refused, errbackArgs=(sender,)
        )

    def _is_applied(self, file: SnapshotFile) -> bool:
        """Whether nothing of it is needed: the sender does not know yet how far this node is."""
        return file.snapshot.index <= self._applied.index

    def _not_taken(self, sender: NodeId) -> "Deferred[None]":
        taken = f"a snapshot of node {self._sender} has taken the place of node {sender}'s"
        return fail(NotApplied(STOPPED if self._stopped else taken))

    def _refused(self, failure: Failure, sender: NodeId) -> Failure:
        if failure.check(SnapshotFailed):  # what concerns the sender is in its own log
            self.log.warn(
                "this node cannot take the snapshot that node {sender} sends: {reason}",
                sender=sender,
                reason=failure.getErrorMessage(),
            )
        return failure

    def _is_whole(self, file: SnapshotFile) -> None:
        snapshot = file.snapshot
        if not self.has(snapshot):
            self.log.info(
                "node {sender} has sent a snapshot up to entry {index}, {size} bytes",
                sender=self._sender,
                index=snapshot.index,
                size=file.size,
            )
            self._whole[snapshot.index, snapshot.term] = snapshot

    def _remove_overtaken(self, offered: Snapshot) -> None:
        """Remove those that are older than one that is offered, unless one of them is being restored: the leader's log
        does not go on from them any more, so none of them will be installed."""
        older = [whole for whole in self._whole.values() if whole.index < offered.index]
        if older and self._log_start() <= self._applied.index:
            self._remove(max(older, key=lambda whole: whole.index)).addErrback(self._kept)

    def _remove_in_time(self, snapshot: Snapshot) -> None:
        """Remove it when the state machine is as far."""
        if snapshot.index not in self._to_remove:
            self._to_remove.add(snapshot.index)
            self._applied.reaches(snapshot.index).addCallback(lambda _: self._remove(snapshot)).addErrback(self._kept)

    def _remove(self, snapshot: Snapshot) -> "Deferred[None]":
        self._to_remove.discard(snapshot.index)
        self._whole = {key: whole for key, whole in self._whole.items() if whole.index > snapshot.index}
        return self._files.discard(snapshot)

    def _kept(self, failure: Failure) -> None:
        if failure.check(SnapshotFailed):
            self.log.warn("{reason}; the next start removes it", reason=failure.getErrorMessage())
        else:
            failure.trap(NotApplied, WorkerStopped)  # the node stops
