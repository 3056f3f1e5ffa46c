"""Changes of the membership, as the leader makes them (§6, thesis chapter 4). What they come to is in `changes`.

    change_members ──> appended, in force ── committed ──> simple: done
                                                └────────> joint: left by itself, once (hazard M3) ── committed ──> done
    a joining learner ── a round of catching up was short ──> a change that promotes it (thesis §4.2.1)

One change at a time, and none before an entry of the leader's own term is committed (hazard M1). A server gets its vote
when it has caught up, never before (hazard M8): who is to vote joins as a learner. A leader that has no vote any more
leads, uncounted, until that is committed, and hands over then (hazard M4; `txraft.core.leader`).
"""

from collections.abc import Sequence, Set

from attrs import define, evolve

from txraft.core.changes import Change, ChangeKind, changed, leave_joint
from txraft.core.configuration import Configuration
from txraft.core.messages import MAX_BATCH_SIZE, Entry, NodeId
from txraft.core.quorum import has_quorum
from txraft.core.replication import Replication
from txraft.core.state import State
from txraft.errors import ChangeRefused, ChangeUnderWay

MOST_MEMBERS = 100
"""Far more than have ever made sense. In a joint configuration, those before it and those after it count."""
MOST_CHANGES = 2 * MOST_MEMBERS
"""At once: all go, and as many others come."""
LONGEST = MAX_BATCH_SIZE // 2
"""Bytes of a membership that an operator asks for. What follows on it by itself may be longer."""


@define
class _Round:
    """A learner is to have, at the end of it, what the log had when it began (thesis §4.2.1)."""

    began: float
    ends_with: int


class Reconfiguration:
    """The changes of one term's leadership."""

    def __init__(self, state: State, replication: Replication) -> None:
        self._state = state
        self._replication = replication
        self._rounds: dict[NodeId, _Round] = {}

    def change(self, changes: Sequence[Change], in_contact: Set[NodeId], now: float) -> Entry:
        """Append what the membership becomes by these changes. `in_contact` are those that have answered this leader,
        and it itself. Raises ChangeUnderWay and ChangeRefused, and then nothing has changed."""
        self._require_no_other()
        if len(changes) > MOST_CHANGES:
            raise ChangeRefused(f"{len(changes)} changes of members at once are too many; {MOST_CHANGES} are the most")
        before = self._state.configuration
        _require_votes_to_stay(before, changes)
        configuration = changed(before, [_first_as_a_learner(before, change) for change in changes])
        if configuration == before:
            raise ChangeRefused("the members are so already")
        count = len(configuration.members)
        if count > MOST_MEMBERS and count > len(before.members):
            raise ChangeRefused(f"there would be {count} members, and {MOST_MEMBERS} are the most; remove some first")
        try:
            configuration.require_sound()
        except ValueError as error:  # no server could read it in its log
            raise ChangeRefused(f"there can be no such members: {error}") from error
        _require_short(configuration)
        if not has_quorum(configuration.voter_sets, in_contact):
            silent = sorted(configuration.voters.union(configuration.outgoing) - in_contact)
            nodes = f"node {silent[0]}" if len(silent) == 1 else f"nodes {', '.join(map(str, silent))}"
            raise ChangeRefused(
                f"no majority of the voters that there would be has answered within an election timeout: start {nodes}"
                " again, or remove or replace such a node first"
            )
        return self._replication.append_configuration(configuration, now)

    @property
    def is_due(self) -> bool:
        """Whether the configuration in force is committed, and this leader has to leave it, or to leave."""
        return self.is_to_leave_joint or self.is_retired

    @property
    def is_to_leave_joint(self) -> bool:
        return self._state.configuration.auto_leave and self._is_committed

    @property
    def is_retired(self) -> bool:
        """Whether this leader has no vote any more, and that is committed (hazard M4)."""
        state = self._state
        return not state.configuration.is_voter(state.node_id) and self._is_committed

    def leave_joint(self, now: float) -> None:
        """Leave the joint configuration, which is committed. There is none to leave afterwards (hazard M3)."""
        self._replication.append_configuration(leave_joint(self._state.configuration), now)

    def promote(self, in_contact: Set[NodeId], now: float) -> None:
        """Let those learners vote that have caught up, in the place of those that they replace. To be called at each
        heartbeat."""
        configuration = self._state.configuration
        if not configuration.joining:
            return
        fed = configuration.learners & self._replication.progress.keys()  # a leader that is one does not feed itself
        replaced = {learner: old for learner, old in configuration.joining if learner in fed}
        self._rounds = {learner: each for learner, each in self._rounds.items() if learner in replaced}
        changes = []
        for learner, old in replaced.items():
            if self._has_caught_up(learner, now):
                changes.append(Change(ChangeKind.ADD_VOTER, learner))
                changes += [] if old is None else [Change(ChangeKind.REMOVE, old)]
        if not changes or not self._may_change:
            return
        promoted = changed(configuration, changes)
        if has_quorum(promoted.voter_sets, in_contact):
            self._replication.append_configuration(promoted, now)

    def _has_caught_up(self, learner: NodeId, now: float) -> bool:
        """Whether the last round of a learner took less than an election timeout: so long, at most, it would hold up
        what is committed. Where it took longer, the next one begins."""
        log, progress = self._state.log, self._replication.progress[learner]
        round_ = self._rounds.setdefault(learner, _Round(now, log.last_index))
        if progress.counted_index < round_.ends_with:
            return False
        if now - round_.began < self._state.options.election_timeout:
            return True
        self._rounds[learner] = _Round(now, log.last_index)
        return False

    @property
    def _is_committed(self) -> bool:
        return self._state.log.membership.index <= self._state.commit_index

    @property
    def _has_committed_in_its_term(self) -> bool:
        return self._state.log.term_at(self._state.commit_index) == self._state.current_term

    @property
    def _may_change(self) -> bool:
        return self._is_committed and self._has_committed_in_its_term and not self._state.configuration.is_joint

    def _require_no_other(self) -> None:
        if not self._may_change:
            raise ChangeUnderWay(
                "another change of the members is under way; try again soon"
                if self._has_committed_in_its_term
                else "the leader was elected just now, and has to know the members first; try again soon"
            )


