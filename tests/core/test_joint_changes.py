"""Changes by which several voters come or go at once (§6, thesis §4.3)."""

from tests.core.changing import Three, configurations, learner, remove
from tests.core.cluster import Cluster
from txraft.core.configuration import Configuration
from txraft.core.roles import Role
from txraft.errors import ChangeUnderWay


class JointTests(Three):
    """Several voters come or go at once (thesis §4.3)."""

    def test_joint_first(self) -> None:
        """§6: while it is joint, nothing is committed without a majority of the old voters and one of the new."""
        cluster = Cluster(5)
        leader = cluster.elect(1)
        cluster.beat()
        cluster.isolate(3, 4, 5)
        entry = leader.change_members(remove(4), remove(5))
        cluster.settle()
        self.assertEqual(leader.raft.configuration.outgoing, frozenset(range(1, 6)))
        self.assertLess(leader.view.commit_index, entry.index)
        cluster.heal()
        cluster.beat()
        cluster.beat()
        self.assertEqual(leader.raft.configuration, Configuration(voters={1, 2, 3}, removed={4, 5}))

    def test_left_once(self) -> None:
        """hazard M3: by the leader itself, when it is committed, and not again."""
        self.change(remove(2), remove(3))
        for _ in range(3):
            self.cluster.beat()
        joint, after = configurations(self.leader)
        self.assertEqual((joint.is_joint, joint.auto_leave, after), (True, True, Configuration({1}, removed={2, 3})))

    def test_left_by_the_next_leader(self) -> None:
        """hazard M3: the one that began it is gone; the next one ends it, once."""
        cluster = Cluster(5)
        leader = cluster.elect(1)
        cluster.beat()
        leader.change_members(remove(4), remove(5))
        while cluster.deliver_one():
            pass
        cluster.isolate(1)
        for server in cluster:
            server.write_all()
        second = cluster.elect(2)
        cluster.heal()
        for _ in range(4):
            cluster.beat()
        self.assertEqual(len(configurations(second)), 2)
        self.assertEqual(
            {cluster[each].raft.configuration for each in (1, 2, 3)}, {Configuration({1, 2, 3}, removed={4, 5})}
        )

    def test_both_halves_decide(self) -> None:
        """§6: elections, reads, and whether a leader is in contact with a majority, each takes a majority of the old
        voters and one of the new."""
        for half in ((2, 3), (4, 5)):
            cluster = Cluster(configuration=Configuration({1, 2, 3}, outgoing={1, 4, 5}))
            cluster.isolate(*half)
            for _ in range(3):
                cluster.advance(1)
                cluster[1].time_out()
                cluster.settle()
            self.assertEqual(cluster.leaders(), [])
            cluster.heal()
            leader = cluster.elect(1)
            cluster.beat()
            cluster.isolate(*half)
            leader.read(1)
            cluster.settle()
            self.assertEqual(leader.reads, [])
            for _ in range(3):
                cluster.beat()
            self.assertEqual(leader.view.role, Role.LEADER)
            for _ in range(3):
                cluster.beat()
            self.assertEqual((leader.view.role, leader.lost_reads), (Role.FOLLOWER, [1]))

    def test_an_outgoing_voter_leads(self) -> None:
        """It votes until the joint configuration is left, so it may be needed as a candidate, too."""
        cluster = Cluster(configuration=Configuration({1, 2, 3}, outgoing={1, 4, 5}, auto_leave=True))
        leader = cluster.elect(4)
        self.assertEqual(leader.raft.configuration, Configuration({1, 2, 3}, removed={4, 5}))

    def test_no_change_while_joint(self) -> None:
        """One at a time, until it is left."""
        self.cluster.isolate(2, 3)
        self.leader.change_members(remove(2), remove(3))
        self.cluster.settle()
        self.assertRaises(ChangeUnderWay, self.leader.change_members, learner(4))

    def test_not_left_while_leadership_is_handed_over(self) -> None:
        """Thesis §3.10: the target could not catch up with what comes meanwhile; afterwards it is left."""
        cluster = Cluster(5)
        leader = cluster.elect(1)
        cluster.beat()
        leader.change_members(remove(4), remove(5))
        cluster.isolate(3)
        leader.transfer(3)
        cluster.settle()
        self.assertTrue(leader.raft.configuration.is_joint)
        self.assertLess(leader.raft.log.membership.index, leader.view.commit_index + 1)
        cluster.heal()
        for _ in range(8):
            cluster.beat()
        (then,) = cluster.leaders()
        self.assertEqual(then.raft.configuration, Configuration({1, 2, 3}, removed={4, 5}))
