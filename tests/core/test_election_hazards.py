"""What went wrong in elections elsewhere, rows E3 to E7, E10 and E11, as scenarios.

E1 and E2 are in test_votes, E8 and E9 in test_partitions, E12 in test_figure_7.
"""

import itertools
import random

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server, request_vote
from txraft.core.configuration import Configuration
from txraft.core.messages import Heartbeat, RequestVote, RequestVoteReply
from txraft.core.roles import Role
from txraft.core.state import RaftOptions

TIMEOUT = RaftOptions().election_timeout
WITHOUT_PRE_VOTE = RaftOptions(pre_vote=False)


def round_of(server: Server) -> int:
    """The name of the campaign that a server has just asked its peers about. Takes the requests off the network."""
    [round_] = {request.round for _, request in server.sent(RequestVote)}
    server.outgoing.clear()
    return round_


class RoundTests(SynchronousTestCase):
    """hazard E3: replies count only for the round that asked."""

    def test_pre_votes_of_an_older_round(self) -> None:
        """hazard E3 (openraft 511f33c7): the old ones do not count, the new ones do, also after a restart."""
        for restarts in (False, True):
            server = Cluster(5)[1]
            server.time_out()
            old = round_of(server)
            if restarts:
                server.start()
            server.time_out()
            new = round_of(server)
            for voter in (2, 3, 4, 5):
                server.receive(voter, RequestVoteReply(1, old, pre_vote=True, vote_granted=True))
            self.assertEqual((server.view.role, server.view.current_term), (Role.PRE_CANDIDATE, 0))
            server.receive(2, RequestVoteReply(1, new, pre_vote=True, vote_granted=True))
            self.assertIs(server.view.role, Role.PRE_CANDIDATE)
            server.receive(3, RequestVoteReply(1, new, pre_vote=True, vote_granted=True))
            self.assertIs(server.view.role, Role.CANDIDATE)

    def test_refusals_of_an_older_round(self) -> None:
        """hazard E3: nor do they end the new one."""
        server = Cluster(3)[1]
        server.time_out()
        old = round_of(server)
        server.time_out()
        for voter in (2, 3):
            server.receive(voter, RequestVoteReply(0, old, pre_vote=True, vote_granted=False))
        self.assertIs(server.view.role, Role.PRE_CANDIDATE)

    def test_pre_votes_that_come_when_the_round_is_won(self) -> None:
        """hazard E3: they are no votes, whatever they are named."""
        server = Cluster(5)[1]
        server.time_out()
        asked = round_of(server)
        for voter in (2, 3):
            server.receive(voter, RequestVoteReply(1, asked, pre_vote=True, vote_granted=True))
        server.write_all()
        standing = round_of(server)
        self.assertNotEqual(standing, asked)
        for voter, round_ in itertools.product((2, 3, 4, 5), (asked, standing)):
            server.receive(voter, RequestVoteReply(1, round_, pre_vote=True, vote_granted=True))
        self.assertIs(server.view.role, Role.CANDIDATE)
        for voter in (2, 3):
            server.receive(voter, RequestVoteReply(1, standing, pre_vote=False, vote_granted=True))
        self.assertIs(server.view.role, Role.LEADER)


