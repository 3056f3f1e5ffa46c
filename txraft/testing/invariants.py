"""What must hold of the whole cluster, checked after every step, and only for what the step has changed.

Log Matching makes that cheap: whatever index and term say is the same, is the same entry after the same predecessor
(`Invariants.log_matching`), so two logs, or a log and what is committed, are compared at one place and not along their
length.

A rule that does not hold raises `Violation`; whoever calls from within the driver, where it would be caught, records it
instead (`txraft.testing.simulation`).
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence, Set

from attrs import define, field

from txraft.core.configuration import Configuration
from txraft.core.invariants import View
from txraft.core.log import RaftLog
from txraft.core.messages import Entry, EntryKind, NodeId
from txraft.core.roles import Role
from txraft.testing.memberships import InLog, Memberships, holds_any
from txraft.testing.violation import Violation

FAR = 1 << 21
"""Terms. No more of them are left out at once."""

MANY = 20
"""Commands. Of so many one succeeds, or they are not what the state machine takes."""

SHOWN = 5
"""Reasons for that, at most."""


@define(eq=False)
class Observed:
    """What was last seen of one node, since its process started."""

    node_id: NodeId
    members: InLog
    view: View | None = None
    start: int = 0
    """What the log holds begins behind this entry."""
    log: list[Entry] = field(factory=list)
    applied: int = 0
    """The last entry that its state machine holds."""


@define(eq=False)
class Invariants:
    """Everything that has been seen of the cluster."""

    synced_on: Callable[[int, int], Set[NodeId]]
    """On which nodes' disks the entry (index, term) is safe."""
    memberships: Memberships
    command_id: Callable[[bytes], int]
    """Which operation of a client a command belongs to; no two share one."""

    leaders: dict[int, NodeId] = field(factory=dict)
    entries: dict[tuple[int, int], tuple[Entry, int]] = field(factory=dict)
    """By index and term: the entry, and the term of the one before it."""
    committed: list[Entry] = field(factory=list)
    committed_in: list[int] = field(factory=list)
    """The term in which each was seen to be committed."""
    committed_at: dict[int, int] = field(factory=dict)
    """The index of each command that is committed, by its id."""
    refused: set[int] = field(factory=set)
    """The ids of commands that were answered not-applied."""
    results: dict[int, Hashable] = field(factory=dict)
    """By index: what came of the entry where it was first applied."""
    states: dict[int, Hashable] = field(factory=dict)
    """By index: what a state machine held when it had applied everything up to there."""

    def observe(self, seen: Observed, view: View, log: RaftLog) -> tuple[int, int]:
        """A node has reached the end of a turn. Gives back how many entries have come, and how many have gone."""
        before, seen.view = seen.view, view
        if log.snapshot_index != seen.start:
            self.begins_with_what_is_committed(view, log)
        added, removed = self._changes(seen, log)
        self.memberships.observe(seen.members, before, view, log, added, removed)
        if view.role is Role.LEADER:
            if before is None or before.role is not Role.LEADER or before.current_term != view.current_term:
                self.election_safety(view)
                self.leader_completeness(view, log)
            elif removed:
                raise Violation("Leader Append-Only", f"node {view.node_id} removed {removed[0]}")
        for entry in removed:
            if self.is_committed(entry.index, entry.term):
                raise Violation("Truncation", f"node {view.node_id} removes {entry}, which is committed")
        if added:
            self.log_matching(view, log, added)
        known = before.commit_index if before is not None else 0
        if before is not None:
            self.never_back(before, view)
        if view.commit_index > known:
            self.only_by_its_own_term(before, view, log)
            # What a snapshot has brought was committed elsewhere, and has been judged there.
            committed = log.between(max(known + 1, log.first_index), view.commit_index)
            self.state_machine_safety(view, committed, self.memberships.counting(seen.members, view))
        # A transfer that was under way before goes on, to whomever it was to go.
        if before is not None and view.is_overtaken and not before.is_overtaken and before.transfer_target is None:
            self.hands_over_well(view)
        return len(added), len(removed)

    def _changes(self, seen: Observed, log: RaftLog) -> tuple[Sequence[Entry], Sequence[Entry]]:
        """The entries that have come, and those that have gone, beside what is compacted. A log changes at its end, so
        looked for from there."""
        last, start, mirror = log.last_index, log.snapshot_index, seen.log
        if start != seen.start:
            del mirror[: start - seen.start]
            seen.start = start
        if start + len(mirror) == last and (not mirror or mirror[-1] is log.entry(last)):
            return (), ()
        same = min(last - start, len(mirror))
        while same and mirror[same - 1] is not log.entry(start + same):
            same -= 1
        removed, added = mirror[same:], log.between(start + same + 1, last)
        mirror[same:] = added
        return added, removed

    # The paper's (Figure 3)

    def election_safety(self, view: View) -> None:
        """At most one leader can be elected in a given term (§5.2)."""
        leader = self.leaders.setdefault(view.current_term, view.node_id)
        if leader != view.node_id:
            raise Violation("Election Safety", f"term {view.current_term} has leaders {leader} and {view.node_id}")

    def log_matching(self, view: View, log: RaftLog, added: Sequence[Entry]) -> None:
        """Entries of the same index and term are the same, and so is everything before them (§5.3)."""
        entries = self.entries
        before = log.term_at(added[0].index - 1)
        for entry in added:
            known = entries.setdefault((entry.index, entry.term), (entry, before))
            if known[1] != before or (known[0] is not entry and known[0] != entry):
                raise Violation(
                    "Log Matching", f"node {view.node_id} has {entry} after term {before}; elsewhere it is {known}"
                )
            before = entry.term

    def begins_with_what_is_committed(self, view: View, log: RaftLog) -> None:
        """What is compacted, or jumped over by a snapshot, is what all have committed, and of the term that it has
        there (hazard R13)."""
        index, term = log.snapshot_index, log.snapshot_term
        if index and not self.is_committed(index, term):
            raise Violation("Compaction", f"the log of node {view.node_id} begins behind {index}/{term}")

    def is_committed(self, index: int, term: int) -> bool:
        """Whether the entry (index, term) is."""
        return 0 < index <= len(self.committed) and self.committed[index - 1].term == term

    def leader_completeness(self, view: View, log: RaftLog) -> None:
        """What was committed in a term is in the logs of the leaders of all later terms (§5.4), or compacted there."""
        index = len(self.committed)
        while index and self.committed_in[index - 1] >= view.current_term:
            index -= 1
        if index > log.snapshot_index and not log.has(index, self.committed[index - 1].term):
            raise Violation(
                "Leader Completeness",
                f"node {view.node_id} leads term {view.current_term} without {self.committed[index - 1]}",
            )

    def state_machine_safety(self, view: View, entries: Sequence[Entry], counting: Sequence[Configuration]) -> None:
        """All servers commit, and so apply, the same entry at an index (§5.4.3); it is safe before it is committed, by
        one of the configurations that may have been `counting`."""
        news = False
        for entry in entries:
            if entry.index <= len(self.committed):
                if self.committed[entry.index - 1] != entry:
                    raise Violation(
                        "State Machine Safety",
                        f"node {view.node_id} commits {entry}; committed is {self.committed[entry.index - 1]}",
                    )
                continue
            self.committed.append(entry)
            self.committed_in.append(view.current_term)
            news = True
            if entry.kind is EntryKind.COMMAND:
                self.once(entry)
            elif entry.kind is EntryKind.CONFIGURATION:
                self.memberships.commits(entry, self.synced_on(entry.index, entry.term))
        if news:
            self.on_majorities_of_disks(entries[-1], counting, f"node {view.node_id} commits")

    def only_by_its_own_term(self, before: View | None, view: View, log: RaftLog) -> None:
        """A leader commits by counting an entry of its own term, and only with it older ones (§5.4.2; hazard R1)."""
        led = before is not None and before.role is Role.LEADER and before.current_term == view.current_term
        if led and view.role is Role.LEADER and log.term_at(view.commit_index) != view.current_term:
            raise Violation("Commitment", f"node {view.node_id} commits {view.commit_index} by counting")

    def hands_over_well(self, view: View) -> None:
        """Who takes over from a leader whose disk hangs has on its own what is committed (hazard S12)."""
        target, committed = view.transfer_target, self.committed[view.commit_index - 1]
        if target is not None and target not in self.synced_on(committed.index, committed.term):
            raise Violation("Transfer", f"node {view.node_id} hands over to {target}, whose disk lacks {committed}")

    # What is promised to clients

    def on_majorities_of_disks(self, entry: Entry, counting: Sequence[Configuration], who: str) -> None:
        """What is committed is on the synced disks of a majority (§5.3; hazard R10), by one of the configurations that
        may have been `counting`, and stays there (hazard E1)."""
        safe = self.synced_on(entry.index, entry.term)
        if not holds_any(counting, safe):
            raise Violation("Durability", f"{who} {entry}, which is on the disks of {safe} only")

    def once(self, entry: Entry) -> None:
        """A command is committed once (hazard C8), and never after it was said that it would not be (hazard C5)."""
        number = self.command_id(entry.data)
        if number in self.refused:
            raise Violation("Not applied", f"operation {number} was answered so, and is committed as {entry}")
        if self.committed_at.setdefault(number, entry.index) != entry.index:
            raise Violation("Once", f"operation {number} is committed at {self.committed_at[number]} and as {entry}")

    def answered_done(self, number: int, result: Hashable, floor: int) -> int:
        """An operation was answered with its result: it is committed, after what had been acknowledged when it began,
        `floor`, and this is what it came to. Gives back at which index."""
        if number not in self.committed_at:
            raise Violation("Acknowledged", f"operation {number} was answered, and is not committed")
        index = self.committed_at[number]
        if index <= floor:
            raise Violation("Order", f"operation {number} is entry {index}, and began after {floor} was acknowledged")
        if self.results.get(index) != result:
            raise Violation(
                "Acknowledged",
                f"operation {number} was answered with {result!r}; it came to {self.results.get(index)!r}",
            )
        return index

    def answered_not_applied(self, number: int) -> None:
        """An operation was answered so: it is not committed, and never will be."""
        self.refused.add(number)
        if number in self.committed_at:
            raise Violation(
                "Not applied", f"operation {number} was answered so; entry {self.committed_at[number]} is its"
            )

    @property
    def failed(self) -> list[str]:
        """What each command that failed came to, in the order of the log."""
        results = [self.results.get(entry.index) for entry in self.committed if entry.kind is EntryKind.COMMAND]
        return [result for result in results if isinstance(result, str)]

    def none_succeeds(self) -> Violation | None:
        """What is wrong where all commands fail; None where they do not."""
        commands = [entry for entry in self.committed if entry.kind is EntryKind.COMMAND]
        if len(commands) >= MANY and len(failed := self.failed) == len(commands):
            reasons = Counter(failed)
            shown = [f"{count} come to {reason!r}" for reason, count in reasons.most_common(SHOWN)]
            others = [f"{len(reasons) - SHOWN} other reasons"] if len(reasons) > SHOWN else []
            what = f"not one of {len(failed)} commands succeeds: {'; '.join(shown + others)}"
            return Violation("Commands", what)
        return None

    # One node

    def never_back(self, before: View, after: View) -> None:
        """Term, commit_index and last_applied never go back (§5.1; hazard R2), nor the term far ahead (hazard N8)."""
        for name in ("current_term", "commit_index", "last_applied"):
            if getattr(after, name) < getattr(before, name):
                raise Violation("Never back", f"{name} of node {after.node_id}: {before} then {after}")
        if after.current_term - before.current_term > FAR:
            raise Violation(
                "No far term", f"node {after.node_id} goes from {before.current_term} to {after.current_term}"
            )

    def ends_removed(self, node_id: NodeId, view: View | None) -> None:
        """A node ends because it was removed: it was, and a leader that has removed itself does not end before another
        leads (hazard M4). `view` is its last; None where it has just been started."""
        if node_id not in self.memberships.latest.removed:
            raise Violation("Removed", f"node {node_id} ends as removed, and is a member")
        if view is not None and view.role is Role.LEADER and view.current_term == max(self.leaders):
            raise Violation("Removed", f"node {node_id} ends as removed, and leads")

    # The state machines

    def applied(self, seen: Observed, entries: Sequence[Entry]) -> None:
        """A state machine is given entries: the next ones, and those that are committed there."""
        for entry in entries:
            if entry.index != seen.applied + 1:
                raise Violation("State Machine Safety", f"node {seen.node_id} applies {entry} after {seen.applied}")
            if entry.index > len(self.committed) or self.committed[entry.index - 1] != entry:
                raise Violation("State Machine Safety", f"node {seen.node_id} applies {entry}, which is not committed")
            seen.applied = entry.index

    def restored(self, seen: Observed, index: int) -> None:
        """A state machine has been restored from a snapshot: it never goes back (hazard S8), nor beyond what is
        committed."""
        if not seen.applied < index <= len(self.committed):
            raise Violation(
                "State Machine Safety",
                f"node {seen.node_id} goes from {seen.applied} to a snapshot of {index};"
                f" {len(self.committed)} are committed",
            )
        seen.applied = index

    def results_are(self, seen: Observed, index: int, results: Sequence[Hashable]) -> None:
        """The results of the entries from `index` on, which are the same on every node (hazard C10)."""
        for number, result in enumerate(results, index):
            known = self.results.setdefault(number, result)
            if known != result:
                raise Violation(
                    "State Machine Safety", f"entry {number} comes to {result!r} on node {seen.node_id}, not {known!r}"
                )

    def state_is(self, seen: Observed, state: Hashable) -> None:
        """What a state machine holds now. What was applied decides that, also where a snapshot stood for some of it."""
        known = self.states.setdefault(seen.applied, state)
        if known != state:
            raise Violation(
                "State Machine Safety", f"at {seen.applied}, the state of node {seen.node_id} is {state}, not {known}"
            )
