"""`txraft.core.leader`: a leader's own disk hangs (hazard S12), and timers fire late (hazard E13)."""

from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server
from txraft.core.configuration import Configuration
from txraft.core.messages import Heartbeat, NodeId, RequestVote, RequestVoteReply, TimeoutNow
from txraft.core.roles import Role
from txraft.core.state import RaftOptions

TIMEOUT = RaftOptions().election_timeout
INTERVAL = RaftOptions().heartbeat_interval


def beats(cluster: Cluster, seconds: float, writing: Iterable[NodeId]) -> None:
    """Let time pass, with heartbeats, while only the disks of `writing` write."""
    for _ in range(round(seconds / INTERVAL)):
        cluster.advance(INTERVAL)
        for leader in cluster.leaders():
            leader.beat()
        cluster.settle(writing)


class HangingDiskTests(SynchronousTestCase):
    """hazard S12: heartbeats alone do not earn the right to lead."""

    def leader_of(self, cluster: Cluster) -> Server:
        """S1 leads, and everybody knows."""
        leader = cluster.elect(1)
        cluster.beat()
        return leader

    def test_it_hands_over(self) -> None:
        """An election timeout after the others have what its disk hangs in, another one leads, with all of the log."""
        cluster = Cluster(3)
        old = self.leader_of(cluster)
        entry = old.propose(b"x")
        cluster.settle(writing=(2, 3))
        self.assertEqual((old.view.commit_index, old.view.durable_index), (entry.index, entry.index - 1))
        beats(cluster, TIMEOUT, writing=(2, 3))
        self.assertEqual((cluster.leaders(), old.view.is_overtaken), ([old], False))
        beats(cluster, 2 * INTERVAL, writing=(2, 3))
        [new] = cluster.leaders()
        self.assertIsNot(new, old)
        self.assertIn(entry, new.applied)
        self.assertEqual(old.view.leader_id, new.id)
        self.assertNotIn(entry, old.applied)
        cluster.settle()
        self.assertIn(entry, old.applied)

    def test_it_says_why(self) -> None:
        """Its view tells the two reasons for a transfer from each other."""
        cluster = Cluster(3)
        old = self.leader_of(cluster)
        old.propose(b"x")
        cluster.settle(writing=(2, 3))
        for _ in range(round(TIMEOUT / INTERVAL) + 2):
            self.assertEqual((old.view.transfer_target, old.view.is_overtaken), (None, False))
            cluster.advance(INTERVAL)
            old.beat()
            if old.view.transfer_target is None:
                cluster.settle(writing=(2, 3))
        self.assertEqual((old.view.transfer_target, old.view.is_overtaken), (2, True))

    def test_only_a_compaction_hangs(self) -> None:
        """Nobody waits for that, and no other disk shows how long it should take. What comes after it is waited for."""
        cluster = Cluster(3)
        old = self.leader_of(cluster)
        old.raft.compact(1)
        beats(cluster, 5 * TIMEOUT, writing=(2, 3))
        self.assertEqual((cluster.leaders(), len(old.writing)), ([old], 1))
        entry = old.propose(b"x")
        cluster.settle(writing=(2, 3))
        beats(cluster, TIMEOUT + 2 * INTERVAL, writing=(2, 3))
        [new] = cluster.leaders()
        self.assertIsNot(new, old)
        self.assertIn(entry, new.applied)

    def test_to_the_one_that_is_furthest_ahead(self) -> None:
        """Server 2 has none of it, and is back just before the leader looks."""
        cluster = Cluster(5)
        old = self.leader_of(cluster)
        cluster.isolate(2)
        old.propose(b"x")
        cluster.settle(writing=(2, 3, 4, 5))
        beats(cluster, TIMEOUT - INTERVAL, writing=(2, 3, 4, 5))
        cluster.heal()
        beats(cluster, 3 * INTERVAL, writing=(3, 4, 5))
        self.assertEqual([leader.id for leader in cluster.leaders()], [3])

    def test_only_to_who_votes_and_answers(self) -> None:
        """Others may be as far ahead."""
        cluster = Cluster(configuration=Configuration(voters={1, 3, 4}, learners={2}))
        leader = self.leader_of(cluster)
        self.assertEqual(leader.raft.successor(cluster.now), 3)
        cluster.isolate(3)
        beats(cluster, TIMEOUT, writing=(1, 2, 3, 4))
        self.assertEqual(leader.raft.successor(cluster.now), 4)
        cluster.isolate(4)
        cluster.advance(TIMEOUT)
        self.assertIsNone(leader.raft.successor(cluster.now))
        self.assertIsNone(cluster[2].raft.successor(cluster.now))

    def test_all_disks_hang(self) -> None:
        """Nobody has it, so nobody could do better, and nothing changes."""
        for size in (2, 3, 5):
            cluster = Cluster(size)
            leader = self.leader_of(cluster)
            leader.propose(b"x")
            cluster.settle(writing=())
            before = leader.view
            beats(cluster, 10 * TIMEOUT, writing=())
            self.assertEqual((cluster.leaders(), leader.view), ([leader], before))

    def test_as_slow_as_the_others(self) -> None:
        """The others took three election timeouts, so its disk has four more from then on."""
        cluster = Cluster(3)
        leader = self.leader_of(cluster)
        leader.propose(b"x")
        beats(cluster, 3 * TIMEOUT, writing=())
        cluster.settle(writing=(2, 3))
        beats(cluster, 4 * TIMEOUT, writing=(2, 3))
        self.assertEqual((cluster.leaders(), leader.view.is_overtaken), ([leader], False))
        beats(cluster, 2 * INTERVAL, writing=(2, 3))
        self.assertTrue(leader.view.is_overtaken or leader.view.leader_id != leader.id)

    def test_all_disks_are_slow(self) -> None:
        """Each write takes as long as several election timeouts, the leader's a little longer than the others'."""
        cluster = Cluster(3)
        leader = self.leader_of(cluster)
        for number in range(5):
            leader.propose(b"%d" % number)
            beats(cluster, 3 * TIMEOUT, writing=())
            cluster.settle(writing=(2, 3))
            beats(cluster, TIMEOUT - INTERVAL, writing=())
            leader.write_all()
        self.assertEqual((cluster.leaders(), leader.view.current_term), ([leader], 1))

    def test_a_disk_that_is_always_busy(self) -> None:
        """One write begins when another ends, each within the time: what is committed is always ahead of the disk."""
        cluster = Cluster(3)
        leader = self.leader_of(cluster)
        for number in range(20):
            leader.propose(b"%d" % number)
            beats(cluster, TIMEOUT - INTERVAL, writing=(2, 3))
            leader.propose(b"more")
            cluster.settle(writing=(2, 3))
            leader.write()
        self.assertEqual((cluster.leaders(), leader.view.current_term), ([leader], 1))

    def test_a_majority_needs_its_disk(self) -> None:
        """Server 3 is away: the other two have to write, whoever leads."""
        cluster = Cluster(3)
        leader = self.leader_of(cluster)
        cluster.isolate(3)
        leader.propose(b"x")
        beats(cluster, 10 * TIMEOUT, writing=(2, 3))
        self.assertEqual(cluster.leaders(), [leader])

    def test_a_follower_hangs(self) -> None:
        """It delays nobody."""
        cluster = Cluster(3)
        leader = self.leader_of(cluster)
        for _ in range(20):
            entry = leader.propose(b"x")
            beats(cluster, INTERVAL, writing=(1, 2))
            self.assertIn(entry, leader.applied)
        self.assertEqual(cluster.leaders(), [leader])

    def test_nobody_takes_over(self) -> None:
        """The word to campaign does not arrive: the leader steps down all the same, and the others elect."""
        cluster = Cluster(3)
        old = self.leader_of(cluster)
        old.propose(b"x")
        cluster.settle(writing=(2, 3))
        for _ in range(3 * round(TIMEOUT / INTERVAL)):
            cluster.advance(INTERVAL)
            old.beat()
            old.outgoing = [each for each in old.outgoing if not isinstance(each.message, TimeoutNow)]
            cluster.settle(writing=(2, 3))
        self.assertEqual((old.view.role, old.view.current_term), (Role.FOLLOWER, 1))
        cluster.isolate(1)
        cluster.run(5)
        self.assertIn(cluster.leaders(), ([cluster[2]], [cluster[3]]))

    def test_the_disk_is_well_again_before_anyone_takes_over(self) -> None:
        """Then the leader leads on."""
        cluster = Cluster(3)
        leader = self.leader_of(cluster)
        leader.propose(b"x")
        cluster.settle(writing=(2, 3))
        for _ in range(3 * round(TIMEOUT / INTERVAL)):
            cluster.advance(INTERVAL)
            leader.beat()
            leader.outgoing = [each for each in leader.outgoing if not isinstance(each.message, TimeoutNow)]
            if leader.view.transfer_target is not None:
                leader.write_all()
            cluster.settle(writing=(2, 3))
        self.assertEqual((leader.view.role, leader.view.transfer_target), (Role.LEADER, None))

    def test_no_campaign_meanwhile(self) -> None:
        """It could not win, and when its disk is well again its stale campaign would disturb the one that did."""
        cluster = Cluster(3)
        cluster.elect(1).propose(b"x")
        cluster.settle(writing=(1, 2))
        server = cluster[3]
        cluster.advance(TIMEOUT)
        for campaign in (server.time_out, lambda: server.receive(1, TimeoutNow(1))):
            deadline = server.raft.election_deadline
            campaign()
            self.assertEqual((server.view.role, server.outgoing), (Role.FOLLOWER, []))
            self.assertNotEqual(server.raft.election_deadline, deadline)
        server.write_all()
        server.outgoing.clear()
        server.time_out()
        self.assertIs(server.view.role, Role.PRE_CANDIDATE)

    def test_a_candidate_waits_for_its_disk(self) -> None:
        """A vote that takes several election timeouts to write still counts: the candidate does not begin again."""
        cluster = Cluster(3, options=RaftOptions(pre_vote=False))
        server = cluster[1]
        server.time_out()
        for _ in range(3):
            cluster.advance(2 * TIMEOUT)
            server.time_out()
        server.write_all()
        [round_] = {request.round for _, request in server.sent(RequestVote)}
        server.receive(2, RequestVoteReply(1, round_, pre_vote=False, vote_granted=True))
        self.assertIs(server.view.role, Role.LEADER)


