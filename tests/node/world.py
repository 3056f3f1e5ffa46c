"""Whole nodes in one process, without real time: the real driver, replica and AMP, over memory for disk and wire.

world = World(3)
world.run(2)                      # seconds of the world's own clock
world.leader().replica.propose(...)
"""

import random
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.test import iosim
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.clock import Clock
from txraft.core.configuration import Addresses, Configuration, Snapshot
from txraft.core.messages import Entry, EntryKind, NodeId
from txraft.core.ready import Save
from txraft.core.roles import Role
from txraft.core.state import RaftOptions
from txraft.errors import ChangeRefused, CommandFailed, TxraftError, UnknownCommand
from txraft.interfaces import Identity, ISnapshot, ISnapshotFiles, IStateMachine, IStorage, SnapshotFile, Stored
from txraft.node.compaction import Keep
from txraft.node.driver import Node
from txraft.node.replica import Replica
from txraft.rpc import Network
from txraft.rpc.versions import NEWEST_VERSION
from txraft.storage.memory import MemoryDisk, MemoryStorage, PeersInMemory
from txraft.storage.memory_snapshots import MemorySnapshotDisk, MemorySnapshotFiles

T = TypeVar("T")

NOWHERE = IPv4Address("TCP", "127.0.0.1", 0)

STEP = 0.01
"""Seconds by which the clock advances at once."""


def addresses_of(node_id: NodeId) -> tuple[str, str]:
    """Where a node's Raft and its key-value store are reached."""
    return f"raft{node_id}", f"kv{node_id}"


def check_addresses(addresses: Addresses) -> None:
    """Raises ChangeRefused for what `addresses_of` does not give."""
    if not "".join(addresses).startswith("raft"):
        raise ChangeRefused("no node is reached there")


