"""What operators ask for, and what of the membership is shown."""

from collections.abc import Callable, Mapping
from functools import partial

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.changes import Change, ChangeKind, changed
from txraft.core.configuration import Configuration
from txraft.core.invariants import View
from txraft.core.messages import NodeId
from txraft.core.progress import Progress
from txraft.core.roles import Role
from txraft.errors import ChangeRefused
from txraft.node.member_changes import add, promote, remove, replace, update
from txraft.node.membership_status import members_of, statuses_of
from txraft.statuses import Members

CONFIGURATION = Configuration(
    voters={0, 1, 2},
    learners={3, 4},
    joining={4: 1},
    addresses={id: (f"raft{id}", f"kv{id}") for id in (0, 1, 2, 3, 4)},
    removed={9, 7},
)
TAKES_A_PLACE = "^node 4 takes the place of node 1 when it has caught up; to undo that, remove node 4 first$"


def shown(
    configuration: Configuration = CONFIGURATION, leads: bool = False, problems: Mapping[NodeId, str] = {}
) -> Members:
    """The membership as node 0 shows it."""
    view = View(
        node_id=0,
        role=Role.LEADER if leads else Role.FOLLOWER,
        current_term=1,
        voted_for=None,
        leader_id=0 if leads else 2,
        commit_index=5,
        last_applied=5,
        durable_index=6,
        first_index=1,
        last_index=6,
        last_term=1,
    )
    followers = {
        id: Progress(next_index=7, last_contact=9.5, has_answered=id != 4, match_index=id)
        for id in (1, 2, 3, 4)
        if leads
    }
    return members_of("ours", frozenset({2, 0, 1}), configuration, 3, view, followers, problems, now=10.0)


class ShownTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """What is sorted is easy to read and to compare."""
        members = shown()
        self.assertEqual((members.cluster, members.founders, members.index), ("ours", (0, 1, 2), 3))
        self.assertEqual((members.leader_id, members.joint, members.removed), (2, False, (7, 9)))
        self.assertEqual([member.id for member in members.members], [0, 1, 2, 3, 4])

    def test_roles(self) -> None:
        """A voter, a learner that stays one, and one that is to replace a voter."""
        parts = [(each.voter, each.learner, each.joining, each.replaces) for each in shown().members]
        voter = (True, False, False, None)
        self.assertEqual(parts, [voter, voter, voter, (False, True, False, None), (False, True, True, 1)])

    def test_joint(self) -> None:
        """A voter of the old configuration alone is leaving, also one that is to be a learner."""
        joint = changed(CONFIGURATION, [Change(ChangeKind.ADD_VOTER, 4), Change(ChangeKind.REMOVE, 1)])
        members = shown(joint)
        self.assertTrue(members.joint)
        self.assertEqual([(each.voter, each.leaving) for each in members.members][1], (True, True))
        self.assertEqual([each.id for each in members.members if each.leaving], [1])
        self.assertEqual(members.members[4].voter, True)

    def test_what_a_leader_knows(self) -> None:
        """How far each member is, itself included, and when it was heard of, if it was; nobody else knows."""
        known = [(each.match_index, each.last_contact) for each in shown(leads=True).members]
        self.assertEqual(known, [(6, 0.0), (1, 0.5), (2, 0.5), (3, 0.5), (4, None)])
        self.assertEqual({(each.match_index, each.last_contact) for each in shown().members}, {(None, None)})

    def test_problems(self) -> None:
        """Why a member does not catch up."""
        found = [each.problem for each in shown(leads=True, problems={3: "has no room"}).members]
        self.assertEqual(found, [None, None, None, "has no room", None])

    def test_addresses(self) -> None:
        """Those in the log; none where it has none."""
        self.assertEqual(
            [each.addresses for each in statuses_of(CONFIGURATION)], [(f"raft{id}", f"kv{id}") for id in range(5)]
        )
        (member,) = statuses_of(Configuration(voters={0}))
        self.assertEqual(member.addresses, ())


class AskedForTests(SynchronousTestCase):
    """Each stands for a change that the core takes, or is refused with a line."""

    def after(self, *changes: Change) -> Configuration:
        return changed(CONFIGURATION, changes)

    def refused(self, line: str, make: Callable[[], object]) -> None:
        self.assertRegex(str(self.assertRaises(ChangeRefused, make)), line)

    def test_add(self) -> None:
        """It joins without a vote (hazard M8)."""
        after = self.after(add(shown(), 5, ("raft5", "kv5")))
        self.assertEqual((after.voters, dict(after.joining)[5]), (CONFIGURATION.voters, None))
        after = self.after(add(shown(), 5, ("raft5", "kv5"), learner=True))
        self.assertIn(5, after.learners)
        self.assertNotIn(5, dict(after.joining))
        for member in (0, 3):  # with the same addresses too: a voter would lose its vote
            again = partial(add, shown(), member, (f"raft{member}", f"kv{member}"), learner=True)
            self.refused(f"node {member} is .* already, at just these addresses", again)
        joins = shown(evolve(CONFIGURATION, joining={3: None}))
        self.refused("^node 3 is added already, at just", lambda: add(joins, 3, ("raft3", "kv3")))
        self.refused(TAKES_A_PLACE, lambda: add(shown(), 4, ("raft4", "kv4")))
        self.refused("is a member already, at raft3; give .* another id", lambda: add(shown(), 3, ("raft5", "kv3")))

    def test_remove(self) -> None:
        """A member; one that has gone, or never was there, is a slip of the pen."""
        self.assertNotIn(1, self.after(remove(shown(), 1)).members)
        self.refused("^node 9 has been removed already$", lambda: remove(shown(), 9))
        self.refused("^node 8 is no member; the members are 0, 1, 2, 3, 4$", lambda: remove(shown(), 8))

    def test_promote(self) -> None:
        """A learner, once it has caught up (hazard M8). One that is to get a vote anyhow goes on as it was to."""
        after = self.after(promote(shown(), 3))
        self.assertEqual((after.voters, dict(after.joining)), (CONFIGURATION.voters, {3: None, 4: 1}))
        self.assertEqual(after.addresses, CONFIGURATION.addresses)
        self.refused("^node 1 has a vote already$", lambda: promote(shown(), 1))
        self.refused("^node 8 is no member", lambda: promote(shown(), 8))
        self.refused(TAKES_A_PLACE, lambda: promote(shown(), 4))
        joins = evolve(CONFIGURATION, joining={3: None})
        self.refused("^node 3 gets a vote by itself already", lambda: promote(shown(joins), 3))

    def test_replace(self) -> None:
        """The old one stays until the new one has caught up; a learner that is there already may take its place."""
        after = self.after(replace(shown(), 0, 5, ("raft5", "kv5")))
        self.assertEqual((after.voters, dict(after.joining)[5]), (CONFIGURATION.voters, 0))
        self.assertEqual(dict(self.after(replace(shown(), 0, 3, ("raft3", "kv3"))).joining)[3], 0)
        self.refused("^node 8 is no member", lambda: replace(shown(), 8, 5, ("raft5", "kv5")))
        self.refused(TAKES_A_PLACE, lambda: self.after(replace(shown(), 2, 4, ("raft4", "kv4"))))

    def test_update(self) -> None:
        """All of its addresses are others, as many as its user likes."""
        for addresses in (("raft1", "new"), ("a", "b"), ("a",)):
            self.assertEqual(dict(self.after(update(shown(), 1, addresses)).addresses)[1], addresses)
        self.refused("^node 9 is no member", lambda: update(shown(), 9, ("a",)))
