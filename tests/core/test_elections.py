"""Elections by the book: Figure 2, "RequestVote RPC" and the rules for followers, candidates and new leaders (§5.2)."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server, request_vote
from txraft.core.configuration import Configuration
from txraft.core.elections import EARLY
from txraft.core.membership import Membership
from txraft.core.messages import (
    AppendEntries,
    EntryKind,
    Envelope,
    Heartbeat,
    NodeId,
    RequestVote,
    RequestVoteReply,
)
from txraft.core.ready import Save, TermAndVote
from txraft.core.roles import Role
from txraft.core.state import RaftOptions

WITHOUT_PRE_VOTE = RaftOptions(pre_vote=False)


def candidate_of(servers: int) -> tuple[Server, int]:
    """Server 1 as candidate in term 1, its vote written and its requests taken; and the name of its campaign."""
    candidate = Cluster(servers, options=WITHOUT_PRE_VOTE)[1]
    candidate.time_out()
    candidate.write_all()
    [round_] = {request.round for _, request in candidate.sent(RequestVote)}
    candidate.outgoing.clear()
    return candidate, round_


def vote(term: int, round_: int, granted: bool) -> RequestVoteReply:
    """The answer of a voter."""
    return RequestVoteReply(term, round_, pre_vote=False, vote_granted=granted)


class VoterTests(SynchronousTestCase):
    """Figure 2, "RequestVote RPC: receiver implementation". Step 1, older terms, is in test_terms."""

    def ask(self, voter: Server, candidate: NodeId, request: RequestVote) -> bool:
        """Ask for a vote, and wait for the answer. Whether it was granted."""
        voter.receive(candidate, request)
        voter.write_all()
        [envelope] = voter.outgoing
        voter.outgoing.clear()
        assert isinstance(envelope.message, RequestVoteReply)
        self.assertEqual((envelope.to, envelope.message.round), (candidate, request.round))
        self.assertEqual(envelope.message.pre_vote, request.pre_vote)
        return envelope.message.vote_granted

    def test_grants_the_one_vote_of_a_term(self) -> None:
        """Step 2: votedFor is null, so it is granted, and granted again to the same candidate (its request may be a
        duplicate), but to no other; the next term has a vote of its own."""
        voter = Cluster(3)[1]
        self.assertTrue(self.ask(voter, 2, request_vote(1)))
        self.assertTrue(self.ask(voter, 2, request_vote(1)))
        self.assertFalse(self.ask(voter, 3, request_vote(1, 9, 1)))
        self.assertEqual(voter.view.voted_for, 2)
        self.assertTrue(self.ask(voter, 3, request_vote(2)))
        self.assertEqual(voter.view.voted_for, 3)

    def test_grants_up_to_date_logs_only(self) -> None:
        """Step 2, §5.4.1: the later last term wins, then the longer log; for the vote and for the PreVote alike."""
        logs = {(5, 2): True, (4, 2): True, (3, 3): True, (1, 3): True, (3, 2): False, (9, 1): False, (0, 0): False}
        for (last_log_index, last_log_term), granted in logs.items():
            for pre_vote in (True, False):
                voter = Cluster(3, logs={1: (1, 1, 2, 2)})[1]
                request = request_vote(7, last_log_index, last_log_term, pre_vote=pre_vote)
                self.assertIs(self.ask(voter, 2, request), granted, request)

    def test_a_refusal_gives_no_vote(self) -> None:
        """Step 2: whoever was refused for its log has not used up the vote."""
        voter = Cluster(3, logs={1: (1, 1)})[1]
        self.assertFalse(self.ask(voter, 2, request_vote(2, 1, 1)))
        self.assertIsNone(voter.view.voted_for)
        self.assertTrue(self.ask(voter, 3, request_vote(2, 2, 1)))

    def test_a_pre_vote_is_not_a_vote(self) -> None:
        """Thesis §9.6: it may be granted to many, nothing of it is kept, and the timer runs on."""
        voter = Cluster(3)[1]
        deadline = voter.raft.election_deadline
        self.assertTrue(self.ask(voter, 2, request_vote(1, pre_vote=True)))
        self.assertTrue(self.ask(voter, 3, request_vote(1, pre_vote=True)))
        self.assertEqual(voter.disk_term_and_vote, TermAndVote(0, None))
        self.assertEqual((voter.view.voted_for, voter.raft.election_deadline), (None, deadline))

    def test_a_pre_vote_grant_names_the_term_asked_about(self) -> None:
        """Thesis §9.6: and a refusal the voter's own (hazard E4)."""
        voter = Cluster(3, current_terms={1: 4})[1]
        voter.receive(2, request_vote(7, pre_vote=True))
        voter.receive(3, request_vote(4, pre_vote=True))
        self.assertEqual(
            voter.outgoing,
            [
                Envelope(2, RequestVoteReply(7, 99, pre_vote=True, vote_granted=True)),
                Envelope(3, RequestVoteReply(4, 99, pre_vote=True, vote_granted=False)),
            ],
        )

    def test_only_a_vote_given_restarts_the_timer(self) -> None:
        """Figure 2, followers: "without receiving AppendEntries from current leader or granting vote"."""
        for granted in (True, False):
            cluster = Cluster(3, logs={1: (1,)})
            voter, before = cluster[1], cluster[1].raft.election_deadline
            cluster.advance(0.4)
            voter.receive(2, request_vote(2, 1 if granted else 0, 1 if granted else 0))
            self.assertEqual(voter.raft.election_deadline != before, granted)

    def test_a_candidate_votes_for_no_other(self) -> None:
        """§5.2: it gave its vote to itself."""
        candidate, _ = candidate_of(3)
        self.assertFalse(self.ask(candidate, 2, request_vote(1, 9, 1)))
        self.assertIs(candidate.view.role, Role.CANDIDATE)


