"""What must hold of the membership of a cluster: in each log, from one to the next, and of whose disks and votes count.

All of it is reckoned anew here, from the entries of the logs, and with none of the program's own majorities: that is
what is judged by it.
"""

from collections.abc import Iterable, Sequence, Set

from attrs import define, field, frozen

from txraft.core.configuration import Configuration
from txraft.core.invariants import View
from txraft.core.log import RaftLog
from txraft.core.messages import Entry, EntryKind, NodeId
from txraft.core.roles import Role
from txraft.testing.violation import Violation


def holds_majorities(configuration: Configuration, servers: Set[NodeId]) -> bool:
    """Whether `servers` are more than half of the voters, and in a joint configuration of the old ones too (thesis
    §4.3)."""
    sets = [voters for voters in (configuration.voters, configuration.outgoing) if voters]
    return bool(sets) and all(2 * len(voters & servers) > len(voters) for voters in sets)


def holds_any(configurations: Iterable[Configuration], servers: Set[NodeId]) -> bool:
    """Whether `servers` are majorities of one of these, of which it is not known which one counted."""
    return any(holds_majorities(configuration, servers) for configuration in configurations)


def gets_votes(before: Configuration, after: Configuration) -> Set[NodeId]:
    """Who has a vote after that, and had none."""
    return after.voters - before.voters - before.outgoing


def wrong_step(before: Configuration, after: Configuration) -> str:
    """Why one configuration may not follow on another (§6, thesis chapter 4); empty where it may."""
    addresses = [address for _, each in after.addresses for address in each]
    wrong = {
        "there is no voter left": not after.voters,
        "a removed server is a member again (hazard M7)": bool(after.members & before.removed),
        "not just those who have gone are removed": after.removed != before.removed | (before.members - after.members),
        "who has gone has an address": not dict(after.addresses).keys() <= after.members,
        "two members share an address": len(addresses) != len(set(addresses)),
        "who is to become a voter is no learner": not {each for each, _ in after.joining} <= after.learners,
    }
    if before.is_joint:
        learners = before.learners | before.learners_next
        is_left = not (after.outgoing or after.learners_next)
        as_said = (after.voters, after.learners) == (before.voters, learners)
        wrong["a joint configuration is left otherwise than it says"] = not (is_left and as_said)
    elif after.is_joint:
        wrong["the old voters are not all there"] = after.outgoing != before.voters
        wrong["who is to become a learner is no old voter"] = not after.learners_next <= after.outgoing - after.voters
    else:
        wrong["several voters come or go in one step"] = len(before.voters ^ after.voters) > 1
    return next((what for what, holds in wrong.items() if holds), "")


@frozen
class Step:
    """From one configuration to the next, as a leader makes it."""

    before: Configuration
    after: Configuration


@define(eq=False)
class InLog:
    """The configurations of one node's log, as they have come and gone there."""

    base: Configuration
    """As of the log's start."""
    start: int = 0
    later: list[tuple[int, Configuration]] = field(factory=list)
    """Those above it, each with the index of its entry."""
    in_force: tuple[Configuration, ...] = ()
    """Those that were so within the last turn, the one at its beginning first."""
    steps: list[Step] = field(factory=list)
    """What the node has made of it, as a leader, in the last turn."""

    @property
    def last(self) -> tuple[int, Configuration]:
        """The one in force now, and where it is from."""
        return self.later[-1] if self.later else (self.start, self.base)


