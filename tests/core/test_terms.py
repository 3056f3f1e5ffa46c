"""What the term of a message means (§5.1; Figure 2, "Rules for servers: all servers")."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server, request_vote
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from txraft.core.ready import Save, TermAndVote
from txraft.core.roles import Role
from txraft.core.state import RaftOptions
from txraft.core.terms import LARGEST_JUMP

TERM = 5
SNAPSHOT = Snapshot(1, 1, Configuration(voters=(1, 2, 3)))
"""Of what all servers have."""


def of_term(term: int) -> list[Message]:
    """A message of every kind, none of which has anything to say but its term."""
    return [
        RequestVote(term, 0, 0, round=99, pre_vote=False, leadership_transfer=True),
        RequestVoteReply(term, 99, pre_vote=False, vote_granted=False),
        RequestVoteReply(term, 99, pre_vote=False, vote_granted=True),
        RequestVoteReply(term, 99, pre_vote=True, vote_granted=False),
        AppendEntries(term, 1, 0, 0, (), 0),
        AppendEntriesReply(term, 1, True, 1, 0),
        AppendEntriesReply(term, 1, False, 0, 0),
        Heartbeat(term, 0, 0, 0),
        HeartbeatReply(term, 0),
        InstallSnapshot(term, 1, SNAPSHOT),
    ]


def server_in(role: Role) -> Server:
    """Server 1 of three, which has been in `role` for a moment in term 5, everything written, nothing on its way."""
    terms = {Role.FOLLOWER: TERM, Role.PRE_CANDIDATE: TERM, Role.CANDIDATE: TERM - 1, Role.LEADER: TERM - 1}
    cluster = Cluster(
        3,
        logs=dict.fromkeys((1, 2, 3), (1,)),
        current_terms={1: terms[role]},
        options=RaftOptions(pre_vote=role is Role.PRE_CANDIDATE),
    )
    server = cluster[1]
    if role is not Role.FOLLOWER:
        server.time_out()
        server.write_all()
    if role is Role.LEADER:
        [round_] = {request.round for _, request in server.sent(RequestVote)}
        server.receive(2, RequestVoteReply(TERM, round_, pre_vote=False, vote_granted=True))
    server.write_all()
    server.outgoing.clear()
    assert (server.view.role, server.view.current_term) == (role, TERM), server.view
    return server


class LaterTermTests(SynchronousTestCase):
    def test_it_is_taken_over_from_every_message_in_every_role(self) -> None:
        """Figure 2, all servers: a term above currentTerm, in a request or a reply, is entered, as a follower."""
        for role in Role:
            for message in of_term(9):
                server = server_in(role)
                server.receive(2, message)
                self.assertEqual((server.view.role, server.view.current_term), (Role.FOLLOWER, 9), (role, message))

    def test_it_starts_without_a_vote_and_without_a_leader(self) -> None:
        """§5.1: votes and leaders are of one term. What was of the old one is forgotten, and only then."""
        for role in (Role.CANDIDATE, Role.LEADER):
            server = server_in(role)
            self.assertEqual(server.view.voted_for, 1)
            server.receive(2, HeartbeatReply(9, 0))
            self.assertEqual((server.view.voted_for, server.view.leader_id), (None, None))

    def test_it_is_durable_before_anyone_hears_of_it(self) -> None:
        """hazard E1: an answer that names the new term leaves after the save of the term."""
        requests: tuple[Message, ...] = (
            request_vote(9),
            AppendEntries(9, 1, 7, 7, (), 0),
            Heartbeat(9, 0, 0, 0),
            InstallSnapshot(9, 1, SNAPSHOT),
        )
        for request in requests:
            server = server_in(Role.FOLLOWER)
            server.receive(2, request)
            self.assertEqual(server.outgoing, [])
            self.assertEqual(server.writing[0][0], Save(TermAndVote(9, None), ()))
            server.write()
            self.assertEqual([envelope.message.term for envelope in server.outgoing], [9])

    def test_it_does_not_restart_the_election_timer(self) -> None:
        """§5.2: only a leader heard or a vote given do; a server that cannot win must not hold up those that can."""
        for role in (Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE):
            server = server_in(role)
            deadline = server.raft.election_deadline
            server.receive(2, request_vote(9))
            self.assertEqual((server.view.current_term, server.raft.election_deadline), (9, deadline))

    def test_the_leadership_that_a_message_ends_does_not_handle_it(self) -> None:
        """§5.1: an answer of a later term confirms no read in this one, whatever it says."""
        leader = server_in(Role.LEADER)
        leader.receive(2, AppendEntriesReply(TERM, 1, True, leader.view.last_index, 0))
        leader.read(7)
        leader.receive(2, HeartbeatReply(9, read_round=1))
        self.assertEqual((leader.reads, leader.lost_reads), ([], [7]))

    def test_a_leader_that_steps_down_waits_for_an_election_timeout(self) -> None:
        """§5.2: its timer did not run while it led."""
        cluster = Cluster(3)
        leader = cluster.elect(1)
        self.assertIsNone(leader.raft.election_deadline)
        cluster.advance(100)
        leader.receive(2, HeartbeatReply(9, 0))
        deadline = leader.raft.election_deadline
        assert deadline is not None
        self.assertGreater(deadline, cluster.now + RaftOptions().election_timeout)


class OlderTermTests(SynchronousTestCase):
    def test_requests_are_refused_with_the_current_term(self) -> None:
        """Figure 2, step 1 of both RPCs; hazard E4: stale terms are answered; C2: by no number."""
        answers: dict[Message, Message] = {
            request_vote(TERM - 1, 99, 99): RequestVoteReply(TERM, 99, pre_vote=False, vote_granted=False),
            request_vote(TERM - 1, 99, 99, pre_vote=True): RequestVoteReply(
                TERM, 99, pre_vote=True, vote_granted=False
            ),
            AppendEntries(TERM - 1, 3, 0, 0, (), 0): AppendEntriesReply(TERM, 0, False, 0, 0),
            Heartbeat(TERM - 1, 0, 0, 4): HeartbeatReply(TERM, 0),
            InstallSnapshot(TERM - 1, 3, SNAPSHOT): AppendEntriesReply(TERM, 0, False, 0, 0),
        }
        for role in Role:
            for request, answer in answers.items():
                server = server_in(role)
                view, deadline = server.view, server.raft.election_deadline
                server.receive(2, request)
                self.assertEqual([(envelope.to, envelope.message) for envelope in server.outgoing], [(2, answer)])
                self.assertEqual((server.view, server.raft.election_deadline), (view, deadline))
                self.assertEqual(server.writing, [])

    def test_replies_are_ignored(self) -> None:
        """§5.1; hazard R19: a reply that comes a term late changes nothing, in any role."""
        replies = [
            message
            for message in of_term(TERM - 1)
            if isinstance(message, RequestVoteReply | AppendEntriesReply | HeartbeatReply)
        ]
        for role in Role:
            for reply in replies:
                server = server_in(role)
                view = server.view
                server.receive(2, reply)
                self.assertEqual((server.view, server.outgoing, server.writing), (view, [], []), (role, reply))

    def test_an_acknowledgement_of_an_older_term_commits_nothing(self) -> None:
        """§5.4.2: it may be of an entry that has been replaced since."""
        leader = server_in(Role.LEADER)
        self.assertLess(leader.view.commit_index, leader.view.last_index)
        last_index = leader.view.last_index
        for request_id in range(5):
            leader.receive(2, AppendEntriesReply(TERM - 1, request_id, True, last_index, 0))
        self.assertLess(leader.view.commit_index, last_index)
        leader.receive(2, AppendEntriesReply(TERM, 1, True, last_index, 0))
        self.assertEqual(leader.view.commit_index, last_index)

    def test_a_reply_of_an_older_term_is_no_contact(self) -> None:
        """hazard E8: a leader does not stay for what was sent to it in an earlier term."""
        cluster = Cluster(3)
        cluster.elect(2)
        leader = cluster.elect(1)
        cluster.isolate(1)
        for _ in range(6):
            cluster.beat()
            for peer in (2, 3):
                leader.receive(peer, HeartbeatReply(1, 0))
        self.assertIs(leader.view.role, Role.FOLLOWER)


class PreVoteTermTests(SynchronousTestCase):
    def test_asking_raises_no_term(self) -> None:
        """Thesis §9.6: neither the asker's, nor the voter's, granted or not."""
        for last_log in ((0, 0), (1, 1)):
            server = server_in(Role.FOLLOWER)
            server.receive(2, request_vote(9, *last_log, pre_vote=True))
            self.assertEqual((server.view.current_term, server.writing), (TERM, []))
        asker = server_in(Role.PRE_CANDIDATE)
        self.assertEqual(asker.disk_term_and_vote, TermAndVote(TERM, None))

    def test_a_grant_names_a_term_to_come_and_does_not_raise_it(self) -> None:
        """Thesis §9.6: one grant of four in five servers; the asker waits for a majority in its own term."""
        cluster = Cluster(5, current_terms={1: TERM})
        server = cluster[1]
        server.time_out()
        [round_] = {request.round for _, request in server.sent(RequestVote)}
        server.receive(2, RequestVoteReply(TERM + 1, round_, pre_vote=True, vote_granted=True))
        self.assertEqual((server.view.role, server.view.current_term), (Role.PRE_CANDIDATE, TERM))

    def test_a_late_grant_raises_no_term(self) -> None:
        """hazard E3: of a round that has ended, it says nothing at all."""
        for role in Role:
            server = server_in(role)
            server.receive(2, RequestVoteReply(9, 98, pre_vote=True, vote_granted=True))
            self.assertEqual((server.view.role, server.view.current_term), (role, TERM))


class FarTermTests(SynchronousTestCase):
    """hazard N8: terms that no cluster counts to."""

    FORGED = 2**48

    def test_one_jump_a_write(self) -> None:
        """Whatever the message, and however many come before the first jump is on the disk."""
        for message in [*of_term(self.FORGED), TimeoutNow(self.FORGED)]:
            for role in Role:
                server = server_in(role)
                for jumps in (1, 2):
                    for _ in range(3):
                        server.receive(2, message)
                    self.assertEqual(server.view.current_term, TERM + jumps * LARGEST_JUMP, (role, message))
                    self.assertIs(server.view.role, Role.FOLLOWER)
                    server.write_all()
                self.assertIsNone(server.view.leader_id)
                self.assertIsNone(server.view.voted_for)

    def test_the_last_jump_is_as_any_other(self) -> None:
        """A message within reach is handled."""
        for beyond, leader in ((0, 2), (1, None)):
            server = server_in(Role.LEADER)
            server.receive(2, Heartbeat(TERM + LARGEST_JUMP + beyond, 0, 0, 0))
            self.assertEqual((server.view.current_term, server.view.leader_id), (TERM + LARGEST_JUMP, leader))

    def test_a_forged_term_is_no_end(self) -> None:
        """One message each, said to come from another, with the word that gets round every other rule: the cluster goes
        on, with terms to spare."""
        cluster = Cluster(3)
        cluster.elect(1)
        for server in cluster:
            server.receive(server.id % 3 + 1, RequestVote(self.FORGED, 99, 99, 7, False, leadership_transfer=True))
        cluster.settle()
        cluster.run(5)
        [leader] = cluster.leaders()
        entry = leader.propose(b"x")
        cluster.settle()
        self.assertIn(entry, leader.applied)
        self.assertLess(leader.view.current_term, 2 * LARGEST_JUMP)

    def test_far_behind(self) -> None:
        """An empty server comes to a cluster in a term beyond its reach, also where there is one other only."""
        for others in (1, 2):
            far = 10 * LARGEST_JUMP
            cluster = Cluster(1 + others, current_terms=dict.fromkeys(range(1, 1 + others), far))
            cluster.run(10)
            [leader] = cluster.leaders()
            self.assertEqual({server.view.leader_id for server in cluster}, {leader.id})
            self.assertGreater(leader.view.current_term, far)

    def test_far_ahead(self) -> None:
        """A server whose term is beyond the reach of the others is one of them again."""
        cluster = Cluster(3)
        cluster.elect(1)
        cluster.beat()
        cluster[3].disk_term_and_vote = TermAndVote(10 * LARGEST_JUMP, None)
        cluster[3].start()
        cluster.run(10)
        [leader] = cluster.leaders()
        self.assertEqual({server.view.leader_id for server in cluster}, {leader.id})
        self.assertGreater(leader.view.current_term, 10 * LARGEST_JUMP)