class FollowerTests(SynchronousTestCase):
    """Figure 2, "Rules for servers: followers"."""

    def test_starts_as_follower_with_a_timer(self) -> None:
        """§5.2: of its own term and vote, with nobody to follow yet; it sends nothing by itself."""
        server = Cluster(3, current_terms={1: 4})[1]
        server.take()
        self.assertIs(server.view.role, Role.FOLLOWER)
        self.assertEqual((server.view.current_term, server.view.leader_id, server.outgoing), (4, None, []))
        self.assertIsNotNone(server.raft.election_deadline)

    def test_times_out_into_a_campaign(self) -> None:
        """ "If election timeout elapses …: convert to candidate"; with PreVote it asks first (thesis §9.6)."""
        plain, careful = Cluster(3, options=WITHOUT_PRE_VOTE)[1], Cluster(3)[1]
        plain.time_out()
        careful.time_out()
        self.assertEqual((plain.view.role, plain.view.current_term), (Role.CANDIDATE, 1))
        self.assertEqual((careful.view.role, careful.view.current_term), (Role.PRE_CANDIDATE, 0))

    def test_a_leader_heard_restarts_the_timer(self) -> None:
        """By AppendEntries and by heartbeats of the current term, and by each of them."""
        server = Cluster(3, current_terms={1: 1})[1]
        deadlines = {server.raft.election_deadline}
        for _ in range(2):
            server.receive(2, AppendEntries(1, 1, 0, 0, (), 0))
            deadlines.add(server.raft.election_deadline)
            server.receive(2, Heartbeat(1, 0, 0, 0))
            deadlines.add(server.raft.election_deadline)
        self.assertEqual(len(deadlines), 5)
        self.assertEqual(server.view.leader_id, 2)


