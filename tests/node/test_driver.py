"""The driver and the replica: whole nodes over memory, on a clock of their own."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from tests.node.world import WorldTestCase
from txraft.core.messages import AppendEntriesReply, Heartbeat, HeartbeatReply, Message, NodeId
from txraft.core.roles import Role
from txraft.core.state import RaftOptions
from txraft.errors import NotApplied, NotLeader, OutcomeUnknown, Overloaded
from txraft.rpc import LinkLimits


class ElectionTests(WorldTestCase):
    """Timers drive the core."""

    def test_one_leader(self) -> None:
        """Three nodes elect one leader, and the others follow it (§5.2)."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        for machine in world:
            self.assertEqual(machine.node.view.leader_id, leader.id)

    def test_no_election_without_need(self) -> None:
        """While heartbeats flow, nobody campaigns, for a minute (§5.2)."""
        world = self.world()
        world.leader()
        world.run(1)
        terms = [machine.node.view.current_term for machine in world]
        world.run(60)
        self.assertEqual([machine.node.view.current_term for machine in world], terms)

    def test_the_leader_is_heard_when_the_timer_is_due(self) -> None:
        """The timer fires, and the reactor reads: nobody campaigns, for what has arrived counts first (hazard E13)."""
        for pre_vote in (True, False):
            world = self.world(options=RaftOptions(pre_vote=pre_vote))
            leader = world.leader()
            world.run(1)
            follower = world.followers()[0]
            world.isolate(leader.id)
            due = follower.node._raft.election_deadline
            assert due is not None
            world.clock.advance(due - world.clock.seconds() - 0.0001)
            before = follower.node.view
            world.clock.rightNow = due
            follower.node._timers.election_timer()
            follower.node.receive(leader.id, Heartbeat(before.current_term, 0, 0, 0))
            world.clock.advance(0)
            world.clock.advance(0)
            self.assertEqual(follower.node.view, before)
            world.run(2)
            self.assertGreater(world.leader().node.view.current_term, before.current_term)

    def test_the_leader_is_lost(self) -> None:
        """Its followers' connections close when it is killed, and another leads long before an election timeout."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        followers = world.followers()
        leader.crash()
        for follower in followers:
            follower.node.peer_lost(leader.id)
        world.run(0.2 * RaftOptions().election_timeout)
        self.assertIn(Role.LEADER, [follower.node.view.role for follower in followers])

    def test_a_connection_that_flaps(self) -> None:
        """Whose connection to the leader closes again and again deposes nobody (hazard E8)."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        before, follower, campaigns = leader.node.view, world.followers()[0], 0
        for _ in range(100):
            follower.node.peer_lost(leader.id)
            world.clock.advance(0.06)
            campaigns += follower.node._raft.view().role is Role.PRE_CANDIDATE
            world.run(0.01)
        self.assertGreater(campaigns, 50)
        self.assertEqual((leader.node.view.role, leader.node.view.current_term), (before.role, before.current_term))

    def test_timer_that_is_early(self) -> None:
        """As where a sum of floating-point numbers is a little less than it should be: it is set again."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        for follower in world.followers():
            assert follower.node._timers.election_call is not None
            follower.node._timers.election_call.cancel()
            follower.node._timers.election_timer()
        leader.crash()
        world.run(2)
        self.assertIsNot(world.leader(), leader)

    def test_an_acknowledgement_that_comes_again(self) -> None:
        """It makes nothing due, so no turn of the core is taken for it."""
        world = self.world()
        leader, follower = world.leader(), world.followers()[0]
        world.run(1)
        term, match_index = leader.node.view.current_term, leader.node.view.last_index
        calls = list(world.clock.getDelayedCalls())
        leader.node.receive(follower.id, AppendEntriesReply(term, 1, True, match_index, 0))
        self.assertEqual(world.clock.getDelayedCalls(), calls)
        leader.node.receive(follower.id, HeartbeatReply(term, 0))
        self.assertEqual(len(world.clock.getDelayedCalls()), len(calls) + 1)

    def test_next_leader(self) -> None:
        """When the leader crashes, another is elected within two election timeouts and a round trip."""
        world = self.world()
        first = world.leader()
        world.run(1)
        first.crash()
        world.run(2 * world.options.election_timeout + 0.1)
        self.assertNotEqual(world.leader().id, first.id)

    def test_heartbeats_stop_with_leadership(self) -> None:
        """A leader that is cut off steps down (CheckQuorum, hazard E8), and its heartbeat timer ends."""
        world = self.world()
        leader = world.leader()
        world.isolate(leader.id)
        world.run(2)
        self.assertNotEqual(leader.node.view.role, Role.LEADER)
        self.assertIsNotNone(leader.node._raft.election_deadline)
        self.assertFalse(leader.node._timers.heartbeats.running)

    def test_single(self) -> None:
        """A cluster of one leads itself, and counts itself only once its disk has written (hazard R10)."""
        world = self.world(1)
        leader = world.leader()
        leader.disk.hold()
        done = leader.replica.propose(b"a")
        world.run(1)
        self.assertNoResult(done)
        leader.disk.let_go()
        world.settle()
        self.assertEqual(self.successResultOf(done), b"A")


class ProposalTests(WorldTestCase):
    """Changes, through any node."""

    def test_any_node(self) -> None:
        """A change proposed on any node is applied on all, in the same order, and answered with its result."""
        world = self.world()
        world.leader()
        world.run(1)
        for machine in world:
            done = machine.replica.propose(b"from %d" % machine.id)
            world.settle()
            self.assertEqual(self.successResultOf(done), b"FROM %d" % machine.id)
        world.run(0.2)
        for machine in world:
            self.assertEqual(machine.journal.commands, [b"from 1", b"from 2", b"from 3"])

    def test_burst_is_one_write(self) -> None:
        """What comes in one turn of the reactor is one write and one fsync."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        writes = len(leader.disk.writes)
        done = [leader.replica.propose(b"%d" % number) for number in range(100)]
        flushes = [call for call in world.clock.calls if call.func == leader.node._flush]
        self.assertEqual(len(flushes), 1)
        world.settle()
        self.assertEqual([self.successResultOf(one) for one in done], [b"%d" % number for number in range(100)])
        self.assertEqual(len(leader.disk.writes) - writes, 1)

    def test_group_commit(self) -> None:
        """What comes while the disk writes goes into its next write, together."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        leader.disk.hold()
        done = [leader.replica.propose(b"first")]
        world.settle()
        for number in range(10):
            done.append(leader.replica.propose(b"%d" % number))
            world.settle()
        writes = len(leader.disk.writes)
        leader.disk.let_go()
        world.settle()
        self.assertEqual(len(leader.disk.writes) - writes, 2)
        for one in done:
            self.successResultOf(one)

    def test_waits_for_a_leader(self) -> None:
        """A change that comes before there is a leader waits for one."""
        world = self.world()
        done = world[2].replica.propose(b"early")
        world.leader()
        world.run(0.5)
        self.assertEqual(self.successResultOf(done), b"EARLY")

    def test_without_a_leader_it_is_not_applied(self) -> None:
        """Without a leader a change is refused, certainly not applied, when the time for it is over."""
        world = self.world()
        world.leader()
        world[2].crash()
        world[3].crash()
        world.run(3)
        done = world[1].replica.propose(b"lonely")
        world.run(4.9)
        self.assertNoResult(done)
        world.run(0.2)
        self.assertIs(self.outcome(done), NotApplied)
        world[2].start()
        world[3].start()
        world.leader()
        world.run(2)
        self.assertEqual(world[1].journal.commands, [])

    def test_leader_without_majority_does_not_know(self) -> None:
        """A leader that took a change in and cannot commit it says unknown, and it may take effect later."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        followers = world.followers()
        for follower in followers:
            follower.crash()
        done = leader.replica.propose(b"perhaps")
        world.run(5.1)
        self.assertIs(self.outcome(done), OutcomeUnknown)
        for follower in followers:
            follower.start()
        world.leader()
        world.run(1)
        self.assertEqual(leader.journal.commands, [b"perhaps"])

    def test_replaced_is_not_applied(self) -> None:
        """A change whose place in the log another one takes is not applied, and said to be so (hazard C6)."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        world.isolate(leader.id)
        done = [leader.replica.propose(b"lost %d" % number) for number in range(3)]
        world.run(3)
        successor = next(machine for machine in world.followers() if machine is not leader)
        applied = world.leader().replica.propose(b"kept")
        world.run(0.5)
        self.successResultOf(applied)
        self.assertNoResult(done[0])
        world.heal()
        world.run(1)
        self.assertEqual([self.outcome(one) for one in done], [NotApplied] * 3)
        self.assertEqual(leader.journal.commands, [b"kept"])
        self.assertEqual(successor.journal.commands, [b"kept"])

    def test_passed_on_once(self) -> None:
        """A change passed on to a leader that then dies is unknown; it is not passed on again (hazard C8)."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        follower = world.followers()[0]
        for other in world.followers():
            other.disk.hold()  # so that it cannot be committed, but is in the leader's log
        done = follower.replica.propose(b"once")
        world.settle()
        leader.crash()
        world.settle()
        self.assertIs(self.outcome(done), OutcomeUnknown)
        for other in world:
            if other.up:
                other.disk.let_go()
        world.leader()
        world.run(1)
        leader.start()
        world.run(2)
        for machine in world:
            self.assertLessEqual(machine.journal.commands.count(b"once"), 1)

    def test_unknown_to_the_leader(self) -> None:
        """A command of a later version, which a later node passes on, does not come into the log: every node that does
        not know it would end on it, for good."""
        world, leader = self.begun()
        follower = world.followers()[0]
        for machine in world:
            machine.journal.unknown = b"later" if machine is not follower else b""
        last = leader.node.view.last_index
        later = follower.replica.propose(b"later")
        world.settle()
        refused = self.failureResultOf(later, NotApplied)
        self.assertEqual(
            refused.getErrorMessage(),
            f"node {leader.id}, which leads, does not know a command of a later kind; do all nodes run the same version"
            " of txraft?",
        )
        world.run(1)
        self.assertEqual([machine.node.view.last_index for machine in world], [last] * 3)
        now = follower.replica.propose(b"now")
        world.run(0.1)
        self.assertEqual(self.successResultOf(now), b"NOW")

    def test_unknown_to_a_follower(self) -> None:
        """A node that does not lead says that, and nothing of the command: another one leads, which may know it."""
        world, leader = self.begun()
        follower = world.followers()[0]
        follower.journal.unknown = b"later"
        refused = self.failureResultOf(follower.node.passed_on(b"later"), NotLeader)
        self.assertEqual(refused.value.leader_id, leader.id)

    def test_refused_by_a_former_leader_and_tried_again(self) -> None:
        """A node that took nothing in says so, and the change is given to the leader there is."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        leader.crash()
        survivor = next(machine for machine in world if machine.up)
        done = survivor.replica.propose(b"later")
        world.run(3)
        self.assertEqual(self.successResultOf(done), b"LATER")

    def test_bounded_while_there_is_no_leader(self) -> None:
        """What waits for a leader is bounded; beyond it, a change is refused at once, not applied (hazard C9)."""
        world = self.world()
        world[2].crash()
        world[3].crash()
        world.run(1)
        held = [world[1].replica.propose(b"x" * 95_000) for _ in range(10)]
        refused = world[1].replica.propose(b"x" * 95_000)
        self.assertIs(self.outcome(refused), Overloaded)
        world.run(5.1)
        self.assertEqual([self.outcome(one) for one in held], [NotApplied] * 10)
        self.assertNoResult(world[1].replica.propose(b"x" * 95_000).addErrback(lambda _: None))

    def test_bounded_while_it_cannot_commit(self) -> None:
        """A leader without a majority takes in so much (hazard C9), and more when that is committed."""
        world = self.world(options=RaftOptions(max_uncommitted_size=1200))
        leader = world.leader()
        world.run(1)
        for follower in world.followers():
            follower.disk.hold()
        taken = [leader.node.propose(b"x" * 400) for _ in range(2)]
        world.settle()
        self.assertIs(self.outcome(leader.node.propose(b"x" * 400)), Overloaded)
        for follower in world.followers():
            follower.disk.let_go()
        world.settle()
        for one in taken:
            self.successResultOf(one)
        again = leader.node.propose(b"x" * 400)
        world.settle()
        self.successResultOf(again)

    def test_bounded_in_number(self) -> None:
        """hazard C9: on a leader that cannot commit, and on a node that passes on; beyond it, not applied."""
        world = self.world(options=RaftOptions(max_uncommitted_entries=3))
        leader = world.leader()
        world.run(1)
        for follower in world.followers():
            follower.disk.hold()
        for _ in range(3):
            leader.node.propose(b"").addErrback(lambda _: None)
        self.assertIs(self.outcome(leader.node.propose(b"")), Overloaded)
        passed_on = world.followers()[0].replica
        for _ in range(100):
            passed_on.propose(b"").addErrback(lambda _: None)
        self.assertIs(self.outcome(passed_on.propose(b"")), Overloaded)

    def test_passed_on_and_given_up(self) -> None:
        """hazard C9: a leader that cannot commit lets go of what nobody waits for any more, here and elsewhere."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        follower = world.followers()[0]
        for machine in world.followers():
            machine.disk.hold()
        lost = [machine.replica.propose(b"a") for machine in (leader, follower)]
        world.settle()
        self.assertEqual(len(list(leader.node._proposals._waiting)), 2)
        world.run(LinkLimits().answer + 0.1)
        self.assertEqual([self.outcome(one) for one in lost], [OutcomeUnknown] * 2)
        self.assertEqual(list(leader.node._proposals._waiting), [])
        self.assertEqual(follower.network._outgoing[leader.id].unanswered, 0)

    def test_one_dead_follower_delays_nobody(self) -> None:
        """The majority sets the pace (hazard R18)."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        world.isolate(world.followers()[0].id)
        done = leader.replica.propose(b"a")
        world.settle()
        self.successResultOf(done)

    def test_slow_follower_delays_nobody(self) -> None:
        """A follower whose disk is slow holds up nobody, and catches up (hazard R18)."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        slow = world.followers()[0]
        slow.disk.hold()
        for number in range(1000):
            done = leader.replica.propose(b"%d" % number)
            world.settle()
            self.successResultOf(done)
        slow.disk.let_go()
        world.run(2)
        self.assertEqual(slow.journal.commands, leader.journal.commands)

    def test_restart(self) -> None:
        """All crash at once and start again; what was acknowledged is applied again from the logs (§5.1)."""
        world = self.world()
        world.leader()
        world.run(1)
        done = [world[1].replica.propose(b"%d" % number) for number in range(10)]
        world.run(0.5)
        for one in done:
            self.successResultOf(one)
        for machine in world:
            machine.crash()
        for machine in world:
            machine.start()
        world.leader()
        world.run(1)
        for machine in world:
            self.assertEqual(machine.journal.commands, [b"%d" % number for number in range(10)])