class DeadlockTests(SynchronousTestCase):
    """hazards E4 and E5: whatever the terms, logs and options are, somebody is elected."""

    def test_higher_term_against_longer_log(self) -> None:
        """hazard E4 (etcd #8243): a third server is gone. The one with the log learns of the term, and wins."""
        cluster = Cluster(3, logs={1: (1, 1), 2: (1,)}, current_terms={1: 2, 2: 7})
        cluster.isolate(3)
        cluster[2].time_out()
        cluster.settle()
        self.assertIs(cluster[2].view.role, Role.PRE_CANDIDATE)
        cluster[1].time_out()
        cluster.settle()
        self.assertEqual((cluster[1].view.role, cluster[1].view.current_term), (Role.FOLLOWER, 7))
        cluster[1].time_out()
        cluster.settle()
        self.assertEqual((cluster[1].view.role, cluster[1].view.current_term), (Role.LEADER, 8))

    def test_higher_term_against_longer_log_by_itself(self) -> None:
        """hazard E4: with nothing but timers, in any mix of options."""
        for mix in itertools.product((False, True), repeat=2):
            options = {server: RaftOptions(pre_vote=pre_vote) for server, pre_vote in enumerate(mix, 1)}
            cluster = Cluster(3, logs={1: (1, 1), 2: (1,)}, current_terms={1: 2, 2: 7}, options=options)
            cluster.isolate(3)
            cluster.run(10)
            self.assertEqual([server.id for server in cluster.leaders()], [1], mix)

    def test_every_mix_of_pre_vote_elects(self) -> None:
        """hazard E5 (etcd #8501): all ways in which three servers may have PreVote or not; a first leader, and another
        when that one is gone."""
        for mix in itertools.product((False, True), repeat=3):
            for seed in range(3):
                options = {server: RaftOptions(pre_vote=pre_vote) for server, pre_vote in enumerate(mix, 1)}
                cluster = Cluster(3, options=options, seed=seed)
                cluster.run(5)
                [leader] = cluster.leaders()
                cluster.isolate(leader.id)
                cluster.run(5)
                self.assertEqual(len(set(cluster.leaders()) - {leader}), 1, (mix, seed))
                cluster.heal()
                cluster.run(5)
                self.assertEqual(len(cluster.leaders()), 1, (mix, seed))

    def test_one_that_was_away_alone_comes_back(self) -> None:
        """hazard E5: without PreVote its term has risen meanwhile, and its log is behind; all end in one term."""
        cluster = Cluster(3, options={3: WITHOUT_PRE_VOTE})
        leader = cluster.elect(1)
        cluster.isolate(3)
        cluster.run(5)
        leader.propose(b"x")
        cluster.settle()
        self.assertGreater(cluster[3].view.current_term, 3)
        cluster.heal()
        cluster.run(5)
        self.assertEqual(len(cluster.leaders()), 1)
        self.assertEqual(len({(server.view.current_term, tuple(server.terms)) for server in cluster}), 1)


class GrantTests(SynchronousTestCase):
    def test_a_higher_term_is_no_grant(self) -> None:
        """hazard E6 (openraft b06cbb37): not even with the flag set; it ends the campaign."""
        for granted in (False, True):
            candidate = Cluster(3, options=WITHOUT_PRE_VOTE)[1]
            candidate.time_out()
            candidate.write_all()
            reply = RequestVoteReply(2, round_of(candidate), pre_vote=False, vote_granted=granted)
            candidate.receive(2, reply)
            candidate.receive(3, reply)
            self.assertEqual((candidate.view.role, candidate.view.current_term), (Role.FOLLOWER, 2))

    def test_only_the_flag_is_a_grant(self) -> None:
        """hazard E6: an answer of the right term and round that refuses."""
        for pre_vote in (False, True):
            server = Cluster(3, options=RaftOptions(pre_vote=pre_vote))[1]
            server.time_out()
            server.write_all()
            term, round_ = server.view.current_term, round_of(server)
            for voter in (2, 3):
                server.receive(voter, RequestVoteReply(term, round_, pre_vote, vote_granted=False))
            self.assertEqual((server.view.role, server.view.current_term), (Role.FOLLOWER, term))

    def test_a_campaign_of_a_leader(self) -> None:
        """hazard E11 (openraft 4490c678): a timer that fires late has no effect whatever."""
        for pre_vote in (False, True):
            leader = Cluster(3, options=RaftOptions(pre_vote=pre_vote)).elect(1)
            before = leader.view
            leader.time_out()
            self.assertEqual((leader.view, leader.outgoing, leader.writing), (before, [], []))
            self.assertIsNone(leader.raft.election_deadline)


