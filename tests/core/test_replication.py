"""`txraft.core.replication`: how a leader feeds its followers (§5.3), and what must not keep it from doing so."""

from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server, only_request, requests
from txraft.core.log import size_of
from txraft.core.messages import AppendEntries, AppendEntriesReply, EntryKind, Heartbeat, HeartbeatReply, NodeId
from txraft.core.state import RaftOptions
from txraft.errors import InvariantViolated


def heartbeats(server: Server, to: NodeId) -> list[Heartbeat]:
    return [e.message for e in server.outgoing if isinstance(e.message, Heartbeat) and e.to == to]


def count_requests(cluster: Cluster, leader: NodeId, to: NodeId) -> int:
    """Settle, and count the AppendEntries that went from one to the other meanwhile."""
    count = 0
    working = True
    while working:
        if cluster[leader].outgoing and cluster[leader].outgoing[0].to == to:
            count += isinstance(cluster[leader].outgoing[0].message, AppendEntries)
        working = any([cluster.deliver_one(), *(server.write() for server in cluster)])
    return count


class LeaderTests(SynchronousTestCase):
    """Rules for Servers, Leaders (Figure 2)."""

    def test_upon_election(self) -> None:
        """§5.2, §8: a heartbeat to everyone, at once, and an entry of the leader's own term."""
        cluster = Cluster(3, logs=dict.fromkeys((1, 2, 3), (1, 1)))
        leader = cluster.win(1)
        self.assertEqual([heartbeats(leader, peer) for peer in (2, 3)], [[Heartbeat(2, 0, 0, 0)]] * 2)
        self.assertEqual((leader.terms, leader.raft.log.entry(3).kind), ([1, 1, 2], EntryKind.NOOP))

    def test_next_index_at_first(self) -> None:
        """Figure 2: the leader's last index + 1. The first request asks whether the logs match there."""
        cluster = Cluster(3, logs={1: (1, 1), 2: (1,)})
        leader = cluster.win(1)
        for peer in (2, 3):
            request = only_request(leader, peer)
            self.assertEqual(
                (request.term, request.prev_log_index, request.prev_log_term, request.entries, request.leader_commit),
                (2, 2, 1, (), 0),
            )

    def test_a_command(self) -> None:
        """§5.3: it is appended, and sent to everyone while the leader's own disk still writes it (thesis §10.2.1)."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        entry = leader.propose(b"x")
        self.assertEqual((entry.index, entry.term, leader.view.last_index), (2, 1, 2))
        for peer in (2, 3):
            request = only_request(leader, peer)
            self.assertEqual(
                (request.prev_log_index, request.prev_log_term, request.entries, request.leader_commit),
                (1, 1, (entry,), 1),
            )
        self.assertNotIn(entry, leader.disk_log)

    def test_does_not_wait_for_answers(self) -> None:
        """§10.2: one request after the other is under way, and a burst of commands is one request."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        entries = [leader.propose(b"%d" % number) for number in range(3)]
        self.assertEqual([request.entries for request in requests(leader, 2)], [(entry,) for entry in entries])
        leader.outgoing.clear()
        burst = tuple(leader.raft.propose(b"%d" % number) for number in range(3))
        leader.take()
        self.assertEqual(only_request(leader, 2).entries, burst)

    def test_nothing_to_send(self) -> None:
        """A leader whose followers have everything sends heartbeats and nothing else."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.beat()
        leader.beat()
        self.assertEqual((requests(leader), len(heartbeats(leader, 2))), ([], 1))

    def test_append_only(self) -> None:
        """Leader Append-Only (§5.3): entries from another leader of its own term can only be an error."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        with self.assertRaises(InvariantViolated):
            leader.receive(2, AppendEntries(1, 1, 0, 0, (), 0))
        self.assertEqual(leader.terms, [1])

    def test_a_later_term_ends_it(self) -> None:
        """§5.1: an answer that names one; nothing more is sent."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        leader.receive(2, AppendEntriesReply(5, 1, False, 0, 0))
        self.assertEqual((cluster.leaders(), leader.view.current_term), ([], 5))
        leader.beat()
        self.assertEqual(leader.outgoing, [])


class FindingTheMatchTests(SynchronousTestCase):
    """§5.3: after a refusal, next_index goes back, and the request is tried again."""

    def test_a_shorter_log(self) -> None:
        """The hint is the follower's end: one refusal, whatever is missing, then one match, then the entries."""
        cluster = Cluster(3, logs={1: (1,) * 50, 2: (1,) * 3})
        cluster.win(1)
        self.assertEqual(count_requests(cluster, 1, to=2), 3)
        self.assertEqual(cluster[2].terms, cluster[1].terms)

    def test_many_conflicts(self) -> None:
        """§5.3, fast backup: a request a term of difference, not one an entry."""
        cluster = Cluster(3, logs={1: (1, 1) + (4,) * 50, 2: (1, 1) + (2,) * 40 + (3,) * 40, 3: (1,)})
        cluster.win(1)
        self.assertLessEqual(count_requests(cluster, 1, to=2), 5)
        self.assertEqual(cluster[2].terms, cluster[1].terms)

    def test_figure_7(self) -> None:
        """Figure 7: followers that miss entries, have more of them, or both; the leader makes them all like its own."""
        terms = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
        logs = {
            1: terms,
            2: terms[:9],
            3: terms[:4],
            4: (*terms, 6),
            5: (*terms, 7, 7),
            6: (1, 1, 1, 4, 4, 4, 4),
            7: (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
        }
        cluster = Cluster(7, logs=logs, current_terms=dict.fromkeys(logs, 7))
        leader = cluster.elect(1)
        cluster.run(1)
        for server in cluster:
            self.assertEqual(server.terms, [*terms, 8])
            self.assertEqual(server.disk_log, leader.disk_log)

    def test_one_probe_at_a_time(self) -> None:
        """hazard R18: while the place is not found, commands are not sent, and a probe has none."""
        cluster = Cluster(3, logs={1: (1, 1)})
        leader = cluster.win(1)
        for _ in range(20):
            leader.propose(bytes(100))
            leader.beat()
        self.assertEqual(only_request(leader, 2).entries, ())


class LateAnswersTests(SynchronousTestCase):
    """Answers that come late, twice, or to another request."""

    def test_match_index_does_not_go_back(self) -> None:
        """hazard R3: the first answer comes again after the last one; heartbeats show what the leader believes."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.isolate(3)
        answers: list[AppendEntriesReply] = []
        for number in range(3):
            leader.propose(b"%d" % number)
            cluster[2].receive(1, only_request(leader, 2))
            leader.outgoing.clear()
            cluster[2].write()
            answers += [e.message for e in cluster.take_messages(2) if isinstance(e.message, AppendEntriesReply)]
        while leader.write():
            pass
        for answer in [answers[2], answers[0], answers[1], answers[2]]:
            leader.receive(2, answer)
            leader.outgoing.clear()
            leader.beat()
            self.assertEqual(heartbeats(leader, 2)[0].leader_commit, 4)
            self.assertEqual(requests(leader, 2), [])

    def test_a_stale_refusal(self) -> None:
        """hazard R8: the refusal of an early probe comes again, when the logs match long since: nothing happens."""
        cluster = Cluster(3, logs={1: (1,) * 5, 2: (1,)})
        leader = cluster.win(1)
        cluster[2].receive(1, only_request(leader, 2))
        (refusal,) = [e.message for e in cluster[2].outgoing if isinstance(e.message, AppendEntriesReply)]
        self.assertFalse(refusal.success)
        cluster.settle()
        leader.propose(b"x")
        leader.outgoing.clear()
        leader.receive(2, refusal)
        self.assertEqual(leader.outgoing, [])
        entry = leader.propose(b"y")
        self.assertEqual(only_request(leader, 2).entries, (entry,))

    def test_a_request_of_an_earlier_leadership(self) -> None:
        """hazard R8: server 1 leads terms 1 and 3, and counts its requests from 1 each time. One of term 1 reaches a
        follower in term 3; its refusal does not answer the request of the same number that is under way now.
        """
        cluster = Cluster(3)
        leader = cluster.elect(1)
        leader.propose(b"old")
        old = only_request(leader, 2)
        cluster.settle()
        cluster.elect(2)
        cluster.elect(1)
        while True:
            leader.propose(b"new")
            under_way = requests(leader, 2)
            leader.outgoing.clear()
            if under_way[-1].request_id >= old.request_id:
                break
        self.assertEqual(under_way[-1].request_id, old.request_id)
        cluster[2].receive(1, old)
        for envelope in cluster.take_messages(2):
            leader.receive(2, envelope.message)
        self.assertEqual(requests(leader, 2), [])

    def test_a_heartbeat_of_an_earlier_leadership(self) -> None:
        """hazard C2: the same for the rounds of reads. A follower of term 3 refuses a heartbeat of term 1; it then
        elects server 3, which commits a write. What the follower said before that must not confirm a read of server 1's
        that came after it.
        """
        cluster = Cluster(3)
        old_leader = cluster.elect(1)
        old_leader.read(1)
        (old,) = heartbeats(old_leader, 2)
        cluster.settle()
        cluster.elect(2)
        cluster.elect(1)
        cluster[2].receive(1, old)
        late = [e.message for e in cluster.take_messages(2) if isinstance(e.message, HeartbeatReply)]
        cluster.isolate(1)
        new_leader = cluster.elect(3)
        new_leader.propose(b"x")
        cluster.settle()
        self.assertGreater(new_leader.view.commit_index, old_leader.view.commit_index)
        old_leader.reads.clear()
        old_leader.read(9)
        for message in late:
            old_leader.receive(2, message)
        self.assertEqual(old_leader.reads, [])

    def test_answers_to_an_earlier_leadership(self) -> None:
        """§5.1: a success of term 1 says nothing in term 3, though the request numbers are the same."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.elect(2)
        cluster.elect(1)
        leader.propose(b"x")
        cluster.isolate(1)
        cluster.settle()
        committed = leader.view.commit_index
        leader.receive(2, AppendEntriesReply(1, 2, True, leader.view.last_index, 0))
        self.assertEqual(leader.view.commit_index, committed)


class ImpossibleAnswerTests(SynchronousTestCase):
    def test_more_than_the_leader_has(self) -> None:
        """A follower that claims to match beyond the end of the leader's log is not believed, and is fed as before."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        leader.receive(2, AppendEntriesReply(leader.view.current_term, 99, True, leader.view.last_index + 1, 0))
        leader.raft.peer_connected(2, cluster.now)
        entry = leader.propose(b"a")
        cluster.isolate(3)
        cluster.settle()
        self.assertEqual(leader.applied[-1], entry)


class StrangerTests(SynchronousTestCase):
    def test_answers_of_a_server_that_is_no_member(self) -> None:
        """What it has does not count, and it is sent nothing."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.isolate(1)
        entry = leader.propose(b"a")
        leader.write_all()
        before = leader.view
        for server in (7, 8):
            leader.receive(server, AppendEntriesReply(entry.term, 99, True, entry.index, 0))
            leader.receive(server, HeartbeatReply(entry.term, 0))
        self.assertEqual(leader.view, before)
        self.assertEqual([envelope for envelope in leader.outgoing if envelope.to > 3], [])


class HeartbeatTests(SynchronousTestCase):
    """§5.2: heartbeats keep followers from campaigning, and say what is committed."""

    def test_not_beyond_what_the_follower_has(self) -> None:
        """hazard R7: min(match_index, commit_index)."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.isolate(3)
        leader.propose(b"x")
        cluster.settle()
        leader.beat()
        self.assertEqual(leader.view.commit_index, 2)
        self.assertEqual([heartbeats(leader, peer)[-1].leader_commit for peer in (2, 3)], [2, 1])

    def test_not_beyond_what_is_committed(self) -> None:
        """hazard R7: a follower may have more than is committed."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.isolate(3)
        leader.propose(b"x")
        cluster.settle(writing=[2])
        leader.beat()
        self.assertEqual(heartbeats(leader, 2)[-1].leader_commit, 1)

    def test_a_new_leader_knows_nothing_of_its_followers(self) -> None:
        """hazard R7: what the leader before it knew of them does not count."""
        cluster = Cluster(3)
        cluster.elect(1).propose(b"x")
        cluster.settle()
        leader = cluster.win(2)
        self.assertEqual({heartbeat.leader_commit for heartbeat in heartbeats(leader, 1)}, {0})


class SizeTests(SynchronousTestCase):
    """Messages of limited size (hazards R12, R20)."""

    def test_an_entry_larger_than_a_message(self) -> None:
        """hazard R20: it goes alone, and arrives."""
        cluster = Cluster(3, options=RaftOptions(max_message_size=100))
        leader = cluster.elect(1)
        entries = [leader.raft.propose(data) for data in (b"small", bytes(1000), b"small")]
        leader.take()
        self.assertEqual([request.entries for request in requests(leader, 2)], [(entry,) for entry in entries])
        cluster.settle()
        cluster.beat()
        for server in cluster:
            self.assertEqual(server.applied[1:], entries)

    def test_a_batch_larger_than_a_message(self) -> None:
        """hazards R12, R20: it is spread over several, each full, none too large, without a gap between them."""
        limit = 500
        cluster = Cluster(3, options=RaftOptions(max_message_size=limit))
        leader = cluster.elect(1)
        entries = [leader.raft.propose(bytes(20 * (number % 7))) for number in range(40)]
        leader.take()
        sent = requests(leader, 3)
        self.assertEqual([entry for request in sent for entry in request.entries], entries)
        for request, following in pairwise(sent):
            self.assertEqual(following.prev_log_index, request.prev_log_index + len(request.entries))
            size = sum(map(size_of, request.entries))
            self.assertTrue(size <= limit < size + size_of(following.entries[0]))
        cluster.settle()
        self.assertEqual(cluster[3].disk_log, leader.disk_log)