class CandidateTests(SynchronousTestCase):
    """Figure 2, "Rules for servers: candidates"."""

    def test_starts_an_election(self) -> None:
        """ "Increment currentTerm, vote for self, reset election timer, send RequestVote RPCs to all other servers"."""
        candidate = Cluster(3, logs={1: (1, 1, 4)}, current_terms={1: 6}, options=WITHOUT_PRE_VOTE)[1]
        deadline = candidate.raft.election_deadline
        candidate.time_out()
        self.assertEqual((candidate.view.current_term, candidate.view.voted_for), (7, 1))
        self.assertNotEqual(candidate.raft.election_deadline, deadline)
        candidate.write()
        self.assertEqual(candidate.disk_term_and_vote, TermAndVote(7, 1))
        (two, request), (three, same) = candidate.sent(RequestVote)
        self.assertEqual((two, three, same), (2, 3, request))
        self.assertEqual((request.term, request.last_log_index, request.last_log_term), (7, 3, 4))
        self.assertFalse(request.pre_vote or request.leadership_transfer)

    def test_asks_first_whether_it_would_win(self) -> None:
        """Thesis §9.6: about the next term, with nothing to save."""
        candidate = Cluster(3, logs={1: (1, 1, 4)}, current_terms={1: 6})[1]
        candidate.time_out()
        (two, request), (three, same) = candidate.sent(RequestVote)
        self.assertEqual((two, three, same), (2, 3, request))
        self.assertEqual((request.term, request.last_log_index, request.last_log_term), (7, 3, 4))
        self.assertTrue(request.pre_vote)
        self.assertEqual(candidate.writing, [])

    def test_a_majority_makes_it_leader(self) -> None:
        """ "If votes received from majority of servers: become leader", and not one vote before, odd and even."""
        for servers in range(2, 8):
            candidate, round_ = candidate_of(servers)
            others_needed = servers // 2
            for voter in range(2, 2 + others_needed):
                self.assertIs(candidate.view.role, Role.CANDIDATE)
                candidate.receive(voter, vote(1, round_, granted=True))
            self.assertIs(candidate.view.role, Role.LEADER)
            self.assertEqual(candidate.view.current_term, 1)

    def test_one_vote_a_server(self) -> None:
        """hazard R19: a reply that arrives twice is one vote, and one's own is not asked for again."""
        candidate, round_ = candidate_of(5)
        for _ in range(4):
            candidate.receive(2, vote(1, round_, granted=True))
        self.assertIs(candidate.view.role, Role.CANDIDATE)

    def test_alone_it_elects_itself(self) -> None:
        """A cluster of one server: its own vote is a majority once it is durable."""
        for pre_vote in (True, False):
            server = Cluster(1, options=RaftOptions(pre_vote=pre_vote))[1]
            server.time_out()
            self.assertIs(server.view.role, Role.CANDIDATE)
            server.write_all()
            self.assertEqual((server.view.role, server.view.commit_index), (Role.LEADER, 1))

    def test_alone_it_waits_for_nobody(self) -> None:
        """It campaigns at once, also after a restart: there is no leader whose word it could miss."""
        cluster = Cluster(1)
        self.assertEqual(cluster[1].raft.election_deadline, cluster.now)
        cluster.elect(1)
        cluster[1].start()
        self.assertEqual(cluster[1].raft.election_deadline, cluster.now)

    def test_another_leader_of_its_term_makes_it_follower(self) -> None:
        """ "If AppendEntries RPC received from new leader: convert to follower", and so for a heartbeat and a PreVote
        round; the vote stands."""
        for pre_vote in (True, False):
            for message in (AppendEntries(1, 1, 0, 0, (), 0), Heartbeat(1, 0, 0, 0)):
                candidate = Cluster(3, current_terms={1: int(pre_vote)}, options=RaftOptions(pre_vote=pre_vote))[1]
                candidate.time_out()
                candidate.receive(2, message)
                view = candidate.view
                self.assertEqual((view.role, view.current_term, view.leader_id), (Role.FOLLOWER, 1, 2))
                self.assertEqual(view.voted_for, None if pre_vote else 1)

    def test_times_out_into_a_new_election(self) -> None:
        """ "If election timeout elapses: start new election", with a vote and a round of its own; §5.2, split vote."""
        candidate, first = candidate_of(3)
        candidate.time_out()
        candidate.write_all()
        self.assertEqual((candidate.view.role, candidate.view.current_term), (Role.CANDIDATE, 2))
        [second] = {request.round for _, request in candidate.sent(RequestVote)}
        self.assertNotEqual(second, first)
        candidate.receive(2, vote(2, second, granted=True))
        self.assertIs(candidate.view.role, Role.LEADER)

    def test_a_majority_of_refusals_ends_it(self) -> None:
        """It cannot win any more, so it follows again and keeps its vote; one refusal of five decides nothing."""
        candidate, round_ = candidate_of(5)
        for voter in (2, 3):
            candidate.receive(voter, vote(1, round_, granted=False))
            self.assertIs(candidate.view.role, Role.CANDIDATE)
        candidate.receive(4, vote(1, round_, granted=False))
        self.assertEqual((candidate.view.role, candidate.view.voted_for), (Role.FOLLOWER, 1))
        candidate.receive(5, vote(1, round_, granted=True))
        self.assertIs(candidate.view.role, Role.FOLLOWER)

    def test_a_split_vote_is_resolved(self) -> None:
        """§5.2: two candidates with two votes each; then timeouts differ, and one of them wins."""
        cluster = Cluster(4, options=WITHOUT_PRE_VOTE)
        for sender, receiver in ((1, 2), (1, 4), (2, 1), (2, 3)):
            cluster.cut(sender, receiver)
        cluster[1].time_out()
        cluster[2].time_out()
        cluster.settle()
        self.assertEqual([server.view.voted_for for server in cluster], [1, 2, 1, 2])
        self.assertEqual(cluster.leaders(), [])
        cluster.heal()
        cluster.run(5)
        self.assertEqual(len(cluster.leaders()), 1)


