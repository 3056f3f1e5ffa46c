"""How a follower that is far behind gets a snapshot: whole nodes over memory, on a clock of their own."""

from collections.abc import Callable
from typing import cast
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from tests.node.world import Gate, Machine, World, WorldTestCase
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import InstallSnapshot, NodeId
from txraft.core.progress import Progress
from txraft.errors import DataLost, OutcomeUnknown, SnapshotFailed
from txraft.node import compaction, snapshot_sending
from txraft.node.compaction import MOST_HELD, Keep
from txraft.node.snapshot_sending import SnapshotSending

KEEP = Keep(entries=8, size=1 << 30)
LARGE = 10_000
"""Bytes of a command. Six of them are a chunk on the wire."""


def propose(machine: Machine, count: int, size: int = 10) -> "list[Deferred[bytes]]":
    """As many changes, one after the other."""
    done = []
    for _ in range(count):
        done.append(machine.node.propose(b"%d " % machine.node.view.last_index + bytes(size)))
        machine.world.settle()
    return done


class SnapshotTestCase(WorldTestCase):
    """Makes followers that are far behind, and sees to it that all end with the same data."""

    def far_behind(self, size: int = 10) -> tuple[World, Machine, Machine]:
        """A leader, and a follower that has nothing yet of what is compacted; it is down."""
        world = self.world(keep=KEEP)
        leader = world.leader()
        world.run(1)
        follower = world.followers()[0]
        follower.crash()
        propose(leader, 40, size)
        self.assertGreater(leader.node.view.first_index, follower.node.view.last_index + 1)
        return world, leader, follower

    def assert_all_equal(self, world: World) -> None:
        """Every node runs, and has applied the same; nothing of a transfer is left."""
        leader = world.leader()
        for machine in world:
            self.assertEqual(machine.failures, [])
            self.assertTrue(machine.node.running)
            self.assertEqual(machine.journal.last_applied, leader.journal.last_applied)
            self.assertEqual(machine.journal.commands, leader.journal.commands)
            self.assertEqual(machine.journal.open_snapshots, 0)
            self.assertEqual(machine.received.received, {})


HELD_BY_EITHER: list[Callable[[Machine, Machine], Gate]] = [
    lambda leader, _: leader.journal.snapshots,
    lambda leader, _: leader.files.makes,
    lambda _, follower: follower.files.writes,
]
"""Of a leader and a follower, what a transfer waits for."""


