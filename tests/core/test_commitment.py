"""Commitment: when an entry is safe, who may say so, and what waits for it (§5.3, §5.4.2, thesis §10.2.1)."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server, entries_of, only_request
from txraft.core.messages import MAX_COMMAND_SIZE, AppendEntries, AppendEntriesReply, Heartbeat, NodeId, TimeoutNow
from txraft.core.state import RaftOptions
from txraft.errors import CommandTooLong, DataLost, NotLeader, Overloaded, TargetLostData

ONE_ENTRY_A_MESSAGE = RaftOptions(max_message_size=1)


def replicate(cluster: Cluster, leader: NodeId, follower: NodeId, up_to: int) -> None:
    """The two talk, alone, until the follower has the entries up to `up_to` on its disk; later ones are lost."""
    talking = True
    while talking:
        talking = False
        for sender, receiver in [(leader, follower), (follower, leader)]:
            for envelope in cluster.take_messages(sender):
                message = envelope.message
                is_later = isinstance(message, AppendEntries) and any(entry.index > up_to for entry in message.entries)
                if envelope.to == receiver and not is_later:
                    cluster[receiver].receive(sender, message)
                    talking = True
            while cluster[receiver].write():
                talking = True


class Figure8Tests(SynchronousTestCase):
    """hazard R1: Figure 8. Five servers; an entry of an old term is on a majority of them, and is not safe by that."""

    def up_to_c(self) -> Cluster:
        """Parts (a) to (c). What a new leader appends by itself (§8) is the figure's entry."""
        cluster = Cluster(5, logs=dict.fromkeys(range(1, 6), (1,)), options=ONE_ENTRY_A_MESSAGE)
        # (a) S1 leads term 2 and replicates entry 2 to S2 only.
        cluster.win(1)
        cluster.isolate(1, 2)
        cluster.settle()
        self.assertEqual([server.terms for server in cluster], [[1, 2], [1, 2], [1], [1], [1]])
        self.assertEqual(cluster[1].view.commit_index, 0)
        # (b) S1 crashes. S5 is elected for term 3 by S3, S4 and itself, and has an entry of its own at index 2.
        cluster.heal()
        cluster.isolate(1)
        cluster.win(5)
        cluster.isolate(5)
        cluster.settle()
        self.assertEqual([server.terms for server in cluster], [[1, 2], [1, 2], [1], [1], [1, 3]])
        self.assertEqual(cluster[5].view.current_term, 3)
        # (c) S5 crashes. S1 restarts, is elected, and goes on replicating entry 2: a majority has it.
        cluster[1].start()
        cluster.heal()
        cluster.isolate(5)
        cluster.win(1)
        self.assertEqual(cluster[1].view.current_term, 4)
        sent = cluster.take_messages(1)
        for follower in (2, 3):
            cluster[1].outgoing = [envelope for envelope in sent if envelope.to == follower]
            replicate(cluster, 1, follower, up_to=2)
        cluster[1].write()
        self.assertEqual([server.terms for server in cluster], [[1, 2, 4], [1, 2], [1, 2], [1], [1, 3]])
        self.assertEqual(tuple(cluster[3].disk_log), entries_of(1) + tuple(cluster[1].disk_log[1:2]))
        return cluster

    def test_d(self) -> None:
        """(c), (d): entry 2 of term 2 is not committed, and S5, elected for term 5, replaces it everywhere."""
        cluster = self.up_to_c()
        self.assertEqual((cluster[1].view.commit_index, cluster[1].applied), (0, []))
        cluster.heal()
        cluster.isolate(1)
        cluster[5].start()
        cluster.win(5)
        cluster.settle()
        self.assertEqual([server.terms for server in cluster], [[1, 2, 4]] + [[1, 3, 5]] * 4)
        cluster[1].start()
        cluster.heal()
        cluster.run(2)
        self.assertEqual([server.terms for server in cluster], [[1, 3, 5]] * 5)
        self.assertEqual([server.applied for server in cluster], [cluster[5].disk_log] * 5)

    def test_e(self) -> None:
        """(e): S1 replicates an entry of its own term to a majority too. That commits both, and S5 cannot win."""
        cluster = self.up_to_c()
        for follower in (2, 3):
            cluster[1].raft.peer_connected(follower, cluster.now)
            cluster[1].take()
            replicate(cluster, 1, follower, up_to=3)
        self.assertEqual((cluster[1].view.commit_index, cluster[1].applied), (3, cluster[1].disk_log))
        committed = list(cluster[1].disk_log)
        cluster.heal()
        cluster.isolate(1)
        cluster[5].start()
        with self.assertRaises(AssertionError):
            cluster.win(5)
        cluster.run(3)
        self.assertEqual([leader.id in (2, 3) for leader in cluster.leaders() if leader.id != 1], [True])
        cluster[1].start()
        cluster.heal()
        cluster.run(2)
        for server in cluster:
            self.assertEqual(server.applied[:3], committed)


