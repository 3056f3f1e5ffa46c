"""What a process concludes must follow from what it has heard: checked against the messages that came and went.

No history of states shows these rules broken before much else goes wrong: a campaign too many, a leader deposed though
it was well, a read that happens to be fresh.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field

from txraft.core.configuration import Configuration
from txraft.core.invariants import View
from txraft.core.log import MEMORY_OVERHEAD, RaftLog, size_of
from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    Message,
    NodeId,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from txraft.core.progress import ProgressState
from txraft.core.ready import Ready
from txraft.core.roles import Role
from txraft.core.state import RaftOptions
from txraft.testing.memberships import holds_any, holds_majorities
from txraft.testing.violation import Violation

if TYPE_CHECKING:
    from txraft.core.raft import Raft


COMMAND = EntryKind.COMMAND

STARVES_AFTER = 3
"""Heartbeat intervals in which a follower that is behind, and answers, is sent nothing."""

TRIFLE = 1 << 16
"""Bytes. Limits above it are not reached in a run."""


@define(eq=False)
class Evidence:
    """What one process has sent and heard."""

    node_id: NodeId
    options: RaftOptions
    _asked: "dict[int, tuple[int, Configuration]]" = field(factory=dict)
    """The last PreVote round that asked about a term, and the membership by which it counts."""
    _granted: "defaultdict[int, set[NodeId]]" = field(factory=lambda: defaultdict(set))
    _round: tuple[int, int] = (0, 0)
    """Term and number of the ReadIndex round that the last heartbeat carried."""
    _votes: "defaultdict[int, set[NodeId]]" = field(factory=lambda: defaultdict(set))
    """By term: who has voted for this server."""
    _answered: "defaultdict[tuple[int, int], set[NodeId]]" = field(factory=lambda: defaultdict(set))
    _reads: dict[int, tuple[int, int]] = field(factory=dict)
    """By read: the round of the last heartbeat before it was asked for."""
    _leader_heard: float = float("-inf")
    """When the leader was last heard, by the process's clock."""
    _refused: set[tuple[int, NodeId, int]] = field(factory=set)
    """By term, peer and request: the refusals that have come."""
    _told: set[int] = field(factory=set)
    """The terms whose leader wanted this server to lead."""
    _leads: int = 0
    """The latest term that this process has led."""
    _beat_passed_over: bool = False
    """Whether the last heartbeat timer was not to count, because it was late."""
    _election_passed_over: bool = False
    """Whether the last election timer was not to count, because it was late."""
    _contact: dict[NodeId, float] = field(factory=dict)
    """When each peer has answered last, since this process leads."""
    _unanswered: "defaultdict[NodeId, list[int]]" = field(factory=lambda: defaultdict(list))
    """The sizes of the AppendEntries that have gone to a peer since it has answered one."""
    _starving: "defaultdict[NodeId, list[float]]" = field(factory=lambda: defaultdict(list))
    """When a peer that is behind has answered heartbeats, an interval apart, since AppendEntries left for it."""
    _fed_at: dict[NodeId, float] = field(factory=dict)
    """When AppendEntries left for a peer last, by the process's clock."""

    def sends(self, to: NodeId, message: Message, configuration: Configuration, now: float) -> None:
        """A message leaves. A campaign follows on a majority's word, in the PreVote round of its term (hazard E3), or
        on the leader's own (thesis §3.10). A message is no larger than it may be (hazard R20), and to a peer that does
        not answer no more goes than may be in flight (hazard R18).
        """
        if isinstance(message, AppendEntries):
            self._starving[to].clear()
            self._fed_at[to] = now
        match message:
            case AppendEntries(entries=entries) if entries:
                sizes, options, size = self._unanswered[to], self.options, sum(map(size_of, entries))
                if len(sizes) >= options.max_inflight_messages or sum(sizes) >= options.max_inflight_size:
                    raise Violation("In flight", f"node {self.node_id} sends {to} {message}; unanswered are {sizes}")
                if size > options.max_message_size and len(entries) > 1:
                    raise Violation("Message size", f"node {self.node_id} sends {size} bytes: {message}")
                sizes.append(size)
            case Heartbeat():
                self._round = message.term, message.read_round
            case RequestVote(pre_vote=True):
                self._asked[message.term] = message.round, configuration
            case RequestVote(leadership_transfer=False) if self.options.pre_vote:
                number, by = self._asked.get(message.term, (0, configuration))
                granted = self._granted[number]
                if not holds_majorities(by, granted | {self.node_id}):
                    raise Violation("PreVote", f"node {self.node_id} campaigns in term {message.term}: {granted}")
            case RequestVote(leadership_transfer=True) if message.term - 1 not in self._told:
                raise Violation("Transfer", f"node {self.node_id} says that a leader wants it to lead: {message}")

    def appends(self, view: View, log: RaftLog) -> None:
        """Entries have come into the log. What a leader takes in and cannot commit is bounded (hazard C9). Looked at
        only where the limit is so low that runs reach it."""
        limit = self.options.max_uncommitted_size
        if view.role is not Role.LEADER or limit > TRIFLE:
            return
        uncommitted = log.between(view.commit_index + 1, view.last_index)
        sizes = [
            len(entry.data) + MEMORY_OVERHEAD
            for entry in uncommitted
            if (entry.term, entry.kind) == (view.current_term, COMMAND)
        ]
        if sum(sizes) > limit and len(sizes) > 1:
            raise Violation("Bounded", f"node {self.node_id} holds {sum(sizes)} bytes that are not committed")

    def elected(self, view: View, configuration: Configuration) -> None:
        """This server leads: a majority has voted for it in that term (§5.2), in a joint configuration two of them."""
        if not holds_majorities(configuration, votes := self._votes[view.current_term] | {self.node_id}):
            raise Violation("Votes", f"node {self.node_id} leads term {view.current_term} by the votes of {votes}")

    def beats(self, raft: "Raft", before: Configuration, now: float, late: float, unread: int) -> None:
        """The heartbeat timer of a leader has fired, `late` seconds after it was due. Who leads on has heard from a
        majority within an election timeout (CheckQuorum, thesis §6.2; hazard E8), unless the timer was late; the first
        is granted to who has just been elected, or has come to be a member. `before` were the members by then."""
        view = raft.view()
        if self._leads != view.current_term:
            self._leads, self._contact = view.current_term, {}
            self._beat_passed_over = False
        for peer in raft.configuration.members:
            self._contact.setdefault(peer, now)
        self._beat_passed_over = self._is_late(late) and not self._beat_passed_over
        if view.role is not Role.LEADER:
            self._acts_on_time(self._beat_passed_over, late, unread)
            return
        recent = {peer for peer, at in self._contact.items() if now - at < self.options.election_timeout}
        if not holds_majorities(before, recent | {self.node_id}) and not self._beat_passed_over:
            raise Violation("CheckQuorum", f"node {self.node_id} leads on; it has heard from {recent}")

    def times_out(self, acts: bool, late: float, unread: int) -> None:
        """The election timer has fired, `late` seconds after it was due. Whether the node `acts` on that."""
        self._election_passed_over = self._is_late(late) and not self._election_passed_over
        if acts:
            self._acts_on_time(self._election_passed_over, late, unread)

    def _is_late(self, late: float) -> bool:
        return late >= 2 * self.options.heartbeat_interval

    def _acts_on_time(self, passed_over: bool, late: float, unread: int) -> None:
        """Who stands down or campaigns because of a timer has looked at everything that was there to be read, and has
        not been asleep; the next time it may have been (hazard E13)."""
        if unread or passed_over:
            what = f"acts on a timer that is {late:.3f} s late, with {unread} things unread"
            raise Violation("Late timer", f"node {self.node_id} {what}")

    def asks(self, read_id: int) -> None:
        """Somebody wants to read."""
        self._reads[read_id] = self._round

    def confirms(self, ready: Ready, counting: Sequence[Configuration]) -> None:
        """Reads may be answered: a majority has answered the latest round, which began after they were asked for
        (thesis §6.4; hazards C2, C3). One of the memberships `counting` has decided."""
        answered = self._answered[self._round]
        for read in ready.reads:
            if self._reads.pop(read.read_id) == self._round and not holds_any(counting, {self.node_id}):
                raise Violation("ReadIndex", f"node {self.node_id} confirms a read by the older round {self._round}")
        if ready.reads and not holds_any(counting, answered | {self.node_id}):
            raise Violation("ReadIndex", f"node {self.node_id} confirms reads; round {self._round} has {answered}")

    def before(self, sender: NodeId, message: Message, raft: "Raft", now: float) -> Any:
        """What a message must not change; `after` takes it."""
        view = raft.view()
        match message:
            case RequestVote(leadership_transfer=False):
                recent = view.leader_id is not None and now - self._leader_heard < self.options.election_timeout
                return _position(raft, sender) if recent or view.role is Role.LEADER else None
            case TimeoutNow():
                self._told.add(message.term)
            case AppendEntriesReply(success=False, term=view.current_term):
                known = (message.term, sender, message.request_id)
                stale = not message.request_id or known in self._refused
                self._refused.add(known)
                return _progress(raft, sender) if stale else None
        return None

    def after(self, before: Any, sender: NodeId, message: Message, raft: "Raft", now: float) -> None:
        """A message has been handled: who hears from a leader sticks to it, and would vote for no other (hazard E9); a
        refusal that came before changes nothing (hazard R8)."""
        view = raft.view()
        match message:
            case AppendEntriesReply(term=view.current_term):
                self._unanswered[sender].clear()
                self._contact[sender] = now
            case HeartbeatReply(term=view.current_term):
                self._contact[sender] = now
                self._is_fed(sender, raft, now)
        match message:
            case AppendEntries() | Heartbeat() if (view.leader_id, view.current_term) == (sender, message.term):
                self._leader_heard = now
                self._election_passed_over = False
            case RequestVoteReply(pre_vote=True, vote_granted=True):
                self._granted[message.round].add(sender)
            case RequestVoteReply(vote_granted=True):
                self._votes[message.term].add(sender)
            case HeartbeatReply():
                self._answered[message.term, message.read_round].add(sender)
            case RequestVote() if before not in (None, _position(raft, sender)):
                raise Violation("Stickiness", f"node {self.node_id} hears from a leader, and {message} moves it")
            case AppendEntriesReply() if before not in (None, _progress(raft, sender)):
                raise Violation("Progress", f"node {self.node_id}: {message} came before, and changes {before}")

    def loses(self, peer: NodeId, view: View) -> None:
        """The last connection to a peer has closed: if that led, this node need not stick to it any more."""
        if view.leader_id == peer and self.options.pre_vote:
            self._leader_heard = float("-inf")

    def _is_fed(self, peer: NodeId, raft: "Raft", now: float) -> None:
        """A peer that answers heartbeats and is behind is sent entries, or asked for what it has, about once a
        heartbeat interval (hazard R21)."""
        starving, leader = self._starving[peer], raft._leader
        progress = leader.replication.progress.get(peer) if leader is not None else None
        gets_snapshot = progress is not None and progress.state is ProgressState.SNAPSHOT  # and nothing but that
        is_early = now < self._fed_at.get(peer, now)  # the clock went back: by that it is not time yet
        if progress is None or progress.match_index == raft.log.last_index or gets_snapshot or is_early:
            starving.clear()
        elif not starving or now - starving[-1] >= self.options.heartbeat_interval:
            starving.append(now)
        if len(starving) > STARVES_AFTER:
            raise Violation("Starvation", f"node {self.node_id} sends nothing to {peer}, which answers: {starving}")


def _position(raft: "Raft", candidate: NodeId) -> tuple[object, ...]:
    """What a vote would change, and how many are on their way to a candidate, PreVotes too."""
    state = raft._state
    sent = [envelope.message for envelope in state._messages + state._messages_after_save if envelope.to == candidate]
    return state.current_term, state.voted_for, sum(getattr(message, "vote_granted", False) for message in sent)


def _progress(raft: "Raft", peer: NodeId) -> tuple[object, ...] | None:
    """How a leader sends to a peer."""
    progress = raft.followers.get(peer)
    if progress is None:
        return None
    return progress.state, progress.next_index, progress.match_index
