"""Three nodes, each with such a machine."""

from pathlib import Path
from typing import Any, cast

from tests.memory_machine.counters import Counters, started
from tests.node.world import Machine, World, WorldTestCase
from tests.storage.worker import InlineWorker
from txraft.errors import CommandFailed
from txraft.node.compaction import Keep

KEEP = Keep(entries=8, size=1 << 30)


class ClusterTests(WorldTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.counters: dict[int, Counters] = {}

    def start(self, node: Machine) -> None:
        """With what is in its directory."""
        directory = self.directory / str(node.id)
        self.counters[node.id], machine = started(directory, InlineWorker())
        node.start(cast(Any, machine))

    def begun(self) -> tuple[World, Machine]:
        world = self.world(keep=KEEP)
        for node in world:
            if node.up:
                node.crash()
            self.start(node)
        return world, world.leader()

    def propose(self, world: World, node: Machine, command: bytes) -> Any:
        """What its proposer gets: a result, or an error."""
        outcomes: list[Any] = []
        node.replica.propose(command).addErrback(lambda failure: failure.value).addCallback(outcomes.append)
        world.run(1)
        (outcome,) = outcomes
        return outcome

    def test_command_raises(self) -> None:
        """hazard C10: whoever proposes it is told, on whichever node; all of them go on, also after a restart."""
        world, _ = self.begun()
        for restarts in range(2):
            for node in world:
                error = self.propose(world, node, b"-nothing")
                self.assertIsInstance(error, CommandFailed)
                self.assertEqual(str(error), "the command failed: KeyError: b'nothing'")
            self.assertEqual(self.propose(world, world.leader(), b"a"), b"%d" % (restarts + 1))
            for node in world:
                self.assertEqual((node.failures, self.counters[node.id].counts), ([], {b"a": restarts + 1}))
                node.crash()
                self.start(node)

    def test_far_behind(self) -> None:
        """A node was down for longer than the log goes back: it gets the others' file, and keeps it."""
        world, leader = self.begun()
        late = world.followers()[0]
        late.crash()
        for _ in range(40):
            self.assertIsInstance(self.propose(world, leader, b"a"), bytes)
        self.assertGreater(leader.replica.status().first_log_index, late.disk.load().entries[-1].index + 1)
        self.start(late)
        world.run(5)
        self.assertEqual((late.failures, self.counters[late.id].counts), ([], {b"a": 40}))
        late.crash()
        self.start(late)
        self.assertGreater(self.counters[late.id].counts[b"a"], 1)
        world.run(5)
        self.assertEqual((late.failures, self.counters[late.id].counts), ([], {b"a": 40}))