class Gate:
    """What passes here is done at once, or, after `hold`, when it is let go."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] | None = None

    def hold(self) -> None:
        """Let nothing pass until `let_go`."""
        self.waiting = []

    def let_go(self, error: Exception | None = None) -> None:
        """Let pass what waits, or fail, and what comes from now on."""
        waiting, self.waiting = self.waiting or [], None
        for each in waiting:
            each.callback(None) if error is None else each.errback(error)

    def do(self, function: "Callable[[], T]") -> "Deferred[T]":
        """Fires with what `function` gives."""
        if self.waiting is None:
            return execute(function)
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        return waiting.addCallback(lambda _: function())


@define
class Kept:
    """What a Journal has on its disk."""

    last_applied: int = 0
    commands: tuple[bytes, ...] = ()


@implementer(IStateMachine)
class Journal:
    """A state machine that remembers what was applied, and answers each command with itself in capitals: at once, or,
    after `hold`, when it is let go."""

    def __init__(self, last_applied: int = 0, kept: Kept | None = None) -> None:
        self.kept = kept or Kept(last_applied)
        self.last_applied = self.kept.last_applied
        self.commands = list(self.kept.commands)
        self.persists, self.snapshots, self.restores = Gate(), Gate(), Gate()
        self.open_snapshots = self.all_snapshots = 0
        self.calls: list[int] = []
        """How many entries each call had."""
        self.fail_with: Exception | None = None
        self.fails_on = b""
        """The one command on which it fails by itself."""
        self.unknown = b""
        """The one command that is of a later version."""
        self.answer: bytes | None = None
        """Instead of capitals."""
        self.held: list[tuple[Deferred[list[bytes | CommandFailed]], Sequence[Entry]]] | None = None

    def start(self) -> None:
        """As IStateMachine."""

    def close(self) -> "Deferred[None]":
        """As IStateMachine."""
        return succeed(None)

    def check(self, command: bytes) -> None:
        """As IStateMachine: a later version knows this one."""
        if command and command == self.unknown:
            raise UnknownCommand("a later kind")

    def apply(self, entries: Sequence[Entry]) -> "Deferred[list[bytes | CommandFailed]]":
        """Remember them."""
        self.calls.append(len(entries))
        if self.fail_with is not None:
            raise self.fail_with
        if self.held is not None:
            assert not self.held, "the last call has not been answered yet"
            self.held.append((Deferred(), entries))
            return self.held[0][0]
        return succeed([self._apply(entry) for entry in entries])

    def _apply(self, entry: Entry) -> bytes | CommandFailed:
        assert entry.index == self.last_applied + 1
        self.last_applied = entry.index
        if entry.kind is not EntryKind.COMMAND:
            return b""
        self.check(entry.data)
        self.commands.append(entry.data)
        if entry.data and entry.data == self.fails_on:
            return CommandFailed("no")
        return entry.data.upper() if self.answer is None else self.answer

    def persist(self) -> "Deferred[int]":
        """As IStateMachine."""
        return self.persists.do(self._persist)

    def _persist(self) -> int:
        self.kept.last_applied, self.kept.commands = self.last_applied, tuple(self.commands)
        return self.last_applied

    def snapshot(self) -> "Deferred[ISnapshot]":
        """As IStateMachine."""
        return self.snapshots.do(self._snapshot)

    def _snapshot(self) -> "Page":
        self.open_snapshots += 1
        self.all_snapshots += 1
        return Page(self.last_applied, tuple(self.commands), self)

    def restore(self, index: int, chunks: Iterable[bytes]) -> "Deferred[None]":
        """As IStateMachine."""
        return self.restores.do(lambda: self._restore(index, chunks))

    def _restore(self, index: int, chunks: Iterable[bytes]) -> None:
        self.commands = read_page(chunks)
        self.last_applied = index
        self._persist()

    def hold(self) -> None:
        """Answer no call until `let_go`."""
        self.held = []

    def let_go(self) -> None:
        """Answer the call that is held, if there is one, and hold the next."""
        if self.held:
            self.end(fails=False)

    def end(self, fails: bool) -> None:
        """Let the call that is held succeed, or fail as a whole, and hold the next."""
        assert self.held
        [(waiting, entries)], self.held = self.held, []
        if fails:
            waiting.errback(ValueError("no"))
        else:
            waiting.callback([self._apply(entry) for entry in entries])


@implementer(ISnapshot)
@define
class Page:
    """A Journal's snapshot: its commands, each after its length. It counts how many are open."""

    index: int
    commands: tuple[bytes, ...]
    journal: Journal

    @property
    def size(self) -> int:
        """As ISnapshot."""
        return sum(map(len, self.chunks()))

    def chunks(self) -> Iterator[bytes]:
        """As ISnapshot."""
        for command in self.commands:
            yield struct.pack(">I", len(command)) + command

    def close(self) -> "Deferred[None]":
        """As ISnapshot."""
        self.journal.open_snapshots -= 1
        return succeed(None)


def read_page(chunks: Iterable[bytes]) -> list[bytes]:
    """The commands in it."""
    data, commands = b"".join(chunks), []
    while data:
        end = 4 + struct.unpack_from(">I", data)[0]
        commands.append(data[4:end])
        data = data[end:]
    return commands


@implementer(ISnapshotFiles)
@define(eq=False)
class Files(MemorySnapshotFiles):
    """Snapshots' files whose work may be held."""

    makes: Gate = field(factory=Gate)
    writes: Gate = field(factory=Gate)
    finishes: Gate = field(factory=Gate)
    discards: Gate = field(factory=Gate)
    offsets: list[int] = field(factory=list)
    """Of what was written, in its order."""
    sizes: list[int | None] = field(factory=list)
    """Of what was made, as they were known before."""

    def make(self, snapshot: Snapshot, chunks: Iterable[bytes], size: int | None = None) -> "Deferred[SnapshotFile]":
        """As ISnapshotFiles."""
        self.sizes.append(size)
        return self.makes.do(lambda: self._make(snapshot, chunks, size))

    def received(self, file: SnapshotFile, offset: int, data: bytes) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self.writes.do(lambda: self._write(file, offset, data))

    def _write(self, file: SnapshotFile, offset: int, data: bytes) -> None:
        self._append(file, offset, data)
        self.offsets.append(offset)

    def finished(self, file: SnapshotFile) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self.finishes.do(lambda: self._finish(file))

    def discard(self, snapshot: Snapshot) -> "Deferred[None]":
        """As ISnapshotFiles."""
        return self.discards.do(lambda: self._discard(snapshot))

    def _discard(self, snapshot: Snapshot) -> None:
        super().discard(snapshot)


