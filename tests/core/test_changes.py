"""Changes of the membership (§6, thesis §4.3), one rule at a time. `test_changes_as_etcd` has every change there is."""

from twisted.trial.unittest import SynchronousTestCase

from txraft.core.changes import Change, ChangeKind, changed, enter_joint, leave_joint, simple
from txraft.core.configuration import Addresses, Configuration, NodeId
from txraft.errors import ChangeRefused, ChangeUnderWay

NOBODY = Configuration(voters=())
ONE = Configuration(voters={1})
THREE = Configuration(voters={1, 2, 3})
PLACES: dict[NodeId, Addresses] = {each: (f"host{each}:1", f"host{each}:2") for each in range(10)}
AT_HOME = Configuration(voters={1, 2, 3}, addresses={each: PLACES[each] for each in (1, 2, 3)})


def voter(server: NodeId, *addresses: str) -> Change:
    return Change(ChangeKind.ADD_VOTER, server, addresses)


def learner(server: NodeId, *addresses: str) -> Change:
    return Change(ChangeKind.ADD_LEARNER, server, addresses)


def joiner(server: NodeId, *addresses: str, replaces: NodeId | None = None) -> Change:
    return Change(ChangeKind.ADD_LEARNER, server, addresses, joins=True, replaces=replaces)


def remove(server: NodeId) -> Change:
    return Change(ChangeKind.REMOVE, server)


def update(server: NodeId, *addresses: str) -> Change:
    return Change(ChangeKind.UPDATE, server, addresses)


class ChangesTestCase(SynchronousTestCase):
    def assert_refused(self, line: str, configuration: Configuration, *changes: Change) -> None:
        """That `changed` refuses, and says just this."""
        with self.assertRaises(ChangeRefused) as caught:
            changed(configuration, changes)
        self.assertEqual(str(caught.exception), line)


class WayTests(ChangesTestCase):
    """The short way, or a joint configuration."""

    def test_one_voter_takes_one_step(self) -> None:
        """Thesis §4.1: one voter comes, goes, is promoted, loses its vote; any number of learners come and go."""
        four = Configuration(voters={1, 2, 3}, learners={4})
        for changes, after in (
            ([voter(5)], Configuration(voters={1, 2, 3, 5}, learners={4})),
            ([remove(3), remove(4)], Configuration(voters={1, 2}, removed={3, 4})),
            ([voter(4), learner(5), learner(6)], Configuration(voters={1, 2, 3, 4}, learners={5, 6})),
            ([learner(3)], Configuration(voters={1, 2}, learners={3, 4})),
        ):
            self.assertEqual(changed(four, changes), after)
            self.assertEqual(simple(four, changes), after)

    def test_two_voters_take_two(self) -> None:
        """Thesis §4.3: the old voters and the new ones decide together, until the leader leaves by itself."""
        joint = changed(THREE, [voter(4), remove(1)])
        self.assertEqual(joint, Configuration(voters={2, 3, 4}, outgoing={1, 2, 3}, auto_leave=True))
        self.assertEqual(joint, enter_joint(THREE, [voter(4), remove(1)], auto_leave=True))
        self.assertEqual(leave_joint(joint), Configuration(voters={2, 3, 4}, removed={1}))
        with self.assertRaisesRegex(ChangeRefused, "more than one voter"):
            simple(THREE, [voter(4), remove(1)])

    def test_changes_may_be_any_iterable(self) -> None:
        """Read once only, also where both ways are tried."""
        self.assertEqual(changed(THREE, map(voter, (4, 5))).voters, {1, 2, 3, 4, 5})

    def test_one_change_at_a_time(self) -> None:
        """In a joint configuration every other change is refused, as one that may be asked for again."""
        joint = enter_joint(THREE, [], auto_leave=False)
        for refused in (
            lambda: changed(joint, [voter(4)]),
            lambda: simple(joint, []),
            lambda: enter_joint(joint, [], auto_leave=True),
        ):
            with self.assertRaisesRegex(ChangeUnderWay, "^another change of the membership has not ended; try again"):
                refused()

    def test_zero_is_an_id_as_any_other(self) -> None:
        """etcd takes it for no change at all; here it is a node's."""
        self.assertEqual(changed(ONE, [voter(0)]).voters, {0, 1})
