"""What a node may say and what its disk must hold: checked at every write and every message that leaves."""

from collections.abc import Sequence, Set

from attrs import define, field

from txraft.core.configuration import Snapshot
from txraft.core.invariants import View
from txraft.core.log import RaftLog
from txraft.core.messages import AppendEntriesReply, Entry, Message, NodeId, RequestVote, RequestVoteReply
from txraft.core.ready import Save, TermAndVote
from txraft.storage.memory import MemoryDisk
from txraft.testing.invariants import Invariants
from txraft.testing.violation import Violation


@define(eq=False)
class Durability:
    """The promises of all nodes, across their restarts."""

    invariants: Invariants
    votes: dict[tuple[NodeId, int], NodeId] = field(factory=dict)
    """By voter and term: who got the vote, on disk or in a message."""

    def synced(
        self,
        node_id: NodeId,
        saves: Sequence[Save],
        before: TermAndVote,
        disk: MemoryDisk,
        removed: Sequence[Entry],
        promises: bool,
    ) -> None:
        """A write of a node has become durable, as `disk` has it now; `removed` are entries that were there before, and
        are not compacted. A disk that has forgotten `promises` nothing by what is on it, for nobody hears of that."""
        after = disk.term_and_vote
        written = [save.entries[-1] for save in saves if save.entries]
        if written and disk.entries and disk.entries[-1] != written[-1]:
            raise Violation("Durability", f"the disk of node {node_id} goes on after {written[-1]}")
        for save in saves:
            if save.term_and_vote is not None and promises:
                self.one_vote_a_term(node_id, save.term_and_vote.current_term, save.term_and_vote.voted_for)
        if after.current_term < before.current_term:
            raise Violation("Never back", f"the disk of node {node_id} goes from {before} to {after}")
        for entry in removed:
            if self.invariants.is_committed(entry.index, entry.term):
                counting = self.invariants.memberships.latest_or_later()
                self.invariants.on_majorities_of_disks(entry, counting, f"node {node_id} truncates")

    def replaced(self, node_id: NodeId) -> None:
        """A node starts anew, and the others go by nothing that it has promised."""
        self.votes = {key: candidate for key, candidate in self.votes.items() if key[0] != node_id}

    def has_what_its_log_has_not(
        self, node_id: NodeId, start: Snapshot | None, held: int, received: Set[tuple[int, int]]
    ) -> None:
        """Something of a node's disk has changed: what its log starts after is committed, and what the log does not
        have any more is in its state machine's data, which hold everything up to `held`, or in a received snapshot of
        just that index and term, among `received` (hazard S18)."""
        if start is None or not start.index:
            return
        if not self.invariants.is_committed(start.index, start.term):
            raise Violation("Compaction", f"the disk of node {node_id} starts after {start}, which is not committed")
        if start.configuration != (known := self.invariants.memberships.at(start.index)):
            raise Violation("Membership", f"the disk of node {node_id} starts after {start}; committed is {known}")
        if held < start.index and (start.index, start.term) not in received:
            what = f"starts after {start.index}/{start.term}, its data end at {held}, and it has received {received}"
            raise Violation("Compaction", f"the disk of node {node_id} {what}")

    def one_vote_a_term(self, voter: NodeId, term: int, candidate: NodeId | None) -> None:
        """A server votes for one candidate in a term, also across a crash (§5.2; hazards E1, E2)."""
        if candidate is None:
            return
        known = self.votes.setdefault((voter, term), candidate)
        if known != candidate:
            raise Violation("One vote a term", f"node {voter} votes for {known} and {candidate} in term {term}")

    def takes_for_durable(self, view: View, log: RaftLog, disk: MemoryDisk) -> None:
        """A node has reached the end of a turn: what it takes for durable is on its disk (hazard R11)."""
        index, start = view.durable_index, disk.start
        if index <= log.snapshot_index:  # which has been judged when it came to the disk
            is_there = index <= disk.last_index
        else:
            is_there = index > start and disk.entries[index - start - 1 : index - start] == [log.entry(index)]
        if not is_there:
            raise Violation("Durability", f"node {view.node_id} takes entry {index} for durable, and it is not")

    def sends(self, node_id: NodeId, disk: MemoryDisk, to: NodeId, message: Message) -> None:
        """A message leaves. What it says of its sender is on the sender's disk (Figure 2, "Updated on stable storage
        before responding"): its term, its vote, its entries. A PreVote promises nothing."""
        durable = disk.term_and_vote
        match message:
            case RequestVote(pre_vote=True) | RequestVoteReply(pre_vote=True, vote_granted=True):
                return
            case RequestVoteReply(vote_granted=True):
                self.one_vote_a_term(node_id, message.term, to)
                if durable.current_term == message.term and durable.voted_for != to:
                    raise Violation("Durability", f"node {node_id} sends {message} to {to}; its disk has {durable}")
            case AppendEntriesReply(success=True):
                last = disk.last_index
                if durable.current_term == message.term and last < message.match_index:
                    raise Violation("Durability", f"node {node_id} sends {message}; its disk has {last}")
        if durable.current_term < message.term:
            raise Violation("Durability", f"node {node_id} sends {message}; its disk has {durable}")
