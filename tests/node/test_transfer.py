"""Leadership is handed over (thesis §3.10): whole nodes over memory, on a clock of their own."""

from twisted.internet.defer import CancelledError, Deferred

from tests.node.world import Machine, WorldTestCase
from txraft.core.messages import RequestVote
from txraft.core.roles import Role
from txraft.core.state import RaftOptions
from txraft.errors import NoSuchVoter, NotApplied, OutcomeUnknown, Overloaded, TargetSilent, TransferFailed


class TransferTests(WorldTestCase):
    """Leadership is handed over."""

    def test_any_node(self) -> None:
        """Asked on any node, the target leads within a fraction of an election timeout (thesis §3.10)."""
        world = self.world()
        world.leader()
        world.run(1)
        for target in world.ids:
            asked = world[1].replica.transfer_leadership(target)
            world.run(0.1)
            self.successResultOf(asked)
            self.assertEqual(world.leader().id, target)

    def test_writes_wait(self) -> None:
        """hazard C4: what is proposed while it lasts is applied after it, once, and by whoever leads then."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        target = world.followers()[0]
        target.disk.hold()  # so that it does not catch up, and the transfer does not end
        leader.node.propose(b"before")
        asked = leader.replica.transfer_leadership(target.id)
        world.settle()
        done = [machine.replica.propose(b"%d" % machine.id) for machine in world]
        world.settle()
        for one in done:
            self.assertNoResult(one)
        target.disk.let_go()
        world.run(1)
        self.successResultOf(asked)
        self.assertIs(world.leader(), target)
        for one in done:
            self.successResultOf(one)
        for machine in world:
            self.assertEqual(sorted(machine.journal.commands), [b"1", b"2", b"3", b"before"])

    def test_writes_go_on_when_it_fails(self) -> None:
        """hazard C4: a target that does not answer has an election timeout; then the old leader goes on."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        target = world.followers()[0]
        world.isolate(target.id)
        asked = leader.replica.transfer_leadership(target.id)
        world.settle()
        done = leader.replica.propose(b"held")
        world.run(0.3)
        self.assertNoResult(done)
        world.run(0.5)
        self.assertIs(self.outcome(asked), TransferFailed)
        self.assertEqual(self.successResultOf(done), b"HELD")
        self.assertEqual(world.leader().id, leader.id)

    def test_held_writes_are_bounded(self) -> None:
        """hazard C9: what is held back is bounded as well."""
        world = self.world(options=RaftOptions(max_uncommitted_size=1200))
        leader = world.leader()
        world.run(1)
        target = world.followers()[0]
        target.disk.hold()  # so that it does not catch up, and the transfer does not end
        leader.node.propose(b"before")
        for _ in range(2):
            asked = leader.node.transfer_leadership(target.id)
            held = [leader.node.propose(bytes(400)) for _ in range(2)]
            self.assertIs(self.outcome(leader.node.propose(bytes(400))), Overloaded)
            world.run(1)
            self.assertIs(self.outcome(asked), TransferFailed)
            for one in held:
                self.successResultOf(one)

    def test_no_such_voter(self) -> None:
        """A node that is not in the cluster cannot lead."""
        world = self.world()
        world.leader()
        self.assertIs(self.outcome(world[1].replica.transfer_leadership(9)), NoSuchVoter)

    def test_silent_target(self) -> None:
        """hazard C4: a node that does not answer is not asked, so that nobody has to wait for it."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        target, other = world.followers()
        target.crash()
        world.run(1)
        for machine in (leader, other):
            asked = machine.replica.transfer_leadership(target.id)
            world.run(0.1)
            failure = self.failureResultOf(asked, NotApplied)
            self.assertIn(f"node {target.id} has not answered", failure.getErrorMessage())
        self.assertIs(self.outcome(leader.node.transfer_leadership(target.id)), TargetSilent)
        self.assertEqual(self.successResultOf(self.applied(leader, b"a")), b"A")

    def applied(self, machine: Machine, command: bytes) -> "Deferred[bytes]":
        """A change that was made."""
        done = machine.replica.propose(command)
        machine.world.settle()
        return done

    def test_to_who_leads(self) -> None:
        """It is there already, if a majority agrees."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        for machine in world:
            asked = machine.replica.transfer_leadership(leader.id)
            world.settle()
            self.successResultOf(asked)
        self.assertIs(world.leader(), leader)

    def test_to_who_led(self) -> None:
        """A node that has not heard that its leader is dead does not say that it leads."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        follower = world.followers()[0]
        leader.crash()
        world.isolate(follower.id)
        asked = follower.replica.transfer_leadership(leader.id)
        world.settle()
        self.assertNoResult(asked)
        world.run(6)
        self.failureResultOf(asked, NotApplied)

    def test_to_who_leads_alone(self) -> None:
        """A leader that is cut off does not say that it leads."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        world.isolate(leader.id)
        asked = leader.replica.transfer_leadership(leader.id)
        world.run(0.3)
        self.assertIs(leader.node.view.role, Role.LEADER)
        self.assertNoResult(asked)
        world.run(6)
        self.failureResultOf(asked, NotApplied)

    def test_the_leader_stops_meanwhile(self) -> None:
        """hazard C5: the target has been told, and may yet lead: that is not called not-applied, on whichever node."""
        for via in (0, 1):
            world = self.world()
            leader = world.leader()
            world.run(1)
            target, other = world.followers()
            target.disk.hold()  # its vote for itself takes long
            asked = (leader, other)[via].replica.transfer_leadership(target.id)
            world.run(0.05)
            self.assertIs(target.node.view.role, Role.CANDIDATE)
            leader.node.stopService()
            world.settle()
            self.failureResultOf(asked, OutcomeUnknown)
            target.disk.let_go()
            world.run(0.1)
            self.assertIs(target.node.view.role, Role.LEADER)

    def test_the_target_is_winning(self) -> None:
        """The target asks for votes, and in the same turn a connection goes: it has not failed."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        target, other = world.followers()
        asked = leader.node.transfer_leadership(target.id)
        world.clock.advance(0)
        view = leader.node.view
        request = RequestVote(view.current_term + 1, view.last_index, view.last_term, 7, False, True)
        leader.node.receive(target.id, request)
        leader.node.peer_lost(other.id)
        self.assertNoResult(asked)
        world.run(1)
        self.assertEqual(self.successResultOf(asked), target.id)

    def test_given_up_while_it_is_held(self) -> None:
        """hazards C4, C9: a change that nobody waits for any more makes room, and is not proposed; one that was let go
        is not waited for any more."""
        world = self.world(options=RaftOptions(max_uncommitted_size=1000))
        leader = world.leader()
        world.run(1)
        target = world.followers()[0]
        world.isolate(target.id)
        leader.node.transfer_leadership(target.id).addErrback(lambda failure: failure.trap(TransferFailed))
        given_up = leader.node.propose(bytes(900))
        given_up.cancel()
        self.assertIs(self.outcome(given_up), CancelledError)
        held = leader.node.propose(b"h" * 900)
        world.run(1)
        self.assertEqual(self.successResultOf(held), b"H" * 900)
        self.assertEqual(leader.journal.commands, [b"h" * 900])

    def test_given_up_when_it_was_let_go(self) -> None:
        """A change that was held, is proposed, and is then given up, leaves nothing behind where it is not decided."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        target, other = world.followers()
        target.disk.hold()
        leader.node.propose(b"before")
        leader.node.transfer_leadership(target.id).addErrback(lambda failure: failure.trap(TransferFailed))
        held = leader.node.propose(b"held")
        world.run(0.3)
        other.disk.hold()
        world.run(0.5)
        self.assertEqual(len(list(leader.node._proposals._waiting)), 1)
        held.cancel()
        self.assertIs(self.outcome(held), CancelledError)
        self.assertEqual(list(leader.node._proposals._waiting), [])
