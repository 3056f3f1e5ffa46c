"""Changes of the membership (§6, thesis §4.3), one rule at a time. `test_changes_as_etcd` has every change there is."""

from itertools import combinations
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.changes import Change, ChangeKind, changed, enter_joint, leave_joint, simple
from txraft.core.configuration import Addresses, Configuration, NodeId
from txraft.core.quorum import has_quorum
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


class Text(str):
    """A text that counts how often one is looked up."""

    hashed: ClassVar[int] = 0
    __slots__ = ()

    def __hash__(self) -> int:
        Text.hashed += 1
        return super().__hash__()


class ChangesTestCase(SynchronousTestCase):
    def assert_refused(self, line: str, configuration: Configuration, *changes: Change) -> None:
        """That `changed` refuses, and says just this."""
        with self.assertRaises(ChangeRefused) as caught:
            changed(configuration, changes)
        self.assertEqual(str(caught.exception), line)


class ChangeTests(SynchronousTestCase):
    def test_what_none_is(self) -> None:
        """It is refused where it is made: in the log it would end each leader."""
        for kind, server in (("remove", 1), (ChangeKind.REMOVE, "1"), (ChangeKind.REMOVE, None)):
            self.assertRaises(TypeError, Change, kind, server)


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


class RemovedTests(ChangesTestCase):
    """hazard M7: an id is never used twice."""

    def test_who_goes_is_remembered(self) -> None:
        """hazard M7: voters and learners, from when they are no members any more, and once for all."""
        before = Configuration(voters={1, 2}, learners={3}, removed={9})
        self.assertEqual(changed(before, [remove(2), remove(3)]).removed, {2, 3, 9})
        joint = changed(before, [voter(4), remove(2), remove(3)])
        self.assertEqual(joint.removed, {3, 9})
        self.assertEqual(leave_joint(joint).removed, {2, 3, 9})

    def test_none_of_them_comes_back(self) -> None:
        """hazard M7: as no kind of member. To remove it once more changes nothing."""
        gone = Configuration(voters={1, 2}, removed={3})
        line = (
            "node 3 has been removed, and no id is ever used again; add the server under another id, with an empty data"
            " directory"
        )
        for again in (voter(3), learner(3), joiner(3)):
            self.assert_refused(line, gone, again)
        self.assertEqual(changed(gone, [remove(3)]), gone)

    def test_who_stays_or_never_was_a_member_is_not(self) -> None:
        """hazard M7: it goes and comes in one list; it comes and goes in one; it becomes a learner."""
        for changes in ([remove(3), voter(3)], [voter(4), remove(4)], [remove(3), learner(3)], [remove(7)]):
            self.assertEqual(changed(THREE, changes).removed, set())


