"""Compaction, and followers that need what is compacted (§7): they always get there, and the others go on meanwhile."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server, only_request, requests
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import AppendEntries, AppendEntriesReply, Heartbeat, HeartbeatReply, InstallSnapshot
from txraft.core.progress import ProgressState
from txraft.core.ready import LostData, Save
from txraft.core.roles import Role
from txraft.core.state import RaftOptions
from txraft.errors import Compacted, InvariantViolated, TargetBehind

BEAT = RaftOptions().heartbeat_interval


def state_of(leader: Server, peer: int) -> ProgressState:
    return leader.raft.followers[peer].state


class CompactionTests(SynchronousTestCase):
    """`Raft.compact`."""

    def leader(self, servers: int = 1) -> Server:
        """It has applied its first entry and five commands."""
        cluster = Cluster(servers)
        leader = cluster.elect(1)
        for number in range(5):
            leader.propose(b"%d" % number)
        cluster.settle()
        return leader

    def test_what_is_written(self) -> None:
        """The log's start, with the membership as of it (hazard M6), and nothing else; a server that starts with that
        is where it was."""
        leader = self.leader()
        leader.raft.compact(4)
        leader.take()
        start = Snapshot(4, 1, Configuration(voters={1}))
        self.assertEqual([save for save, _ in leader.writing], [Save(None, (), start)])
        leader.write_all()
        self.assertEqual((leader.view.first_index, leader.view.durable_index, leader.installed), (5, 6, []))
        leader.start()
        self.assertEqual((leader.view.first_index, leader.view.last_index, leader.view.last_applied), (5, 6, 4))

    def test_all_of_it(self) -> None:
        """hazards C1, R13: a server that is alone compacts all that it has; it reads, and elects itself, as before."""
        leader = self.leader()
        leader.compact()
        leader.read(1)
        self.assertEqual([read.read_index for read in leader.reads], [6])
        leader.start()
        leader.time_out()
        leader.write_all()
        entry = leader.propose(b"x")
        leader.write_all()
        self.assertEqual((entry.index, leader.applied[-1]), (8, entry))

    def test_with_entries(self) -> None:
        """It is one save with what else has come."""
        leader = self.leader()
        leader.raft.compact(3)
        leader.raft.compact(4)
        entry = leader.propose(b"x")
        self.assertEqual([save for save, _ in leader.writing], [Save(None, (entry,), leader.raft.snapshot_at(4))])

    def test_done_already(self) -> None:
        """Nothing is written twice."""
        leader = self.leader()
        leader.compact(4)
        for index in (0, 3, 4):
            leader.raft.compact(index)
            leader.take()
        self.assertEqual((leader.view.first_index, leader.writing), (5, []))

    def test_what_is_not_applied(self) -> None:
        """It is in no state machine, so it is nowhere else."""
        leader = self.leader(servers=3)
        leader.propose(b"x")
        self.assertRaises(InvariantViolated, leader.raft.compact, leader.view.last_index)
        self.assertEqual(leader.view.first_index, 1)

    def test_what_a_snapshot_stands_for(self) -> None:
        """hazard R13: not below the log's start, where the term is not known any more."""
        leader = self.leader()
        leader.compact(4)
        self.assertEqual(leader.raft.snapshot_at(6), Snapshot(6, 1, Configuration(voters={1})))
        self.assertEqual(leader.raft.snapshot_at(4).index, 4)
        self.assertRaises(Compacted, leader.raft.snapshot_at, 3)

    def test_what_waits_to_be_committed(self) -> None:
        """hazard R16: what was counted in is counted out, however soon it is compacted."""
        cluster = Cluster(1, options=RaftOptions(max_uncommitted_entries=2))
        leader = cluster.elect(1)
        for _ in range(5):
            for _ in range(2):
                leader.raft.propose(b"x")
            leader.take()
            leader.write_all()
            leader.compact()


