"""Who goes: servers that are removed, and a leader that is (§6, thesis §4.2.2; hazards M4, M7, E9)."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.changing import Three, add, learner, remove
from tests.core.cluster import Cluster, Server, only_request, request_vote
from txraft.core.configuration import Configuration
from txraft.core.messages import AppendEntriesReply, NodeId, TimeoutNow
from txraft.core.roles import Role


class LeavingTests(Three):
    """A server goes."""

    def test_who_goes_is_fed_until_it_knows(self) -> None:
        """Thesis §4.2.2: it learns that it was removed, and that this is committed; then it is fed no more."""
        entry = self.leader.change_members(remove(3))
        self.assertIn(3, self.leader.raft.followers)
        self.cluster.settle()
        self.cluster.beat()
        self.assertGreaterEqual(self.cluster[3].view.commit_index, entry.index)
        self.cluster.beat()
        self.assertNotIn(3, self.leader.raft.followers)

    def test_who_is_silent_is_fed_no_more_after_a_while(self) -> None:
        """It may be dead, which may be why it was removed."""
        self.cluster.isolate(3)
        self.change(remove(3))
        for _ in range(49):
            self.cluster.beat()
        self.assertIn(3, self.leader.raft.followers)
        for _ in range(5):
            self.cluster.beat()
        self.assertNotIn(3, self.leader.raft.followers)

    def test_fed_while_it_is_not_committed(self) -> None:
        """The change may be truncated, and then it is a member as before."""
        self.cluster.isolate(1)
        self.leader.change_members(remove(3))
        for _ in range(4):
            self.cluster.beat()
        self.assertIn(3, self.leader.raft.followers)

    def test_fed_while_only_it_has_the_change(self) -> None:
        """It acknowledges and follows, and those who stay have not answered: it may yet stay."""
        self.cluster.isolate(2)
        self.change(remove(3))
        for _ in range(4):
            self.cluster.beat()
        self.assertIn(3, self.leader.raft.followers)

    def test_fed_while_its_disk_is_slow(self) -> None:
        """To answer heartbeats is not to have the change."""
        self.leader.change_members(remove(3))
        for _ in range(4):
            self.cluster.advance(0.1)
            self.leader.beat()
            self.cluster.settle(writing=(1, 2))
        self.assertIn(3, self.leader.raft.followers)

    def test_fed_until_it_was_told_that_it_is_committed(self) -> None:
        """To have the change is not to know that: what says so may be lost, and is said again."""
        self.change(remove(3))
        self.cluster.isolate(3)
        for _ in range(5):
            self.cluster.beat()
        self.cluster.heal()
        for _ in range(3):
            self.cluster.beat()
        self.assertNotIn(3, self.leader.raft.followers)
        self.assertGreaterEqual(self.cluster[3].view.commit_index, self.leader.raft.configuration_index)

    def test_what_it_says_later_counts_for_nothing(self) -> None:
        """It acknowledges, and is no voter."""
        self.cluster.isolate(2)
        self.leader.change_members(remove(3))
        self.cluster.settle()
        self.assertLess(self.leader.view.commit_index, self.leader.view.last_index)

    def test_a_removed_server_disturbs_nobody(self) -> None:
        """hazard E9: it does not know, times out, and comes with a high term."""
        self.cluster.isolate(3)
        self.change(remove(3))
        self.cluster.heal()
        self.cluster.beat()
        term = self.leader.view.current_term
        self.cluster[2].receive(3, request_vote(term + 7, 99, term + 6))
        self.cluster.beat()
        self.assertEqual((self.leader.view.role, self.leader.view.current_term), (Role.LEADER, term))

    def test_a_server_without_a_vote_does_not_campaign(self) -> None:
        """It was removed, and knows."""
        self.change(remove(3))
        self.cluster.beat()
        gone = self.cluster[3]
        self.cluster.advance(5)
        gone.time_out()
        self.assertEqual((gone.view.role, gone.outgoing), (Role.FOLLOWER, []))


class NeededTests(SynchronousTestCase):
    """Thesis §4.2.2: a server that is no voter any more, by an entry that is not committed, may be needed all the same:
    the others cannot win against its log, and have a majority of the old voters only with it."""

    def elect_without(self, leader: Server, cluster: Cluster, knows: NodeId) -> Configuration:
        """What the leader appended last reaches one server, and then the leader is gone. What the others have when they
        have had time."""
        cluster.isolate(*[each.id for each in cluster if each.id not in (leader.id, knows)])
        cluster.settle()
        cluster.heal()
        cluster.isolate(leader.id)
        cluster.run(10)
        (then,) = [each for each in cluster.leaders() if each is not leader]
        self.assertNotEqual(then.id, knows)
        self.assertLessEqual(then.raft.configuration_index, then.view.commit_index)
        return then.raft.configuration

    def test_who_is_removed(self) -> None:
        """It is elected without a vote of its own, commits its removal, and hands over."""
        cluster = Cluster(4)
        leader = cluster.elect(1)
        cluster.beat()
        leader.change_members(remove(4))
        self.assertEqual(self.elect_without(leader, cluster, 4), Configuration({1, 2, 3}, removed={4}))

    def test_who_is_replaced(self) -> None:
        """The joint configuration is left, as nobody knows but who goes by it."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.start_empty(4)
        cluster.beat()
        leader.change_members(add(4, replaces=3))
        cluster.settle()
        leader.beat()
        self.assertTrue(leader.raft.configuration.is_joint)
        while leader.raft.configuration.is_joint:
            self.assertTrue(cluster.deliver_one() or any(server.write() for server in cluster))
        self.assertEqual(self.elect_without(leader, cluster, 3), Configuration({1, 2, 4}, removed={3}))


