"""Followers that do not answer: the others go on, and they are fed when they return."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, only_request, requests
from txraft.core.log import size_of
from txraft.core.messages import AppendEntries, AppendEntriesReply, HeartbeatReply
from txraft.core.ready import LostData
from txraft.core.state import RaftOptions


class UnreachableTests(SynchronousTestCase):
    """Followers that do not answer (hazards R15, R18)."""

    OPTIONS = RaftOptions(max_message_size=1000, max_inflight_messages=8, max_inflight_size=5000)

    def cluster(self) -> Cluster:
        """Server 1 leads; server 3 does not hear it any more."""
        cluster = Cluster(3, options=self.OPTIONS)
        cluster.elect(1)
        cluster.cut(1, 3)
        return cluster

    def propose(self, cluster: Cluster, count: int, size: int = 10) -> list[AppendEntries]:
        """Propose one at a time, with everything settling; what went to server 3 meanwhile."""
        leader, sent = cluster[1], []
        for number in range(count):
            leader.propose(bytes([number % 256]) * size)
            sent += requests(leader, 3)
            cluster.settle()
        return sent

    def test_the_majority_sets_the_pace(self) -> None:
        """hazard R18: with one follower dead, every command is committed as soon as the other one has it."""
        cluster = self.cluster()
        for _ in range(50):
            entry = cluster[1].propose(b"x")
            cluster.settle()
            self.assertEqual(cluster[1].applied[-1], entry)

    def test_a_dead_follower_costs_little(self) -> None:
        """hazard R18: what is sent to it is bounded in messages; then nothing goes until it answers heartbeats."""
        cluster = self.cluster()
        self.assertEqual(len(self.propose(cluster, 100)), self.OPTIONS.max_inflight_messages)
        later: list[AppendEntries] = []
        for _ in range(20):
            cluster.advance(self.OPTIONS.heartbeat_interval)
            cluster[1].beat()
            later += requests(cluster[1], 3)
            cluster.settle()
            later += self.propose(cluster, 5)
        self.assertEqual(later, [])

    def test_a_dead_follower_costs_little_memory(self) -> None:
        """hazard R18: and bounded in bytes, but for the last message."""
        sent = self.propose(self.cluster(), 100, size=900)
        size = sum(size_of(entry) for request in sent for entry in request.entries)
        self.assertLess(size, self.OPTIONS.max_inflight_size + 1000)
        self.assertGreaterEqual(size, self.OPTIONS.max_inflight_size)

    def test_one_slow_and_one_dead(self) -> None:
        """hazard R18: of five, one is dead and one's disk is stuck: the other three go on, and the slow one is sent a
        bounded number of requests as well."""
        cluster = Cluster(5, options=self.OPTIONS)
        leader = cluster.elect(1)
        cluster.isolate(5)
        to_the_slow_one = 0
        for _ in range(50):
            entry = leader.propose(b"x")
            to_the_slow_one += len(requests(leader, 4))
            cluster.settle(writing=[1, 2, 3])
            self.assertEqual(leader.applied[-1], entry)
        self.assertEqual(to_the_slow_one, self.OPTIONS.max_inflight_messages)
        cluster.settle()
        self.assertEqual(cluster[4].disk_log, leader.disk_log)

    def test_a_stuck_disk(self) -> None:
        """hazards R18, R21: a follower that answers heartbeats and writes nothing is not sent again what it has; it is
        asked once an interval, and is sent all that there is as soon as its disk has written something."""
        cluster = Cluster(3, options=self.OPTIONS)
        leader = cluster.elect(1)
        for _ in range(50):
            leader.propose(bytes(300))
            cluster.settle(writing=[1, 2])
        later: list[AppendEntries] = []
        for _ in range(20):
            cluster.advance(self.OPTIONS.heartbeat_interval)
            leader.beat()
            while cluster.deliver_one():
                later += [request for request in requests(leader, 3) if request not in later]
        self.assertEqual(len(later), 1)  # the same again and again
        self.assertEqual(later[0].entries, ())
        cluster.settle()
        self.assertEqual(cluster[3].disk_log, leader.disk_log)
        self.assertEqual(len(self.propose(cluster, 20)), 20)

    def test_no_more_than_once_an_interval(self) -> None:
        """hazard R21: reads make many heartbeats; a follower that owes an answer is not asked at each reply."""
        cluster = Cluster(3, options=self.OPTIONS)
        leader = cluster.elect(1)
        leader.propose(b"x")
        cluster.settle(writing=[1, 2])
        asked = 0
        for number in range(100):
            cluster.advance(self.OPTIONS.heartbeat_interval / 10)
            leader.read(number)
            while cluster.deliver_one():
                asked += len(requests(leader, 3))
                leader.outgoing = [each for each in leader.outgoing if not isinstance(each.message, AppendEntries)]
        self.assertIn(asked, (9, 10))

    def test_lost_probes(self) -> None:
        """hazard R21: a follower that was away for long and answers heartbeats again has everything within two
        intervals, though probes were lost; again and again."""
        cluster = self.cluster()
        for _ in range(3):
            self.propose(cluster, 50)
            cluster.run(10)
            cluster.heal()
            cluster.beat()
            cluster.beat()
            self.assertEqual(cluster[3].disk_log, cluster[1].disk_log)
            cluster.cut(1, 3)

    def test_lost_acknowledged_entries(self) -> None:
        """hazard R23: a follower refuses what it had acknowledged: reported once a minute, and nothing sent meanwhile,
        however often it answers heartbeats."""
        cluster = Cluster(3, options=self.OPTIONS)
        leader = cluster.elect(1)
        last = self.propose(cluster, 5)[-1].entries[-1].index
        cluster.isolate(3)
        leader.raft.peer_connected(3, cluster.now)
        lost: list[LostData] = []
        sent = 0
        for _ in range(1250):  # 125 s
            cluster.advance(0.1)
            leader.raft.heartbeat_timeout(cluster.now)
            leader.raft.receive(2, HeartbeatReply(1, 0), cluster.now)
            leader.raft.receive(3, HeartbeatReply(1, 0), cluster.now)
            for _ in range(3):
                ready = leader.raft.ready(cluster.now)
                lost += ready.lost_data
                for envelope in ready.messages:
                    if envelope.to == 3 and isinstance(envelope.message, AppendEntries):
                        sent += 1
                        refusal = AppendEntriesReply(1, envelope.message.request_id, False, 1, 1)
                        leader.raft.receive(3, refusal, cluster.now)
        self.assertEqual(lost, [LostData(3, last)] * 3)
        self.assertEqual(sent, 3)

    def test_compacted_while_it_owes_an_answer(self) -> None:
        """hazards R13, R21: what it would be asked about is gone, so it is asked where the log starts now."""
        cluster = self.cluster()
        leader = cluster[1]
        self.propose(cluster, 5)
        leader.raft.peer_connected(3, cluster.now)
        leader.take()
        leader.compact()
        leader.outgoing.clear()
        cluster.advance(1)
        leader.receive(3, HeartbeatReply(leader.view.current_term, 0))
        request = only_request(leader, 3)
        self.assertEqual((request.prev_log_index, request.entries), (leader.view.first_index - 1, ()))

    def test_it_answers_again(self) -> None:
        """hazard R15: everything in flight was lost, and the limit is reached; time passes, and replication resumes."""
        cluster = self.cluster()
        self.propose(cluster, 50)
        cluster.heal()
        cluster.settle()
        self.assertEqual(cluster[3].terms, [1])
        cluster.run(1)
        self.assertEqual(cluster[3].disk_log, cluster[1].disk_log)
        self.assertEqual(len(self.propose(cluster, 20)), 20)

    def test_answers_that_take_longer_than_an_election_timeout(self) -> None:
        """hazard R15: the follower is in contact by heartbeats, and its other answers come, though late."""
        cluster = Cluster(3, options=self.OPTIONS)
        leader, follower = cluster.elect(1), cluster[2]
        cluster.isolate(3)
        under_way: list[tuple[float, AppendEntriesReply]] = []
        entries = [leader.propose(b"x") for _ in range(20)]
        for _ in range(100):
            cluster.advance(0.1)
            leader.beat()
            leader.write_all()
            for envelope in cluster.take_messages(1):
                if envelope.to == 2:
                    follower.receive(1, envelope.message)
            follower.write_all()
            for envelope in cluster.take_messages(2):
                if isinstance(envelope.message, AppendEntriesReply):
                    under_way.append((cluster.now + 0.75, envelope.message))
                elif envelope.to == 1:
                    leader.receive(2, envelope.message)
            for _, reply in [each for each in under_way if each[0] <= cluster.now]:
                leader.receive(2, reply)
            under_way = [each for each in under_way if each[0] > cluster.now]
        self.assertEqual(leader.view.current_term, 1)
        self.assertEqual(leader.applied[-1], entries[-1])

    def test_it_reconnects(self) -> None:
        """hazard R15: a new connection; no time needs to pass."""
        cluster = self.cluster()
        self.propose(cluster, 50)
        cluster.heal()
        cluster[1].raft.peer_connected(3, cluster.now)
        cluster[1].take()
        cluster.settle()
        self.assertEqual(cluster[3].disk_log, cluster[1].disk_log)
        self.assertEqual(len(self.propose(cluster, 20)), 20)

    def test_it_reconnects_while_answers_are_under_way(self) -> None:
        """hazards R8, R15: the leader probes anew, and then an answer to what went before comes, which says more than
        the probe's own. Both arrive, and replication goes on; leader and follower do not probe each other for ever.
        """
        cluster = Cluster(3, options=self.OPTIONS)
        leader = cluster.elect(1)
        leader.propose(b"x")
        cluster[3].receive(1, only_request(leader, 3))
        cluster[3].write()
        leader.outgoing.clear()
        leader.raft.peer_connected(3, cluster.now)
        leader.take()
        cluster.settle()
        self.assertEqual(len(self.propose(cluster, 20)), 20)
        self.assertEqual(cluster[3].disk_log, leader.disk_log)

    def test_only_the_answers_are_lost(self) -> None:
        """hazard R15: it has everything and nobody knows; again and again, without a leak."""
        cluster = Cluster(3, options=self.OPTIONS)
        leader = cluster.elect(1)
        for _ in range(5):
            cluster.cut(3, 1)
            self.propose(cluster, 30)
            cluster.heal()
            cluster.run(1)
            self.assertEqual(cluster[3].disk_log, leader.disk_log)

    def test_it_restarts_with_less_in_memory(self) -> None:
        """hazards R15, R19: a follower crashes with writes under way, which nobody was told of, and is fed again."""
        cluster = Cluster(3, options=self.OPTIONS)
        leader = cluster.elect(1)
        entry = leader.propose(b"x")
        cluster.settle(writing=[1, 2])
        self.assertEqual(cluster[3].view.last_index, entry.index)
        cluster[3].start()
        self.assertEqual(cluster[3].view.last_index, entry.index - 1)
        cluster.run(1)
        self.assertEqual(cluster[3].disk_log, leader.disk_log)
