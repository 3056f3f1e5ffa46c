"""`txraft.core.follower`: AppendEntries and heartbeats as a follower takes them (Figure 2, "AppendEntries RPC").

Server 1 of five is the follower. The leaders are the tests themselves, so that they may say anything, at any time.
"""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server, entries_of
from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    Message,
    RequestVote,
)
from txraft.core.ready import TermAndVote
from txraft.core.roles import Role
from txraft.errors import DataLost, InvariantViolated


def follower_with(*terms: int, current_term: int = 5) -> Server:
    """Server 1, alone with its log."""
    return Cluster(5, logs={1: terms}, current_terms={1: current_term})[1]


def append(
    prev_log_index: int,
    prev_log_term: int,
    entries: tuple[Entry, ...] = (),
    leader_commit: int = 0,
    term: int = 5,
    request_id: int = 1,
) -> AppendEntries:
    return AppendEntries(term, request_id, prev_log_index, prev_log_term, entries, leader_commit)


def answers(server: Server) -> list[Message]:
    """What has left since the last call, all of it to the leader, server 2."""
    sent, server.outgoing = server.outgoing, []
    assert all(envelope.to == 2 for envelope in sent)
    return [envelope.message for envelope in sent]


def write_all(server: Server) -> None:
    while server.write():
        pass


def accepted(match_index: int, term: int = 5, request_id: int = 1) -> AppendEntriesReply:
    return AppendEntriesReply(term, request_id, True, match_index, 0)


def refused(hint: int, hint_term: int, term: int = 5, request_id: int = 1) -> AppendEntriesReply:
    return AppendEntriesReply(term, request_id, False, hint, hint_term)


class TermTests(SynchronousTestCase):
    """Receiver step 1, and the terms of requests (§5.1)."""

    def test_an_older_term_is_refused(self) -> None:
        """Step 1: the answer says the current term, so that the old leader learns of it; nothing else happens."""
        follower = follower_with(1, 1)
        deadline = follower.raft.election_deadline
        requests: list[Message] = [append(2, 1, entries_of(1, 1, 4)[2:], 3, term=4), Heartbeat(4, 2, 4, 0)]
        for request in requests:
            follower.receive(2, request)
        self.assertEqual(
            [(reply.term, getattr(reply, "success", False)) for reply in answers(follower)], [(5, False)] * 2
        )
        self.assertEqual((follower.terms, follower.view.commit_index, follower.view.leader_id), ([1, 1], 0, None))
        self.assertEqual(follower.raft.election_deadline, deadline)

    def test_a_later_term_is_taken_over_first(self) -> None:
        """§5.1: and the answer waits until it is on the disk (hazard E1)."""
        follower = follower_with(1)
        follower.receive(2, append(1, 1, term=7))
        self.assertEqual((follower.view.current_term, follower.view.leader_id), (7, 2))
        self.assertEqual(answers(follower), [])
        write_all(follower)
        self.assertEqual(follower.disk_term_and_vote, TermAndVote(7, None))
        self.assertEqual(answers(follower), [accepted(1, term=7)])

    def test_a_candidate_follows_the_leader_of_its_term(self) -> None:
        """§5.2, Rules for Servers, Candidates: AppendEntries from a new leader: become a follower."""
        requests: list[Message] = [append(1, 1), Heartbeat(5, 0, 0, 0)]
        for request in requests:
            follower = follower_with(1)
            follower.time_out()
            self.assertIs(follower.view.role, Role.PRE_CANDIDATE)
            follower.receive(2, request)
            self.assertEqual((follower.view.role, follower.view.leader_id), (Role.FOLLOWER, 2))

    def test_a_leader_puts_the_election_off(self) -> None:
        """Rules for Servers, Followers: the election timer starts anew with AppendEntries, also one that is refused."""
        requests: list[Message] = [append(1, 1), append(9, 5), Heartbeat(5, 0, 0, 0)]
        for request in requests:
            cluster = Cluster(5, logs={1: (1,)}, current_terms={1: 5})
            cluster.advance(5)
            cluster[1].receive(2, request)
            deadline = cluster[1].raft.election_deadline
            assert deadline is not None
            self.assertGreater(deadline, 5 + cluster[1].options.election_timeout)