class CommitTests(SynchronousTestCase):
    """Rules for Servers, Leaders, the last one: N > commit_index, a majority has it, and it is of current_term."""

    def test_a_majority(self) -> None:
        """§5.3: three of five are needed, the leader among them; two are not enough."""
        cluster = Cluster(5)
        leader = cluster.elect(1)
        cluster.isolate(1, 2)
        entry = leader.propose(b"x")
        cluster.settle()
        self.assertEqual((leader.view.commit_index, cluster[2].terms), (entry.index - 1, [1, 1]))
        cluster.heal()
        cluster.isolate(4, 5)
        cluster.run(1)
        self.assertEqual((leader.view.commit_index, leader.applied[-1]), (entry.index, entry))

    def test_followers_learn_of_it(self) -> None:
        """§5.3: with the next heartbeat at the latest, and they apply in the order of the log."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        entries = [leader.propose(b"%d" % number) for number in range(5)]
        cluster.settle()
        cluster.beat()
        for server in cluster:
            self.assertEqual(server.applied[1:], entries)
            self.assertEqual((server.view.commit_index, server.view.last_applied), (6, 6))

    def test_an_entry_of_ones_own_term_commits_all_before(self) -> None:
        """§5.4.2, §8: what earlier leaders left is committed with the entry that a new leader appends by itself."""
        cluster = Cluster(3, logs={1: (1, 2, 2), 2: (1, 2), 3: (1,)})
        leader = cluster.elect(1)
        cluster.beat()
        self.assertEqual((leader.terms, leader.view.commit_index), ([1, 2, 2, 3], 4))
        for server in cluster:
            self.assertEqual(server.applied, leader.applied)

    def test_old_entries_alone_are_not_committed(self) -> None:
        """hazard R1: all have the old entry, nobody but the leader has the new one."""
        cluster = Cluster(3, logs=dict.fromkeys((1, 2, 3), (1, 2)), options=ONE_ENTRY_A_MESSAGE)
        cluster.win(1)
        replicate(cluster, 1, 2, up_to=2)
        self.assertEqual(cluster[1].view.commit_index, 0)

    def test_applied_again_after_a_restart(self) -> None:
        """Figure 2: commit_index and last_applied are volatile; a restarted server learns them anew, in order."""
        cluster = Cluster(3)
        cluster.elect(1).propose(b"x")
        cluster.settle()
        cluster.beat()
        before = cluster[2].applied
        cluster[2].start()
        self.assertEqual((cluster[2].view.commit_index, cluster[2].view.last_applied), (0, 0))
        cluster.run(1)
        self.assertEqual((len(before), cluster[2].applied[:2]), (2, before))


class DiskTests(SynchronousTestCase):
    """hazard R10: a server counts, itself included, when its disk has written."""

    def test_a_single_server(self) -> None:
        """With nobody to wait for but its own disk, it waits for that."""
        cluster = Cluster(1)
        server = cluster.elect(1)
        entry = server.propose(b"x")
        self.assertEqual((server.view.commit_index, len(server.applied)), (1, 1))
        server.write()
        self.assertEqual((server.view.commit_index, server.applied[-1], server.disk_log[-1]), (2, entry, entry))

    def test_the_leader_is_not_a_majority_with_one_other(self) -> None:
        """Of three, the leader's disk is busy and one follower is away: one disk has the entry."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.isolate(3)
        entry = leader.propose(b"x")
        cluster.settle(writing=[2])
        self.assertEqual((cluster[2].disk_log[-1], leader.view.commit_index), (entry, entry.index - 1))
        cluster.settle()
        self.assertEqual(leader.view.commit_index, entry.index)

    def test_others_may_be_a_majority(self) -> None:
        """Thesis §10.2.1: the leader's disk is busy, and both followers have written. It is committed; the leader
        applies it when it has it too."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        entry = leader.propose(b"x")
        cluster.settle(writing=[2, 3])
        self.assertEqual((leader.view.commit_index, leader.view.durable_index), (entry.index, entry.index - 1))
        self.assertNotIn(entry, leader.applied)
        cluster.settle()
        self.assertIn(entry, leader.applied)

    def test_a_follower_in_memory_does_not_count(self) -> None:
        """Both followers have it in memory, none on its disk."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        entry = leader.propose(b"x")
        cluster.settle(writing=[1])
        self.assertEqual([server.view.last_index for server in cluster], [entry.index] * 3)
        self.assertEqual(leader.view.commit_index, entry.index - 1)


