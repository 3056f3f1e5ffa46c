"""The judge of memberships: what may follow on what, and whose disks and votes count."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.configuration import Configuration
from txraft.core.messages import Entry, EntryKind
from txraft.testing.memberships import Memberships, gets_votes, holds_majorities, wrong_step
from txraft.testing.violation import Violation

THREE = Configuration({1, 2, 3})
JOINT = Configuration({1, 4}, outgoing={1, 2, 3}, learners_next={2}, auto_leave=True)
LEFT = Configuration({1, 4}, learners={2}, removed={3})


class MajorityTests(SynchronousTestCase):
    def test_simple(self) -> None:
        """More than half, and who is no voter does not count."""
        self.assertTrue(holds_majorities(THREE, {1, 2}))
        self.assertFalse(holds_majorities(THREE, {1, 4, 5}))
        self.assertFalse(holds_majorities(Configuration({1, 2}), {1}))

    def test_joint(self) -> None:
        """Thesis §4.3: of each of the two sets."""
        self.assertTrue(holds_majorities(JOINT, {1, 2, 4}))
        self.assertFalse(holds_majorities(JOINT, {1, 4}))
        self.assertFalse(holds_majorities(JOINT, {1, 2, 3}))

    def test_nobody(self) -> None:
        """Without voters nothing is decided."""
        self.assertFalse(holds_majorities(Configuration(()), {1}))

    def test_new_voters(self) -> None:
        """hazard M8: who had no vote, also among the old voters of a joint membership."""
        self.assertEqual(gets_votes(THREE, JOINT), {4})
        self.assertEqual(gets_votes(JOINT, LEFT), set())


class StepTests(SynchronousTestCase):
    """§6, thesis chapter 4."""

    def test_right(self) -> None:
        """What the functions of `txraft.core.changes` make."""
        learner = evolve(THREE, learners={4}, joining={4: None})
        for before, after in (
            (THREE, learner),
            (learner, Configuration({1, 2, 3, 4})),
            (THREE, Configuration({1, 2}, removed={3})),
            (THREE, Configuration({1, 2}, learners={3})),
            (THREE, JOINT),
            (JOINT, LEFT),
        ):
            self.assertEqual(wrong_step(before, after), "")

    def test_wrong(self) -> None:
        """Each says what is wrong with it."""
        for before, after, wrong in (
            (THREE, Configuration(()), "there is no voter left"),
            (THREE, Configuration({1, 2, 3, 4, 5}), "several voters come or go in one step"),
            (THREE, evolve(JOINT, outgoing={1, 2}, removed={3}), "the old voters are not all there"),
            (JOINT, evolve(LEFT, voters={1, 4, 5}), "a joint configuration is left otherwise than it says"),
            (JOINT, JOINT, "a joint configuration is left otherwise than it says"),
            (THREE, Configuration({1, 2}), "not just those who have gone are removed"),
            (LEFT, Configuration({1, 4, 3}, learners={2}), "a removed server is a member again (hazard M7)"),
            (THREE, evolve(THREE, addresses={1: ("a",), 2: ("a",)}), "two members share an address"),
            (THREE, evolve(THREE, addresses={4: ("a",)}), "who has gone has an address"),
        ):
            self.assertEqual(wrong_step(before, after), wrong)


class AnswerTests(SynchronousTestCase):
    """What is said of a change stays true."""

    def setUp(self) -> None:
        self.memberships = Memberships(THREE, frozenset())
        self.two = Configuration({1, 2}, removed={3})
        self.entry = Entry(5, 1, EntryKind.CONFIGURATION, self.two.to_bytes())
        self.memberships.known[5, 1] = self.two

    def test_done(self) -> None:
        """It is committed, and so is what it has led to."""
        self.assertRaises(Violation, self.memberships.answered_done, 5, 1, self.two)
        self.memberships.commits(self.entry, {1, 2})
        self.memberships.answered_done(5, 1, self.two)
        self.assertRaises(Violation, self.memberships.answered_done, 5, 1, Configuration({1}, removed={2, 3}))
        self.assertEqual((self.memberships.at(4), self.memberships.at(5)), (THREE, self.two))

    def test_not_applied(self) -> None:
        """It is not committed, before or after."""
        self.memberships.answered_not_applied(5, 1)
        self.assertRaises(Violation, self.memberships.commits, self.entry, {1, 2})

    def test_on_its_own_majority(self) -> None:
        """A membership is committed by its own voters."""
        self.assertRaises(Violation, self.memberships.commits, self.entry, {1, 3})

    def test_strays(self) -> None:
        """hazard E14"""
        memberships = Memberships(THREE, {4})
        memberships.connects(1, 2)
        self.assertRaises(Violation, memberships.connects, 1, 4)
        self.assertRaises(Violation, memberships.connects, 4, 1)