class ConsistencyTests(SynchronousTestCase):
    """Receiver step 2: the logs must match at prev_log_index (§5.3)."""

    def test_no_entry_there(self) -> None:
        """Step 2: the log is shorter. The hint is its end."""
        follower = follower_with(1, 1)
        follower.receive(2, append(5, 3, entries_of(1, 1, 3, 3, 3, 3)[5:], 6))
        self.assertEqual(answers(follower), [refused(2, 1)])
        self.assertEqual((follower.terms, follower.view.commit_index, follower.writing), ([1, 1], 0, []))

    def test_an_entry_of_another_term_there(self) -> None:
        """Step 2: nothing is removed yet, nor committed; the hint passes over all that cannot match."""
        follower = follower_with(1, 1, 3, 3)
        follower.receive(2, append(4, 2, entries_of(1, 1, 2, 2, 2)[4:], 5))
        self.assertEqual(answers(follower), [refused(2, 1)])
        self.assertEqual((follower.terms, follower.view.commit_index), ([1, 1, 3, 3], 0))

    def test_before_the_first_entry(self) -> None:
        """Every log matches before its first entry."""
        follower = follower_with(1, 1)
        follower.receive(2, append(0, 0))
        self.assertEqual(answers(follower), [accepted(0)])

    def test_a_request_with_a_gap(self) -> None:
        """hazard R12: what would leave a gap in the log is never appended."""
        _, two, three = entries_of(1, 5, 5)
        for entries in [(three,), (two, two)]:
            follower = follower_with(1)
            with self.assertRaises(InvariantViolated):
                follower.receive(2, append(1, 1, entries))
            self.assertEqual(follower.terms, [1])


class AppendTests(SynchronousTestCase):
    """Receiver steps 3 and 4: conflicts are removed, and what is new is appended."""

    def test_new_entries(self) -> None:
        """Step 4; and the answer waits for the disk."""
        follower = follower_with(1)
        new = entries_of(1, 5, 5)[1:]
        follower.receive(2, append(1, 1, new))
        self.assertEqual((follower.terms, answers(follower)), ([1, 5, 5], []))
        write_all(follower)
        self.assertEqual((tuple(follower.disk_log), answers(follower)), (entries_of(1, 5, 5), [accepted(3)]))

    def test_a_conflict(self) -> None:
        """Step 3: the first entry of another term goes, and all that follow it, also beyond what was sent."""
        follower = follower_with(1, 1, 3, 3, 3)
        follower.receive(2, append(1, 1, entries_of(1, 1, 4)[1:]))
        self.assertEqual(follower.terms, [1, 1, 4])
        write_all(follower)
        self.assertEqual((tuple(follower.disk_log), answers(follower)), (entries_of(1, 1, 4), [accepted(3)]))

    def test_what_matches_stays(self) -> None:
        """hazard R5: a short, doubled or old request truncates nothing, and writes nothing."""
        log = entries_of(1, 1, 4, 4)
        for request in [append(1, 1, log[1:3]), append(0, 0, log[:1]), append(2, 1), append(0, 0, log)]:
            follower = follower_with(1, 1, 4, 4)
            follower.receive(2, request)
            self.assertEqual((follower.terms, follower.writing), ([1, 1, 4, 4], []))
            self.assertEqual(answers(follower), [accepted(request.prev_log_index + len(request.entries))])

    def test_only_what_is_new_is_written(self) -> None:
        """Step 4: "any new entries not already in the log"."""
        follower = follower_with(1, 1, 4)
        follower.receive(2, append(0, 0, entries_of(1, 1, 4, 5)))
        (save, _), *rest = follower.writing
        assert save is not None
        self.assertEqual((save.entries, rest), (entries_of(1, 1, 4, 5)[3:], []))

    def test_reordered(self) -> None:
        """hazard R19: the second half comes first, is refused, and the first half does as well on its own."""
        follower = follower_with(1)
        log = entries_of(1, 5, 5)
        follower.receive(2, append(2, 5, log[2:], request_id=2))
        follower.receive(2, append(1, 1, log[1:2], request_id=1))
        follower.receive(2, append(2, 5, log[2:], request_id=2))
        write_all(follower)
        self.assertEqual(answers(follower), [refused(1, 1, request_id=2), accepted(2), accepted(3, request_id=2)])
        self.assertEqual(tuple(follower.disk_log), log)

    def test_what_is_committed_is_never_replaced(self) -> None:
        """hazard R5: a leader that sends something else in its place is wrong, and the server stops."""
        follower = follower_with(1, 1, 4)
        follower.receive(2, Heartbeat(5, 2, 1, 0))
        with self.assertRaises(InvariantViolated):
            follower.receive(2, append(1, 1, entries_of(1, 3)[1:]))
        self.assertEqual(follower.terms, [1, 1, 4])

    def test_what_is_compacted_is_skipped(self) -> None:
        """hazard R6: a request that begins below the first index matches there, and only its rest counts."""
        follower = follower_with(1, 1, 2, 4)
        follower.receive(2, append(4, 4, leader_commit=3))
        follower.raft.log.compact(3)
        answers(follower)
        log = entries_of(1, 1, 2, 4, 5)
        for prev_log_index, prev_log_term, last in [(1, 1, 2), (1, 1, 3), (2, 1, 4), (0, 0, 5), (3, 2, 5)]:
            follower.receive(2, append(prev_log_index, prev_log_term, log[prev_log_index:last]))
            write_all(follower)
            self.assertEqual(answers(follower), [accepted(last)])
        self.assertEqual((follower.terms, follower.view.first_index), ([4, 5], 4))
        self.assertEqual(tuple(follower.disk_log), log)