class ReadTests(WorldTestCase):
    """Read barriers, through any node."""

    def test_any_node(self) -> None:
        """After a barrier, a node holds everything that was acknowledged before (thesis §6.4)."""
        world = self.world()
        world.leader()
        world.run(1)
        for machine in world:
            done = world[1].replica.propose(b"%d" % machine.id)
            world.settle()
            self.successResultOf(done)
            reached = machine.replica.read_barrier()
            world.settle()
            self.successResultOf(reached)
            self.assertEqual(machine.journal.commands[-1], b"%d" % machine.id)

    def test_cut_off_leader_answers_no_read(self) -> None:
        """A leader that has been cut off, and does not know it yet, answers no read (thesis §6.4)."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        world.isolate(leader.id)
        reached = leader.replica.read_barrier()
        world.run(0.3)
        self.assertIs(leader.node.view.role, Role.LEADER)
        self.assertNoResult(reached)
        world.run(5)
        self.assertIs(self.outcome(reached), NotApplied)

    def test_tried_again(self) -> None:
        """A read that a leader could not confirm is asked of the next one: it changes nothing."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        follower = world.followers()[0]
        world.isolate(leader.id)
        reached = follower.replica.read_barrier()
        world.run(4)
        self.successResultOf(reached)

    def test_given_up(self) -> None:
        """Reads that nobody waits for any more leave nothing behind: where entries cannot be applied, and where the
        leader cannot commit the entry of its term that reads wait for (hazard C1)."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        follower = world.followers()[0]
        for machine in world:
            machine.disk.hold()
        reaches = follower.node.applied.reaches
        lost: list[Deferred[Any]] = [leader.node.propose(b"a"), reaches(99), reaches(99)]
        for one in lost:
            one.cancel()
            self.assertIs(self.outcome(one), CancelledError)
        self.assertEqual([key for group in follower.node.applied._waiting.values() for key in group], [])
        read = leader.node.read_index()
        read.cancel()
        self.assertIs(self.outcome(read), CancelledError)
        self.assertEqual(list(leader.node._reads._waiting), [])
        again = leader.node.read_index()
        world.settle()
        self.successResultOf(again)

    def test_many_share_a_round(self) -> None:
        """Reads that wait at the same time share a round of heartbeats."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        rounds: set[int] = set()
        receive = world.followers()[0].node.receive

        def watch(sender: NodeId, message: Message) -> None:
            if isinstance(message, Heartbeat):
                rounds.add(message.read_round)
            receive(sender, message)

        self.patch(world.followers()[0].node, "receive", watch)
        reached = [leader.replica.read_barrier() for _ in range(100)]
        world.settle()
        for one in reached:
            self.successResultOf(one)
        self.assertEqual(len(rounds), 2)  # the first, which one read is enough to start, and that of all the others
