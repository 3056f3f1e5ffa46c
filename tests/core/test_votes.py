"""The one vote of a term: durable before it counts (hazard E1), and kept until the term rises (hazard E2)."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server, request_vote
from txraft.core.messages import AppendEntries, Heartbeat, RequestVote, RequestVoteReply
from txraft.core.ready import Save, TermAndVote
from txraft.core.roles import Role
from txraft.core.state import RaftOptions

TIMEOUT = RaftOptions().election_timeout
WITHOUT_PRE_VOTE = RaftOptions(pre_vote=False)


class DurableVoteTests(SynchronousTestCase):
    """hazard E1: term and vote are one atomic durable record, written before the reply leaves."""

    def test_the_vote_leaves_after_the_write(self) -> None:
        """hazard E1: one save has both, and the answer waits for it."""
        voter = Cluster(3)[1]
        voter.receive(2, request_vote(1))
        self.assertEqual(voter.outgoing, [])
        self.assertEqual([save for save, _ in voter.writing], [Save(TermAndVote(1, 2), ())])
        voter.write()
        self.assertEqual(voter.sent(RequestVoteReply), [(2, RequestVoteReply(1, 99, False, vote_granted=True))])

    def test_the_vote_is_saved_also_where_its_term_was_entered_before(self) -> None:
        """hazard E1: a new vote in an old term is a record of its own, and waits for its write as any other."""
        voter = Cluster(3, current_terms={1: 1})[1]
        voter.receive(2, request_vote(1))
        self.assertEqual(voter.outgoing, [])
        voter.write()
        self.assertEqual(voter.disk_term_and_vote, TermAndVote(1, 2))
        self.assertEqual([reply.vote_granted for _, reply in voter.sent(RequestVoteReply)], [True])

    def test_a_crash_before_the_write(self) -> None:
        """hazard E1: the first candidate was told nothing, so that the second may have the vote of the same term."""
        voter = Cluster(3)[1]
        voter.receive(2, request_vote(1))
        voter.start()
        voter.receive(3, request_vote(1))
        voter.write_all()
        self.assertEqual(voter.sent(RequestVoteReply), [(3, RequestVoteReply(1, 99, False, vote_granted=True))])

    def test_a_crash_after_the_write(self) -> None:
        """hazard E1 (PySyncObj #84): the vote is remembered, also where its answer was lost, and repeated."""
        voter = Cluster(3)[1]
        voter.receive(2, request_vote(1))
        voter.write()
        voter.start()
        voter.receive(3, request_vote(1, 9, 1))
        voter.receive(2, request_vote(1))
        voter.write_all()
        grants = [(to, reply.vote_granted) for to, reply in voter.sent(RequestVoteReply)]
        self.assertEqual(grants, [(3, False), (2, True)])

    def test_a_duplicate_request_while_the_vote_is_written(self) -> None:
        """hazard E1: the second answer promises the same vote, so it waits for the same write."""
        voter = Cluster(3)[1]
        voter.receive(2, request_vote(1))
        voter.receive(2, request_vote(1))
        self.assertEqual(voter.outgoing, [])
        voter.write_all()
        self.assertEqual(len(voter.sent(RequestVoteReply)), 2)

    def test_a_candidate_asks_after_its_own_vote_is_durable(self) -> None:
        """hazard E1: else it could crash, vote for another in that term, and yet be elected by those it asked."""
        candidate = Cluster(3, options=WITHOUT_PRE_VOTE)[1]
        candidate.time_out()
        self.assertEqual(candidate.outgoing, [])
        candidate.start()
        self.assertEqual(candidate.view.current_term, 0)
        candidate.receive(2, request_vote(1))
        candidate.write_all()
        self.assertEqual([reply.vote_granted for _, reply in candidate.sent(RequestVoteReply)], [True])

    def test_a_candidates_own_vote_counts_when_it_is_durable(self) -> None:
        """hazard E1: with one vote of three servers in hand, it wins at the end of its own write and not before."""
        candidate = Cluster(3, options=WITHOUT_PRE_VOTE)[1]
        candidate.time_out()
        [(_, requests)] = candidate.writing
        [round_] = {envelope.message.round for envelope in requests if isinstance(envelope.message, RequestVote)}
        candidate.receive(2, RequestVoteReply(1, round_, pre_vote=False, vote_granted=True))
        self.assertIs(candidate.view.role, Role.CANDIDATE)
        candidate.write()
        self.assertIs(candidate.view.role, Role.LEADER)

    def test_the_write_of_an_earlier_campaign_is_no_vote_in_this_one(self) -> None:
        """hazard E1: the disk is slow, and the timer fires again before the first vote is written."""
        candidate = Cluster(1, options=WITHOUT_PRE_VOTE)[1]
        candidate.time_out()
        candidate.time_out()
        candidate.write()
        self.assertIs(candidate.view.role, Role.CANDIDATE)
        candidate.write()
        self.assertEqual((candidate.view.role, candidate.view.current_term), (Role.LEADER, 2))

    def test_all_restart_at_once_and_no_term_has_two_leaders(self) -> None:
        """hazard E1 (PySyncObj #202): in the middle of an election, with some votes written and some not."""
        for written in (set[int](), {2}, {3}, {2, 3}):
            cluster = Cluster(3, options=WITHOUT_PRE_VOTE)
            cluster[1].time_out()
            cluster[1].write()
            for voter, request in cluster[1].sent(RequestVote):
                cluster[voter].receive(1, request)
                if voter in written:
                    cluster[voter].write()
                for _, reply in cluster[voter].sent(RequestVoteReply):
                    cluster[1].receive(voter, reply)
            elected = {server.view.current_term: server.id for server in cluster.leaders()}
            for server in cluster:
                server.start()
            cluster[3].time_out()
            cluster.settle()
            for server in cluster.leaders():
                self.assertEqual(elected.setdefault(server.view.current_term, server.id), server.id, written)


class VoteKeptTests(SynchronousTestCase):
    """hazard E2: the vote is cleared only when the term rises."""

    def assert_votes_for_no_other(self, server: Server) -> None:
        """A delayed request for a vote in the current term is refused, with the vote that was given."""
        vote = server.view.voted_for
        server.receive(3, request_vote(server.view.current_term, 99, 99))
        server.write_all()
        self.assertFalse(server.sent(RequestVoteReply)[-1][1].vote_granted)
        self.assertEqual((server.view.voted_for, server.disk_term_and_vote.voted_for), (vote, vote))

    def test_a_candidate_that_follows_the_winner(self) -> None:
        """hazard E2 (CCF #5891): and has not heard from it for long, so that nothing else holds its vote."""
        for message in (Heartbeat(1, 0, 0, 0), AppendEntries(1, 1, 0, 0, (), 0)):
            cluster = Cluster(3, options=WITHOUT_PRE_VOTE)
            cluster[1].time_out()
            cluster[1].receive(2, message)
            cluster.advance(TIMEOUT)
            self.assertEqual(cluster[1].view.voted_for, 1)
            self.assert_votes_for_no_other(cluster[1])

    def test_a_candidate_that_was_refused(self) -> None:
        """hazard E2: it steps down within its term."""
        candidate = Cluster(3, options=WITHOUT_PRE_VOTE)[1]
        candidate.time_out()
        candidate.write_all()
        [round_] = {request.round for _, request in candidate.sent(RequestVote)}
        candidate.outgoing.clear()
        for voter in (2, 3):
            candidate.receive(voter, RequestVoteReply(1, round_, pre_vote=False, vote_granted=False))
        self.assertIs(candidate.view.role, Role.FOLLOWER)
        self.assert_votes_for_no_other(candidate)

    def test_a_leader_that_lost_contact(self) -> None:
        """hazard E2: CheckQuorum is a step down within the term."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        cluster.isolate(1)
        for _ in range(6):
            cluster.beat()
        self.assertEqual((leader.view.role, leader.view.voted_for), (Role.FOLLOWER, 1))
        self.assert_votes_for_no_other(leader)

    def test_a_voter_that_asks_whether_it_would_win(self) -> None:
        """hazard E2: a PreVote round, refused or not, begins no term."""
        cluster = Cluster(3)
        voter = cluster[1]
        voter.receive(2, request_vote(1))
        voter.write_all()
        voter.time_out()
        self.assert_votes_for_no_other(voter)
