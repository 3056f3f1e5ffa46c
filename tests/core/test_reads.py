"""ReadIndex (thesis §6.4): no read is answered by a server that may not be the leader any more."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server
from tests.counting import Counted, of_work
from txraft.core.configuration import Configuration
from txraft.core.messages import Heartbeat, HeartbeatReply
from txraft.core.ready import ReadReady
from txraft.core.roles import Role
from txraft.errors import NotLeader


def ready_ids(server: Server) -> list[int]:
    """The reads that may be answered."""
    return [read.read_id for read in server.reads]


class ReadTests(SynchronousTestCase):
    def test_a_majority_confirms_it(self) -> None:
        """§8: a round of heartbeats, sent for it at once, answered by a majority; its index is what was committed."""
        leader = Cluster(5).elect(1)
        leader.read(7)
        rounds = {heartbeat.read_round for _, heartbeat in leader.sent(Heartbeat)}
        self.assertEqual([to for to, _ in leader.sent(Heartbeat)], [2, 3, 4, 5])
        [round_] = rounds
        leader.receive(2, HeartbeatReply(1, round_))
        self.assertEqual(leader.reads, [])
        leader.receive(3, HeartbeatReply(1, round_))
        self.assertEqual(leader.reads, [ReadReady(7, read_index=leader.view.commit_index)])
        leader.receive(4, HeartbeatReply(1, round_))
        self.assertEqual(ready_ids(leader), [7])

    def test_it_covers_what_was_acknowledged(self) -> None:
        """§8: linearizable; an entry committed before the read came is within its index."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        entry = leader.propose(b"x")
        cluster.settle()
        leader.read(7)
        cluster.settle()
        self.assertEqual(leader.reads, [ReadReady(7, entry.index)])

    def test_alone_it_is_answered_at_once(self) -> None:
        """A cluster of one server is its own majority."""
        leader = Cluster(1).elect(1)
        leader.read(7)
        self.assertEqual(leader.reads, [ReadReady(7, 1)])

    def test_only_a_leader_takes_it(self) -> None:
        """Any other refuses, and says who leads."""
        cluster = Cluster(3)
        cluster.elect(1)
        self.assertEqual(self.assertRaises(NotLeader, cluster[2].read, 7).leader_id, 1)
        self.assertIsNone(self.assertRaises(NotLeader, Cluster(3)[2].read, 7).leader_id)

    def test_a_burst_shares_a_round(self) -> None:
        """Thesis §6.4: many reads cost one round."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        for read_id in range(100):
            leader.raft.read(read_id)
        leader.take()
        self.assertEqual(len(leader.sent(Heartbeat)), 2)
        cluster.settle()
        self.assertEqual(ready_ids(leader), list(range(100)))

    def test_lost_heartbeats_are_made_up_for(self) -> None:
        """hazard R19: every later heartbeat carries the round."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        leader.read(7)
        cluster.take_messages(1)
        self.assertEqual(leader.reads, [])
        cluster.beat()
        self.assertEqual(ready_ids(leader), [7])


class NewLeaderReadTests(SynchronousTestCase):
    """hazard C1: a new leader does not know yet what is committed."""

    def test_waits_for_an_entry_of_its_own_term(self) -> None:
        """hazard C1 (etcd #7331): heartbeats are answered, but the read waits until the NOOP is committed."""
        cluster = Cluster(3)
        cluster.elect(1)
        entry = cluster[1].propose(b"x")
        cluster[1].write_all()
        cluster.settle()  # committed at the leader; the others have the entry and do not know that it is committed
        self.assertEqual(cluster[1].view.commit_index, entry.index)
        cluster.isolate(1)
        leader = cluster.win(2)
        self.assertLess(leader.view.commit_index, entry.index)
        leader.read(7)
        cluster.settle(writing=[2])
        for _ in range(3):
            cluster.now += 0.1
            leader.beat()
            cluster.settle(writing=[2])
        self.assertEqual((leader.view.role, leader.reads), (Role.LEADER, []))
        cluster.settle()
        cluster.settle()
        [read] = leader.reads
        self.assertGreater(read.read_index, entry.index)


