"""A leader hands over by itself: before it stops, and when its disk hangs. Whole nodes over memory, on a clock of their
own."""

from twisted.logger import capturedLogs, formatEvent

from tests.node.world import WorldTestCase
from txraft.core.messages import HeartbeatReply
from txraft.core.roles import Role
from txraft.core.state import RaftOptions

TIMEOUT = RaftOptions().election_timeout


class BeforeAStopTests(WorldTestCase):
    """`Node.hand_over`."""

    def test_another_leads_at_once(self) -> None:
        """It needs no election timeout, and changes that come meanwhile are applied."""
        world = self.world()
        old = world.leader()
        world.run(1)
        done = old.node.hand_over()
        asked = [machine.replica.propose(b"%d" % machine.id) for machine in world]
        world.run(0.1)
        self.successResultOf(done)
        self.assertIsNot(world.leader(), old)
        for each in asked:
            self.successResultOf(each)

    def test_nobody_to_ask(self) -> None:
        """Who does not lead, or leads alone, or does not run, has nothing to hand over."""
        world = self.world()
        world.leader()
        world.run(1)
        before = [machine.node.view for machine in world]
        for follower in world.followers():
            self.successResultOf(follower.node.hand_over())
        world.run(0.1)
        self.assertEqual([machine.node.view for machine in world], before)
        alone = self.world(1)
        self.successResultOf(alone.leader().node.hand_over())
        leader = world.leader()
        leader.crash()
        self.successResultOf(leader.node.hand_over())

    def test_nobody_takes_over(self) -> None:
        """A stop is put off by an election timeout at most, also where a transfer is under way already."""
        for transfer_first in (False, True):
            world = self.world()
            leader = world.leader()
            world.run(1)
            for follower in world.followers():
                follower.disk.hold()  # so that it cannot vote
            leader.node.propose(b"a").addErrback(lambda _: None)
            if transfer_first:
                leader.node.transfer_leadership(world.followers()[0].id).addErrback(lambda _: None)
            done = leader.node.hand_over()
            world.run(TIMEOUT / 2)
            self.assertNoResult(done)
            world.run(TIMEOUT / 2 + 0.02)
            self.successResultOf(done)


class HangingDiskTests(WorldTestCase):
    """hazard S12."""

    def test_another_leads(self) -> None:
        """Any node then takes changes, the old leader as well; what it had in hand is answered when its disk can."""
        world = self.world()
        old = world.leader()
        world.run(1)
        old.disk.hold()
        with capturedLogs() as events:
            under_way = old.replica.propose(b"under way")
            world.run(TIMEOUT + 3 * world.options.heartbeat_interval)
        self.assertIsNot(world.leader(), old)
        asked = [machine.replica.propose(b"%d" % machine.id) for machine in world]
        world.run(0.1)
        for each in asked:
            self.successResultOf(each)
        self.assertNoResult(under_way)
        old.disk.let_go()
        world.run(0.1)
        self.assertEqual(self.successResultOf(under_way), b"UNDER WAY")
        lines = [str(formatEvent(event)) for event in events]
        self.assertEqual(len([line for line in lines if "this node's disk hangs" in line]), 1, lines)


class LateTimerTests(WorldTestCase):
    """hazard E13."""

    def test_everything_stands_still(self) -> None:
        """Whoever was asleep acts on no timer of before."""
        world = self.world()
        world.leader()
        world.run(1)
        before = [(machine.node.view.leader_id, machine.node.view.current_term) for machine in world]
        for _ in range(5):
            world.clock.advance(10)
            world.run(1)
        self.assertEqual([(each.node.view.leader_id, each.node.view.current_term) for each in world], before)

    def test_what_has_arrived_counts_first(self) -> None:
        """A leader's timer fires when it has heard nobody for an election timeout, and the answers wait in its sockets:
        the reactor reads them before its next turn.
        """
        for answered in (True, False):
            world = self.world()
            leader = world.leader()
            world.run(1)
            world.isolate(leader.id)
            last_beat = leader.node._raft._leader
            assert last_beat is not None
            leader.node._timers.heartbeats.stop()
            world.clock.advance(TIMEOUT)
            last_beat._beat_at = world.clock.seconds()
            leader.node._timers.heartbeats.start(world.options.heartbeat_interval, now=False)
            leader.node._timers.heartbeat_timer()
            if answered:
                for follower in world.followers():
                    leader.node.receive(follower.id, HeartbeatReply(leader.node.view.current_term, 0))
            world.clock.advance(0)
            self.assertEqual(leader.node.view.role is Role.LEADER, answered)

    def test_a_stop_in_between(self) -> None:
        """The node does nothing after it."""
        world = self.world()
        leader = world.leader()
        leader.node._timers.heartbeat_timer()
        leader.crash()
        assert leader.node._timers.due_call is not None
        self.assertFalse(leader.node._timers.due_call.active())
