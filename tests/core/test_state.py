"""`txraft.core.state`: what a server knows, what it may not do with it, and the order in which its promises leave."""

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import entries_of
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.log import RaftLog
from txraft.core.messages import AppendEntriesReply, Heartbeat, HeartbeatReply, Reply, RequestVoteReply
from txraft.core.ready import Ready, Save, TermAndVote
from txraft.core.roles import Role
from txraft.core.state import RaftOptions, State
from txraft.errors import InvariantViolated

NOTHING = Ready(messages=(), save=None, messages_after_save=(), committed=(), reads=(), lost_reads=())


def state_of(*terms: int, current_term: int = 3) -> State:
    """Server 1 of three, with a log of these terms on its disk."""
    return State(
        node_id=1,
        options=RaftOptions(),
        random=random.Random(1),
        log=RaftLog(entries_of(*terms), Snapshot(0, 0, Configuration(voters=(1, 2, 3)))),
        durable=TermAndVote(current_term, None),
    )


class RulesTests(SynchronousTestCase):
    """What is refused, because it would break the rules of Figure 2."""

    def test_starts_with_what_is_on_the_disk(self) -> None:
        """Figure 2, persistent state: it is the same after a restart, and not written again."""
        state = state_of(1, 2)
        self.assertEqual((state.current_term, state.voted_for), (3, None))
        self.assertEqual(state.take_ready(0.0), NOTHING)

    def test_the_term_only_rises(self) -> None:
        """§5.1; hazard E2: neither back nor again, for entering a term clears its vote."""
        state = state_of()
        state.vote_for(2)
        for term in (2, 3):
            with self.assertRaises(InvariantViolated):
                state.change_term(term)
        self.assertEqual(state.term_and_vote, TermAndVote(3, 2))

    def test_a_later_term_has_no_vote_and_no_leader(self) -> None:
        """§5.1, §5.2."""
        state = state_of()
        state.vote_for(2)
        state.follow(2)
        state.change_term(4)
        self.assertEqual((state.term_and_vote, state.leader_id), (TermAndVote(4, None), None))

    def test_one_vote_a_term(self) -> None:
        """§5.2: giving it to the same candidate again is no second vote; to another one it is."""
        state = state_of()
        state.vote_for(2)
        state.vote_for(2)
        with self.assertRaises(InvariantViolated):
            state.vote_for(3)
        self.assertEqual(state.voted_for, 2)

    def test_roles_follow_the_table(self) -> None:
        """Figure 4: a follower does not lead without having stood for election."""
        state = state_of()
        with self.assertRaises(InvariantViolated):
            state.change_role(Role.LEADER)
        self.assertIs(state.role, Role.FOLLOWER)

    def test_one_leader_a_term(self) -> None:
        """Election Safety (§5.2): a second one can only be an error, and is not followed."""
        state = state_of()
        state.follow(2)
        state.follow(2)
        self.assertEqual(state.leader_id, 2)
        with self.assertRaises(InvariantViolated):
            state.follow(3)

    def test_commit_index_never_goes_back(self) -> None:
        """hazard R2."""
        state = state_of(1, 2, 2)
        state.commit_to(2)
        state.commit_to(1)
        self.assertEqual(state.commit_index, 2)

    def test_commit_index_stays_within_the_log(self) -> None:
        """hazard R7: what is committed but not here was acknowledged and then lost; the server must not go on."""
        state = state_of(1, 2, 2)
        with self.assertRaises(InvariantViolated):
            state.commit_to(4)
        self.assertEqual(state.commit_index, 0)


class SaveTests(SynchronousTestCase):
    """What goes to the disk."""

    def test_term_and_vote_are_one_record(self) -> None:
        """hazard E1: both, together, and once."""
        state = state_of()
        state.change_term(4)
        state.vote_for(2)
        self.assertEqual(state.take_ready(0.0).save, Save(TermAndVote(4, 2), ()))
        self.assertIsNone(state.take_ready(0.0).save)

    def test_every_change_is_saved(self) -> None:
        """hazard E1: also a vote given in a term whose save is under way already."""
        state = state_of()
        state.change_term(4)
        state.take_ready(0.0)
        state.vote_for(2)
        self.assertEqual(state.take_ready(0.0).save, Save(TermAndVote(4, 2), ()))

    def test_entries(self) -> None:
        """A burst is one save, and only what is new goes into it."""
        state = state_of(1, 2)
        state.log.append(entries_of(1, 2, 3)[2:])
        state.log.append(entries_of(1, 2, 3, 3)[3:])
        self.assertEqual(state.take_ready(0.0).save, Save(None, entries_of(1, 2, 3, 3)[2:]))
        self.assertEqual(state.take_ready(0.0), NOTHING)

    def test_entries_that_replace_others(self) -> None:
        """A save starts where the log on the disk is to be cut off."""
        state = state_of(1, 2, 2, 2)
        state.log.truncate_from(2)
        state.log.append(entries_of(1, 3)[1:])
        self.assertEqual(state.take_ready(0.0).save, Save(None, entries_of(1, 3)[1:]))


