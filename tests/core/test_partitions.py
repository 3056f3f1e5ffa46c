"""Who leads while links are cut: PreVote, CheckQuorum and stickiness to a leader (hazards E8 and E9)."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, request_vote
from txraft.core.configuration import Configuration
from txraft.core.messages import Heartbeat, RequestVote, RequestVoteReply
from txraft.core.roles import Role
from txraft.core.state import RaftOptions

TIMEOUT = RaftOptions().election_timeout


class PartitionTests(SynchronousTestCase):
    """hazard E8: PreVote and CheckQuorum, both on."""

    def assert_undisturbed(self, cluster: Cluster) -> None:
        """Server 1 leads in term 1 still, and commits."""
        self.assertEqual([(server.id, server.view.current_term) for server in cluster.leaders()], [(1, 1)])
        entry = cluster[1].propose(b"x")
        cluster.settle()
        self.assertGreaterEqual(cluster[1].view.commit_index, entry.index)

    def test_one_that_was_cut_off_comes_back(self) -> None:
        """hazard E8, thesis §9.6: its term has not risen, and nobody notices."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.isolate(3)
        cluster.run(10)
        self.assertEqual((cluster[3].view.role, cluster[3].view.current_term), (Role.PRE_CANDIDATE, 1))
        cluster.heal()
        cluster.run(3)
        self.assert_undisturbed(cluster)
        self.assertEqual(cluster[3].view.leader_id, 1)

    def test_one_that_hears_nothing(self) -> None:
        """hazard E8: it asks for votes all the time, and is heard."""
        for peers in (2, 4):
            cluster = Cluster(peers + 1)
            cluster.elect(1)
            for other in range(1, peers + 1):
                cluster.cut(other, peers + 1)
            cluster.run(10)
            self.assertEqual(cluster[peers + 1].view.current_term, 1)
            self.assert_undisturbed(cluster)

    def test_one_that_hears_all_but_the_leader(self) -> None:
        """hazard E8 (cockroach #104042): two can talk to a third, but not to each other; the third bridges them. It
        hears from the leader, and gives the other no PreVote."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.cut(1, 3)
        cluster.cut(3, 1)
        cluster.run(10)
        self.assertEqual(cluster[3].view.current_term, 1)
        self.assert_undisturbed(cluster)

    def test_a_leader_that_hears_nothing(self) -> None:
        """hazard E8: its heartbeats keep the others quiet while it can commit nothing. CheckQuorum ends that, within an
        election timeout and a heartbeat, and one of the others is elected and commits."""
        cluster = Cluster(3)
        old = cluster.elect(1)
        cluster.cut(2, 1)
        cluster.cut(3, 1)
        cluster.run(TIMEOUT + 0.1)
        self.assertEqual((old.view.role, old.view.leader_id), (Role.FOLLOWER, None))
        cluster.run(5)
        [leader] = cluster.leaders()
        self.assertIn(leader.id, (2, 3))
        entry = leader.propose(b"x")
        cluster.settle()
        self.assertGreaterEqual(leader.view.commit_index, entry.index)

    def test_a_leader_that_nobody_hears(self) -> None:
        """hazard E8: the others elect, though it still hears them; it follows as soon as they have."""
        cluster = Cluster(3)
        old = cluster.elect(1)
        cluster.cut(1, 2)
        cluster.cut(1, 3)
        cluster.run(5)
        [leader] = cluster.leaders()
        self.assertIn(leader.id, (2, 3))
        self.assertEqual((old.view.role, old.view.leader_id), (Role.FOLLOWER, leader.id))

    def test_a_leader_with_a_minority_steps_down(self) -> None:
        """hazard E8, thesis §6.2: with two of five it goes, with three of five it stays."""
        for away, stays in (((4, 5), True), ((3, 4, 5), False)):
            cluster = Cluster(5)
            leader = cluster.elect(1)
            cluster.isolate(*away)
            cluster.run(TIMEOUT + 0.2)
            self.assertEqual(leader.view.role is Role.LEADER, stays)

    def test_a_leader_hears_everyone_in_turn(self) -> None:
        """hazard E8: it counts who answered within an election timeout, not who answered the last heartbeat."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        for turn in range(20):
            cluster.heal()
            if turn % 4:
                cluster.isolate(2, 3)
            cluster.beat()
            self.assertIs(leader.view.role, Role.LEADER)

    def test_only_one_server_reaches_a_majority(self) -> None:
        """hazard E8: the leader reaches one other of five, and that one everybody: it is elected, and stays."""
        cluster = Cluster(5)
        cluster.elect(1)
        for one in (1, 2, 4, 5):
            for other in {1, 2, 4, 5} - {one}:
                cluster.cut(one, other)
        cluster.run(10)
        self.assertEqual([server.id for server in cluster.leaders()], [3])
        term = cluster[3].view.current_term
        cluster.run(10)
        self.assertEqual([(server.id, server.view.current_term) for server in cluster.leaders()], [(3, term)])


