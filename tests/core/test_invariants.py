"""What must always hold: each rule by a state, or a step, that breaks it and nothing else."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.invariants import View, check, check_step
from txraft.core.roles import Role
from txraft.errors import InvariantViolated

FOLLOWER = View(
    node_id=1,
    role=Role.FOLLOWER,
    current_term=5,
    voted_for=2,
    leader_id=3,
    commit_index=7,
    last_applied=6,
    durable_index=8,
    first_index=4,
    last_index=9,
    last_term=5,
)
LEADER = attrs.evolve(FOLLOWER, role=Role.LEADER, voted_for=1, leader_id=1)


class OneStateTests(SynchronousTestCase):
    def assert_broken(self, view: View, rule: str) -> None:
        """`check` names this rule, and the state that breaks it, in one line."""
        line = str(self.assertRaises(InvariantViolated, check, view))
        self.assertIn(rule, line)
        self.assertIn("node_id=1", line)
        self.assertNotIn("\n", line)

    def test_what_is_right(self) -> None:
        """Each role, and the limits of each order, pass."""
        check(FOLLOWER)
        check(LEADER)
        check(attrs.evolve(FOLLOWER, role=Role.CANDIDATE, voted_for=1, leader_id=None))
        check(attrs.evolve(FOLLOWER, role=Role.PRE_CANDIDATE, leader_id=None))
        check(attrs.evolve(FOLLOWER, last_applied=3, commit_index=3))
        check(attrs.evolve(FOLLOWER, last_applied=9, commit_index=9, durable_index=9))

    def test_indexes_are_in_order(self) -> None:
        """Figure 2: lastApplied ≤ commitIndex ≤ the log's end, and only what is applied is compacted (§7)."""
        rule = "in this order"
        self.assert_broken(attrs.evolve(FOLLOWER, last_applied=2), rule)
        self.assert_broken(attrs.evolve(FOLLOWER, last_applied=8), rule)
        self.assert_broken(attrs.evolve(FOLLOWER, commit_index=10), rule)

    def test_what_is_durable_is_in_the_log(self) -> None:
        """hazard R11: a write of what was truncated is not this log's."""
        self.assert_broken(attrs.evolve(FOLLOWER, durable_index=10), "what is durable is in the log")

    def test_what_is_applied_is_durable(self) -> None:
        """A state machine that is ahead of the log after a crash could not be explained."""
        self.assert_broken(attrs.evolve(FOLLOWER, durable_index=5), "what is applied is durable")

    def test_what_is_applied_is_in_a_snapshot(self) -> None:
        """The data of a snapshot are durable before the log that starts after it is."""
        check(attrs.evolve(FOLLOWER, last_applied=6, durable_index=0, first_index=7))
        self.assert_broken(attrs.evolve(FOLLOWER, last_applied=7, durable_index=0, first_index=7), "or in a snapshot")

    def test_no_entry_of_a_term_to_come(self) -> None:
        """§5.1: whoever takes an entry has entered its term."""
        self.assert_broken(attrs.evolve(FOLLOWER, last_term=6), "term to come")

    def test_who_leads_knows_it(self) -> None:
        """§5.2: and nobody else takes itself for the leader."""
        rule = "who leads knows it"
        self.assert_broken(attrs.evolve(LEADER, leader_id=None), rule)
        self.assert_broken(attrs.evolve(LEADER, leader_id=2), rule)
        self.assert_broken(attrs.evolve(FOLLOWER, leader_id=1), rule)

    def test_a_candidate_votes_for_itself(self) -> None:
        """§5.2: and so has a leader; a pre-candidate need not have."""
        rule = "votes for itself"
        self.assert_broken(attrs.evolve(LEADER, voted_for=2), rule)
        self.assert_broken(attrs.evolve(FOLLOWER, role=Role.CANDIDATE, leader_id=None), rule)


class OneStepTests(SynchronousTestCase):
    def assert_broken(self, before: View, after: View, rule: str) -> None:
        """`check_step` names this rule."""
        self.assertIn(rule, str(self.assertRaises(InvariantViolated, check_step, before, after)))

    def test_what_is_right(self) -> None:
        """Nothing changed, everything grew, a vote was given, a later term has no vote yet."""
        check_step(FOLLOWER, FOLLOWER)
        check_step(FOLLOWER, attrs.evolve(FOLLOWER, commit_index=9, last_applied=8, first_index=5))
        check_step(attrs.evolve(FOLLOWER, voted_for=None), FOLLOWER)
        check_step(FOLLOWER, attrs.evolve(FOLLOWER, current_term=6, voted_for=None))
        check_step(FOLLOWER, attrs.evolve(FOLLOWER, last_index=7, durable_index=7))  # truncated by a leader

    def test_nothing_goes_back(self) -> None:
        """§5.1 and hazard R2."""
        self.assert_broken(FOLLOWER, attrs.evolve(FOLLOWER, current_term=4), "the term")
        self.assert_broken(FOLLOWER, attrs.evolve(FOLLOWER, commit_index=6), "commit_index")
        self.assert_broken(FOLLOWER, attrs.evolve(FOLLOWER, last_applied=5), "last_applied")
        self.assert_broken(FOLLOWER, attrs.evolve(FOLLOWER, first_index=1), "compacted")

    def test_commitment_does_not_go_back_in_a_later_term_either(self) -> None:
        """hazard R2: a new term excuses nothing."""
        self.assert_broken(FOLLOWER, attrs.evolve(FOLLOWER, current_term=6, commit_index=6), "commit_index")

    def test_one_vote_a_term(self) -> None:
        """hazard E2: it is neither given to another nor taken back."""
        self.assert_broken(FOLLOWER, attrs.evolve(FOLLOWER, voted_for=3), "one vote a term")
        self.assert_broken(FOLLOWER, attrs.evolve(FOLLOWER, voted_for=None), "one vote a term")

    def test_leader_append_only(self) -> None:
        """§5.3 and Figure 3: a leader that truncates its own log has lost what it may have committed."""
        self.assert_broken(LEADER, attrs.evolve(LEADER, last_index=8), "Leader Append-Only")
        check_step(LEADER, attrs.evolve(FOLLOWER, voted_for=1, leader_id=None, last_index=8))