@implementer(IStorage)
class Disk:
    """A node's disk: it writes at once, or, after `hold`, when it is let go; or fails."""

    def __init__(self, disk: MemoryDisk, bootstrap: Configuration) -> None:
        self._storage = MemoryStorage(disk, bootstrap)
        self._held: list[tuple[Deferred[None], tuple[Save, ...]]] | None = None
        self.error: TxraftError | None = None
        self.writes: list[tuple[Save, ...]] = []

    def load(self) -> Stored:
        """As IStorage."""
        return self._storage.load()

    def save(self, saves: Iterable[Save]) -> "Deferred[None]":
        """As IStorage."""
        saves = tuple(saves)
        if self.error is not None:
            return fail(self.error)
        if self._held is not None:
            waiting: Deferred[None] = Deferred()
            self._held.append((waiting, saves))
            return waiting
        self.writes.append(saves)
        return self._storage.save(saves)

    def hold(self) -> None:
        """Finish no write until `let_go`."""
        self._held = []

    def let_go(self) -> None:
        """Finish what was held, and write at once again."""
        held, self._held = self._held or [], None
        for waiting, saves in held:
            self.save(saves).chainDeferred(waiting)

    def close(self) -> "Deferred[None]":
        """As IStorage."""
        return succeed(None)


@define(eq=False)
class Wire:
    """One connection. Cut, it carries nothing, and neither side hears of it."""

    ends: tuple[NodeId, NodeId]
    pump: iosim.IOPump

    def close(self) -> None:
        """Both sides hear that it is over."""
        for transport in (self.pump.clientIO, self.pump.serverIO):
            if not transport.disconnected:
                transport.disconnected = True
                transport.reportDisconnect()


@implementer(IStreamClientEndpoint)
@define
class Dial:
    """How one node reaches another."""

    world: "World"
    ends: tuple[NodeId, NodeId]

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """As IStreamClientEndpoint."""
        return self.world.connect(self.ends, protocolFactory)


@define(eq=False, slots=False)
class Machine:
    """One node with its disk, which outlives it."""

    world: "World"
    id: NodeId
    memory: MemoryDisk = field(factory=MemoryDisk)
    received: MemorySnapshotDisk = field(factory=MemorySnapshotDisk)
    kept: Kept = field(factory=Kept)
    up: bool = False
    failures: list[TxraftError] = field(factory=list)

    def start(self, journal: Journal | None = None, newest_version: int = NEWEST_VERSION) -> None:
        """Start the node with what is on its disk. Its state machine is as its own disk has it,
        if it is not given: empty, where nothing was persisted."""
        world = self.world
        addresses = {founder: addresses_of(founder) for founder in world.ids}
        self.disk = Disk(self.memory, Configuration(voters=world.ids, addresses=addresses))
        self.files = Files(self.received)
        self.journal = journal or Journal(kept=self.kept)
        self.failures = []
        identity = Identity(self.id, "test", frozenset(world.ids))
        chance = random.Random(world.random.random())
        self.network = Network(
            world.clock, identity, PeersInMemory(), self._dial, chance, newest_version=newest_version
        )
        self.node = Node(
            node_id=self.id,
            stored=self.disk.load(),
            storage=self.disk,
            peers=self.network,
            state_machine=self.journal,
            snapshots=self.files,
            keep=world.keep,
            options=world.options,
            clock=world.clock,
            random=random.Random(world.random.random()),
            on_failure=self.failures.append,
            check_addresses=check_addresses,
        )
        self.replica = Replica(
            self.node,
            self.network,
            "test",
            {*world.ids},
            clock=world.clock,
            request_timeout=5.0,
            patience=world.options.election_timeout,
            max_held_size=1 << 20,
            max_held=100,
        )
        self.up = True
        self.node.startService()
        self.network.start(self.node)

    def _dial(self, addresses: Addresses) -> Dial:
        return Dial(self.world, (self.id, int(addresses[0].removeprefix("raft"))))

    def crash(self) -> None:
        """End at once. What was not written is lost."""
        self.up = False
        self.node.stopService()
        self.network.stop()
        for wire in self.world.wires_of(self.id):
            wire.close()