def early(cluster: Cluster, server: Server) -> float:
    """How long until it campaigns, in election timeouts."""
    assert server.raft.election_deadline is not None
    return (server.raft.election_deadline - cluster.now) / server.options.election_timeout


class LeaderLostTests(SynchronousTestCase):
    """The connection to the leader has closed: its process may be gone."""

    def setUp(self) -> None:
        self.cluster = Cluster(5)
        self.cluster.elect(1)
        self.cluster.beat()

    def lose(self, server: Server, peer: NodeId = 1) -> None:
        server.raft.peer_lost(peer, self.cluster.now)
        server.take()

    def test_soon(self) -> None:
        """Each of its followers campaigns soon, in a share of time of its own, and so the first one wins."""
        self.cluster.isolate(1)
        for server in self.cluster:
            self.lose(server)
        shares = [early(self.cluster, self.cluster[node_id]) * 4 / EARLY for node_id in (2, 3, 4, 5)]
        self.assertEqual([int(share) for share in shares], [0, 1, 2, 3])
        self.cluster[2].time_out()
        self.cluster.settle()
        self.assertIs(self.cluster[2].view.role, Role.LEADER)

    def test_others_hear_the_leader(self) -> None:
        """They refuse, and the leader leads on (hazard E8)."""
        before = self.cluster[1].view
        for _ in range(20):
            self.lose(self.cluster[2])
            self.cluster[2].time_out()
            self.cluster.settle()
            self.assertIs(self.cluster[2].view.role, Role.FOLLOWER)
            self.cluster.beat()
            self.assertEqual(self.cluster[2].view.leader_id, 1)
        self.assertEqual(
            (self.cluster[1].view.role, self.cluster[1].view.current_term), (Role.LEADER, before.current_term)
        )

    def test_votes_for_another(self) -> None:
        """It does not stick to a leader that it has lost (hazard E9)."""
        candidate = RequestVote(1, 2, 1, round=7, pre_vote=True)
        for lost, granted in ((False, False), (True, True)):
            follower = self.cluster[2]
            if lost:
                self.lose(follower)
            follower.receive(3, evolve(candidate, term=2))
            [(_, reply)] = follower.sent(RequestVoteReply)
            self.assertEqual(reply.vote_granted, granted)
            follower.outgoing.clear()

    def test_no_voter(self) -> None:
        """Who has no vote looks for nobody, member or not (hazard E10)."""
        for configuration in (Configuration(voters=(1, 3, 4, 5), learners=(2,)), Configuration(voters=(1, 3, 4, 5))):
            follower = self.cluster[2].raft
            follower._state.log.membership = Membership(configuration, 0)
            before = follower.election_deadline
            self.lose(self.cluster[2])
            self.assertEqual(follower.election_deadline, before)

    def test_another_peer(self) -> None:
        """A connection to any other changes nothing, and to a leader it is all the same."""
        for server, peer in ((2, 3), (1, 2)):
            before = self.cluster[server].raft._elections.deadline
            self.lose(self.cluster[server], peer)
            self.assertEqual(self.cluster[server].raft._elections.deadline, before)

    def test_without_pre_vote(self) -> None:
        """Nobody would be asked whether the leader is heard: the election timer decides (hazard E8)."""
        self.cluster = Cluster(3, options=WITHOUT_PRE_VOTE)
        self.cluster.elect(1)
        self.cluster.beat()
        self.lose(self.cluster[2])
        self.assertGreater(early(self.cluster, self.cluster[2]), 0.9)

    def test_not_later(self) -> None:
        """An election that is due earlier is not put off."""
        self.cluster[5].raft._elections.deadline = self.cluster.now
        self.lose(self.cluster[5])
        self.assertEqual(early(self.cluster, self.cluster[5]), 0.0)


