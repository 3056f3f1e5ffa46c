"""Membership (§6): who is a member, and whose votes and acknowledgements count."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster
from txraft.core.configuration import Configuration
from txraft.core.messages import Heartbeat, RequestVote
from txraft.core.roles import Role

JOINT = Configuration(voters={1, 4, 5}, outgoing={1, 2, 3}, learners={6})


class ConfigurationTests(SynchronousTestCase):
    def test_who_is_what(self) -> None:
        """Members are all three kinds; a voter of either set votes, a learner does not."""
        self.assertEqual(JOINT.members, {1, 2, 3, 4, 5, 6})
        self.assertEqual([JOINT.is_voter(server) for server in range(1, 8)], [True] * 5 + [False] * 2)
        self.assertEqual(set(JOINT.voter_sets), {frozenset({1, 4, 5}), frozenset({1, 2, 3})})

    def test_it_is_a_value(self) -> None:
        """However it was written down, it is the same configuration, and nobody changes it in place."""
        self.assertEqual(Configuration(voters=range(1, 4)), Configuration(voters=(3, 2, 1, 1)))
        self.assertEqual(hash(Configuration(voters={1, 2})), hash(Configuration(voters=(1, 2))))
        with self.assertRaises(AttributeError):
            JOINT.voters = frozenset({1})  # type: ignore[misc]  # that it is frozen is what is tested


class ConfigurationInForceTests(SynchronousTestCase):
    def test_learners_get_the_log_and_do_not_count(self) -> None:
        """Thesis §4.2.1: with one of two voters gone, a learner's acknowledgement commits nothing."""
        cluster = Cluster(configuration=Configuration(voters={1, 2}, learners={3}))
        leader = cluster.elect(1)
        cluster.isolate(2)
        entry = leader.propose(b"x")
        cluster.settle()
        self.assertEqual(cluster[3].disk_log[-1], entry)
        self.assertLess(leader.view.commit_index, entry.index)
        cluster.heal()
        cluster.run(0.7)
        self.assertEqual(leader.view.commit_index, entry.index)

    def test_a_learner_is_told_of_the_leader_and_is_asked_no_vote(self) -> None:
        """Thesis §4.2.1: heartbeats go to every member, requests for votes to voters."""
        cluster = Cluster(configuration=Configuration(voters={1, 2}, learners={3}))
        cluster[1].time_out()
        cluster[1].write_all()
        self.assertEqual([to for to, _ in cluster[1].sent(RequestVote)], [2])
        cluster.settle()
        cluster[1].beat()
        self.assertEqual([to for to, _ in cluster[1].sent(Heartbeat)], [2, 3])

    def test_a_joint_majority_commits(self) -> None:
        """§6: an entry needs a majority of the old voters and of the new ones, separately."""
        for gone, commits in (({2, 3}, False), ({4, 5}, False), ({3, 5}, True)):
            cluster = Cluster(configuration=JOINT)
            leader = cluster.elect(1)
            cluster.isolate(*gone)
            entry = leader.propose(b"x")
            cluster.settle()
            self.assertEqual(leader.view.commit_index >= entry.index, commits, gone)

    def test_a_joint_majority_elects(self) -> None:
        """§6: a candidate needs a majority of each set, and asks the voters of both."""
        for gone, wins in (({2, 3}, False), ({4, 5}, False), ({3, 5}, True)):
            cluster = Cluster(configuration=JOINT)
            cluster.isolate(*gone)
            cluster[1].time_out()
            self.assertEqual([to for to, _ in cluster[1].sent(RequestVote)], [2, 3, 4, 5])
            cluster.settle()
            self.assertEqual(cluster[1].view.role is Role.LEADER, wins, gone)

    def test_a_joint_majority_keeps_the_leader_and_its_reads(self) -> None:
        """§6: CheckQuorum and reads count as commitment does."""
        for gone, stays in (({2, 3}, False), ({4, 5}, False), ({3, 5}, True)):
            cluster = Cluster(configuration=JOINT)
            leader = cluster.elect(1)
            cluster.isolate(*gone)
            leader.read(7)
            for _ in range(6):
                cluster.beat()
            self.assertEqual(leader.view.role is Role.LEADER, stays, gone)
            self.assertEqual([read.read_id for read in leader.reads], [7] if stays else [])