class CatchingUpTests(SnapshotTestCase):
    """In the end it has everything."""

    def test_catches_up(self) -> None:
        """From a snapshot, and what follows on it; its log starts there, and so says its status."""
        world, _, follower = self.far_behind()
        follower.start()
        world.run(2)
        self.assert_all_equal(world)
        self.assertGreater(follower.replica.status().first_log_index, 1)
        self.assertLess(sum(follower.journal.calls), 2 * KEEP.entries)
        first = follower.node.view.first_index
        propose(world.leader(), KEEP.entries // 2)
        world.run(0.5)
        self.assertEqual(follower.node.view.first_index, first)

    def test_under_constant_writes(self) -> None:
        """While the leader goes on writing, and compacting (hazard R17)."""
        world, leader, follower = self.far_behind()
        follower.start()
        for _ in range(300):
            propose(leader, 1)
            world.run(0.01)
        self.assertLess(leader.node.view.last_index - follower.journal.last_applied, 3)
        world.run(0.5)
        self.assert_all_equal(world)
        self.assertLess(leader.node.view.last_index - leader.node.view.first_index, 2 * KEEP.entries)

    def test_again_and_again(self) -> None:
        """A follower that was sent one once gets another when it needs it."""
        world, leader, follower = self.far_behind()
        for _ in range(3):
            follower.start()
            world.run(2)
            self.assert_all_equal(world)
            follower.crash()
            propose(leader, 40)
        follower.start()
        world.run(2)
        self.assert_all_equal(world)

    def test_the_file_before(self) -> None:
        """It is gone before another one is made: the disk may be full because of it."""
        world, leader, follower = self.far_behind()
        follower.start()
        world.run(2)
        self.assertIsNotNone(leader.files._made)
        follower.crash()
        propose(leader, 40)
        leader.journal.snapshots.hold()
        follower.start()
        world.run(1)
        self.assertIsNone(leader.files._made)
        leader.journal.snapshots.let_go(SnapshotFailed("the disk is full"))
        world.run(SnapshotSending.pause + 2)
        self.assert_all_equal(world)

    def test_both_followers(self) -> None:
        """One file serves all who need one."""
        world = self.world(5, keep=KEEP)
        leader = world.leader()
        world.run(1)
        behind = world.followers()[:2]
        for each in behind:
            each.crash()
        propose(leader, 40)
        leader.files.makes.hold()
        for each in behind:
            each.start()
        world.run(2)
        self.assertEqual(len(leader.files.makes.waiting or ()), 1)
        leader.files.makes.let_go()
        world.run(1)
        self.assert_all_equal(world)

    def test_resumed(self) -> None:
        """A transfer that is cut off goes on where it ended, with the same file, though the leader writes and compacts
        (hazard S10)."""
        world, leader, follower = self.far_behind(LARGE)
        follower.start()
        offsets: list[int] = []
        for _ in range(4):
            follower.files.writes.hold()
            world.run(0.5)
            follower.files.writes.let_go()
            for wire in world.wires_of(follower.id):
                wire.close()
            propose(leader, 3)
        world.run(3)
        offsets = follower.files.offsets
        self.assertGreater(len(offsets), 5)
        self.assertEqual(offsets, sorted(set(offsets)))
        self.assert_all_equal(world)

    def test_the_log_stays_meanwhile(self) -> None:
        """While a snapshot is on its way, what follows on it stays in the log, and until the follower has that too: it
        needs no other (hazard R17)."""
        world, leader, follower = self.far_behind()
        follower.start()
        follower.files.writes.hold()
        world.run(1)
        propose(leader, 2 * KEEP.entries)
        follower.files.writes.let_go()
        for _ in range(40):  # it gets what follows bit by bit
            propose(leader, 1)
            world.run(0.01)
        world.run(0.1)
        self.assertEqual(leader.journal.all_snapshots, 1)
        self.assert_all_equal(world)

    def test_the_file_goes(self) -> None:
        """The leader removes the file when no follower has needed it for a while, also where it does not lead any more;
        not while one is being sent it."""
        self.patch(snapshot_sending, "HELD_FOR", 5)
        for leads in (True, False):
            world, leader, follower = self.far_behind()
            follower.start()
            follower.files.finishes.hold()
            world.run(7)
            self.assertIsNotNone(leader.files._made)
            follower.files.finishes.let_go()
            world.run(1)
            if not leads:
                leader.replica.transfer_leadership(follower.id)
            world.run(3.5)
            self.assertIsNotNone(leader.files._made)
            world.run(3)
            self.assertIsNone(leader.files._made)
            self.assert_all_equal(world)
            self.assertEqual(leader.journal.all_snapshots, 1)

    def test_slower_than_the_writes(self) -> None:
        """A transfer that takes as long as many times what is kept takes to be written ends, and no other is needed
        (hazard R17)."""
        world, leader, follower = self.far_behind(LARGE)
        follower.start()
        for _ in range(20):
            follower.files.writes.hold()
            world.run(0.3)
            propose(leader, (MOST_HELD + 1) * KEEP.entries)
            follower.files.writes.let_go()
        world.run(0.1)
        self.assertEqual(leader.journal.all_snapshots, 1)
        self.assert_all_equal(world)
        propose(leader, 2 * KEEP.entries)
        world.settle()
        self.assertLess(leader.node.view.last_index - leader.node.view.first_index, 2 * KEEP.entries)

    def test_the_log_stays_while_one_is_made(self) -> None:
        """Before it is known what follows on it, all stays (hazard R17)."""
        for hold in HELD_BY_EITHER[:2]:
            world, leader, follower = self.far_behind()
            gate = hold(leader, follower)
            follower.start()
            gate.hold()
            world.run(1)
            propose(leader, 2 * KEEP.entries)
            gate.let_go()
            world.run(1)
            self.assertEqual(leader.journal.all_snapshots, 1)
            self.assert_all_equal(world)

    def test_the_log_stays_no_longer_than_it_leads(self) -> None:
        """Whom a node was sending a snapshot when it led, and who was to be sent it again, need nothing of its log any
        more."""
        for half in (True, False):
            world, leader, follower = self.far_behind(LARGE)
            [other] = [machine for machine in world if machine not in (leader, follower)]
            follower.start()
            (follower.files.writes if half else follower.files.finishes).hold()
            world.run(1)
            if half:
                for wire in world.wires_of(follower.id):
                    wire.close()
            else:
                propose(leader, 2)
                follower.disk.hold()
                follower.files.finishes.let_go()
            world.run(0.5)
            self.assertIsNotNone(leader.node._snapshots.sending.needed_after())
            leader.replica.transfer_leadership(other.id)
            world.run(1)
            self.assertIsNone(leader.node._snapshots.sending.needed_after())
            (follower.files.writes if half else follower.disk).let_go()
            propose(other, 2 * KEEP.entries)
            world.run(3)
            self.assertLess(leader.node.view.last_index - leader.node.view.first_index, 2 * KEEP.entries)
            self.assert_all_equal(world)

    def test_slowly(self) -> None:
        """A follower that has its snapshot, and gets what follows slowly, is waited for as long as it gets on."""
        self.patch(snapshot_sending, "HELD_FOR", 0.3)
        world, leader, follower = self.far_behind()
        follower.start()
        follower.disk.hold()
        follower.files.finishes.hold()
        world.run(1)
        sending = leader.node._snapshots.sending
        progress = leader.node._raft.followers[follower.id]
        propose(leader, 10)
        follower.files.finishes.let_go()
        world.run(0.1)
        start = sending._catching_up[follower.id].match_index
        for step in range(1, 6):
            progress.match_index = start + step
            self.assertEqual(sending.needed_after(), start + step)
            world.run(0.2)
        world.run(0.2)
        self.assertIsNone(sending.needed_after())

    def test_sent_by_one_that_is_behind_itself(self) -> None:
        """A node that leads while it restores a snapshot itself makes none: what it has is older than its log."""
        world, leader, follower = self.far_behind()
        follower.start()
        leader.node._snapshots.to_apply._installs.append(None)  # type: ignore[arg-type]  # looked at by nobody
        with capturedLogs() as logs:
            world.run(1)
        self.assertEqual(leader.journal.all_snapshots, 0)
        lines = [event["log_format"].format(**event) for event in logs if event.get("log_format")]
        self.assertEqual(len([line for line in lines if "this node is restoring a snapshot itself" in line]), 1)
        leader.node._snapshots.to_apply._installs.clear()
        world.run(SnapshotSending.pause + 1)
        self.assert_all_equal(world)

    def test_what_a_start_finds_counts(self) -> None:
        """Large entries that were in the log at a start are cut as any others are."""
        world = self.world(keep=Keep(entries=1000, size=10 * LARGE))
        leader = world.leader()
        world.run(1)
        follower = world.followers()[0]
        propose(leader, 10, LARGE)
        world.run(1)
        follower.journal.persist()
        follower.crash()
        follower.start()
        propose(leader, 6, LARGE)
        world.run(1)
        self.assertGreater(follower.node.view.first_index, 1)
        self.assert_all_equal(world)

    def test_too_much_of_the_log(self) -> None:
        """Where there is no room for what follows on a snapshot, made or being made, the log is cut. The follower gets
        another one after a while, and a line says what to do where that comes again."""
        for gate in HELD_BY_EITHER:
            world, leader, follower = self.far_behind()
            follower.start()
            held = gate(leader, follower)
            held.hold()
            world.run(1)
            start = leader.journal.last_applied
            with mock.patch.object(compaction, "HELD_SIZE", 0):
                propose(leader, (MOST_HELD + 1) * KEEP.entries)
            if held is leader.journal.snapshots:  # it has all of that
                continue
            self.assertGreater(leader.node.view.first_index, start + 1)
            with capturedLogs() as logs:
                held.let_go()
                world.run(SnapshotSending.pause - 1)
            lines = [event["log_format"].format(**event) for event in logs if event.get("log_format")]
            [line] = [line for line in lines if "could not be sent" in line]
            self.assertIn("raise keep_entries and keep_size", line)
            self.assertLessEqual(leader.journal.all_snapshots, 1)
            world.run(2)
            self.assert_all_equal(world)

    def test_full_disk(self) -> None:
        """Where there is no room, on one side or the other, both nodes go on, and it is tried again after a while."""
        for gate in HELD_BY_EITHER:
            world, leader, follower = self.far_behind()
            follower.start()
            held = gate(leader, follower)
            held.hold()
            world.run(1)
            with capturedLogs() as logs:
                held.let_go(SnapshotFailed("the disk is full"))
                world.settle()
            lines = [event["log_format"].format(**event) for event in logs if event.get("log_format")]
            [line] = [line for line in lines if "disk is full" in line and "could not be sent" in line]
            self.assertIn(f"it is tried again in {SnapshotSending.pause:g} s", line)
            world.run(SnapshotSending.pause - 1)
            self.assertEqual(follower.journal.last_applied, 0)
            [problem] = filter(None, (each.problem for each in leader.replica.members().members))
            self.assertRegex(problem, "^could not be sent a snapshot: .*the disk is full")
            world.run(2)
            self.assert_all_equal(world)
            leader.node.followers[follower.id].match_index = 0  # it may need one again, and nothing is wrong with that
            self.assertEqual(leader.node.problems(), {})
            self.assertNotIn(None, leader.files.sizes)  # the disk is asked for all the room at once

    def test_problems(self) -> None:
        """What stood in the way is known until the follower has what the log does not have any more, or another node
        leads."""
        world, leader, follower = self.far_behind(LARGE)
        follower.start()
        follower.files.writes.hold()
        world.run(0.3)
        self.assertEqual(leader.node.problems(), {})
        for wire in world.wires_of(follower.id):
            wire.close()
        world.settle()
        self.assertIn("did not get all of its snapshot yet: ", leader.node.problems()[follower.id])
        leader.node.followers[follower.id].match_index = leader.node.view.last_index  # an answer was lost, no more
        self.assertEqual(leader.node.problems(), {})
        leader.node.followers[follower.id].match_index = 0
        self.assertNotEqual(leader.node.problems(), {})
        followers = cast("dict[NodeId, Progress]", leader.node.followers)
        progress = followers.pop(follower.id)  # who was removed is no problem any more
        self.assertEqual(leader.node.problems(), {})
        followers[follower.id] = progress
        [other] = [machine for machine in world if machine not in (leader, follower)]
        leader.replica.transfer_leadership(other.id)
        world.run(1)
        self.assertEqual((leader.node.problems(), leader.replica.members().leader_id), ({}, other.id))
        other.replica.transfer_leadership(leader.id)
        world.settle()
        self.assertEqual(leader.node.followers[follower.id].match_index, 0)
        self.assertEqual((leader.node.problems(), leader.replica.members().leader_id), ({}, leader.id))

    def test_disk_that_stays_full(self) -> None:
        """The leader's log does not stay for a follower without room, or its disk would be full next; it is tried less
        and less often."""
        world, leader, follower = self.far_behind()
        follower.start()
        follower.files.writes.hold()
        world.run(1)
        snapshots = []
        for pause in (10, 20, 40, 60, 60):
            with capturedLogs() as logs:
                follower.files.writes.let_go(SnapshotFailed("the disk is full"))
                world.settle()
            lines = [event["log_format"].format(**event) for event in logs if event.get("log_format")]
            [line] = [line for line in lines if "could not be sent" in line]
            self.assertIn(f"it is tried again in {pause} s", line)
            follower.files.writes.hold()
            propose(leader, 3 * KEEP.entries)
            world.run(pause - 2)
            self.assertLess(leader.node.view.last_index - leader.node.view.first_index, 2 * KEEP.entries)
            snapshots.append(leader.journal.all_snapshots)
            world.run(3)
        self.assertEqual(snapshots, [1, 2, 3, 4, 5])
        follower.files.writes.let_go()
        world.run(2)
        self.assert_all_equal(world)


STEPS: dict[str, Callable[[Machine], Gate]] = {
    "chunks come": lambda follower: follower.files.writes,
    "it is checked": lambda follower: follower.files.finishes,
    "it is restored": lambda follower: follower.journal.restores,
    "it is removed": lambda follower: follower.files.discards,
}


class InstallTests(SnapshotTestCase):
    """An install that is cut off between any two steps."""

    def held_at(self, gate: Callable[[Machine], Gate]) -> tuple[World, Machine, Machine]:
        """A follower that has come to a step of an install."""
        world, leader, follower = self.far_behind(LARGE)
        follower.start()
        gate(follower).hold()
        world.run(1)
        self.assertTrue(gate(follower).waiting)
        return world, leader, follower

    def test_crash(self) -> None:
        """The follower crashes, and starts again, while its peers go on (hazards S10, S18)."""
        for step, gate in STEPS.items():
            with self.subTest(step):
                world, leader, follower = self.held_at(gate)
                follower.crash()
                propose(leader, 20)
                follower.start()
                world.run(3)
                self.assert_all_equal(world)

    def test_crash_before_the_log_starts_there(self) -> None:
        """The file is whole, and the log is as it was."""
        world, _, follower = self.held_at(STEPS["it is checked"])
        follower.disk.hold()
        follower.files.finishes.let_go()
        world.run(1)
        self.assertEqual(len(follower.received.received), 1)
        self.assertEqual(follower.journal.last_applied, 0)
        follower.crash()
        follower.start()
        world.run(3)
        self.assert_all_equal(world)

    def test_stop(self) -> None:
        """The follower is asked to stop: it does, without a word of failure, and starts again."""
        for step, gate in STEPS.items():
            with self.subTest(step):
                world, leader, follower = self.held_at(gate)
                follower.node.stopService()
                gate(follower).let_go()
                world.run(1)
                self.assertEqual((follower.failures, leader.failures), ([], []))
                follower.crash()
                follower.start()
                world.run(3)
                self.assert_all_equal(world)

    def test_the_leader_stops(self) -> None:
        """While it makes a snapshot, or sends it. Another one leads, and sends its own."""
        for gate in HELD_BY_EITHER:
            world, leader, follower = self.far_behind(LARGE)
            follower.start()
            held = gate(leader, follower)
            held.hold()
            world.run(1)
            leader.node.stopService()
            held.let_go()
            world.run(1)
            self.assertEqual((leader.failures, leader.journal.open_snapshots), ([], 0))
            if held is leader.files.makes:
                self.assertIsNone(leader.files._made)  # not to the end, which may be far away
            leader.crash()
            propose(world.leader(), 5)
            leader.start()
            world.run(3)
            self.assert_all_equal(world)

    def test_two_leaders(self) -> None:
        """What a leader has sent in part is not mixed with what the next one sends (hazard S10)."""
        world, leader, follower = self.held_at(STEPS["chunks come"])
        [other] = [machine for machine in world if machine not in (leader, follower)]
        leader.replica.transfer_leadership(other.id)
        world.run(1)
        self.assertIs(world.leader(), other)
        propose(other, 3, LARGE)
        with capturedLogs() as logs:
            follower.files.writes.let_go()
            world.run(3)
        self.assertEqual([event for event in logs if "could not be sent" in (event.get("log_format") or "")], [])
        self.assert_all_equal(world)

    def test_restored_at_the_start(self) -> None:
        """Where the log starts behind the data, a received file takes them there; where there is none, the start is
        refused in one line (hazard S18)."""
        world, _, follower = self.held_at(STEPS["it is restored"])
        follower.crash()
        received = dict(follower.received.received)
        follower.received.received.clear()
        with self.assertRaisesRegex(DataLost, "has applied entry 0, but the log starts at"):
            follower.start()
        follower.received.received.update(received)
        world.isolate(follower.id)
        follower.start()
        world.run(1)
        self.assertEqual(follower.journal.last_applied, follower.node.view.first_index - 1)
        world.heal()
        world.run(3)
        self.assert_all_equal(world)

    def test_not_here(self) -> None:
        """The log is not made to start where there are no data."""
        world, leader, follower = self.far_behind()
        follower.start()
        follower.files.finishes.hold()
        world.run(1)
        snapshot = Snapshot(30, 1, Configuration(tuple(world.ids)))
        follower.node.receive(leader.id, InstallSnapshot(leader.node.view.current_term, 99, snapshot))
        world.settle()
        self.assertEqual(follower.node.view.first_index, 1)
        follower.files.finishes.let_go()
        world.run(1)
        self.assert_all_equal(world)
        snapshot = Snapshot(follower.node.view.commit_index, 1, Configuration(tuple(world.ids)))
        with capturedLogs() as logs:  # where it needs none of it, it may well be told to
            follower.node.receive(leader.id, InstallSnapshot(leader.node.view.current_term, 99, snapshot))
        self.assertEqual(logs, [])
        world.run(1)
        self.assert_all_equal(world)

    def test_the_membership(self) -> None:
        """A node whose log starts after a snapshot has that one's membership, and not the one that it is started with
        (hazard M6)."""
        world, _, follower = self.far_behind()
        follower.start()
        world.run(2)
        follower.crash()
        start = follower.memory.log_start
        assert start is not None
        members = Configuration((*world.ids, 9))
        follower.memory.log_start = Snapshot(start.index, start.term, members)
        follower.start()
        self.assertEqual(follower.node.configuration, members)

    def test_jumped_over(self) -> None:
        """Who waits for a change that a snapshot jumps over is told that its outcome is unknown (hazard C7)."""
        world = self.world(keep=KEEP)
        old = world.leader()
        world.run(1)
        world.isolate(old.id)
        waiting = propose(old, 3)
        world.run(2)
        leader = next(each for each in world if each is not old and each.node.view.leader_id == each.id)
        propose(leader, 40)
        for each in waiting:
            self.assertNoResult(each)
        world.heal()
        world.run(3)
        for each in waiting:
            self.assertIs(self.outcome(each), OutcomeUnknown)
        self.assert_all_equal(world)