class PeerConnectedTests(SynchronousTestCase):
    """A server that knows of no leader reaches another: a cluster that starts, or whose network is there again."""

    def test_soon(self) -> None:
        """Each campaigns soon, in a share of time of its own, and so the first one wins."""
        cluster = Cluster(5)
        for server in cluster:
            server.reconnect(server.id % 5 + 1)
        self.assertEqual([int(early(cluster, server) * 5 / EARLY) for server in cluster], [0, 1, 2, 3, 4])
        cluster[1].ask_early()
        cluster.settle()
        self.assertIs(cluster[1].view.role, Role.LEADER)

    def test_asks_on(self) -> None:
        """Too few were there for a majority, so it asks those who have come since, in the same round: the others'
        answers count on. Those that have answered are not asked again. As a candidate it does so, too."""
        cluster = Cluster(5)
        candidate = cluster[1]
        candidate.time_out()
        for role, pre_vote in ((Role.PRE_CANDIDATE, True), (Role.CANDIDATE, False)):
            round_ = candidate.sent(RequestVote)[-1][1].round
            candidate.receive(2, RequestVoteReply(1, round_, pre_vote, vote_granted=True))
            self.assertIs(candidate.view.role, role)
            candidate.outgoing.clear()
            timer = candidate.raft._elections._timer
            candidate.reconnect(3)
            self.assertLess(early(cluster, candidate), EARLY / 5)
            candidate.ask_early()
            candidate.write_all()
            self.assertEqual(
                [(to, asked.round) for to, asked in candidate.sent(RequestVote)], [(n, round_) for n in (3, 4, 5)]
            )
            self.assertEqual(candidate.raft.election_deadline, timer)
            candidate.receive(3, RequestVoteReply(1, round_, pre_vote, vote_granted=True))
            candidate.write_all()
        self.assertIs(candidate.view.role, Role.LEADER)

    def test_again_and_again(self) -> None:
        """A peer whose connections open and close all the time, with answers that take longer than that: the rounds are
        neither cut short nor drawn out, and a candidate has all of its time."""
        cluster = Cluster(3)
        candidate = cluster[1]
        candidate.time_out()
        [(_, first), _] = candidate.sent(RequestVote)
        timer = candidate.raft._elections._timer
        while cluster.now < timer - 0.1:
            cluster.advance(0.05)
            candidate.reconnect(3)
            if candidate.raft._elections.deadline <= cluster.now + 0.02:
                candidate.ask_early()
        self.assertEqual({request for _, request in candidate.sent(RequestVote)}, {first})
        candidate.receive(2, RequestVoteReply(1, first.round, True, vote_granted=True))
        self.assertIs(candidate.view.role, Role.CANDIDATE)
        self.assertGreater(candidate.raft._elections._timer - cluster.now, candidate.options.election_timeout)

    def test_has_voted(self) -> None:
        """It leaves the election to the candidate, whose votes may be on their way; until a later term."""
        cluster = Cluster(3)
        voter = cluster[2]
        voter.receive(1, RequestVote(1, 0, 0, round=7, pre_vote=False))
        before = voter.raft.election_deadline
        voter.reconnect(3)
        self.assertEqual(voter.raft.election_deadline, before)
        voter.receive(1, RequestVoteReply(2, 7, False, vote_granted=False))
        voter.reconnect(3)
        self.assertLess(early(cluster, voter), EARLY)

    def test_split(self) -> None:
        """Messages take longer than the shares, so that all ask, win and stand at once, and none is elected. Then their
        timers decide, whatever connects: they do not go on in step."""
        cluster = Cluster(3)
        for server in cluster:
            server.reconnect(server.id % 3 + 1)
        for server in cluster:
            server.ask_early()
        for _ in range(2):
            cluster.cross()
        for server in cluster:
            server.write_all()
        for server in cluster:
            server.reconnect(server.id % 3 + 1)
        for _ in range(2):
            cluster.cross()
        self.assertEqual(
            [(each.view.role, each.view.voted_for) for each in cluster], [(Role.FOLLOWER, n) for n in (1, 2, 3)]
        )
        for server in cluster:
            server.reconnect(server.id % 3 + 1)
            self.assertEqual(server.raft.election_deadline, server.raft._elections._timer)
        cluster.run(5)
        self.assertEqual(len(cluster.leaders()), 1)

    def test_disk_hangs(self) -> None:
        """A candidate whose vote is not written does not ask on: it could not win (hazard S12)."""
        candidate = Cluster(3, options=RaftOptions(election_timeout=0.4))[1]
        candidate.time_out()
        [(_, request), _] = candidate.sent(RequestVote)
        candidate.receive(2, RequestVoteReply(1, request.round, True, vote_granted=True))
        candidate.outgoing.clear()
        self.assertIs(candidate.view.role, Role.CANDIDATE)
        now = candidate._now() + 0.4
        candidate.raft.peer_connected(3, now)
        candidate.raft.election_timeout(candidate.raft._elections.deadline)
        candidate.take()
        candidate.write_all()
        self.assertEqual([to for to, _ in candidate.sent(RequestVote)], [2, 3])

    def test_there_is_a_leader(self) -> None:
        """The others refuse, and it leads on (hazard E8)."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.beat()
        cluster[2].start()
        cluster[2].reconnect(3)
        cluster[2].ask_early()
        cluster.settle()
        self.assertEqual((cluster[1].view.role, cluster[1].view.current_term), (Role.LEADER, 1))
        cluster.beat()
        self.assertEqual((cluster[2].view.role, cluster[2].view.leader_id), (Role.FOLLOWER, 1))
        cluster[2].time_out()
        cluster.settle()
        cluster[2].reconnect(3)
        self.assertLess(early(cluster, cluster[2]), EARLY)

    def test_leads(self) -> None:
        """Whatever a leader was to ask when it still campaigned, it asks no more (hazard E11)."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        leader.reconnect(3)
        leader.raft.election_timeout(cluster.now)
        leader.take()
        leader.write_all()
        self.assertEqual(leader.sent(RequestVote), [])

    def test_follows(self) -> None:
        """Who knows of a leader asks nobody."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.beat()
        before = cluster[2].raft.election_deadline
        cluster[2].reconnect(3)
        self.assertEqual(cluster[2].raft.election_deadline, before)

    def test_no_voter(self) -> None:
        """Who has no vote looks for nobody (hazard E10)."""
        configuration = Configuration(voters=(1, 3), learners=(2,))
        cluster = Cluster(configuration=configuration)
        cluster[2].reconnect(3)
        self.assertGreater(early(cluster, cluster[2]), 0.9)

    def test_without_pre_vote(self) -> None:
        """Nobody would be asked whether a leader is heard: the election timer decides (hazard E8)."""
        cluster = Cluster(3, options=WITHOUT_PRE_VOTE)
        cluster[2].reconnect(3)
        self.assertGreater(early(cluster, cluster[2]), 0.9)

    def test_not_later(self) -> None:
        """An election that is due earlier is not put off."""
        cluster = Cluster(3)
        cluster[3].raft._elections.deadline = cluster.now
        cluster[3].reconnect(1)
        self.assertEqual(early(cluster, cluster[3]), 0.0)


class NewLeaderTests(SynchronousTestCase):
    """Figure 2, "Rules for servers: leaders", as far as they are about being one."""

    def test_tells_everyone_at_once(self) -> None:
        """ "Upon election: send initial empty AppendEntries RPCs (heartbeat) to each server"."""
        leader, round_ = candidate_of(3)
        leader.receive(2, vote(1, round_, granted=True))
        self.assertEqual(leader.sent(Heartbeat), [(2, Heartbeat(1, 0, 0, 0)), (3, Heartbeat(1, 0, 0, 0))])
        self.assertEqual(leader.view.leader_id, 1)

    def test_has_an_entry_of_its_own_term_to_commit(self) -> None:
        """§8, §5.4.2: a NOOP, without which nothing of an earlier term could be committed."""
        leader = Cluster(3, logs={1: (1, 2)}).elect(1)
        entry = leader.raft.log.entry(3)
        self.assertEqual((entry.term, entry.kind, entry.data), (3, EntryKind.NOOP, b""))
        self.assertEqual(leader.view.commit_index, 3)

    def test_repeats_its_heartbeats_while_idle(self) -> None:
        """ "Repeat during idle periods to prevent election timeouts": over a minute nobody campaigns."""
        cluster = Cluster(5)
        leader = cluster.elect(1)
        cluster.run(60)
        self.assertEqual(cluster.leaders(), [leader])
        self.assertEqual({server.view.current_term for server in cluster}, {1})

    def test_followers_send_no_heartbeats(self) -> None:
        """A heartbeat timer that fires late, after the leadership was lost, does nothing."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster[2].beat()
        self.assertEqual((cluster[2].outgoing, cluster[2].view.role), ([], Role.FOLLOWER))

    def test_one_leader_a_term(self) -> None:
        """Election Safety (Figure 3): many elections, with messages lost at random, and no term has two winners."""
        for seed in range(10):
            cluster = Cluster(5, seed=seed)
            leaders: dict[int, NodeId] = {}
            for turn in range(30):
                cluster.heal()
                cluster.isolate(*{(turn * seed) % 5 + 1, (turn + seed) % 5 + 1})
                cluster.run(0.8)
                for server in cluster.leaders():
                    self.assertEqual(leaders.setdefault(server.view.current_term, server.id), server.id)
            self.assertGreater(len(leaders), 5)

    def test_term_and_vote_and_log_survive_a_restart(self) -> None:
        """Figure 2, "Persistent state on all servers"; all else is volatile and starts anew."""
        cluster = Cluster(3)
        cluster.elect(1)
        before = cluster[1].view
        cluster[1].start()
        after = cluster[1].view
        self.assertEqual((after.current_term, after.voted_for, after.last_index), (1, 1, before.last_index))
        self.assertEqual((after.role, after.leader_id, after.commit_index), (Role.FOLLOWER, None, 0))

    def test_a_save_is_asked_for_once(self) -> None:
        """Term and vote are saved when they change, in one record, and not again."""
        voter = Cluster(3)[1]
        voter.receive(2, request_vote(1))
        self.assertEqual([save for save, _ in voter.writing], [Save(TermAndVote(1, 2), ())])
        voter.write_all()
        voter.receive(2, request_vote(1))
        self.assertEqual(voter.writing, [])