class FarBehindTests(SynchronousTestCase):
    """Server 1 leads, and its log starts after entry 4, or 6, its last one; server 3 has entry 1 only."""

    def setUp(self) -> None:
        self.cluster = Cluster(3)
        self.leader = self.cluster.elect(1)
        self.cluster.isolate(3)
        for number in range(5):
            self.leader.propose(b"%d" % number)
        self.cluster.run(1)
        self.leader.compact(4)

    def needs_a_snapshot(self) -> None:
        """Server 3 hears the leader again, and has refused all that it was asked about; its snapshot is to be sent."""
        self.cluster.heal()
        self.cluster.advance(BEAT)
        self.leader.beat()
        while self.cluster.deliver_one():
            pass
        self.assertEqual((self.leader.to_send, state_of(self.leader, 3)), ([3], ProgressState.SNAPSHOT))

    def assert_whole(self) -> None:
        """Server 3 has what the leader has."""
        last = self.leader.view.last_index
        self.assertEqual((self.cluster[3].view.last_index, self.cluster[3].view.last_applied), (last, last))
        self.assertEqual(state_of(self.leader, 3), ProgressState.REPLICATE)
        entry = self.leader.propose(b"more")
        self.cluster.isolate(({1, 2} - {self.leader.id}).pop())
        self.cluster.settle()
        self.assertIn(entry, self.leader.applied, "server 3 counts")

    def test_it_gets_there(self) -> None:
        """hazards R13, R14, R17: by a snapshot of all that is applied, and by the entries that follow on it."""
        self.cluster.heal()
        self.cluster.run(2 * BEAT)
        self.assertEqual([each.index for each in self.cluster[3].installed], [6])
        self.assertEqual(self.cluster[3].disk_start, self.cluster[3].installed[0])
        self.assert_whole()

    def test_the_leaders_disk_hangs(self) -> None:
        """hazard S12: without server 3 nothing is committed, and that waits for a snapshot from the disk that hangs. So
        the other one leads next, which has what the disk has still to write."""
        self.needs_a_snapshot()
        entry = self.leader.propose(b"x")
        for _ in range(20):
            self.cluster.advance(BEAT)
            for leader in self.cluster.leaders():
                leader.beat()
            while any([self.cluster.deliver_one(), self.cluster[2].write(), self.cluster[3].write()]):
                pass
        self.assertEqual(self.cluster.leaders(), [self.cluster[2]])
        self.assertIn(entry, self.cluster[3].applied)

    def test_without_any_log(self) -> None:
        """hazard R14: its hint is below the leader's first index."""
        self.cluster[3].disk_log.clear()
        self.cluster[3].start()
        self.cluster.heal()
        self.cluster.run(1)
        self.assert_whole()

    def test_not_before_it_refuses_the_start(self) -> None:
        """What is asked: does it have what was sent last, and then the entry before the leader's first one, whose term
        is known. While it is sent a snapshot nothing else goes to it, and the others go on (hazard R18)."""
        self.cluster.heal()
        self.cluster.advance(BEAT)
        self.leader.beat()
        asked: list[AppendEntries] = []
        while self.cluster.deliver_one():
            asked += [request for request in requests(self.leader, 3) if request not in asked]
        self.assertEqual([request.prev_log_index for request in asked][-1], 4)
        self.assertEqual(self.leader.to_send, [3])
        for _ in range(20):
            entry = self.leader.propose(b"x")
            self.assertEqual(requests(self.leader, 3), [])
            self.cluster.advance(BEAT)
            self.leader.beat()
            while any([self.cluster.deliver_one(), *(server.write() for server in self.cluster)]):
                pass
            self.assertEqual(self.leader.applied[-1], entry)
        self.assertEqual(self.leader.to_send, [3])
        self.cluster.settle()
        self.assert_whole()

    def test_an_acknowledgement_was_lost(self) -> None:
        """It has all that is compacted, and nobody knew: no snapshot is sent."""
        self.cluster.heal()
        self.cluster.run(1)
        self.cluster.cut(3, 1)
        for number in range(5):
            self.leader.propose(b"%d" % number)
        self.cluster.settle()
        self.leader.compact()
        self.cluster.heal()
        self.cluster.run(1)
        self.assertEqual(len(self.cluster[3].installed), 1, "the first one")
        self.assert_whole()

    def test_it_ends_where_the_log_starts(self) -> None:
        """hazard R13: the term of the last entry that is compacted is known."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.isolate(3)
        leader.propose(b"x")
        cluster.settle()
        leader.compact(1)
        cluster.heal()
        cluster.run(1)
        self.assertEqual((cluster[3].installed, cluster[3].disk_log[1:]), ([], leader.disk_log))

    def test_install_snapshot_is_lost(self) -> None:
        """hazards R17, R19: the next question after it is refused, and all begins anew."""
        self.needs_a_snapshot()
        self.cluster.send_snapshot()
        self.assertEqual([to for to, _ in self.leader.sent(InstallSnapshot)], [3])
        self.leader.outgoing.clear()
        self.cluster.beat()
        self.cluster.beat()
        self.assertEqual(len(self.cluster[3].installed), 1)
        self.assert_whole()

    def test_its_answer_is_lost(self) -> None:
        """hazards R15, R21: it is asked whether it has the snapshot's last entry, and says so."""
        self.needs_a_snapshot()
        self.cluster.send_snapshot()
        self.cluster.cut(3, 1)
        self.cluster.settle()
        self.cluster.heal()
        self.cluster.run(2 * BEAT)
        self.assertEqual(len(self.cluster[3].installed), 1)
        self.assert_whole()

    def test_its_answer_is_slow(self) -> None:
        """hazard R21: its disk writes for long. It is asked once an interval, and not sent another snapshot."""
        self.needs_a_snapshot()
        self.cluster.send_snapshot()
        for _ in range(5):
            self.cluster.advance(BEAT)
            self.leader.beat()
            self.cluster.settle(writing=[1, 2])
        self.assertEqual((self.leader.to_send, state_of(self.leader, 3)), ([], ProgressState.PROBE))
        self.cluster.settle()
        self.assert_whole()

    def test_it_restarts_in_between(self) -> None:
        """hazard R17: it has the data, and crashes before the log starts there."""
        self.needs_a_snapshot()
        self.cluster.send_snapshot()
        self.cluster.settle(writing=[])
        self.assertEqual(len(self.cluster[3].installed), 1)
        self.cluster[3].start()
        self.leader.reconnect(3)
        self.cluster.settle()
        self.assert_whole()

    def test_the_leader_changes_in_between(self) -> None:
        """hazard R17: the next one has its own log, which starts elsewhere. What the old one is told then is no news
        to it, whether it leads again or not."""
        self.needs_a_snapshot()
        self.leader.to_send.clear()
        old, self.leader = self.leader, self.cluster.elect(2)
        for _ in range(2):
            old.raft.snapshot_delivered(3, old.raft.snapshot_at(6), self.cluster.now)
            old.raft.snapshot_failed(3, self.cluster.now)
            old.take()
            self.assertEqual(old.sent(InstallSnapshot), [])
            self.leader.compact()
            self.cluster.run(1)
            self.assert_whole()
            self.cluster.heal()
            self.cluster.run(1)
            self.leader = self.cluster.elect(1)

    def test_leadership_ends_in_the_same_burst(self) -> None:
        """Who does not lead any more sends no snapshot."""
        self.leader.reconnect(3)
        probe = only_request(self.leader, 3)
        self.leader.raft.receive(3, AppendEntriesReply(1, probe.request_id, False, 1, 1), self.cluster.now)
        self.assertIs(state_of(self.leader, 3), ProgressState.SNAPSHOT)
        self.leader.raft.receive(3, HeartbeatReply(9, 0), self.cluster.now)
        self.leader.take()
        self.assertEqual((self.leader.to_send, self.leader.view.role), ([], Role.FOLLOWER))

    def test_a_failure(self) -> None:
        """It is tried again at a heartbeat's pace, and not at once: however many answers to heartbeats come; and a
        follower that does not answer them is left alone."""
        self.needs_a_snapshot()
        tries = 0
        for number in range(100):
            if self.leader.to_send:
                tries += 1
                self.leader.to_send.clear()
                self.leader.raft.snapshot_failed(3, self.cluster.now)
                self.leader.take()
            self.cluster.advance(BEAT / 10)
            self.leader.read(number)
            while self.cluster.deliver_one():
                pass
        self.assertIn(tries, (9, 10, 11))
        self.cluster.isolate(3)
        self.cluster.run(2)
        self.assertEqual(requests(self.leader, 3), [])
        self.cluster.heal()
        self.cluster.run(2 * BEAT)
        self.assert_whole()

    def test_it_is_no_longer_needed(self) -> None:
        """A late acknowledgement said more than the probe's refusal, and the snapshot was not sent."""
        self.needs_a_snapshot()
        self.cluster[3].disk_log = [*self.cluster[2].disk_log]
        self.cluster[3].start()
        self.cluster.isolate(3)
        self.cluster.send_snapshot()
        self.cluster.heal()
        self.cluster.run(2 * BEAT)
        self.assertEqual(self.cluster[3].installed, [])
        self.assert_whole()

    def test_a_new_connection(self) -> None:
        """How the snapshot ended the driver says, and nothing else does: no second one is asked for meanwhile."""
        self.needs_a_snapshot()
        self.leader.reconnect(3)
        self.assertEqual((requests(self.leader, 3), state_of(self.leader, 3)), ([], ProgressState.SNAPSHOT))
        self.leader.raft.snapshot_failed(3, self.cluster.now)
        self.leader.reconnect(3)
        self.assertEqual(only_request(self.leader, 3).prev_log_index, 4, "now there is something new to be learned")

    def test_it_is_too_old_by_now(self) -> None:
        """hazard R17: what follows on it has been compacted while it was sent. It is not installed, and a later one is,
        at a heartbeat's pace."""
        self.needs_a_snapshot()
        old = self.leader.raft.snapshot_at(5)
        self.leader.compact(6)
        self.leader.to_send.clear()
        self.leader.raft.snapshot_delivered(3, old, self.cluster.now)
        self.leader.take()
        self.assertEqual((self.leader.sent(InstallSnapshot), requests(self.leader, 3)), ([], []))
        self.cluster.run(2 * BEAT)
        self.assertEqual([each.index for each in self.cluster[3].installed], [6])
        self.assert_whole()

    def test_the_log_is_compacted_behind_it(self) -> None:
        """hazard R17: InstallSnapshot is on its way, and what follows on that snapshot goes as well."""
        self.needs_a_snapshot()
        self.cluster.send_snapshot()
        self.leader.propose(b"x")
        self.cluster.isolate(3)
        self.cluster.settle()
        self.leader.compact()
        self.cluster.heal()
        self.cluster.run(3 * BEAT)
        self.assertEqual(self.cluster[3].disk_start, self.leader.disk_start)
        self.assert_whole()

    def test_constant_writes(self) -> None:
        """hazard R17: at each step more is written, and all that is applied is compacted but for some entries. A
        snapshot takes five steps, and the follower gets there while that goes on."""
        self.cluster.heal()
        for step in range(60):
            self.leader.propose(b"%d" % step)
            self.cluster.advance(BEAT)
            self.leader.beat()
            while any([self.cluster.deliver_one(), *(server.write() for server in self.cluster)]):
                pass
            self.leader.compact(self.leader.view.last_applied - 10)
            if step % 5 == 0:
                self.cluster.send_snapshot()
        self.assertEqual(state_of(self.leader, 3), ProgressState.REPLICATE)
        self.assertEqual(len(self.cluster[3].installed), 1)
        self.assertGreaterEqual(self.cluster[3].view.last_index, self.leader.view.last_index - 1)

    def test_compacted_while_entries_are_under_way(self) -> None:
        """hazards R13, R17: it is slow, and what it has not acknowledged yet is compacted: sent or not, and answered or
        not."""
        for answered in (False, True):
            cluster = Cluster(3, options=RaftOptions(max_inflight_messages=2))
            leader = cluster.elect(1)
            for number in range(6):
                leader.propose(b"%d" % number)
                cluster.settle(writing=[1, 2])
            leader.compact()
            if answered:
                cluster[3].write()
                while cluster.deliver_one():
                    pass
                self.assertEqual((leader.to_send, state_of(leader, 3)), ([3], ProgressState.SNAPSHOT))
            else:
                cluster[3].start()
            cluster.run(1)
            self.assertEqual((cluster[3].disk_start, cluster[3].view.last_applied), (leader.disk_start, 7))

    def test_heartbeats(self) -> None:
        """hazards R7, R13: the term of what it has acknowledged is not known any more, so they tell it of nothing."""
        self.needs_a_snapshot()
        self.leader.beat()
        [heartbeat] = [message for to, message in self.leader.sent(Heartbeat) if to == 3]
        self.assertEqual((heartbeat.leader_commit, heartbeat.commit_term), (0, 0))

    def test_it_cannot_lead_yet(self) -> None:
        """hazard C4: leadership is not handed to it, since nobody could write until that had failed; and it is nobody's
        successor. When it has the snapshot it can."""
        self.needs_a_snapshot()
        self.assertRaises(TargetBehind, self.leader.raft.transfer_leadership, 3, self.cluster.now)
        self.assertIsNone(self.leader.view.transfer_target)
        self.cluster.isolate(2)
        self.cluster.advance(RaftOptions().election_timeout)
        self.leader.receive(3, HeartbeatReply(1, 0))
        self.assertIsNone(self.leader.raft.successor(self.cluster.now))
        self.cluster.settle()
        self.assertEqual(self.leader.raft.successor(self.cluster.now), 3)
        self.cluster.heal()
        self.leader.raft.transfer_leadership(3, self.cluster.now)
        self.leader.take()
        self.cluster.settle()
        self.assertIs(self.cluster[3].view.role, Role.LEADER)

    def test_it_is_sent_one_while_leadership_is_handed_to_it(self) -> None:
        """hazard R21: whether it needs one is found out at once; the transfer goes on if that is done in time."""
        self.cluster.heal()
        self.leader.receive(3, HeartbeatReply(1, 0))
        self.leader.raft.transfer_leadership(3, self.cluster.now)
        self.leader.take()
        self.cluster.settle()
        self.assertIs(self.cluster[3].view.role, Role.LEADER)
        self.assertEqual(len(self.cluster[3].installed), 1)

    def test_lost_what_it_had_acknowledged(self) -> None:
        """hazard R23: it has lost what was compacted meanwhile. It counts again when it has a snapshot of all that."""
        self.cluster.heal()
        self.cluster.run(1)
        self.cluster.cut(3, 1)
        self.leader.reconnect(3)
        request = only_request(self.leader, 3)
        lost: list[LostData] = []
        self.leader.raft.receive(3, AppendEntriesReply(1, request.request_id, False, 1, 1), self.cluster.now)
        lost += self.leader.raft.ready(self.cluster.now).lost_data
        self.assertEqual(lost, [LostData(3, 6)])
        self.leader.propose(b"x")
        self.cluster.settle()
        self.leader.compact()
        self.cluster.heal()
        self.cluster[3].disk_start, self.cluster[3].disk_log = None, self.cluster[3].disk_log[:0]
        self.cluster[3].start()
        self.assertEqual(self.leader.raft.followers[3].counted_index, 0)
        self.leader.reconnect(3)
        self.cluster.settle()
        self.assertEqual(self.leader.raft.followers[3].counted_index, 7)
        self.assert_whole()
