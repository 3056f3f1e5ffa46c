"""What a process concludes must follow from what it has heard: checked against the messages that came and went.

No history of states shows these rules broken before much else goes wrong: a campaign too many, a leader deposed though
it was well, a read that happens to be fresh.
"""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from attrs import define, field

from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    NodeId,
    RequestVote,
    RequestVoteReply,
)
from txraft.core.ready import Ready
from txraft.core.roles import Role
from txraft.core.state import Options
from txraft.testing.invariants import Violation

if TYPE_CHECKING:
    from txraft.core.raft import Raft


@define(eq=False)
class Evidence:
    """What one process has sent and heard."""

    node_id: NodeId
    majority: int
    options: Options
    _asked: dict[int, int] = field(factory=dict)
    """The last PreVote round that asked about a term."""
    _granted: "defaultdict[int, set[NodeId]]" = field(factory=lambda: defaultdict(set))
    _round: tuple[int, int] = (0, 0)
    """Term and number of the ReadIndex round that the last heartbeat carried."""
    _answered: "defaultdict[tuple[int, int], set[NodeId]]" = field(factory=lambda: defaultdict(set))
    _reads: dict[int, tuple[int, int]] = field(factory=dict)
    """By read: the round of the last heartbeat before it was asked for."""
    _leader_heard: float = float("-inf")
    """When the leader was last heard, by the process's clock."""
    _refused: set[tuple[int, NodeId, int]] = field(factory=set)
    """By term, peer and request: the refusals that have come."""

    def sends(self, message: Message) -> None:
        """A message leaves. A campaign follows on a majority's word, in the PreVote round of its term (hazard E3)."""
        match message:
            case Heartbeat():
                self._round = message.term, message.read_round
            case RequestVote(pre_vote=True):
                self._asked[message.term] = message.round
            case RequestVote(leadership_transfer=False) if self.options.pre_vote:
                granted = self._granted[self._asked.get(message.term, 0)]
                if len(granted | {self.node_id}) < self.majority:
                    raise Violation("PreVote", f"node {self.node_id} campaigns in term {message.term}: {granted}")

    def asks(self, read_id: int) -> None:
        """Somebody wants to read."""
        self._reads[read_id] = self._round

    def confirms(self, ready: Ready) -> None:
        """Reads may be answered: a majority has answered the latest round, which began after they were asked for
        (thesis §6.4; hazards C2, C3)."""
        answered = self._answered[self._round]
        for read in ready.reads:
            if self._reads.pop(read.read_id) == self._round and self.majority > 1:
                raise Violation("ReadIndex", f"node {self.node_id} confirms a read by the older round {self._round}")
        if ready.reads and len(answered | {self.node_id}) < self.majority:
            raise Violation("ReadIndex", f"node {self.node_id} confirms reads; round {self._round} has {answered}")

    def before(self, sender: NodeId, message: Message, raft: "Raft", now: float) -> Any:
        """What a message must not change; `after` takes it."""
        view = raft.view()
        match message:
            case RequestVote(leadership_transfer=False):
                recent = view.leader_id is not None and now - self._leader_heard < self.options.election_timeout
                return (view.current_term, view.voted_for) if recent or view.role is Role.LEADER else None
            case AppendEntriesReply(success=False, term=view.current_term):
                known = (message.term, sender, message.request_id)
                stale = not message.request_id or known in self._refused
                self._refused.add(known)
                return _progress(raft, sender) if stale else None
        return None

    def after(self, before: Any, sender: NodeId, message: Message, raft: "Raft", now: float) -> None:
        """A message has been handled: who hears from a leader sticks to it (hazard E9), and a refusal that came before
        changes nothing (hazard R8)."""
        view = raft.view()
        match message:
            case AppendEntries() | Heartbeat() if (view.leader_id, view.current_term) == (sender, message.term):
                self._leader_heard = now
            case RequestVoteReply(pre_vote=True, vote_granted=True):
                self._granted[message.round].add(sender)
            case HeartbeatReply():
                self._answered[message.term, message.read_round].add(sender)
            case RequestVote() if before not in (None, (view.current_term, view.voted_for)):
                raise Violation("Stickiness", f"node {self.node_id} hears from a leader, and {message} moves it")
            case AppendEntriesReply() if before not in (None, _progress(raft, sender)):
                raise Violation("Progress", f"node {self.node_id}: {message} came before, and changes {before}")


def _progress(raft: "Raft", peer: NodeId) -> tuple[object, ...] | None:
    """How a leader sends to a peer."""
    leadership = raft._leadership
    if leadership is None:
        return None
    progress = leadership.replication.progress[peer]
    return progress.state, progress.next_index, progress.match_index