class LateBeatTests(SynchronousTestCase):
    """hazard E13: a process stands still, and its timers run before it has heard anybody."""

    def setUp(self) -> None:
        """S1 leads three servers, and was paused for longer than an election timeout after its last beat."""
        self.cluster = Cluster(3)
        self.leader = self.cluster.elect(1)
        self.cluster.beat()
        self.cluster.advance(TIMEOUT + INTERVAL)

    def test_a_late_beat_is_not_judged(self) -> None:
        """Its answers come before the next."""
        self.leader.beat()
        self.assertIs(self.leader.view.role, Role.LEADER)
        self.cluster.settle()
        self.cluster.beat()
        self.assertIs(self.leader.view.role, Role.LEADER)

    def test_never_two_in_a_row(self) -> None:
        """However late: a leader that is always slow must not lead for ever without a majority."""
        for late in (0.0, INTERVAL, 9 * INTERVAL):
            self.setUp()
            self.leader.beat()
            self.cluster.advance(INTERVAL + late)
            self.leader.beat()
            self.assertIs(self.leader.view.role, Role.FOLLOWER)

    def test_a_beat_that_is_hardly_late_is_judged(self) -> None:
        """By less than two intervals."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.isolate(1)
        elected_at = cluster.now
        while cluster.now - elected_at < TIMEOUT:
            self.assertIs(leader.view.role, Role.LEADER)
            cluster.advance(2.9 * INTERVAL)
            leader.beat()
            cluster.settle()
        self.assertIs(leader.view.role, Role.FOLLOWER)

    def test_a_late_beat_sees_no_disk_that_hangs(self) -> None:
        """The write may have ended long ago."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        leader.propose(b"x")
        cluster.settle(writing=(2, 3))
        beats(cluster, INTERVAL, writing=(2, 3))
        cluster.advance(10 * TIMEOUT)
        leader.beat()
        self.assertIsNone(leader.view.transfer_target)