class RoundTests(SynchronousTestCase):
    """hazard C2: a round is unique, and confirms only the reads that came before it began."""

    def test_an_older_round_confirms_nothing(self) -> None:
        """hazard C2 (etcd #20418): late replies, and doubled ones, of rounds before, also before the first read."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        for read_id in range(1, 5):
            leader.read(read_id)
            for old in range(leader.sent(Heartbeat)[0][1].read_round):
                leader.receive(2, HeartbeatReply(1, old))
                leader.receive(3, HeartbeatReply(1, old))
            self.assertEqual(ready_ids(leader), list(range(1, read_id)))
            cluster.settle()
            self.assertEqual(ready_ids(leader), list(range(1, read_id + 1)))

    def test_an_older_term_confirms_nothing(self) -> None:
        """hazard C2: the same server leads again, and counts its rounds from the start."""
        cluster = Cluster(3)
        cluster.elect(1).read(1)
        round_ = cluster[1].sent(Heartbeat)[0][1].read_round
        cluster.settle()
        cluster.elect(2)
        leader = cluster.elect(1)
        leader.reads.clear()
        leader.read(2)
        self.assertEqual(leader.sent(Heartbeat)[0][1].read_round, round_)
        for peer in (2, 3):
            leader.receive(peer, HeartbeatReply(1, round_))
        self.assertEqual(leader.reads, [])

    def test_a_read_waits_for_a_round_that_began_after_it(self) -> None:
        """Thesis §6.4: answers to heartbeats that left before the read came say nothing of it."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        leader.read(1)
        first = leader.sent(Heartbeat)[0][1].read_round
        leader.read(2)
        cluster.take_messages(1)
        leader.receive(2, HeartbeatReply(1, first))
        self.assertEqual(ready_ids(leader), [1])
        [second] = {heartbeat.read_round for _, heartbeat in leader.sent(Heartbeat)}
        self.assertNotEqual(second, first)
        leader.receive(3, HeartbeatReply(1, first))
        self.assertEqual(ready_ids(leader), [1])
        leader.receive(3, HeartbeatReply(1, second))
        self.assertEqual(ready_ids(leader), [1, 2])

    def test_given_up(self) -> None:
        """A read that nobody waits for any more, before its round begins, in it, and when it is over."""
        leader = Cluster(3).elect(1)
        for read_id in (7, 8, 9):
            leader.read(read_id)
        for read_id in (7, 8):
            leader.raft.forget_read(read_id)
        for round_ in (1, 2):
            leader.receive(2, HeartbeatReply(1, round_))
        self.assertEqual(ready_ids(leader), [7, 9])
        leader.raft.forget_read(9)
        follower = Cluster(3)[2]
        follower.raft.forget_read(9)
        self.assertEqual(follower.lost_reads, [])

    def test_given_up_among_many(self) -> None:
        """A read that is given up is no work for the others that wait."""
        leader = Cluster(3).win(1)
        reads = [Counted(number) for number in range(1000)]
        for read_id in reads:
            leader.read(read_id)
        self.assertLess(of_work(lambda: leader.raft.forget_read(reads[500])), 3)

    def test_its_index_is_that_of_its_round(self) -> None:
        """Thesis §6.4: what was committed when it came, though more has been since."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        entry = leader.propose(b"x")
        leader.read(1)
        cluster.settle()
        [read] = leader.reads
        self.assertEqual(read.read_index, entry.index - 1)

    def test_one_answer_a_server(self) -> None:
        """hazard R19: a doubled reply is one server's."""
        leader = Cluster(5).elect(1)
        leader.read(7)
        round_ = leader.sent(Heartbeat)[0][1].read_round
        for _ in range(5):
            leader.receive(2, HeartbeatReply(1, round_))
        self.assertEqual(leader.reads, [])

    def test_learners_and_strangers_confirm_nothing(self) -> None:
        """Thesis §4.2.1: only voters make a majority."""
        leader = Cluster(configuration=Configuration(voters={1, 2, 3}, learners={4, 5})).elect(1)
        leader.read(7)
        round_ = leader.sent(Heartbeat)[0][1].read_round
        for server in (4, 5, 9):
            leader.receive(server, HeartbeatReply(1, round_))
        self.assertEqual(leader.reads, [])


class LostLeadershipTests(SynchronousTestCase):
    """A leader that is none any more gives its reads up; to ask the next one is safe."""

    def test_a_leader_cut_off_answers_nothing(self) -> None:
        """§8: another one leads and has committed more, which this one's reads would miss."""
        cluster = Cluster(3)
        old = cluster.elect(1)
        cluster.isolate(1)
        cluster.elect(2).propose(b"x")
        cluster.settle()
        self.assertIs(old.view.role, Role.LEADER)
        old.read(7)
        cluster.settle()
        old.beat()  # late, and so not judged (hazard E13)
        old.beat()
        self.assertEqual((old.view.role, old.reads, old.lost_reads), (Role.FOLLOWER, [], [7]))

    def test_its_clock_confirms_nothing(self) -> None:
        """hazard C3: a leader that was paused, or whose clock stands still, was in contact just now for all it knows,
        while another one leads; no clock makes it answer, only a majority does. There are no lease reads.
        """
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.beat()
        stopped = cluster.now
        cluster.isolate(1)
        successor = cluster.elect(2)
        successor.propose(b"new")
        cluster.settle()
        cluster.now = stopped
        leader.read(1)
        cluster.settle()
        leader.beat()
        cluster.settle()
        self.assertEqual((leader.view.role, leader.reads), (Role.LEADER, []))

    def test_all_are_given_up(self) -> None:
        """Those in a round and those that wait for one, once, when a later term is heard of."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        leader.read(1)
        leader.read(2)
        leader.receive(2, HeartbeatReply(9, 0))
        self.assertEqual((leader.reads, leader.lost_reads), ([], [1, 2]))
        leader.receive(2, HeartbeatReply(10, 0))
        self.assertEqual(leader.lost_reads, [1, 2])

    def test_the_next_leadership_starts_without_them(self) -> None:
        """What was given up is not answered after all."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        leader.read(1)
        leader.receive(2, HeartbeatReply(9, 0))
        cluster.settle()
        cluster.elect(1)
        leader.read(2)
        cluster.settle()
        self.assertEqual(ready_ids(leader), [2])
