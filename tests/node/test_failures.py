"""A node that cannot go on, and those who are told so: whole nodes over memory, on a clock of their own."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure

from tests.node.world import Journal, Machine, WorldTestCase
from txraft.core.invariants import View
from txraft.core.messages import AppendEntries, AppendEntriesReply, Heartbeat, Message, NodeId
from txraft.core.state import RaftOptions
from txraft.errors import (
    DirectoryRefused,
    InvariantViolated,
    NoSuchVoter,
    NotApplied,
    NotLeader,
    OutcomeUnknown,
    WriteFailed,
)


class FailureTests(WorldTestCase):
    """A node that cannot go on stops."""

    def assert_told_once(self, machine: Machine) -> None:
        """The node has stopped, and has said why."""
        self.assertEqual(len(machine.failures), 1)
        self.assertFalse(machine.node.running)

    def assert_ended_by_a_bug(self, machine: Machine, error: type[Exception]) -> None:
        """It has, at once, and its traceback is in the log."""
        self.assert_told_once(machine)
        self.assertIn(f"{error.__name__}: 'no'; this is a bug", str(machine.failures[0]))
        self.assertEqual(len(self.flushLoggedErrors(error)), 1)

    def test_failed_write(self) -> None:
        """A write that fails ends the node: once, with its error, and it says nothing more (hazard S1)."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        error = WriteFailed("the disk is broken")
        leader.disk.error = error
        done = leader.replica.propose(b"a")
        world.settle()
        self.assertEqual(leader.failures, [error])
        self.assertFalse(leader.node.running)
        self.assertIs(self.outcome(done), OutcomeUnknown)
        self.assertIs(self.outcome(leader.replica.propose(b"b")), NotApplied)
        world.run(3)
        self.assertEqual(leader.failures, [error])

    def test_refused(self) -> None:
        """A node whose directory others know to have forgotten what it promised ends at once, and says nothing more, as
        a voter or as a leader (hazard S6)."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        for machine in (leader, next(each for each in world if each is not leader)):
            error = DirectoryRefused("this directory is another")
            other = next(each.id for each in world if each is not machine)
            machine.node.refused(other, error)
            machine.node.refused(other, error)
            self.assertEqual(machine.failures, [error])
            self.assertFalse(machine.node.running)
        world.run(3)
        self.assertEqual(sorted(len(machine.failures) for machine in world), [0, 1, 1])

    def test_bug_in_the_state_machine(self) -> None:
        """A state machine that fails ends the node, for its state would differ from the others'."""
        world = self.world()
        leader = world.leader()
        world.run(1)

        leader.journal.fail_with = ValueError("no")
        done = leader.replica.propose(b"a")
        world.settle()
        self.assertEqual(len(leader.failures), 1)
        self.assertIn("ValueError: no", str(leader.failures[0]))
        self.assertIs(self.outcome(done), OutcomeUnknown)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_no_memory(self) -> None:
        """The command is committed, and others may apply it: its proposer is told no less. The error has no text."""
        world, leader = self.begun()
        leader.journal.fail_with = MemoryError()
        done = leader.replica.propose(b"a")
        world.settle()
        self.assertEqual(
            [str(error) for error in leader.failures],
            ["MemoryError; this is a bug in txraft or in the state machine"],
        )
        self.assertEqual(
            str(self.failureResultOf(done, OutcomeUnknown).value),
            "the node stopped before it could answer; the change may have been made, or may yet be",
        )
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)

    def test_what_cannot_be_carried_out(self) -> None:
        """What the core has given out and the driver could not do is lost; the node does not go on without it."""
        world = self.world()
        leader = world.leader()
        world.run(1)

        def send(*_: object) -> None:
            raise ValueError("no")

        self.patch(leader.node, "_peers", SimpleNamespace(send=send))
        done = leader.replica.propose(b"a")
        world.run(0.1)
        self.assertEqual(len(leader.failures), 1)
        self.assertFalse(leader.node.running)
        self.assertIs(self.outcome(done), OutcomeUnknown)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_bug_in_an_input(self) -> None:
        """An exception out of the core may leave it half changed: the node ends, whoever gave the input."""

        def broken(*_: object) -> None:
            raise KeyError("no")

        for name, give in (
            ("receive", lambda node: node.receive(2, Heartbeat(1, 0, 0, 0))),
            ("peer_connected", lambda node: node.peer_connected(2)),
            ("heartbeat_timeout", lambda node: node._heartbeat_is_due()),
            ("propose", lambda node: self.failureResultOf(node.propose(b"a"), KeyError)),
            ("read", lambda node: self.failureResultOf(node.read_index(), KeyError)),
            ("transfer_leadership", lambda node: self.failureResultOf(node.transfer_leadership(2), KeyError)),
        ):
            world, leader = self.begun()
            self.patch(leader.node._raft, name, broken)
            give(leader.node)
            self.assert_ended_by_a_bug(leader, KeyError)
            world.run(0.1)
            self.assert_told_once(leader)

    def test_a_rule_that_does_not_hold(self) -> None:
        """Both checks of `invariants`, of one state and of two, end the node before anything of the turn leaves it."""
        sent: list[object] = []
        for change in ({"commit_index": 99}, {"current_term": 0, "last_term": 0}):
            world, leader = self.begun()
            self.patch(leader.node, "_peers", SimpleNamespace(send=lambda *message: sent.append(message)))
            view = leader.node._raft.view

            def wrong(view: Callable[[], View] = view, change: dict[str, Any] = change) -> View:
                return evolve(view(), **change)

            self.patch(leader.node._raft, "view", wrong)
            done = leader.node.propose(b"a")
            world.run(0.1)
            self.assertIs(self.outcome(done), OutcomeUnknown)
            self.assertIn("does not hold", str(leader.failures[0]))
            self.assert_told_once(leader)
        self.assertEqual(sent, [])

    def test_questions_that_make_no_sense(self) -> None:
        """A refusal is an answer: a leader that is asked to hand over to a node that there is not leads on."""
        world, leader = self.begun()
        follower = world.followers()[0]
        asked = [leader.node.transfer_leadership(99), follower.network.transfer_leadership(leader.id, 99)]
        world.run(0.1)
        for one in asked:
            self.failureResultOf(one, NoSuchVoter)
        self.assertEqual(leader.failures, [])
        self.assertIs(world.leader(), leader)

    def test_a_follower_that_lost_data(self) -> None:
        """hazard R23: the leader's log says which, in one line, and what to do."""
        world, leader = self.begun()
        peer, index = world.followers()[0].id, leader.node.view.last_index
        sent: list[AppendEntries] = []

        def send(_to: NodeId, message: Message) -> None:
            sent.extend([message] if isinstance(message, AppendEntries) else [])

        self.patch(leader.node, "_peers", SimpleNamespace(send=send))
        leader.node.peer_connected(peer)
        world.clock.advance(0)
        term = leader.node.view.current_term
        leader.node.receive(peer, AppendEntriesReply(term, sent[-1].request_id, False, 0, 0))
        with capturedLogs() as events:
            world.clock.advance(0)
        [event] = events
        self.assertEqual(event["log_level"], LogLevel.error)
        line = event["log_format"].format(**event)
        self.assertIn(f"node {peer} has lost data: it had acknowledged entry {index}", line)
        self.assertIn("never start the node from a backup", line)

    def test_stopped_while_it_is_behind(self) -> None:
        """Who waits for entries to be applied, and who comes later, is told when the node stops."""
        _, leader = self.begun()
        index = leader.node.applied.index
        waiting = leader.node.applied.reaches(index + 1)
        leader.node.stopService()
        self.assertIs(self.outcome(waiting), NotApplied)
        self.assertIs(self.outcome(leader.node.applied.reaches(index + 1)), NotApplied)
        self.successResultOf(leader.node.applied.reaches(index))

    def test_state_machine_ahead_of_the_log(self) -> None:
        """A state machine with entries that the log has not is refused at the start."""
        world = self.world()
        machine = world[1]
        machine.crash()
        self.assertRaises(InvariantViolated, machine.start, Journal(last_applied=99))


