"""Leadership transfer (thesis §3.10)."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster
from txraft.core.configuration import Configuration
from txraft.core.messages import RequestVote, TimeoutNow
from txraft.core.roles import Role
from txraft.core.state import RaftOptions
from txraft.errors import NoSuchVoter, NotLeader, TargetSilent, TransferUnderWay


class TransferTests(SynchronousTestCase):
    def setUp(self) -> None:
        """S1 leads three servers that have heard of it just now."""
        self.cluster = Cluster(3)
        self.leader = self.cluster.elect(1)
        self.cluster.beat()

    def begin(self, target: int = 2) -> None:
        """S1 begins to hand leadership over."""
        self.leader.raft.transfer_leadership(target, self.cluster.now)
        self.leader.take()

    def test_the_target_leads(self) -> None:
        """In one campaign, although all others hear from the leader (§3.10, hazard E9)."""
        self.begin()
        self.cluster.settle()
        self.assertIs(self.cluster[2].view.role, Role.LEADER)
        self.assertEqual(self.cluster[2].view.current_term, 2)
        self.assertEqual({server.view.leader_id for server in self.cluster}, {2})

    def test_no_pre_vote(self) -> None:
        """The target asks for votes at once, and says who wants it."""
        self.cluster[2].receive(1, TimeoutNow(1))
        self.cluster[2].write_all()
        asked = [message for _, message in self.cluster[2].sent(RequestVote)]
        self.assertEqual([(one.pre_vote, one.leadership_transfer) for one in asked], [(False, True)] * 2)

    def test_not_before_the_target_has_the_whole_log(self) -> None:
        """The leader brings the target's log up to its own first (§3.10, step 2)."""
        entry = self.leader.propose(b"x")
        self.begin()
        self.assertEqual(self.leader.sent(TimeoutNow), [])
        self.cluster.settle()
        self.assertIs(self.cluster[2].view.role, Role.LEADER)
        self.assertIn(entry, self.cluster[2].raft.log.between(1, self.cluster[2].view.last_index))

    def test_to_one_whose_probe_was_lost(self) -> None:
        """hazard R21: it was away, and answers heartbeats again: it is asked at once for what it has."""
        self.cluster.cut(1, 2)
        entry = self.leader.propose(b"x")
        self.cluster.settle()
        self.cluster.heal()
        self.begin()
        self.cluster.settle()
        self.assertIs(self.cluster[2].view.role, Role.LEADER)
        self.assertIn(entry, self.cluster[2].raft.log.between(1, self.cluster[2].view.last_index))

    def test_nothing_is_taken_in_meanwhile(self) -> None:
        """hazard C4: neither a command nor another transfer, until it has ended; a read is."""
        self.cluster.isolate(2)
        self.begin()
        self.assertEqual(self.leader.view.transfer_target, 2)
        self.assertRaises(TransferUnderWay, self.leader.propose, b"x")
        for target in (1, 3):
            self.assertRaises(TransferUnderWay, self.begin, target)
        self.leader.read(1)
        self.cluster.settle()
        self.assertEqual(len(self.leader.reads), 1)

    def test_silent_target(self) -> None:
        """hazard C4: who has not answered for an election timeout is not asked, and commands go on."""
        self.cluster.isolate(2)
        self.cluster.run(RaftOptions().election_timeout)
        self.assertRaises(TargetSilent, self.begin)
        self.assertIsNone(self.leader.view.transfer_target)
        self.leader.propose(b"x")

    def test_given_up(self) -> None:
        """hazard C4: a target that has not won after an election timeout has lost its chance; commands go in again."""
        self.cluster.isolate(2)
        self.begin()
        self.cluster.settle()
        for _ in range(round(RaftOptions().election_timeout / 0.1)):
            self.assertEqual(self.leader.view.transfer_target, 2)
            self.cluster.beat()
        self.assertIsNone(self.leader.view.transfer_target)
        entry = self.leader.propose(b"x")
        self.cluster.settle()
        self.assertIn(entry, self.leader.applied)

    def test_told_again(self) -> None:
        """The word to campaign may be lost (hazard R19): it is said again with every heartbeat, until it has worked."""
        self.cluster.isolate(2)
        self.begin()
        self.cluster.settle()
        self.cluster.heal()
        self.cluster.beat()
        self.assertIs(self.cluster[2].view.role, Role.LEADER)

    def test_late_word(self) -> None:
        """A word to campaign of an earlier term does nothing (§5.1)."""
        self.begin()
        self.cluster.settle()
        view = self.cluster[3].view
        self.cluster[3].receive(1, TimeoutNow(1))
        self.assertEqual(self.cluster[3].view, view)

    def test_to_itself(self) -> None:
        """A leader asked to lead does so already."""
        self.begin(1)
        self.assertIsNone(self.leader.view.transfer_target)

    def test_who_cannot(self) -> None:
        """Only a leader hands over, and only to a voter: not to a learner, not to a stranger."""
        self.assertRaises(NotLeader, self.cluster[2].raft.transfer_leadership, 3, self.cluster.now)
        cluster = Cluster(configuration=Configuration(voters={1, 2}, learners={3}))
        leader = cluster.elect(1)
        for target in (3, 9):
            self.assertRaises(NoSuchVoter, leader.raft.transfer_leadership, target, cluster.now)

    def test_a_learner_does_not_campaign(self) -> None:
        """A target that knows itself to be no voter does not campaign, whatever its leader believes (hazard E10)."""
        cluster = Cluster(configuration=Configuration(voters={1, 2}, learners={3}))
        cluster.elect(1)
        cluster[3].receive(1, TimeoutNow(1))
        self.assertIs(cluster[3].view.role, Role.FOLLOWER)
