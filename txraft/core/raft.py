"""One server: inputs in, `Ready` out. What each input means is in the modules that it is handed to."""

from collections.abc import Mapping, Sequence
from random import Random

from txraft.core import follower
from txraft.core.changes import Change
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.elections import Elections
from txraft.core.invariants import View
from txraft.core.leader import Leader
from txraft.core.log import RaftLog
from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    NodeId,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from txraft.core.progress import Progress
from txraft.core.ready import Ready, Save, TermAndVote
from txraft.core.roles import Role
from txraft.core.state import RaftOptions, State
from txraft.core.terms import admit
from txraft.errors import DataLost, NotLeader


class Raft:
    """One server's consensus state. `now` is in seconds, and only differences matter.

    A clock that jumps costs time, for an election too many or too late, and never safety: no answer depends on it
    (hazard C3).
    """

    def __init__(
        self,
        *,
        node_id: NodeId,
        log: RaftLog,
        term_and_vote: TermAndVote,
        last_applied: int,
        options: RaftOptions,
        random: Random,
        now: float,
    ) -> None:
        """A server as it starts, with what its disk has.

        `last_applied` is the last entry that the state machine's own data includes; being applied, it is committed.
        Raises DataLost where entries are missing between it and the log (hazard S18), or the log ends before it. So a
        snapshot that was not restored before a crash is restored before this.
        """
        if last_applied < log.snapshot_index:
            raise DataLost(
                f"the state machine has applied entry {last_applied}, but the log starts at {log.first_index}: what"
                " lies between is in neither"
            )
        if last_applied > log.last_index:
            raise DataLost(
                f"the state machine has applied entry {last_applied}, but the log ends at {log.last_index}: it has lost"
                " entries"
            )
        self._state = State(
            node_id=node_id,
            options=options,
            random=random,
            log=log,
            durable=term_and_vote,
            commit_index=last_applied,
            last_applied=last_applied,
        )
        self._elections = Elections(self._state, now)
        self._leader: Leader | None = None
        """Where this server leads."""

    # Inputs

    def receive(self, sender: NodeId, message: Message, now: float) -> bool:
        """A message arrived from a peer. Whether `ready` may have anything to give because of it."""
        admitted = admit(self._state, self._elections, sender, message, now)
        self._leave_leadership_if_lost()  # before the message is handled: it is none of an ended leadership's business
        return not admitted or self._handle(sender, message, now)

    def election_timeout(self, now: float) -> None:
        """The election timer fired: `election_deadline` has passed."""
        self._elections.time_out(now)

    def heartbeat_timeout(self, now: float) -> None:
        """The heartbeat timer fired. A leader that is out of contact with a majority steps down (CheckQuorum), and one
        whose disk hangs hands over (hazard S12).
        """
        if self._leader is not None and not self._leader.beat(now):
            self._elections.step_down(self._state.current_term, now)
            self._leave_leadership_if_lost()

    def propose(self, data: bytes) -> Entry:
        """Append a command to the leader's log. It took effect when the entry given back is committed: that very one,
        of that index and that term (hazard C6).

        Raises NotLeader, Overloaded, CommandTooLong or TransferUnderWay; then it never takes effect.
        """
        return self._lead_or_refuse().propose(data)

    def change_members(self, changes: Sequence[Change], now: float) -> Entry:
        """Change the membership, as the leader (§6). It is in force when the entry given back is in the log, and done
        when that is committed, and a joint configuration left. A voter that is to be added joins as a learner first,
        and is promoted by itself (hazard M8).

        Raises NotLeader; ChangeUnderWay (hazard M1); ChangeRefused, also where too few of the voters that there would
        be are in contact (hazard M9); or TransferUnderWay. Then nothing has changed."""
        return self._lead_or_refuse().change_members(changes, now)

    def transfer_leadership(self, target: NodeId, now: float) -> None:
        """Hand leadership to `target`, another voter (thesis §3.10). Until it leads, or the first heartbeat after an
        election timeout, nothing can be proposed (hazard C4).

        Raises NotLeader; TransferUnderWay, where another transfer has not ended; NoSuchVoter; TargetSilent;
        TargetLostData.
        """
        self._lead_or_refuse().transfer_leadership(target, now)

    def read(self, read_id: int) -> None:
        """Ask from which index on a linearizable read may be answered: `Ready.reads` or `Ready.lost_reads` will say.

        `read_id` is the caller's, and unique. Raises NotLeader.
        """
        self._lead_or_refuse().reads.add(read_id)

    def forget_read(self, read_id: int) -> None:
        """Nobody waits for this read any more. It may be answered all the same."""
        if self._leader is not None:
            self._leader.reads.forget(read_id)

    def saved(self, save: Save, now: float) -> bool:
        """What `Ready.save` asked for is durable. Reported for every save, in the order in which they came. Whether
        `ready` may have anything to give because of it."""
        state = self._state
        state.saved(save, now)
        wins = save.term_and_vote is not None and self._elections.on_vote_durable(now)
        if wins:
            self._lead(now)
        if self._leader is not None:
            self._leader.replication.advance_commit_index(state.log.durable_index)
        return wins or state.applicable_index > state.last_applied

    def compact(self, index: int) -> None:
        """Forget the log up to `index`, which the state machine has applied and has on its disk; the next save says so
        to the log's. Does nothing where that is done.
        """
        self._state.compact(index)

    def snapshot_delivered(self, peer: NodeId, snapshot: Snapshot, now: float) -> None:
        """A peer of `Ready.snapshots_to_send` has the data of this snapshot on its disk, whole and checked."""
        if self._leader is not None:
            self._leader.replication.snapshot_ended(peer, snapshot, now)

    def snapshot_failed(self, peer: NodeId, now: float) -> None:
        """A peer of `Ready.snapshots_to_send` could not be sent it all. If it still needs it, `Ready` says so again, a
        heartbeat interval later at the earliest."""
        if self._leader is not None:
            self._leader.replication.snapshot_ended(peer, None, now)

    def peer_connected(self, peer: NodeId, now: float) -> None:
        """A new connection to a peer has opened; what was sent on an older one may be lost."""
        self._elections.peer_connected(now)
        if self._leader is not None:
            self._leader.replication.peer_connected(peer)

    def peer_lost(self, peer: NodeId, now: float) -> None:
        """The last connection to a peer has closed."""
        self._elections.leader_lost(peer, now)

    # Outputs

    def ready(self, now: float) -> Ready:
        """Take everything that is to be done after the inputs so far, in one value."""
        if self._leader is not None:
            self._leader.send(now)
        return self._state.take_ready(now)

    def successor(self, now: float) -> NodeId | None:
        """Who should lead next, if this server leads: the voter in contact that is furthest ahead."""
        return self._leader.successor(now) if self._leader is not None else None

    @property
    def election_deadline(self) -> float | None:
        """When to call `election_timeout`; None while leading, when `heartbeat_timeout` is called instead."""
        return None if self._state.role is Role.LEADER else self._elections.deadline

    def view(self) -> View:
        """Where this server stands."""
        state, log, leader = self._state, self._state.log, self._leader
        transfer = leader.transfer if leader is not None else None
        return View(
            node_id=state.node_id,
            role=state.role,
            current_term=state.current_term,
            voted_for=state.voted_for,
            leader_id=state.leader_id,
            commit_index=state.commit_index,
            last_applied=state.last_applied,
            durable_index=log.durable_index,
            first_index=log.first_index,
            last_index=log.last_index,
            last_term=log.last_term,
            transfer_target=transfer.target if transfer is not None else None,
            is_overtaken=leader is not None and leader.is_overtaken,
        )

    def snapshot_at(self, index: int) -> Snapshot:
        """What a snapshot of everything up to `index`, which is applied, stands for. Raises Compacted below the log's
        start."""
        return self._state.log.snapshot_at(index)

    @property
    def log(self) -> RaftLog:
        """The log, to be read only."""
        return self._state.log

    @property
    def followers(self) -> Mapping[NodeId, Progress]:
        """What this server knows of each other member while it leads, to be read only. Empty otherwise."""
        return self._leader.replication.progress if self._leader is not None else {}

    @property
    def configuration(self) -> Configuration:
        """The membership in force."""
        return self._state.configuration

    @property
    def configuration_index(self) -> int:
        """The entry that it is from; the log's start where that entry is compacted."""
        return self._state.log.membership.index

    # Inside

    def _handle(self, sender: NodeId, message: Message, now: float) -> bool:
        """Whether anything may be due now. Only of the commonest message, an acknowledgement, is it found out."""
        state, leader = self._state, self._leader
        match message:
            case AppendEntries():
                self._elections.leader_heard(sender, now)
                follower.on_append_entries(state, sender, message)
            case Heartbeat():
                self._elections.leader_heard(sender, now)
                follower.on_heartbeat(state, sender, message)
            case InstallSnapshot():
                self._elections.leader_heard(sender, now)
                follower.on_install_snapshot(state, sender, message)
            case RequestVote():
                self._elections.on_request(sender, message, now)
            case RequestVoteReply():
                if self._elections.on_reply(sender, message, now):
                    self._lead(now)
            case TimeoutNow():
                self._elections.campaign(now, leadership_transfer=True)
            case AppendEntriesReply() if leader is not None:
                return leader.on_append_entries_reply(sender, message, now)
            case HeartbeatReply() if leader is not None:
                leader.on_heartbeat_reply(sender, message, now)
        return True

    def _lead(self, now: float) -> None:
        """An election is won."""
        self._state.change_role(Role.LEADER)
        self._state.leader_id = self._state.node_id
        self._leader = Leader(self._state, now)

    def _leave_leadership_if_lost(self) -> None:
        if self._leader is not None and self._state.role is not Role.LEADER:
            self._leader.reads.give_up()
            self._state.snapshots_to_send.clear()
            self._leader = None

    def _lead_or_refuse(self) -> Leader:
        if self._leader is None:
            raise NotLeader(self._state.leader_id)
        return self._leader