class StickinessTests(SynchronousTestCase):
    """hazard E9: who hears from a leader ignores requests for votes within the minimum election timeout."""

    def cluster_with_leader(self) -> Cluster:
        """Server 1 leads three in term 1; all of them heard of it at this moment."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.beat()
        return cluster

    def test_a_removed_server_deposes_nobody(self) -> None:
        """hazard E9 (hashicorp #524), §4.2.3 of the thesis: it is told nothing any more, does not know why, and
        campaigns in ever higher terms, without PreVote and with the longest log."""
        cluster = Cluster(4, logs={4: (1, 1, 1, 1)}, current_terms={4: 50}, options={4: RaftOptions(pre_vote=False)})
        for member in (1, 2, 3):
            cluster[member].configuration = Configuration(voters={1, 2, 3})
            cluster[member].start()
        cluster.elect(1)
        cluster.run(10)
        self.assertGreater(cluster[4].view.current_term, 55)
        self.assertIs(cluster[1].view.role, Role.LEADER)
        self.assertEqual([cluster[member].view.current_term for member in (1, 2, 3)], [1, 1, 1])

    def test_neither_vote_nor_term_is_taken(self) -> None:
        """hazard E9: follower and leader refuse, with their own term, and change nothing, the timer neither."""
        for member in (1, 2):
            for pre_vote in (False, True):
                cluster = self.cluster_with_leader()
                server = cluster[member]
                view, deadline = server.view, server.raft.election_deadline
                cluster.advance(TIMEOUT - 0.01)
                server.receive(3, request_vote(9, 99, 9, pre_vote=pre_vote))
                self.assertEqual((server.view, server.raft.election_deadline), (view, deadline))
                refusal = RequestVoteReply(1, 99, pre_vote, vote_granted=False)
                self.assertEqual(server.sent(RequestVoteReply), [(3, refusal)])

    def test_until_the_minimum_election_timeout(self) -> None:
        """hazard E9: a leader not heard for so long has no claim; the vote is given."""
        cluster = self.cluster_with_leader()
        cluster.advance(TIMEOUT)
        cluster[2].receive(3, request_vote(9, 99, 9))
        self.assertEqual((cluster[2].view.current_term, cluster[2].view.voted_for), (9, 3))

    def test_every_heartbeat_renews_it(self) -> None:
        """hazard E9: it counts from the last one heard."""
        cluster = self.cluster_with_leader()
        cluster.advance(TIMEOUT - 0.1)
        cluster[2].receive(1, Heartbeat(1, 0, 0, 0))
        cluster.advance(TIMEOUT - 0.1)
        cluster[2].receive(3, request_vote(9, 99, 9))
        self.assertEqual(cluster[2].view.current_term, 1)

    def test_a_leadership_transfer_is_let_through(self) -> None:
        """hazard E9, thesis §3.10: the leader itself wants the election; it steps down, the follower votes."""
        transfer = RequestVote(2, 99, 1, round=7, pre_vote=False, leadership_transfer=True)
        for member in (1, 2):
            cluster = self.cluster_with_leader()
            cluster[member].receive(3, transfer)
            cluster[member].write_all()
            view = cluster[member].view
            self.assertEqual((view.role, view.current_term, view.voted_for), (Role.FOLLOWER, 2, 3))

    def test_one_that_has_lost_its_leader_does_not_stick(self) -> None:
        """hazard E9: who campaigns itself, or stepped down, has no leader to stick to, however short that is ago."""
        cluster = self.cluster_with_leader()
        cluster[2].time_out()
        cluster[2].receive(3, request_vote(2, 99, 9))
        self.assertEqual(cluster[2].view.voted_for, 3)

    def test_a_restarted_server_sticks_to_nobody(self) -> None:
        """hazard E9: it has heard from no leader yet."""
        cluster = self.cluster_with_leader()
        cluster[2].start()
        cluster[2].receive(3, request_vote(2, 99, 9))
        self.assertEqual(cluster[2].view.voted_for, 3)