class LateElectionTimerTests(SynchronousTestCase):
    """hazard E13, of followers: their leader's word may wait unread."""

    def server_at(self, late: float) -> Server:
        """S1 of three, `late` seconds after its election timer was due."""
        self.cluster = Cluster(3)
        server = self.cluster[1]
        assert server.raft.election_deadline is not None
        self.cluster.advance(server.raft.election_deadline + late - self.cluster.now)
        server.raft.election_timeout(self.cluster.now)
        server.take()
        return server

    def test_on_time(self) -> None:
        """A timer in time, or hardly late, counts."""
        for late in (0.0, 1.9 * INTERVAL):
            self.assertIs(self.server_at(late).view.role, Role.PRE_CANDIDATE)

    def test_late_again(self) -> None:
        """A second pause is as good an excuse as the first, where the leader was heard between them."""
        server = self.server_at(2.1 * INTERVAL)
        for _ in range(3):
            server.receive(2, Heartbeat(1, 0, 0, 0))
            server.write_all()
            assert server.raft.election_deadline is not None
            self.cluster.advance(server.raft.election_deadline + 2.1 * INTERVAL - self.cluster.now)
            server.raft.election_timeout(self.cluster.now)
            server.take()
            self.assertIs(server.view.role, Role.FOLLOWER)

    def test_late(self) -> None:
        """It fires again soon: then it counts."""
        for again in (0.0, 5.0):
            server = self.server_at(2.1 * INTERVAL)
            self.assertIs(server.view.role, Role.FOLLOWER)
            assert server.raft.election_deadline is not None
            self.assertAlmostEqual(server.raft.election_deadline - self.cluster.now, 2 * INTERVAL)
            self.cluster.advance(2 * INTERVAL + again)
            server.raft.election_timeout(self.cluster.now)
            self.assertIs(server.view.role, Role.PRE_CANDIDATE)