class ProposalTests(SynchronousTestCase):
    """What becomes of a command."""

    def test_only_the_leader_takes_it(self) -> None:
        """§8: a follower names the leader, and nothing enters its log."""
        cluster = Cluster(3)
        cluster.elect(1)
        with self.assertRaises(NotLeader) as refused:
            cluster[2].propose(b"x")
        self.assertEqual((refused.exception.leader_id, cluster[2].view.last_index), (1, 1))

    def test_another_entry_at_the_same_index(self) -> None:
        """hazard C6: what was proposed is the entry of that index and that term; another one took its place."""
        cluster = Cluster(3)
        old = cluster.elect(1)
        cluster.isolate(1)
        lost = old.propose(b"lost")
        cluster.settle()
        new = cluster.elect(2)
        kept = new.propose(b"kept")
        cluster.settle()
        cluster.heal()
        cluster.run(1)
        at_the_index = next(entry for entry in old.applied if entry.index == lost.index)
        self.assertEqual(lost.term, 1)
        self.assertNotEqual((at_the_index.index, at_the_index.term), (lost.index, lost.term))
        self.assertIn(kept, old.applied)
        self.assertNotIn(lost, [entry for server in cluster for entry in server.applied])


class OverloadTests(SynchronousTestCase):
    """hazards C9, R16: what waits to be committed is bounded."""

    def cluster(self) -> Cluster:
        return Cluster(3, options=RaftOptions(max_uncommitted_size=1000))

    def fill(self, leader: Server, size: int = 300) -> int:
        """Propose until it is refused; how many were taken."""
        for taken in range(100):
            before = leader.view.last_index
            try:
                leader.propose(bytes(size))
            except Overloaded:
                self.assertEqual(leader.view.last_index, before)
                return taken
        raise AssertionError("everything is taken, without a bound")

    def test_refused_without_a_majority(self) -> None:
        """hazard C9: and what is refused enters no log, so it certainly never takes effect."""
        cluster = self.cluster()
        leader = cluster.elect(1)
        cluster.isolate(1)
        taken = self.fill(leader)
        self.assertIn(taken, (2, 3))
        for _ in range(3):
            with self.assertRaises(Overloaded):
                leader.propose(bytes(300))
        self.assertEqual(leader.view.last_index, 1 + taken)

    def test_commands_without_data_are_bounded_too(self) -> None:
        """hazard C9: an entry takes memory also where its command is short or empty (`MEMORY_OVERHEAD`)."""
        cluster = self.cluster()
        leader = cluster.elect(1)
        cluster.isolate(1)
        self.assertGreater(self.fill(leader, size=0), 1)

    def test_bounded_in_number(self) -> None:
        """hazard C9: each has somebody who waits for it."""
        cluster = Cluster(3, options=RaftOptions(max_uncommitted_entries=3))
        leader = cluster.elect(1)
        for _ in range(3):
            self.assertEqual(self.fill(leader, size=0), 3)
            cluster.settle()

    def test_accepted_again(self) -> None:
        """hazard R16: what is committed counts out as it counted in, round after round."""
        cluster = self.cluster()
        leader = cluster.elect(1)
        taken = {self.fill(leader)}
        for _ in range(20):
            cluster.settle()
            taken.add(self.fill(leader))
        self.assertEqual(len(taken), 1, taken)

    def test_one_larger_than_the_limit(self) -> None:
        """hazard R16: it is taken when nothing else waits, or it could never be."""
        cluster = self.cluster()
        leader = cluster.elect(1)
        cluster.settle()
        entry = leader.propose(bytes(5000))
        with self.assertRaises(Overloaded):
            leader.propose(b"x")
        cluster.settle()
        self.assertIn(entry, leader.applied)
        leader.propose(bytes(300))

    def test_longer_than_an_entry_can_be(self) -> None:
        """What followers could not take in enters no log; the longest that they can, does (hazard R20)."""
        leader = self.cluster().win(1)
        before = leader.view.last_index
        with self.assertRaises(CommandTooLong):
            leader.propose(bytes(MAX_COMMAND_SIZE + 1))
        self.assertEqual(leader.view.last_index, before)
        self.assertEqual(leader.propose(bytes(MAX_COMMAND_SIZE)).index, before + 1)

    def test_one_larger_than_the_limit_at_once(self) -> None:
        """hazard R16: the entry that a new leader appends by itself is not in the way of it."""
        self.cluster().win(1).propose(bytes(5000))

    def test_what_another_leader_took_in(self) -> None:
        """hazard R16: entries that an earlier leader counted in are not counted out by the next one."""
        cluster = self.cluster()
        leader = cluster.elect(1)
        bound = self.fill(leader)
        cluster.cut(2, 1)
        cluster.cut(3, 1)
        cluster.settle()
        self.assertEqual([server.view.commit_index for server in cluster], [1] * 3)
        cluster.isolate(1)
        successor = cluster.elect(2)
        self.assertEqual(successor.view.commit_index, successor.view.last_index)
        cluster.isolate(2)
        self.assertEqual(self.fill(successor), bound)