class ReentrancyTests(WorldTestCase):
    """Whoever is told something does something at once."""

    def propose_three(self, machine: Machine) -> list[type[BaseException]]:
        """Three proposals, the first of which to fail gives the others up; the errors that come."""
        told: list[type[BaseException]] = []
        done = [machine.node.propose(b"a"), machine.replica.propose(b"b"), machine.node.propose(b"c")]

        def cancel_all(failure: Failure) -> None:
            assert failure.value is not None
            told.append(type(failure.value))
            for one in done:
                one.cancel()

        for one in done:
            one.addErrback(cancel_all)
        return told

    def test_the_first_that_is_replaced_cancels_the_rest(self) -> None:
        """Another leader's entries have taken the place of three changes."""
        world, leader = self.begun()
        world.isolate(leader.id)
        told = self.propose_three(leader)
        world.run(3)
        world.leader().replica.propose(b"kept")
        world.run(0.5)
        world.heal()
        world.run(1)
        self.assertEqual(told, [NotApplied, CancelledError, CancelledError])
        self.assertEqual(leader.failures, [])
        self.assertEqual(leader.journal.commands, [b"kept"])

    def test_the_first_that_is_unknown_cancels_the_rest(self) -> None:
        """The disk breaks; the node still ends as it must (hazard S1)."""
        world, leader = self.begun()
        leader.disk.error = WriteFailed("the disk is broken")
        told = self.propose_three(leader)
        reads = leader.node.read_index()
        world.settle()
        self.assertEqual(told, [OutcomeUnknown, CancelledError, CancelledError])
        self.assertEqual(leader.failures, [leader.disk.error])
        failure = self.failureResultOf(reads, NotLeader)
        self.assertEqual(failure.getErrorMessage(), "this node does not lead")
        self.assertIs(self.outcome(leader.node.applied.reaches(99)), NotApplied)

    def test_stop_when_applied(self) -> None:
        """Nothing is told, or asked of the state machine, after the node was stopped by who was told of an entry."""
        world, leader = self.begun()
        done = [leader.node.propose(b"%d" % number) for number in range(5)]
        done[0].addCallback(lambda _: leader.node.stopService())
        world.settle()
        self.assertEqual(leader.journal.calls, [1, 2])
        self.assertEqual([self.outcome(one) for one in done[1:]], [OutcomeUnknown] * 4)

    def test_stop_when_read(self) -> None:
        """Reads that are answered together, the first of which stops the node."""
        world, leader = self.begun()
        found = [leader.node.read_index() for _ in range(3)]
        found[0].addCallback(lambda _: leader.node.stopService())
        world.settle()
        self.assertEqual([self.outcome(one) for one in found[1:]], [NotLeader] * 2)
        self.assertEqual(leader.failures, [])

    def test_stop_at_a_change(self) -> None:
        """Who hears of a new leader stops the node, which then neither sends nor saves any more."""
        world = self.world(options=RaftOptions(pre_vote=False))  # so that the change is a new term, which is saved
        leader = world.leader()
        world.run(1)
        follower = world.followers()[0]
        writes = len(follower.disk.writes)
        world.isolate(leader.id)
        changed: Deferred[None] = follower.node.change_since(follower.node.changes)
        changed.addCallback(lambda _: follower.node.stopService())
        world.run(2)
        self.successResultOf(changed)
        self.assertEqual(len(follower.disk.writes), writes)
        self.assertEqual(follower.failures, [])