class AnswerTests(SynchronousTestCase):
    """Promises leave after what they promise is durable."""

    def assert_waits(self, state: State, reply: Reply, waits: bool) -> Ready:
        state.answer(2, reply)
        ready = state.take_ready(0.0)
        at_once = [envelope.message for envelope in ready.messages]
        later = [envelope.message for envelope in ready.messages_after_save]
        self.assertEqual((at_once, later), ([], [reply]) if waits else ([reply], []))
        return ready

    def test_all_is_durable(self) -> None:
        """Nothing to wait for: what is promised is on the disk."""
        state = state_of(1, 2)
        self.assert_waits(state, AppendEntriesReply(3, 1, True, 2, 0), waits=False)
        self.assert_waits(state, HeartbeatReply(3, 0), waits=False)

    def test_the_term_is_not(self) -> None:
        """hazard E1: no answer names a term that a crash could take back."""
        replies: list[Reply] = [
            HeartbeatReply(4, 0),
            AppendEntriesReply(4, 1, False, 1, 1),
            RequestVoteReply(4, 1, False, False),
        ]
        for reply in replies:
            state = state_of(1, 2)
            state.change_term(4)
            ready = self.assert_waits(state, reply, waits=True)
            self.assertEqual(ready.save, Save(TermAndVote(4, None), ()))

    def test_the_vote_is_not(self) -> None:
        """hazard E1."""
        state = state_of()
        state.vote_for(2)
        ready = self.assert_waits(state, RequestVoteReply(3, 1, False, True), waits=True)
        self.assertEqual(ready.save, Save(TermAndVote(3, 2), ()))

    def test_the_entries_are_not(self) -> None:
        """Figure 2, "Receiver implementation": respond after updating stable storage. Only success promises entries,
        and only up to its match_index."""
        state = state_of(1, 2)
        state.log.append(entries_of(1, 2, 3)[2:])
        self.assert_waits(state, AppendEntriesReply(3, 1, True, 3, 0), waits=True)
        self.assert_waits(state, AppendEntriesReply(3, 2, True, 2, 0), waits=False)
        self.assert_waits(state, AppendEntriesReply(3, 3, False, 3, 3), waits=False)
        self.assert_waits(state, HeartbeatReply(3, 0), waits=False)

    def test_the_save_is_under_way(self) -> None:
        """A doubled request is answered after the save that the first one began, though there is no new one."""
        state = state_of(1, 2)
        state.log.append(entries_of(1, 2, 3)[2:])
        state.take_ready(0.0)
        ready = self.assert_waits(state, AppendEntriesReply(3, 2, True, 3, 0), waits=True)
        self.assertIsNone(ready.save)

    def test_taken_once(self) -> None:
        """What was taken out of the box is no longer in it."""
        state = state_of(1, 2)
        state.send(2, Heartbeat(3, 0, 0, 0))
        state.send_after_save(2, Heartbeat(3, 0, 0, 0))
        state.lost_reads.append(7)
        ready = state.take_ready(0.0)
        self.assertEqual((len(ready.messages), len(ready.messages_after_save), ready.lost_reads), (1, 1, (7,)))
        self.assertEqual(state.take_ready(0.0), NOTHING)


class CommittedTests(SynchronousTestCase):
    """What goes to the state machine."""

    def test_in_order_and_once(self) -> None:
        """Figure 2, Rules for Servers: commit_index > last_applied: apply what lies between."""
        state = state_of(1, 2, 3)
        self.assertEqual(state.take_ready(0.0).committed, ())
        state.commit_to(1)
        self.assertEqual(state.take_ready(0.0).committed, entries_of(1))
        state.commit_to(3)
        self.assertEqual(state.take_ready(0.0).committed, entries_of(1, 2, 3)[1:])
        self.assertEqual((state.last_applied, state.take_ready(0.0).committed), (3, ()))

    def test_not_before_it_is_on_this_disk(self) -> None:
        """hazard R10: a majority has it, this server does not yet; applied, it would be lost to it by a crash."""
        state = state_of(1, 2)
        state.log.append(entries_of(1, 2, 3)[2:])
        state.commit_to(3)
        self.assertEqual(state.take_ready(0.0).committed, entries_of(1, 2))
        state.log.mark_durable(3, 3)
        self.assertEqual(state.take_ready(0.0).committed, entries_of(1, 2, 3)[2:])