class AddressesTests(ChangesTestCase):
    """Members carry addresses, each its own."""

    def test_they_come_with_a_member_and_go_with_it(self) -> None:
        """An outgoing voter keeps them until the joint configuration is left."""
        four = changed(AT_HOME, [learner(4, *PLACES[4])])
        self.assertEqual(dict(four.addresses), {each: PLACES[each] for each in (1, 2, 3, 4)})
        joint = changed(four, [voter(4), remove(1)])
        self.assertEqual(joint.addresses, four.addresses)
        self.assertEqual(dict(leave_joint(joint).addresses), {each: PLACES[each] for each in (2, 3, 4)})
        self.assertEqual(dict(changed(four, [remove(4), remove(1)]).addresses), {2: PLACES[2], 3: PLACES[3]})

    def test_updates_change_them(self) -> None:
        """Of learners and voters, and nothing else. None given are those that it has."""
        moved = changed(AT_HOME, [update(3, *PLACES[7]), update(2)])
        self.assertEqual(dict(moved.addresses), {1: PLACES[1], 2: PLACES[2], 3: PLACES[7]})
        self.assertEqual((moved.voters, moved.removed), (AT_HOME.voters, set()))
        self.assert_refused("node 4 is no member; its addresses can be updated once it is", THREE, update(4, "a"))
        self.assertEqual(dict(changed(THREE, [learner(4), update(4, "a")]).addresses), {4: ("a",)})
        line = "node 3 is no member; its addresses can be updated once it is"
        self.assert_refused(line, THREE, remove(3), update(3, "a"))

    def test_an_outgoing_voter_can_be_updated_as_it_goes(self) -> None:
        """It is still spoken to."""
        joint = changed(AT_HOME, [voter(4), remove(1), update(2, "there")])
        self.assertEqual(dict(joint.addresses)[2], ("there",))
        joint = enter_joint(AT_HOME, [remove(1), update(1, "there")], auto_leave=True)
        self.assertEqual(dict(joint.addresses)[1], ("there",))

    def test_no_two_members_share_one(self) -> None:
        """Neither of an old and a new one, nor of two new ones; whichever of its addresses it is."""
        line = "host1:2 is an address of node 1; give node {} another one, or remove node 1 first"
        self.assert_refused(line.format(4), AT_HOME, learner(4, "host4:1", "host1:2"))
        self.assert_refused(line.format(4), AT_HOME, voter(4, "host1:2", "host4:2"))
        self.assert_refused(line.format(3), AT_HOME, update(3, "host3:1", "host1:2"))
        self.assert_refused(
            "a is an address of node 5; give node 4 another one, or remove node 5 first",
            AT_HOME,
            learner(4, "a", "b"),
            learner(5, "a", "b"),
        )

    def test_who_goes_with_the_change_still_has_them(self) -> None:
        """It is still spoken to until the change is committed. After that its addresses are free."""
        line = "host3:1 is an address of node 3; give node 4 another one, or remove node 3 first"
        self.assert_refused(line, AT_HOME, remove(3), learner(4, *PLACES[3]))
        self.assert_refused(line, AT_HOME, remove(3), voter(4, *PLACES[3]))
        without = changed(AT_HOME, [remove(3)])
        self.assertEqual(dict(changed(without, [voter(4, *PLACES[3])]).addresses)[4], PLACES[3])

    def test_two_members_may_change_places(self) -> None:
        """What counts is how it ends."""
        swapped = changed(AT_HOME, [update(1, *PLACES[2]), update(2, *PLACES[1])])
        self.assertEqual(dict(swapped.addresses), {1: PLACES[2], 2: PLACES[1], 3: PLACES[3]})

    def test_what_was_wrong_before_can_be_mended(self) -> None:
        """Two that share an address already refuse no change but one that gives it to a third."""
        shared = Configuration(voters={1, 2, 3}, addresses={1: ("a",), 2: ("a",)})
        self.assertEqual(dict(changed(shared, [update(2, "b")]).addresses), {1: ("a",), 2: ("b",)})
        self.assertEqual(dict(changed(shared, [remove(2)]).addresses), {1: ("a",)})
        line = "a is an address of node 1; give node 3 another one, or remove node 1 first"
        self.assert_refused(line, shared, update(3, "a"))

    def test_many_move_among_many(self) -> None:
        """The work is that of looking at each address, not at each two: while it goes on, nobody hears the leader."""
        many = Configuration({1}, learners=range(2, 1001), addresses={each: (Text(each),) for each in range(1, 1001)})
        moved = [update(each, Text(f"new {each}")) for each in range(500, 1001)]
        before = Text.hashed
        changed(many, moved)
        self.assertLess(Text.hashed - before, 10 * 1000)

    def test_an_id_that_is_taken(self) -> None:
        """Added again as it is, it stays as it is; with other addresses it would be another server."""
        self.assertEqual(changed(AT_HOME, [voter(3, *PLACES[3])]), AT_HOME)
        for again in (voter(3, *PLACES[4]), learner(3, *PLACES[4])):
            self.assert_refused(
                "node 3 is a member already, at host3:1 and host3:2; add another server under another id, or update the"
                " addresses of this one",
                AT_HOME,
                again,
            )
        self.assertEqual(dict(changed(THREE, [voter(3, *PLACES[3])]).addresses), {3: PLACES[3]})