def _require_short(configuration: Configuration) -> None:
    """Raises ChangeRefused where it is too long for an entry, and says what makes it so."""
    if len(configuration.to_bytes()) <= LONGEST:
        return
    if len(evolve(configuration, removed=()).to_bytes()) > LONGEST // 2:
        raise ChangeRefused("there can be no such members: they and their addresses are too long for an entry")
    raise ChangeRefused(
        "there can be no such members: the ids of all that were ever removed are too long for an entry; give new"
        " servers ids that lie between removed ones, since removed ids without a gap count as one range"
    )


def _require_votes_to_stay(configuration: Configuration, changes: Sequence[Change]) -> None:
    """Raises ChangeRefused where voters are to go at once and others are to vote later, in their place as it were.
    Until these have caught up, which may be never, there would be too few voters (hazard M8)."""
    voters = configuration.voters
    to_vote = {each.server for each in changes if each.kind is ChangeKind.ADD_VOTER or each.joins} - voters
    to_go = {each.server for each in changes if each.kind in (ChangeKind.REMOVE, ChangeKind.ADD_LEARNER)} & voters
    if to_vote and to_go:
        raise ChangeRefused(
            f"node {min(to_vote)} gets its vote when it has caught up, and node {min(to_go)} would lose its own at"
            " once: change that afterwards, or say whom the new one replaces"
        )


def _first_as_a_learner(configuration: Configuration, change: Change) -> Change:
    """Who has no vote yet is to catch up before it gets one (hazard M8)."""
    if change.kind is not ChangeKind.ADD_VOTER or configuration.is_voter(change.server):
        return change
    return Change(ChangeKind.ADD_LEARNER, change.server, change.addresses, joins=True, replaces=change.replaces)
