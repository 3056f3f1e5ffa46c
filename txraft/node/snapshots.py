"""A node's state machine, the snapshots of it, and what of the log they make superfluous, joined.

An install, in the order in which it may be cut off by a crash (`txraft.storage.snapshot_files`): the file is whole and
durable (`SnapshotReceiving`); the log starts after it, in one save of the core's; the state machine is restored
(`ApplyQueue`); the file is removed. The core is told of the snapshot only where the first has happened. The third waits
for the second: a snapshot goes into the queue when its save is durable. What was committed before it is in there by
then, and what follows on it comes later.
"""

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.core.configuration import Snapshot
from txraft.core.log import RaftLog
from txraft.core.messages import NodeId
from txraft.core.raft import Raft
from txraft.core.ready import Save
from txraft.interfaces import IPeers, ISnapshotFiles, IStateMachine
from txraft.node.apply_queue import ApplyQueue
from txraft.node.compaction import Compaction, Keep
from txraft.node.pending_requests import AppliedIndex, Proposals
from txraft.node.snapshot_receiving import SnapshotReceiving
from txraft.node.snapshot_sending import SnapshotSending


class Snapshots:
    """All of this of one node."""

    log = Logger()

    def __init__(
        self,
        *,
        raft: Raft,
        state_machine: IStateMachine,
        files: ISnapshotFiles,
        received: Iterable[Snapshot],
        keep: Keep,
        peers: IPeers,
        clock: IReactorTime,
        proposals: Proposals,
        tell: Callable[..., None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        """`raft` is only read; what it is to hear goes to `tell`, a method and its arguments. `received` is what
        `files.open()` gave. `on_failure` is called when the state machine fails."""
        self._raft = raft
        self._files = files
        self._clock = clock
        self._proposals = proposals
        self._tell = tell
        self.applied = AppliedIndex(state_machine.last_applied)
        self.to_apply = ApplyQueue(
            state_machine, clock, proposals.applied, self._applied, self._restores, self._restored, on_failure
        )
        self.sending = SnapshotSending(
            raft, state_machine, files, peers, clock, lambda: self.to_apply.installing, self._sent, on_failure
        )
        self.receiving = SnapshotReceiving(
            files, received, self.applied, self._followed, lambda: raft.log.snapshot_index
        )
        self._compaction = Compaction(
            keep,
            raft.log.snapshot_index,
            state_machine.persist,
            lambda index: tell(raft.compact, index),
            self.sending.needed_after,
            on_failure,
        )
        self._found(raft.log, state_machine.last_applied)

    def start(self) -> None:
        """Go on with an install that a crash has ended, and remove the files that are not needed."""
        self.receiving.start()
        if self.applied.index < self._raft.log.snapshot_index:
            self._install(self._raft.snapshot_at(self._raft.log.snapshot_index))

    def stop(self) -> None:
        """The node stops."""
        self.to_apply.stop()
        self.sending.stop()
        self.receiving.stop()
        self.applied.stop()

    def saved(self, save: Save) -> None:
        """A save that says where the log starts is durable. To be called before the core hears of it."""
        assert save.log_start is not None
        if save.replaces_log:
            self._install(save.log_start)
        self._compaction.saved(save.log_start.index)

    def can_install(self, sender: NodeId, snapshot: Snapshot) -> bool:
        """Whether the log may start after it: its data are here, or are not needed. Otherwise a line in the log says
        who asked for that."""
        if self.receiving.has(snapshot) or snapshot.index <= self._raft.view().commit_index:
            return True
        self.log.warn(
            "node {sender} says to install a snapshot up to entry {index}, which is not here; this node will be asked"
            " what it needs again",
            sender=sender,
            index=snapshot.index,
        )
        return False

    def _followed(self) -> tuple[int, NodeId | None]:
        view = self._raft.view()
        return view.current_term, view.leader_id

    def _found(self, log: RaftLog, last_applied: int) -> None:
        if log.first_index <= last_applied:
            self._compaction.found(log.between(log.first_index, last_applied))

    def _applied(self, index: int, size: int) -> None:
        """The state machine has come to `index`, by entries of so many bytes."""
        self._compaction.applied(index, size)
        self.applied.advance(index)

    def _install(self, snapshot: Snapshot) -> None:
        self.to_apply.install(snapshot, self._files.chunks(snapshot))

    def _restores(self, snapshot: Snapshot) -> None:
        """It is this one's turn."""
        self.log.info("this node restores its data from a snapshot up to entry {index}", index=snapshot.index)
        self._proposals.jumped_over(snapshot.index)

    def _restored(self, snapshot: Snapshot) -> None:
        """The state machine has it, and nothing else."""
        self.log.info("this node has restored its data up to entry {index}", index=snapshot.index)
        self.applied.advance(snapshot.index)

    def _sent(self, peer: NodeId, snapshot: Snapshot | None) -> None:
        """A follower has the data of a snapshot, or could not be sent any."""
        now = self._clock.seconds()
        if snapshot is None:
            self._tell(self._raft.snapshot_failed, peer, now)
        else:
            self._tell(self._raft.snapshot_delivered, peer, snapshot, now)