class DurabilityTests(SynchronousTestCase):
    """An acknowledgement says what the disk has."""

    def test_a_double_does_not_overtake_the_disk(self) -> None:
        """hazard R10: the entries are in memory already when the second request comes; the disk still writes them."""
        follower = follower_with(1)
        request = append(1, 1, entries_of(1, 5)[1:])
        follower.receive(2, request)
        follower.receive(2, request)
        self.assertEqual(answers(follower), [])
        write_all(follower)
        self.assertEqual(answers(follower), [accepted(2)] * 2)

    def test_a_write_that_ends_after_truncation(self) -> None:
        """hazard R11: entry (2, 4) becomes durable when (2, 5) has taken its place; (2, 5) is not durable by that."""
        follower = follower_with(1, current_term=4)
        follower.receive(2, append(1, 1, entries_of(1, 4, 4)[1:], term=4))
        follower.receive(2, append(1, 1, entries_of(1, 5, 5)[1:]))
        self.assertTrue(follower.write())
        self.assertLess(follower.view.durable_index, 2)
        answers(follower)
        follower.receive(2, append(1, 1, entries_of(1, 5, 5)[1:], leader_commit=3))
        self.assertEqual((answers(follower), follower.applied), ([], list(entries_of(1))))
        write_all(follower)
        self.assertEqual(answers(follower), [accepted(3)] * 2)
        self.assertEqual(follower.applied, list(entries_of(1, 5, 5)))

    def test_a_write_that_ends_after_the_entry_came_back(self) -> None:
        """hazard R11: entry (2, 4) is written, replaced by (2, 5), and put back by the leader of term 6, before
        anything is durable. The end of its first write does not mean that it is on the disk: the write of (2, 5), which
        is on its way, takes it off again, and a crash then would lose what was acknowledged.
        """
        follower = follower_with(1, current_term=4)
        follower.receive(2, append(1, 1, entries_of(1, 4, 4)[1:], term=4))
        follower.receive(3, append(1, 1, entries_of(1, 5)[1:]))
        follower.receive(2, RequestVote(6, 3, 4, round=1, pre_vote=False, leadership_transfer=True))
        follower.receive(2, append(1, 1, entries_of(1, 4, 4)[1:], term=6))
        while len(follower.writing) > 1:
            follower.write()
        self.assertEqual(tuple(follower.disk_log), entries_of(1, 5))
        follower.outgoing.clear()
        follower.receive(2, append(3, 4, term=6, request_id=2))
        self.assertEqual(answers(follower), [])
        write_all(follower)
        self.assertEqual(tuple(follower.disk_log), entries_of(1, 4, 4))
        self.assertIn(accepted(3, term=6, request_id=2), answers(follower))


