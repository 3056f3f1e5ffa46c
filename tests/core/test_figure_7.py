"""Figure 7 of the paper: every log in it, who can win with it, and that all converge (hazard E12)."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, entries_of
from txraft.core.messages import RequestVoteReply
from txraft.core.roles import Role
from txraft.core.state import RaftOptions

LEADER, A, B, C, D, E, F = range(1, 8)

LOGS = {
    LEADER: (1, 1, 1, 4, 4, 5, 5, 6, 6, 6),
    A: (1, 1, 1, 4, 4, 5, 5, 6, 6),
    B: (1, 1, 1, 4),
    C: (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    D: (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    E: (1, 1, 1, 4, 4, 4, 4),
    F: (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}

GRANTED_BY = {
    LEADER: {A, B, E, F},
    A: {B, E, F},
    B: {F},
    C: {LEADER, A, B, E, F},
    D: {LEADER, A, B, C, E, F},
    E: {B, F},
    F: set(),
}
"""By §5.4.1: those whose last term is older, or the same with a log that is not longer."""

WINNERS = (LEADER, A, C, D)
"""Those with four of the seven votes, their own among them."""


def figure_7(pre_vote: bool = True) -> Cluster:
    """The seven servers, all in term 7, the highest in the figure."""
    return Cluster(7, logs=LOGS, current_terms=dict.fromkeys(LOGS, 7), options=RaftOptions(pre_vote=pre_vote))


class Figure7Tests(SynchronousTestCase):
    def test_who_votes_for_whom(self) -> None:
        """hazard E12, §5.4.1: each of the seven asks the six others."""
        for candidate, granted_by in GRANTED_BY.items():
            cluster = figure_7(pre_vote=False)
            cluster[candidate].time_out()
            cluster[candidate].write()
            for envelope in cluster.take_messages(candidate):
                cluster[envelope.to].receive(candidate, envelope.message)
                cluster[envelope.to].write_all()
            replies = [(server.id, reply) for server in cluster for _, reply in server.sent(RequestVoteReply)]
            self.assertEqual({reply.term for _, reply in replies}, {8})
            self.assertEqual({voter for voter, reply in replies if reply.vote_granted}, granted_by, candidate)

    def test_who_wins(self) -> None:
        """hazard E12: with PreVote, a server that cannot win does not raise its term either."""
        for candidate in LOGS:
            for pre_vote in (True, False):
                cluster = figure_7(pre_vote)
                cluster[candidate].time_out()
                cluster.settle()
                wins = candidate in WINNERS
                self.assertEqual(cluster[candidate].view.role, Role.LEADER if wins else Role.FOLLOWER)
                self.assertEqual(cluster[candidate].view.current_term, 7 if pre_vote and not wins else 8)

    def test_all_converge(self) -> None:
        """hazard E12, §5.3: to the winner's log, missing entries added and extra ones removed, in memory, on the disk
        and in the state machine, which applies everything once and in order."""
        for winner in WINNERS:
            cluster = figure_7()
            leader = cluster.elect(winner)
            leader.propose(b"x")
            cluster.settle()
            cluster.beat()
            self.assertEqual(tuple(leader.terms), (*LOGS[winner], 8, 8))
            self.assertEqual(tuple(leader.disk_log[: len(LOGS[winner])]), entries_of(*LOGS[winner]))
            for server in cluster:
                self.assertEqual(server.disk_log, leader.disk_log, (winner, server.id))
                self.assertEqual(server.terms, leader.terms)
                self.assertEqual(server.applied, leader.disk_log)

    def test_each_follower_alone(self) -> None:
        """hazard E12: the figure's leader with each of (a) to (f) and an empty server, which elects it."""
        for follower in (A, B, C, D, E, F):
            logs = {1: LOGS[LEADER], 2: LOGS[follower]}
            cluster = Cluster(3, logs=logs, current_terms={1: 7, 2: 7, 3: 7})
            leader = cluster.elect(1)
            cluster.beat()
            self.assertEqual(leader.terms, [*LOGS[LEADER], 8])
            self.assertEqual([server.disk_log == leader.disk_log for server in cluster], [True] * 3, follower)
            self.assertEqual(cluster[2].view.commit_index, 11)

    def test_losers_do_not_hold_up_the_election(self) -> None:
        """hazard E12: whoever times out first, one of those that can win leads in the end, and all have its log."""
        for first in (B, E, F):
            for pre_vote in (True, False):
                cluster = figure_7(pre_vote)
                cluster[first].time_out()
                cluster.settle()
                cluster.run(10)
                [leader] = cluster.leaders()
                self.assertIn(leader.id, WINNERS)
                self.assertEqual([server.terms for server in cluster], [leader.terms] * 7)