class JoiningTests(ChangesTestCase):
    """Thesis §4.2.1, hazard M8: learners that become voters when they have caught up."""

    def setUp(self) -> None:
        self.joining = Configuration(voters={1, 2, 3}, learners={4, 5}, joining={4: None, 5: 1})

    def test_a_learner_joins_or_stays(self) -> None:
        """hazard M8: as it was asked for last."""
        self.assertEqual(changed(THREE, [joiner(4), joiner(5, replaces=1), learner(6)]).joining, self.joining.joining)
        self.assertEqual(dict(changed(self.joining, [learner(4)]).joining), {5: 1})
        self.assertEqual(dict(changed(self.joining, [joiner(4, replaces=2)]).joining), {4: 2, 5: 1})
        self.assertEqual(changed(self.joining, [joiner(5, replaces=1)]), self.joining)

    def test_a_promotion_ends_it(self) -> None:
        """hazard M8: also one in a joint step, in which the replaced voter goes."""
        self.assertEqual(dict(changed(self.joining, [voter(4)]).joining), {5: 1})
        joint = changed(self.joining, [voter(5), remove(1)])
        self.assertEqual(dict(joint.joining), {4: None})
        self.assertEqual(leave_joint(joint), Configuration({2, 3, 5}, learners={4}, joining={4: None}, removed={1}))

    def test_who_is_removed_joins_no_more(self) -> None:
        """It is no learner any more."""
        self.assertEqual(dict(changed(self.joining, [remove(5)]).joining), {4: None})

    def test_the_replaced_one_goes_by_itself(self) -> None:
        """Or loses its vote, in one step or in two: then nobody is replaced."""
        for changes in ([remove(1)], [learner(1)], [remove(1), voter(6)]):
            self.assertEqual(dict(changed(self.joining, changes).joining), {4: None, 5: None})
        self.assertEqual(dict(changed(self.joining, [remove(1), voter(1)]).joining), {4: None, 5: 1})

    def test_only_a_voter_can_be_replaced(self) -> None:
        """Neither a stranger, nor a learner, nor itself, nor one that goes with the same change."""
        for replaced in (8, 5, 6):
            line = f"node {replaced} is no voter, so node 6 cannot replace it"
            self.assert_refused(line, self.joining, joiner(6, replaces=replaced))
        line = "node 2 is no voter, so node 6 cannot replace it"
        self.assert_refused(line, self.joining, remove(2), joiner(6, replaces=2))

    def test_by_one_at_a_time(self) -> None:
        """The second one would come without anybody going."""
        line = "node 5 replaces node 1 already; remove node 5 first"
        self.assert_refused(line, self.joining, joiner(6, replaces=1))
        self.assertEqual(dict(changed(self.joining, [remove(5), joiner(6, replaces=1)]).joining), {4: None, 6: 1})

    def test_the_place_that_it_takes_stays(self) -> None:
        """Another voter would go, or that one stay, and who asked for it first would not hear of that."""
        line = "node 5 takes the place of node 1 when it has caught up; to undo that, remove node 5 first"
        for change in (joiner(5), joiner(5, replaces=2)):
            self.assert_refused(line, self.joining, change)
        self.assertEqual(dict(changed(self.joining, [remove(1), joiner(5)]).joining), {4: None, 5: None})
        self.assertEqual(dict(changed(self.joining, [learner(5), joiner(5)]).joining), {4: None, 5: None})

    def test_a_voter_does_not_join(self) -> None:
        """It would lose its vote; a request that is sent again after the promotion must not do that."""
        self.assert_refused("node 3 is a voter already", self.joining, joiner(3))


class LineTests(ChangesTestCase):
    def test_refusals_of_whole_changes(self) -> None:
        """One line each, for who reads it at night."""
        line = "no voter would be left; add another one first"
        self.assert_refused(line, ONE, remove(1))
        self.assert_refused(line, ONE, learner(1))
        line = "there is no voter yet, and only one can be added at a time until there is"
        self.assert_refused(line, NOBODY, voter(1), voter(2))
        with self.assertRaisesRegex(ChangeRefused, "^no change of the membership is under way that could be ended$"):
            leave_joint(ONE)


servers = st.integers(0, 5)
some_addresses = st.lists(st.sampled_from("abcdef"), max_size=2, unique=True).map(tuple)
some_changes = st.lists(
    st.builds(Change, st.sampled_from(ChangeKind), servers, some_addresses, st.booleans(), st.none() | servers),
    max_size=4,
)


class SoundnessTests(SynchronousTestCase):
    @settings(max_examples=200, deadline=None, database=None)
    @given(st.lists(some_changes, max_size=10))
    def test_every_configuration_is_sound(self, steps: list[list[Change]]) -> None:
        """However many changes: what comes of them can be written and read, keeps the promises of its fields, forgets
        nobody, and shares a server between any two majorities that follow on each other (hazard M7)."""
        configuration = AT_HOME
        for changes in steps:
            try:
                after = leave_joint(configuration) if configuration.is_joint else changed(configuration, changes)
            except ChangeRefused:
                continue
            self.assertEqual(Configuration.from_bytes(after.to_bytes()), after)
            self.assertEqual(after.removed & after.members, set())
            self.assertLessEqual(configuration.members | configuration.removed, after.members | after.removed)
            self.assertLessEqual(dict(after.addresses).keys(), after.members)
            shared = [text for _, texts in after.addresses for text in texts]
            self.assertEqual(len(shared), len(set(shared)))
            replaced = [voter for _, voter in after.joining if voter is not None]
            self.assertEqual(len(replaced), len(set(replaced)))
            self.assertLessEqual(set(replaced), after.voters)
            self.assertTrue(always_meet(configuration, after), (configuration, after))
            configuration = after


def always_meet(one: Configuration, other: Configuration) -> bool:
    """Whether any quorum of the one shares a server with any of the other: nothing is decided twice (§6)."""
    everyone = sorted(one.members | other.members)
    subsets = [frozenset(some) for count in range(len(everyone) + 1) for some in combinations(everyone, count)]
    quorums_of_one, quorums_of_other = (
        [some for some in subsets if has_quorum(each.voter_sets, some)] for each in (one, other)
    )
    return all(some & others for some in quorums_of_one for others in quorums_of_other)