class World:
    """Nodes 1 to n, those that join them, their wires, and one clock."""

    def __init__(
        self, size: int = 3, seed: int = 1, options: RaftOptions | None = None, keep: Keep | None = None
    ) -> None:
        self.clock = Clock()
        self.random = random.Random(seed)
        self.options = options or RaftOptions()
        self.keep = keep or Keep()
        self.ids = range(1, size + 1)
        self._wires: list[Wire] = []
        self._cut: set[frozenset[NodeId]] = set()
        self.machines = {node_id: Machine(self, node_id) for node_id in self.ids}
        for machine in self:
            machine.start()

    def __getitem__(self, node_id: NodeId) -> Machine:
        return self.machines[node_id]

    def __iter__(self) -> Iterator[Machine]:
        return iter(self.machines.values())

    def join(self, node_id: NodeId) -> Machine:
        """Start an empty node that is to be added."""
        machine = self.machines[node_id] = Machine(self, node_id)
        machine.start()
        return machine

    def connect(self, ends: tuple[NodeId, NodeId], factory: IProtocolFactory) -> "Deferred[IProtocol]":
        """A node dials another."""
        listening = self.machines.get(ends[1])
        if listening is None or not listening.up or frozenset(ends) in self._cut:
            return fail(ConnectionRefusedError())
        client = factory.buildProtocol(NOWHERE)
        server = listening.network.server_factory().buildProtocol(NOWHERE)
        assert client is not None
        assert server is not None
        pump = iosim.connect(
            server,
            iosim.FakeTransport(server, isServer=True),
            client,
            iosim.FakeTransport(client, isServer=False),
            greet=False,
            clock=self.clock,
        )
        self._wires.append(Wire(ends, pump))
        return succeed(client)

    def wires_of(self, node_id: NodeId) -> list[Wire]:
        """The connections of a node, to others and from them."""
        return [wire for wire in self._wires if node_id in wire.ends]

    def isolate(self, node_id: NodeId) -> None:
        """Carry nothing to or from a node any more. Nobody is told."""
        self._cut |= {frozenset((node_id, other)) for other in self.machines if other != node_id}

    def heal(self) -> None:
        """Carry everything again, also what has been written to the wires meanwhile."""
        self._cut.clear()

    def settle(self) -> None:
        """Let everything run that needs no time."""
        for _ in range(10_000):
            self.clock.advance(0)
            carrying = [wire for wire in self._wires if frozenset(wire.ends) not in self._cut]
            moved = [wire.pump.pump(advanceClock=False) for wire in carrying]
            due = any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls())
            if not any(moved) and not due:
                return
        raise AssertionError("the nodes do not settle: they go on at one moment for ever")

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / STEP)):
            self.clock.advance(STEP)
            self.settle()

    def leader(self) -> Machine:
        """The node that leads in the latest term, after as long as it takes to elect one: at most 10 s."""
        for _ in range(100):
            leaders = [machine for machine in self if machine.up and machine.node.view.role is Role.LEADER]
            if leaders:
                return max(leaders, key=lambda machine: machine.node.view.current_term)
            self.run(0.1)
        raise AssertionError("no leader within 10 s")

    def followers(self) -> list[Machine]:
        """The nodes that run and do not lead."""
        leader = self.leader()
        return [machine for machine in self if machine.up and machine is not leader]

    def close(self) -> None:
        """End every node."""
        for machine in self:
            if machine.up:
                machine.crash()


class WorldTestCase(SynchronousTestCase):
    """Makes worlds, and ends them."""

    def world(
        self, size: int = 3, seed: int = 1, options: RaftOptions | None = None, keep: Keep | None = None
    ) -> World:
        """A world that is closed after the test."""
        world = World(size, seed, options, keep)
        self.addCleanup(world.close)
        return world

    def begun(self) -> tuple[World, Machine]:
        """A world with a leader that all follow."""
        world = self.world()
        leader = world.leader()
        world.run(1)
        return world, leader

    def outcome(self, deferred: "Deferred[Any]") -> type[BaseException]:
        """The error of a request that has failed."""
        return type(self.failureResultOf(deferred).value)