@define(eq=False)
class Memberships:
    """All that have been seen of the cluster."""

    founders: Configuration
    strays: Set[NodeId]
    """Nodes that were started with other founders, as an edited file has them."""
    committed: list[tuple[int, Configuration]] = field(init=False)
    """Each with the index of its entry, in ascending order."""
    terms: dict[int, int] = field(factory=dict)
    """Of their entries, by the index."""
    known: dict[tuple[int, int], Configuration] = field(factory=dict)
    """By index and term of the entry."""
    refused: set[tuple[int, int]] = field(factory=set)
    """Entries of changes that were answered not-applied."""

    def __attrs_post_init__(self) -> None:
        self.committed = [(0, self.founders)]

    @property
    def latest(self) -> Configuration:
        """The last one that is committed."""
        return self.committed[-1][1]

    def at(self, index: int) -> Configuration:
        """The one as of a committed entry."""
        return next(each for since, each in reversed(self.committed) if since <= index)

    # One node's log

    def observe(
        self, seen: InLog, before: View | None, view: View, log: RaftLog, added: Sequence[Entry], gone: Sequence[Entry]
    ) -> None:
        """A node has reached the end of a turn, in which entries have come, and others have gone."""
        in_force = [seen.last[1]]
        seen.steps.clear()
        if log.snapshot_index != seen.start:
            self._starts_elsewhere(seen, view, log)
        if gone:
            seen.later = [each for each in seen.later if each[0] < gone[0].index]
            in_force.append(seen.last[1])
        for entry in added:
            if entry.kind is EntryKind.CONFIGURATION:
                self._comes(seen, before, view, log, entry)
                in_force.append(seen.last[1])
        seen.in_force = tuple(in_force)
        if log.membership.configuration is not seen.last[1] and log.membership.configuration != seen.last[1]:
            what = f"takes {log.membership.configuration} to be in force, and its log has {seen.last}"
            raise Violation("Membership", f"node {view.node_id} {what}")

    def _starts_elsewhere(self, seen: InLog, view: View, log: RaftLog) -> None:
        """It is compacted, or a snapshot has taken its place, which brings the whole membership of its index (M6)."""
        start = log.snapshot_index
        seen.start, seen.base = start, self.at(start)
        seen.later = [each for each in seen.later if each[0] > start]
        if log.membership.at(start) != seen.base:
            what = f"starts after {start} with {log.membership.at(start)}; committed is {seen.base}"
            raise Violation("Membership", f"the log of node {view.node_id} {what}")

    def _comes(self, seen: InLog, view_before: View | None, view: View, log: RaftLog, entry: Entry) -> None:
        """A configuration has come into a log. It follows on the one before it, wherever it is seen first."""
        before_at, before = seen.last
        key = entry.index, entry.term
        if key not in self.known:
            self.known[key] = Configuration.from_bytes(entry.data)
            if wrong := wrong_step(before, self.known[key]):
                raise Violation("Change", f"node {view.node_id} goes from {before} to {self.known[key]}: {wrong}")
        seen.later.append((entry.index, self.known[key]))
        leads = view_before is not None and view_before.role is view.role is Role.LEADER
        if leads and entry.term == view.current_term and view.role is Role.LEADER:
            self._one_at_a_time(before_at, view, log, entry)
            seen.steps.append(Step(before, self.known[key]))

    def _one_at_a_time(self, before_at: int, view: View, log: RaftLog, entry: Entry) -> None:
        """A leader appends a configuration only when the one before it, and an entry of its own term, are committed
        (hazards M1, M3)."""
        committed = min(view.commit_index, entry.index - 1)
        if committed < before_at:
            what = f"appends a configuration as {entry.index}, and {before_at} is not committed"
            raise Violation("One change at a time", f"node {view.node_id} {what}")
        if committed >= log.first_index and log.term_at(committed) != entry.term:
            what = f"appends a configuration as {entry.index}, and nothing of its term is committed"
            raise Violation("One change at a time", f"node {view.node_id} {what}")

    def connects(self, one: NodeId, other: NodeId) -> None:
        """Two nodes have let each other in: they were started with the same founders (hazard E14)."""
        if self.strays & {one, other}:
            raise Violation("Founders", f"nodes {one} and {other} let each other in, and have other founders")

    # What is committed

    def commits(self, entry: Entry, holders: Set[NodeId]) -> None:
        """An entry is committed, and is safe on the disks of `holders`. A configuration is by its own voters."""
        if entry.kind is not EntryKind.CONFIGURATION:
            return
        if (entry.index, entry.term) in self.refused:
            raise Violation("Not applied", f"a change of the members was answered so, and is committed as {entry}")
        configuration = self.known[entry.index, entry.term]
        if wrong := wrong_step(self.latest, configuration):
            raise Violation("Change", f"{configuration} is committed after {self.latest}: {wrong}")
        self.committed.append((entry.index, configuration))
        self.terms[entry.index] = entry.term
        if not holds_majorities(configuration, holders):
            raise Violation("Durability", f"{configuration} is committed, and is on the disks of {set(holders)} only")

    def counting(self, seen: InLog, view: View) -> Sequence[Configuration]:
        """Those of which one has decided what this node has come to know as committed in its last turn.

        A leader counts by its own. Where another node knows of it first, because the leader has died meanwhile, it may
        have been any later one that has come into a log.
        """
        if view.role is Role.LEADER:
            return seen.in_force
        last = seen.last[0]
        return [*seen.in_force, *(each for (index, _), each in self.known.items() if index > last)]

    def latest_or_later(self) -> Sequence[Configuration]:
        """The last one that is committed, and all that may have taken its place since."""
        last = self.committed[-1][0]
        return [self.latest, *(each for (index, _), each in self.known.items() if index > last)]

    # Answers

    def answered_done(self, index: int, term: int, configuration: Configuration) -> None:
        """A change was answered with the membership that it has led to: it is committed, and so is that."""
        if not any((index, self.known.get((index, term))) == each for each in self.committed):
            raise Violation("Acknowledged", f"a change was answered done, and entry {index} of {term} is not committed")
        if not any(since >= index and each == configuration for since, each in self.committed):
            raise Violation("Acknowledged", f"a change was answered with {configuration}, which is not committed")

    def answered_not_applied(self, index: int, term: int) -> None:
        """A change that was in a log was answered so: it is not committed, and never will be."""
        self.refused.add((index, term))
        if any(since == index and each is self.known.get((index, term)) for since, each in self.committed):
            raise Violation("Not applied", f"a change was answered so, and is committed as {index} of term {term}")