class CommitTests(SynchronousTestCase):
    """Receiver step 5, and heartbeats."""

    def test_what_the_leader_has_committed(self) -> None:
        """Step 5: and it is applied in order, once."""
        follower = follower_with(1, 4, 5)
        follower.receive(2, append(3, 5, leader_commit=2))
        self.assertEqual((follower.view.commit_index, follower.applied), (2, list(entries_of(1, 4))))
        follower.receive(2, append(3, 5, leader_commit=3))
        self.assertEqual((follower.view.commit_index, follower.applied), (3, list(entries_of(1, 4, 5))))

    def test_not_the_unverified_tail(self) -> None:
        """hazard R4: entries beyond those that the request speaks of may be another leader's."""
        follower = follower_with(1, 1, 3, 3)
        follower.receive(2, append(1, 1, entries_of(1, 1)[1:], leader_commit=4))
        self.assertEqual(follower.view.commit_index, 2)

    def test_never_back(self) -> None:
        """hazard R2: an older request arrives after a newer one."""
        follower = follower_with(1, 5, 5)
        follower.receive(2, append(3, 5, leader_commit=3))
        requests: list[Message] = [append(3, 5, leader_commit=1), append(1, 1, leader_commit=3), Heartbeat(5, 1, 1, 0)]
        for request in requests:
            follower.receive(2, request)
            self.assertEqual(follower.view.commit_index, 3)

    def test_not_before_it_is_durable_here(self) -> None:
        """Committed by others' disks; applied when this one has it too (hazard R10)."""
        follower = follower_with(1)
        follower.receive(2, append(1, 1, entries_of(1, 5)[1:], leader_commit=2))
        self.assertEqual((follower.view.commit_index, follower.applied), (2, list(entries_of(1))))
        write_all(follower)
        self.assertEqual(follower.applied, list(entries_of(1, 5)))

    def test_heartbeat(self) -> None:
        """It carries the commit index, and is answered while the disk is busy."""
        follower = follower_with(1, 5)
        follower.receive(2, append(2, 5, entries_of(1, 5, 5)[2:]))
        follower.receive(2, Heartbeat(5, 2, 5, read_round=4))
        self.assertEqual(answers(follower), [HeartbeatReply(5, 4)])
        self.assertEqual((follower.view.commit_index, follower.applied), (2, list(entries_of(1, 5))))

    def test_heartbeat_beyond_the_log(self) -> None:
        """hazard R7: no leader sends it, unless this server lost what it had acknowledged; then it stops."""
        follower = follower_with(1, 5)
        line = str(self.assertRaises(DataLost, follower.receive, 2, Heartbeat(5, 3, 5, 0)))
        self.assertIn("entry 3 of term 5 is committed, but this server's log ends at 2", line)

    def test_heartbeat_of_another_entry(self) -> None:
        """An older copy of a disk may hold what was never committed in the place of what this server acknowledged
        (hazard R23). It is not applied."""
        follower = follower_with(1, 2, 2)
        line = str(self.assertRaises(DataLost, follower.receive, 2, Heartbeat(5, 2, 5, 0)))
        self.assertIn("entry 2 of term 5 is committed, but this server's log has one of term 2 there", line)
        self.assertEqual((follower.view.commit_index, follower.applied), (0, []))

    def test_another_entry_is_applied(self) -> None:
        """A state machine's data may be of another log than this server's: what was applied is not in it. Nothing is
        acknowledged that is not there (hazard S18)."""
        follower = follower_with(1, 2, 2)
        follower.receive(2, append(3, 2, leader_commit=3))
        self.assertRaises(DataLost, follower.receive, 2, append(3, 5, leader_commit=3))
        self.assertEqual(follower.terms, [1, 2, 2])
