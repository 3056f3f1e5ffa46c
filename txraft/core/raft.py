"""One server: inputs in, `Ready` out. What each input means is in the modules that it is handed to."""

from random import Random

from txraft.core import follower
from txraft.core.configuration import Configuration
from txraft.core.elections import Elections
from txraft.core.invariants import View
from txraft.core.log import RaftLog
from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    Message,
    NodeId,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from txraft.core.reads import Reads
from txraft.core.ready import Ready, Save, TermAndVote
from txraft.core.replication import Replication
from txraft.core.roles import Role
from txraft.core.state import RaftOptions, State
from txraft.core.terms import admit, step_down
from txraft.core.transfer import Transfer
from txraft.errors import InvariantViolated, NoSuchVoter, NotLeader, TargetSilent, TransferUnderWay


class _Leadership:
    """What a server has only while it leads."""

    def __init__(self, state: State, now: float) -> None:
        self.replication = Replication(state, now)
        self.reads = Reads(state)
        self.transfer: Transfer | None = None


class Raft:
    """One server's consensus state. `now` is in seconds, and only differences matter.

    A clock that jumps costs time, for an election too many or too late, and never safety: no answer depends on it
    (hazard C3).
    """

    def __init__(
        self,
        *,
        node_id: NodeId,
        configuration: Configuration,
        log: RaftLog,
        term_and_vote: TermAndVote,
        last_applied: int,
        options: RaftOptions,
        random: Random,
        now: float,
    ) -> None:
        """A server as it starts, with what its disk has.

        `last_applied` is the last entry that the state machine's own data includes; being applied, it is committed.
        Raises InvariantViolated where the log does not reach it.
        """
        if last_applied > log.last_index:
            raise InvariantViolated(
                f"the state machine has applied entry {last_applied}, but the log ends at {log.last_index}: it has lost"
                " entries; restore the node's directory from its own disk, or replace the node"
            )
        committed = max(last_applied, log.snapshot_index)
        self._state = State(
            node_id=node_id,
            configuration=configuration,
            options=options,
            random=random,
            log=log,
            durable=term_and_vote,
            commit_index=committed,
            last_applied=committed,
        )
        self._elections = Elections(self._state)
        self._leadership: _Leadership | None = None
        self._state.restart_election_timer(now)

    # Inputs

    def receive(self, sender: NodeId, message: Message, now: float) -> None:
        """A message arrived from a peer."""
        if admit(self._state, sender, message, now):
            self._handle(sender, message, now)
        self._leave_leadership_if_lost()

    def election_timeout(self, now: float) -> None:
        """The election timer fired: `election_deadline` has passed."""
        self._elections.campaign(now)

    def heartbeat_timeout(self, now: float) -> None:
        """The heartbeat timer fired. A leader that is out of contact with a majority steps down (CheckQuorum)."""
        leadership = self._leadership
        if leadership is None:
            return
        if not leadership.replication.is_in_contact(now):
            step_down(self._state, self._state.current_term, now)
            self._leave_leadership_if_lost()
            return
        leadership.replication.retry_what_was_lost(now)
        leadership.replication.send_heartbeats(leadership.reads.round)
        if leadership.transfer is not None and leadership.transfer.is_over(now):
            leadership.transfer = None

    def propose(self, data: bytes) -> Entry:
        """Append a command to the leader's log. It took effect when the entry given back is committed: that very one,
        of that index and that term (hazard C6).

        Raises NotLeader, Overloaded or TransferUnderWay; then it never takes effect.
        """
        leadership = self._lead_or_refuse()
        if leadership.transfer is not None:
            raise TransferUnderWay(leadership.transfer.target)
        return leadership.replication.propose(data)

    def transfer_leadership(self, target: NodeId, now: float) -> None:
        """Hand leadership to `target`, another voter (thesis §3.10). Until it leads, or the first heartbeat after an
        election timeout, nothing can be proposed (hazard C4).

        Raises NotLeader; TransferUnderWay, where another transfer has not ended; NoSuchVoter; TargetSilent.
        """
        leadership = self._lead_or_refuse()
        if leadership.transfer is not None:
            raise TransferUnderWay(leadership.transfer.target)
        if target == self._state.node_id:
            return
        if not self._state.configuration.is_voter(target):
            voters = ", ".join(map(str, sorted(self._state.configuration.voters)))
            raise NoSuchVoter(f"node {target} cannot lead; the voters are {voters}")
        if not leadership.replication.has_heard(target, now):
            raise TargetSilent(f"node {target} has not answered for an election timeout, so it was not asked to lead")
        deadline = now + self._state.options.election_timeout
        leadership.transfer = Transfer(self._state, leadership.replication, target, deadline)

    def read(self, read_id: int) -> None:
        """Ask from which index on a linearizable read may be answered: `Ready.reads` or `Ready.lost_reads` will say.

        `read_id` is the caller's, and unique. Raises NotLeader.
        """
        self._lead_or_refuse().reads.add(read_id)

    def forget_read(self, read_id: int) -> None:
        """Nobody waits for this read any more. It may be answered all the same."""
        if self._leadership is not None:
            self._leadership.reads.forget(read_id)

    def saved(self, save: Save, now: float) -> None:
        """What `Ready.save` asked for is durable. Reported for every save, in the order in which they came."""
        state = self._state
        if save.entries:
            state.log.mark_durable(save.entries[-1].index, save.entries[-1].term)
        if save.term_and_vote is not None:
            state.durable = save.term_and_vote
            if self._elections.on_vote_durable(now):
                self._lead(now)
        if self._leadership is not None:
            self._leadership.replication.advance_commit_index()

    def peer_connected(self, peer: NodeId) -> None:
        """A new connection to a peer has opened; what was sent on an older one may be lost."""
        if self._leadership is not None:
            self._leadership.replication.peer_connected(peer)

    # Outputs

    def ready(self, now: float) -> Ready:
        """Take everything that is to be done after the inputs so far, in one value."""
        if self._leadership is not None:
            if self._leadership.reads.start_round():
                self._leadership.replication.send_heartbeats(self._leadership.reads.round)
            self._leadership.replication.send_entries(now)
            if self._leadership.transfer is not None:
                self._leadership.transfer.ask_when_caught_up()
        return self._state.take_ready()

    @property
    def election_deadline(self) -> float | None:
        """When to call `election_timeout`; None while leading, when `heartbeat_timeout` is called instead."""
        return None if self._state.role is Role.LEADER else self._state.election_deadline

    def view(self) -> View:
        """Where this server stands."""
        state, log = self._state, self._state.log
        transfer = self._leadership.transfer if self._leadership is not None else None
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
        )

    @property
    def log(self) -> RaftLog:
        """The log, to be read only."""
        return self._state.log

    @property
    def configuration(self) -> Configuration:
        """The membership in force."""
        return self._state.configuration

    # Inside

    def _handle(self, sender: NodeId, message: Message, now: float) -> None:
        state, leadership = self._state, self._leadership
        match message:
            case AppendEntries():
                follower.on_append_entries(state, sender, message, now)
            case Heartbeat():
                follower.on_heartbeat(state, sender, message, now)
            case RequestVote():
                self._elections.on_request(sender, message, now)
            case RequestVoteReply():
                if self._elections.on_reply(sender, message, now):
                    self._lead(now)
            case TimeoutNow():
                self._elections.campaign(now, leadership_transfer=True)
            case AppendEntriesReply() if leadership is not None:
                leadership.replication.on_reply(sender, message, now)
            case HeartbeatReply() if leadership is not None:
                leadership.replication.on_heartbeat_reply(sender, now)
                leadership.reads.on_answer(sender, message.read_round)

    def _lead(self, now: float) -> None:
        """An election is won (§5.2): tell everyone at once, and append an entry of one's own term (§8)."""
        state = self._state
        state.change_role(Role.LEADER)
        state.leader_id = state.node_id
        self._leadership = _Leadership(state, now)
        self._leadership.replication.send_heartbeats(self._leadership.reads.round)

    def _leave_leadership_if_lost(self) -> None:
        if self._leadership is not None and self._state.role is not Role.LEADER:
            self._leadership.reads.give_up()
            self._leadership = None

    def _lead_or_refuse(self) -> _Leadership:
        if self._leadership is None:
            raise NotLeader(self._state.leader_id)
        return self._leadership