class LeaderLeavesTests(Three):
    """hazard M4: the leader removes itself."""

    def test_it_leads_uncounted_until_that_is_committed(self) -> None:
        """§6: a majority of the others has to have it; then another leads, at once."""
        self.cluster.isolate(1)
        entry = self.leader.change_members(remove(1))
        self.leader.write_all()
        self.assertEqual((self.leader.view.role, self.leader.view.commit_index), (Role.LEADER, entry.index - 1))
        self.cluster.heal()
        self.cluster.beat()
        self.cluster.beat()
        (then,) = self.cluster.leaders()
        self.assertIn(then.id, (2, 3))
        self.assertEqual(then.view.current_term, self.leader.view.current_term)
        self.assertEqual(self.members(2, 3), {Configuration({2, 3}, removed={1})})

    def test_it_becomes_a_learner(self) -> None:
        """A leader that gives up its vote hands over too, and is fed on."""
        self.change(learner(1))
        (then,) = self.cluster.leaders()
        self.assertNotEqual(then.id, 1)
        then.propose(b"a")
        self.cluster.settle()
        self.cluster.beat()
        self.assertEqual(self.leader.applied[-1].data, b"a")
        self.assertEqual(self.leader.raft.configuration, Configuration({2, 3}, learners={1}))

    def test_it_is_to_vote_again_at_once(self) -> None:
        """Asked for in the same moment in which its vote is gone. It does not feed itself, so another promotes it."""
        self.cluster.isolate(3)
        entry = self.leader.change_members(learner(1))
        answer = AppendEntriesReply(
            self.leader.view.current_term, only_request(self.leader, 2).request_id, True, entry.index, 0
        )
        for voter in (2, 3):
            self.leader.raft.receive(voter, answer, self.cluster.now)
        self.assertEqual(self.leader.view.commit_index, entry.index)
        self.leader.raft.change_members([add(1)], self.cluster.now)
        self.leader.beat()
        self.cluster.heal()
        for _ in range(5):
            self.cluster.beat()
        self.assertEqual(self.members(1, 2, 3), {Configuration({1, 2, 3})})
        self.assertNotIn(self.leader, self.cluster.leaders())

    def test_the_word_to_campaign_is_lost(self) -> None:
        """It is said again; where nobody takes over, it steps down, and the others elect."""
        self.leader.change_members(remove(1))
        while self.leader.view.transfer_target is None:
            self.cluster.deliver_one()
            for server in self.cluster:
                server.write_all()
        self.cluster.isolate(1)
        for _ in range(7):
            self.cluster.beat()
        self.assertEqual(self.leader.view.role, Role.FOLLOWER)
        self.assertTrue(self.cluster.elect(2))

    def test_the_word_to_campaign_is_always_lost(self) -> None:
        """All else comes through. It steps down, so that another is elected in time."""
        self.leader.change_members(remove(1))
        for _ in range(8):
            while any([self.leader.write(), self.lose_the_word() or self.cluster.deliver_one()]):
                for server in self.cluster:
                    server.write_all()
            if self.leader.view.role is Role.LEADER:
                self.cluster.advance(0.1)
                self.leader.beat()
        self.assertEqual(self.leader.view.role, Role.FOLLOWER)

    def lose_the_word(self) -> bool:
        """Whether one was on its way."""
        kept = [each for each in self.leader.outgoing if not isinstance(each.message, TimeoutNow)]
        is_lost, self.leader.outgoing = len(kept) < len(self.leader.outgoing), kept
        return is_lost

    def test_nobody_to_hand_over_to(self) -> None:
        """The only other voter falls silent when it has acknowledged the change."""
        self.cluster.isolate(3)
        self.change(remove(3))
        entry = self.leader.change_members(remove(1))
        answer = AppendEntriesReply(
            self.leader.view.current_term, only_request(self.leader, 2).request_id, True, entry.index, 0
        )
        self.leader.raft.receive(2, answer, self.cluster.now)
        self.cluster.advance(0.5)
        self.leader.take()
        self.assertEqual(self.leader.view.commit_index, entry.index)
        self.assertEqual((self.leader.view.role, self.leader.view.transfer_target), (Role.LEADER, None))
        self.leader.beat()
        self.leader.beat()
        self.assertEqual(self.leader.view.role, Role.FOLLOWER)
        self.cluster.settle()
        self.assertEqual(self.members(2), {Configuration({2}, removed={1, 3})})

    def test_it_leaves_a_joint_configuration_first(self) -> None:
        """With all the others in one change: it is in the old half, and ends the change."""
        cluster = Cluster(5)
        leader = cluster.elect(1)
        cluster.beat()
        leader.change_members(remove(1), remove(2))
        cluster.settle()
        cluster.beat()
        (then,) = cluster.leaders()
        self.assertIn(then.id, (3, 4, 5))
        self.assertEqual(then.raft.configuration, Configuration({3, 4, 5}, removed={1, 2}))

    def test_leadership_goes_to_none_that_leaves(self) -> None:
        """An outgoing voter is no successor, and none that may be asked for."""
        cluster = Cluster(5)
        leader = cluster.elect(1)
        cluster.beat()
        cluster.isolate(3, 4, 5)
        leader.change_members(remove(2), remove(3))
        cluster.settle()
        self.assertNotIn(leader.raft.successor(cluster.now), (2, 3))


class LostVoteTests(SynchronousTestCase):
    """A server has lost its vote, as far as it knows (hazard M4)."""

    def test_it_leads_until_the_others_know(self) -> None:
        """Thesis §4.2.2: the leader of two demotes itself and starts anew, with the only log that has that entry. The
        other one alone votes, and cannot win without it."""
        cluster = Cluster(2)
        leader = cluster.elect(1)
        cluster.beat()
        cluster.isolate(1)
        leader.change_members(learner(1))
        leader.write_all()
        cluster.heal()
        leader.start()
        cluster[2].time_out()
        cluster.settle()
        self.assertEqual(cluster.leaders(), [])
        cluster.advance(1)
        cluster[1].time_out()
        cluster.settle()
        self.assertEqual([each.raft.configuration for each in cluster], [Configuration({2}, learners={1})] * 2)
        self.assertEqual(cluster.leaders(), [cluster[2]])  # to whom it has handed over

    def test_it_does_not_campaign_when_that_is_committed(self) -> None:
        """It waits to hear of the leader."""
        cluster = Cluster()
        cluster.elect(1).change_members(learner(3))
        cluster.settle()
        cluster.beat()
        cluster[3].time_out()
        self.assertIs(cluster[3].view.role, Role.FOLLOWER)
