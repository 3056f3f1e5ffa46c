"""Changes of the membership, as the leader makes them (§6, thesis chapter 4)."""

from tests.core.changing import Three, add, configurations, learner, remove
from tests.core.cluster import Cluster, Server, request_vote
from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Configuration
from txraft.core.messages import MAX_BATCH_SIZE, NodeId, RequestVoteReply, TimeoutNow
from txraft.core.reconfiguration import MOST_MEMBERS
from txraft.errors import ChangeRefused, ChangeUnderWay, NotLeader, TransferUnderWay
from txraft.settings import MAX_MEMBERS


class ChangeTests(Three):
    """What holds of every change."""

    def test_in_force_when_appended(self) -> None:
        """§6: before it is committed, on the leader and on each follower that has it."""
        entry = self.leader.change_members(remove(3))
        two = Configuration(voters={1, 2}, removed={3})
        self.assertEqual(self.members(1), {two})
        self.cluster.deliver_one()
        self.assertEqual(self.members(2), {two})
        self.assertLess(self.leader.view.commit_index, entry.index)

    def test_no_change_while_another_is_not_committed(self) -> None:
        """Thesis §4.1: one at a time."""
        self.leader.change_members(remove(3))
        self.assertRaises(ChangeUnderWay, self.leader.change_members, remove(2))
        self.cluster.settle()
        self.leader.change_members(learner(4))

    def test_no_change_before_an_entry_of_the_own_term_is_committed(self) -> None:
        """hazard M1."""
        leader = self.cluster.win(2)
        line = str(self.assertRaises(ChangeUnderWay, leader.change_members, remove(3)))
        self.assertIn("elected just now", line)
        self.cluster.settle()
        leader.change_members(remove(3))

    def test_what_is_refused_changes_nothing(self) -> None:
        """Neither the log nor the membership in force; and it may be asked for in another way."""
        last = self.leader.view.last_index
        for changes in ([remove(1), remove(2), remove(3)], [remove(9)], [], [Change(ChangeKind.UPDATE, 9, ("a",))]):
            self.assertRaises(ChangeRefused, self.leader.change_members, *changes)
        self.assertRaises(NotLeader, self.cluster[2].change_members, remove(3))
        self.assertEqual((self.leader.view.last_index, configurations(self.leader)), (last, []))

    def test_no_such_members(self) -> None:
        """What no server could read in its log does not come into one."""
        for change, why in (
            (add(-1), "the id of a server is no number"),
            (add(2**63), "the id of a server is out of range"),
            (Change(ChangeKind.ADD_LEARNER, 4, ("a" * MAX_BATCH_SIZE,)), "too long"),
        ):
            self.assertIn(why, str(self.assertRaises(ChangeRefused, self.leader.change_members, change)))
        self.assertEqual(configurations(self.leader), [])

    def test_too_many_removed(self) -> None:
        """hazard M7: every removed id is kept, so there is an end to them; the line says what takes the room. Those
        that follow each other take none, up to a number."""
        for removed, why in (
            (range(10, 100_008), "more than 100,000 servers are members, or were"),
            (range(10**18, 10**18 + 60_000, 2), "the ids of all that were ever removed are too long for an entry"),
        ):
            leader = Cluster(configuration=Configuration({1}, removed=removed)).elect(1)
            line = str(self.assertRaises(ChangeRefused, leader.change_members, learner(7), learner(8)))
            self.assertIn(why, line)
            self.assertNotIn("addresses", line)
        Cluster(configuration=Configuration({1}, removed=range(2, 90_000))).elect(1).change_members(learner(100_000))

    def test_many(self) -> None:
        """As many members as a file may have, and changes for each of them to be replaced at once. No more are looked
        at: while they are, nobody hears from the leader."""
        self.assertEqual(MOST_MEMBERS, MAX_MEMBERS)
        line = "201 changes of members at once are too many; 200 are the most"
        self.assert_refused(line, *map(learner, range(4, 205)))
        line = "there would be 101 members, and 100 are the most; remove some first"
        self.assert_refused(line, *map(learner, range(4, 102)))
        self.leader.change_members(*map(learner, range(4, 101)))
        self.cluster.settle()
        self.assert_refused(line, learner(101))
        self.leader.change_members(remove(100))

    def test_more_than_there_may_be_can_become_fewer(self) -> None:
        """Step by step, and none in place of another."""
        cluster = Cluster(configuration=Configuration({1}, learners=range(2, 103)))
        leader = cluster.elect(1)
        self.assertRaises(ChangeRefused, leader.change_members, learner(200))
        leader.change_members(remove(102))

    def assert_refused(self, line: str, *changes: Change) -> None:
        """That the leader refuses, and says just this."""
        self.assertEqual(str(self.assertRaises(ChangeRefused, self.leader.change_members, *changes)), line)

    def test_an_id_is_never_used_twice(self) -> None:
        """hazard M7: not by the server that had it, nor by another."""
        self.change(remove(3))
        for again in (add(3), learner(3)):
            self.assertIn("removed", str(self.assertRaises(ChangeRefused, self.leader.change_members, again)))

    def test_not_without_a_majority_of_those_who_remain(self) -> None:
        """hazard M9: to remove those that answer leaves those that do not."""
        cluster = Cluster(5)
        leader = cluster.elect(1)
        cluster.isolate(4, 5)
        for _ in range(6):
            cluster.beat()
        line = str(self.assertRaises(ChangeRefused, leader.change_members, remove(2), remove(3)))
        self.assertIn(": start nodes 4, 5 again, or remove or replace such a node first", line)
        self.assertRaises(ChangeRefused, leader.change_members, remove(2))  # 1, 3, 4, 5: 4 of them must answer
        leader.change_members(remove(5))

    def test_silence_since_the_election_counts(self) -> None:
        """hazard M9: a leader that was elected just now has not heard from those that are dead."""
        cluster = Cluster()
        cluster.isolate(3)
        leader = cluster.elect(1)
        self.assertRaises(ChangeRefused, leader.change_members, remove(2))

    def test_a_truncation_takes_the_change_back(self) -> None:
        """hazard M5: a leader is cut off with a change that nobody has seen."""
        self.cluster.isolate(1)
        self.leader.change_members(remove(2))
        self.cluster.elect(3)
        self.cluster.heal()
        for _ in range(3):
            self.cluster.beat()
        self.assertEqual(self.members(1, 2, 3), {Configuration(voters={1, 2, 3})})

    def test_a_restart_finds_it(self) -> None:
        """It is in force again as soon as the log is read."""
        self.change(remove(3))
        follower = self.cluster[2]
        follower.start()
        self.assertEqual(follower.raft.configuration, Configuration(voters={1, 2}, removed={3}))

    def test_a_campaign_counts_by_what_is_in_the_log(self) -> None:
        """hazard M2: also what is not known to be committed, after a transfer of leadership too."""
        self.cluster.isolate(3)
        self.leader.change_members(remove(3))
        while self.cluster.deliver_one():
            pass
        self.cluster[2].write_all()  # it has the change, and does not know that it is committed
        follower = self.cluster[2]
        follower.outgoing.clear()
        follower.receive(1, TimeoutNow(follower.view.current_term))
        follower.write_all()
        self.assertEqual({envelope.to for envelope in follower.outgoing}, {1})

    def test_no_change_while_leadership_is_handed_over(self) -> None:
        """Thesis §3.10: nothing comes into the log."""
        self.cluster.isolate(2)
        self.leader.transfer(2)
        self.assertRaises(TransferUnderWay, self.leader.change_members, remove(3))