class VotersOfConfigurationTests(SynchronousTestCase):
    """hazard E10: whoever is asked votes; the candidate counts by its own configuration."""

    def test_one_that_does_not_know_that_it_votes(self) -> None:
        """hazard E10 (etcd #10998): server 3 takes itself for a learner; its vote is needed, and given."""
        cluster = Cluster(3)
        cluster[3].configuration = Configuration(voters={1, 2}, learners={3})
        cluster[3].start()
        cluster.isolate(2)
        cluster[1].time_out()
        cluster.settle()
        self.assertIs(cluster[1].view.role, Role.LEADER)

    def test_a_stranger_is_answered(self) -> None:
        """hazard E10: the voter may not know yet that the candidate is a member, or that it is one itself."""
        for configuration in (Configuration(voters={1, 2}), Configuration(voters={2, 3}), Configuration(voters=())):
            voter = Cluster(3)[1]
            voter.configuration = configuration
            voter.start()
            voter.receive(3, request_vote(1))
            voter.write_all()
            self.assertEqual([reply.vote_granted for _, reply in voter.sent(RequestVoteReply)], [True])

    def test_the_candidate_counts_its_own_voters(self) -> None:
        """hazard E10: votes of learners and of strangers make no leader."""
        cluster = Cluster(configuration=Configuration(voters={1, 2, 3}, learners={4}), options=WITHOUT_PRE_VOTE)
        candidate = cluster[1]
        candidate.time_out()
        candidate.write_all()
        round_ = round_of(candidate)
        for voter in (4, 8, 9):
            candidate.receive(voter, RequestVoteReply(1, round_, pre_vote=False, vote_granted=True))
        self.assertIs(candidate.view.role, Role.CANDIDATE)
        candidate.receive(2, RequestVoteReply(1, round_, pre_vote=False, vote_granted=True))
        self.assertIs(candidate.view.role, Role.LEADER)

    def test_a_learner_does_not_campaign(self) -> None:
        """Thesis §4.2.1: nor does a server that is no member; each time its timer starts again."""
        for configuration in (Configuration(voters={2, 3}, learners={1}), Configuration(voters={2, 3})):
            for pre_vote in (False, True):
                server = Cluster(3, options=RaftOptions(pre_vote=pre_vote))[1]
                server.configuration = configuration
                server.start()
                deadline = server.raft.election_deadline
                server.time_out()
                self.assertEqual((server.view.role, server.outgoing, server.writing), (Role.FOLLOWER, [], []))
                self.assertNotEqual(server.raft.election_deadline, deadline)


class Extreme(random.Random):
    """Always the same draw of random()."""

    def __init__(self, draw: float) -> None:
        super().__init__(1)
        self.draw = draw

    def random(self) -> float:
        return self.draw


class TimeoutTests(SynchronousTestCase):
    """hazard E7: timeouts are strictly above the time for which voters stick to a leader."""

    def assert_in_range(self, server: Server, started: float) -> None:
        """The timer that started then fires after more than the minimum, at twice the minimum at the latest."""
        assert server.raft.election_deadline is not None
        self.assertGreater(server.raft.election_deadline - started, TIMEOUT)
        self.assertLessEqual(server.raft.election_deadline - started, 2 * TIMEOUT)

    def test_the_range(self) -> None:
        """hazard E7, §5.2: whatever is drawn, and whatever the timer is started for."""
        for draw in (0.0, 0.5, 0.999):
            cluster = Cluster(3)
            server = cluster[1]
            server.random = Extreme(draw)
            server.start()
            self.assert_in_range(server, cluster.now)
            for _ in range(2):
                cluster.advance(10)
                server.receive(2, Heartbeat(1, 0, 0, 0))
                self.assert_in_range(server, cluster.now)
            cluster.advance(10)
            server.time_out()
            self.assert_in_range(server, cluster.now)
            cluster.advance(10)
            server.receive(3, request_vote(2))
            self.assert_in_range(server, cluster.now)

    def test_the_range_is_used(self) -> None:
        """§9.3: timeouts spread over the whole range, or servers would split their votes for ever."""
        cluster = Cluster(3)
        server, waits = cluster[1], []
        for _ in range(200):
            server.receive(2, Heartbeat(1, 0, 0, 0))
            assert server.raft.election_deadline is not None
            waits.append(server.raft.election_deadline - cluster.now)
        self.assertLess(min(waits), 1.1 * TIMEOUT)
        self.assertGreater(max(waits), 1.9 * TIMEOUT)

    def test_the_earliest_timer_wins(self) -> None:
        """hazard E7 (etcd #10483): the shortest timeout that can be drawn fires when no voter sticks any more."""
        cluster = Cluster(3)
        cluster[2].random = Extreme(1 - 2**-53)
        cluster[2].start()
        cluster.elect(1)
        cluster.beat()
        cluster.isolate(1)
        deadline = cluster[2].raft.election_deadline
        assert deadline is not None
        cluster.advance(deadline - cluster.now)
        cluster[2].time_out()
        cluster.settle()
        self.assertIs(cluster[2].view.role, Role.LEADER)