class LostDataTests(SynchronousTestCase):
    """hazard R23: a leader counts on nothing that a follower had acknowledged and has lost."""

    def setUp(self) -> None:
        """S1 leads. Only S2 has acknowledged entry 2, which S1's own disk is still writing; S3 is away."""
        self.cluster = Cluster(3)
        self.leader = self.cluster.elect(1)
        self.cluster.beat()
        self.cluster.isolate(3)
        self.leader.propose(b"x")
        self.cluster.settle(writing=[2])
        self.assertEqual((self.leader.raft.followers[2].match_index, self.leader.view.commit_index), (2, 1))

    def answer(self, success: bool) -> None:
        """S2 connects, is probed, and says whether it has entry 2."""
        self.leader.raft.peer_connected(2, self.cluster.now)
        self.leader.outgoing.clear()
        self.leader.take()
        request = only_request(self.leader, 2)
        self.assertEqual((request.prev_log_index, request.entries), (2, ()))
        reply = AppendEntriesReply(request.term, request.request_id, success, 2 if success else 0, 0)
        self.leader.receive(2, reply)

    def test_nothing_is_committed_by_it(self) -> None:
        """The leader's disk alone is no majority. When the follower has its data back, it counts again, at once."""
        self.answer(False)
        self.leader.write_all()
        self.assertEqual(self.leader.view.commit_index, 1)
        self.answer(True)
        self.assertEqual(self.leader.view.commit_index, 2)

    def test_it_learns_of_its_loss(self) -> None:
        """A heartbeat tells it, also where it has refused a request before (hazard R7). It ends, and gives no vote that
        it may have given to another."""
        follower = self.cluster[2]
        follower.disk_log = []
        follower.start()
        self.leader.raft.peer_connected(2, self.cluster.now)
        self.leader.take()
        self.cluster.settle(writing=[2])
        self.assertTrue(self.leader.raft.followers[2].has_lost_data)
        with self.assertRaises(DataLost):
            self.cluster.beat()

    def test_an_older_copy(self) -> None:
        """One that is put in the place of what a follower had may be as long. What was never committed in it is not
        applied, whichever message is first."""
        for probed_first in (True, False):
            cluster = Cluster(3, current_terms={1: 1})
            leader = cluster.elect(1)
            leader.propose(b"x")
            cluster.settle()
            cluster.beat()
            follower = cluster[2]
            follower.disk_log = list(entries_of(1, 1, 1))
            follower.start()
            leader.raft.peer_connected(2, cluster.now)
            leader.take()
            if probed_first:
                cluster.settle()
                self.assertTrue(leader.raft.followers[2].has_lost_data)
            with self.assertRaises(DataLost):
                leader.beat()
                for _, heartbeat in leader.sent(Heartbeat)[:1]:
                    follower.receive(1, heartbeat)
            self.assertEqual(follower.applied, [])

    def test_it_is_not_asked_to_lead(self) -> None:
        """Neither by a leader that stops, which takes another that is behind, nor by an operator."""
        self.assertEqual(self.leader.raft.successor(self.cluster.now), 2)
        self.answer(False)
        self.assertEqual(self.leader.raft.successor(self.cluster.now), 3)
        with self.assertRaises(TargetLostData):
            self.leader.raft.transfer_leadership(2, self.cluster.now)

    def test_a_loss_during_a_transfer(self) -> None:
        """The target is not told again to campaign."""
        self.leader.raft.transfer_leadership(2, self.cluster.now)
        self.leader.take()
        self.answer(False)
        self.leader.outgoing.clear()
        self.leader.beat()
        self.assertEqual(self.leader.sent(TimeoutNow), [])