class JoiningTests(Three):
    """A server comes (thesis §4.2.1)."""

    def join(self, server: NodeId, *changes: Change) -> Server:
        """Start it, and make the changes."""
        started = self.cluster.start_empty(server)
        self.change(*changes or (add(server),))
        return started

    def test_it_catches_up_first(self) -> None:
        """hazard M8: without a vote, until it has the log; it gets one by itself then."""
        for number in range(20):
            self.leader.propose(b"%d" % number)
        self.cluster.settle()
        joining = self.join(4)
        self.assertEqual(self.leader.raft.configuration, Configuration({1, 2, 3}, learners={4}, joining={4: None}))
        self.assertEqual(joining.view.last_index, self.leader.view.last_index)
        self.cluster.beat()
        self.cluster.beat()
        self.assertEqual(self.members(1, 2, 3, 4), {Configuration({1, 2, 3, 4})})

    def test_a_voter_is_added_as_a_learner(self) -> None:
        """hazard M8: whatever is asked for."""
        self.change(Change(ChangeKind.ADD_VOTER, 4, ("here",)))
        expected = Configuration({1, 2, 3}, learners={4}, joining={4: None}, addresses={4: ("here",)})
        self.assertEqual(self.leader.raft.configuration, expected)

    def test_no_voter_goes_for_one_that_votes_later(self) -> None:
        """hazard M8: the one would go at once, and the other might never catch up. Each by itself may be."""
        for joins in (Change(ChangeKind.ADD_VOTER, 4), add(4)):
            for goes in (remove(3), learner(3)):
                line = str(self.assertRaises(ChangeRefused, self.leader.change_members, joins, goes))
                self.assertIn("node 4 gets its vote when it has caught up, and node 3 would lose its own", line)
        self.change(learner(5))
        self.change(add(4), remove(5))
        self.change(Change(ChangeKind.ADD_VOTER, 2), remove(3))  # who has its vote does not wait for it

    def test_it_stays_a_learner_when_asked_to(self) -> None:
        """Until it is promoted, which lets it join."""
        self.join(4, learner(4))
        for _ in range(10):
            self.cluster.beat()
        self.assertEqual(self.leader.raft.configuration, Configuration({1, 2, 3}, learners={4}))
        self.change(Change(ChangeKind.ADD_VOTER, 4))
        self.cluster.beat()
        self.cluster.beat()
        self.assertEqual(self.leader.raft.configuration, Configuration({1, 2, 3, 4}))

    def test_not_while_it_is_away(self) -> None:
        """hazard M8: it never answers, and the majority does not need it."""
        self.change(add(4))
        for _ in range(30):
            self.cluster.beat()
        self.assertEqual(self.leader.raft.configuration.joining, ((4, None),))

    def test_not_while_a_round_takes_long(self) -> None:
        """Thesis §4.2.1: the last round took as long as an election timeout, so the next one begins."""
        self.cluster.start_empty(4)
        self.cluster.isolate(4)
        self.change(add(4))
        self.cluster.beat()
        for number in range(6):
            self.leader.propose(b"%d" % number)
            self.cluster.beat()
        self.cluster.heal()
        self.cluster.beat()
        self.cluster.beat()  # the first round ends here, and took long
        self.assertEqual(self.leader.raft.configuration.joining, ((4, None),))
        self.cluster.beat()
        self.assertEqual(self.leader.raft.configuration, Configuration({1, 2, 3, 4}))

    def test_the_next_leader_promotes_it(self) -> None:
        """What is to become of a learner is in the log."""
        self.join(4)
        self.cluster.elect(2)
        self.cluster.beat()
        self.cluster.beat()
        self.assertEqual(self.members(1, 2, 3, 4), {Configuration({1, 2, 3, 4})})

    def test_replacing(self) -> None:
        """The new one votes and the old one goes in one step, which is joint."""
        self.cluster.isolate(3)
        self.join(4, add(4, replaces=3))
        for _ in range(3):
            self.cluster.beat()
        self.assertEqual(self.members(1, 2, 4), {Configuration({1, 2, 4}, removed={3})})
        self.assertEqual([each.is_joint for each in configurations(self.leader)], [False, True, False])

    def test_not_promoted_while_another_change_is_under_way(self) -> None:
        """Thesis §4.1: it waits."""
        self.join(4)
        self.cluster.isolate(2, 3)
        self.leader.change_members(learner(5))
        self.cluster.beat()
        self.assertEqual(len(configurations(self.leader)), 2)

    def test_not_promoted_while_leadership_is_handed_over(self) -> None:
        """The target could not catch up with what comes meanwhile (thesis §3.10)."""
        self.join(4, learner(4))
        self.cluster.isolate(2)
        self.leader.change_members(add(4))
        self.cluster.settle()
        self.leader.transfer(2)
        self.cluster.beat()
        self.assertEqual(self.leader.raft.configuration.learners, {4})

    def test_not_promoted_where_it_has_lost_what_it_had(self) -> None:
        """hazard R23: what it acknowledged before counts for nothing."""
        self.join(4, learner(4))
        self.leader.change_members(add(4))
        self.cluster.settle()
        self.leader.raft.followers[4].has_lost_data = True
        self.leader.beat()
        self.assertEqual(self.leader.raft.configuration.learners, {4})

    def test_not_promoted_where_it_would_be_needed(self) -> None:
        """hazard M9: with it there would be no majority of voters that answer."""
        cluster = Cluster(2)
        leader = cluster.elect(1)
        cluster.beat()
        cluster.start_empty(3)
        leader.change_members(add(3), learner(4))
        cluster.settle()
        assert leader.raft._leader is not None
        leader.raft._leader.reconfiguration.promote({1}, cluster.now)
        self.assertEqual(leader.raft.configuration.joining, ((3, None),))

    def test_by_a_snapshot(self) -> None:
        """hazard M6: what it is fed with has the membership of its index; the log behind it has the rest."""
        self.leader.propose(b"a")
        self.cluster.settle()
        self.leader.compact()
        joining = self.join(4)
        self.cluster.beat()
        self.cluster.beat()
        self.assertEqual(len(joining.installed), 1)
        self.assertEqual(joining.installed[0].configuration, Configuration({1, 2, 3}, learners={4}, joining={4: None}))
        self.assertEqual(self.members(1, 4), {Configuration({1, 2, 3, 4})})

    def test_asked_before_it_knows(self) -> None:
        """hazard E10: a learner that does not know yet that it was promoted votes."""
        joining = self.join(4)
        self.cluster.advance(1)  # the leader is dead
        joining.receive(2, request_vote(9, 99, 9))
        joining.write_all()
        self.assertTrue(joining.sent(RequestVoteReply)[-1][1].vote_granted)


class ReadTests(Three):
    """Reads while the membership changes (thesis §6.4)."""

    def test_a_round_that_nobody_has_to_answer_any_more(self) -> None:
        """Its last other voter is away and is removed: the leader alone is a majority then, also of a round that is
        under way; and reads that come later are answered too."""
        self.cluster.isolate(3)
        self.change(remove(3))
        self.cluster.isolate(2)
        self.leader.read(1)
        self.change(remove(2))
        self.leader.read(2)
        self.cluster.beat()
        self.assertEqual([read.read_id for read in self.leader.reads], [1, 2])
