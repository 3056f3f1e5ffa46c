"""Networks joined in memory, and a handler that remembers."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import Random

from attrs import Factory, define, field
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IPullProducer, IStreamClientEndpoint
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.logger import LogEvent, LogLevel
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect
from zope.interface import implementer

from tests.clock import Clock
from txraft.core.changes import Change
from txraft.core.configuration import Addresses, Configuration
from txraft.core.messages import Message, NodeId
from txraft.errors import TxraftError
from txraft.interfaces import Identity, Incarnation, IPeerHandler, SnapshotFile
from txraft.rpc import LinkLimits, Network
from txraft.rpc.amp_commands import Hello, Met, RemovedThere
from txraft.rpc.directories import Verdict
from txraft.rpc.handshake import Party, greeting
from txraft.rpc.versions import NEWEST_VERSION
from txraft.storage.memory import PeersInMemory

CLUSTER = "a cluster"
VOTERS = frozenset({0, 1})
MEMBERS = Configuration(VOTERS)
ADDRESS = IPv4Address("TCP", "127.0.0.1", 8080)


@implementer(IPeerHandler)
@define(eq=False)
class Recorder:
    """Remembers what it is called with, and answers as it is told to."""

    received: list[tuple[NodeId, Message]] = Factory(list)
    events: list[str] = Factory(list)
    proposals: list[bytes] = Factory(list)
    on_receive: Callable[[], None] = lambda: None
    on_propose: Callable[[], Deferred[bytes]] = lambda: succeed(b"done")
    on_read: Callable[[], Deferred[int]] = lambda: succeed(7)
    on_transfer: Callable[[NodeId], Deferred[NodeId]] = succeed
    changes: list[Sequence[Change]] = Factory(list)
    on_change: Callable[[], Deferred[Configuration]] = lambda: succeed(MEMBERS)
    offers: list[tuple[NodeId, int, SnapshotFile]] = Factory(list)
    chunks: list[tuple[NodeId, SnapshotFile, int, bytes]] = Factory(list)
    finished: list[tuple[NodeId, SnapshotFile]] = Factory(list)
    on_offer: Callable[[], Deferred[int]] = lambda: succeed(0)
    on_chunk: Callable[[], Deferred[None]] = lambda: succeed(None)
    on_finish: Callable[[], Deferred[None]] = lambda: succeed(None)

    def receive(self, sender: NodeId, message: Message) -> None:
        """Remember the message."""
        self.received.append((sender, message))
        self.on_receive()

    def peer_connected(self, peer: NodeId) -> None:
        """Remember it."""
        self.events.append(f"connected {peer}")

    def peer_lost(self, peer: NodeId) -> None:
        """Remember it."""
        self.events.append(f"lost {peer}")

    def refused(self, peer: NodeId, error: TxraftError) -> None:
        """Remember it."""
        self.events.append(f"refused by {peer}: {error}")

    def passed_on(self, command: bytes) -> Deferred[bytes]:
        """Remember the command, and answer."""
        self.proposals.append(command)
        return self.on_propose()

    def read_index(self) -> Deferred[int]:
        """Answer."""
        return self.on_read()

    def transfer_leadership(self, target: NodeId) -> Deferred[NodeId]:
        """Remember it, and answer: that it is done, if nothing else is wanted."""
        self.events.append(f"transfer to {target}")
        return self.on_transfer(target)

    def change_members(self, changes: Sequence[Change]) -> Deferred[Configuration]:
        """Remember them, and answer."""
        self.changes.append(changes)
        return self.on_change()

    def snapshot_offered(self, sender: NodeId, term: int, file: SnapshotFile) -> Deferred[int]:
        """Remember it, and answer: that nothing is here, if nothing else is wanted."""
        self.offers.append((sender, term, file))
        return self.on_offer()

    def snapshot_received(self, sender: NodeId, file: SnapshotFile, offset: int, data: bytes) -> Deferred[None]:
        """Remember it, and answer."""
        self.chunks.append((sender, file, offset, data))
        return self.on_chunk()

    def snapshot_finished(self, sender: NodeId, file: SnapshotFile) -> Deferred[None]:
        """Remember it, and answer."""
        self.finished.append((sender, file))
        return self.on_finish()


@implementer(IStreamClientEndpoint)
@define(eq=False)
class MemoryEndpoint:
    """Dials a factory in memory; fails while there is none."""

    clock: Clock
    target: IProtocolFactory | None = None
    pumps: list[IOPump] = Factory(list)
    attempts: int = 0
    error: Exception = Factory(Refused)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Join what the two factories build."""
        self.attempts += 1
        server = None if self.target is None else self.target.buildProtocol(ADDRESS)
        client = protocolFactory.buildProtocol(ADDRESS)
        if server is None or client is None:
            return fail(self.error)
        transports = MemoryTransport(server, True), MemoryTransport(client, False)
        self.pumps.append(connect(server, transports[0], client, transports[1], greet=False, clock=self.clock))
        return succeed(client)


class QuickTransport(StringTransport):
    """Before a socket that takes whatever comes."""

    sends = 0
    """How often it was told to send."""

    def writeSomeData(self, data: bytes) -> int:
        """Send it."""
        self.sends += 1
        self.write(data)
        return len(data)


class MemoryTransport(FakeTransport):
    """Before a socket that takes whatever comes, until it is full for ever."""

    full = False

    def writeSomeData(self, data: bytes) -> int:
        """Send it, or nothing."""
        if self.full:
            return 0
        self.write(data)
        return len(data)

    def registerProducer(self, producer: IPullProducer, streaming: bool) -> None:
        """Ask it once, and, when full, never again."""
        super().registerProducer(producer, streaming)
        if self.full:
            self.producer = None


class SlowTransport(FileDescriptor):
    """Twisted's own buffering of what is written, before a socket that sends only what it is told to."""

    def __init__(self) -> None:
        super().__init__(MemoryReactor())
        self.connected = 1
        self.held = 0
        """Bytes that were written to it and are not sent."""
        self.sent = b""
        self.room = 0
        """Bytes that the socket takes now."""
        self.lost = False

    def write(self, data: bytes) -> None:
        """Count it."""
        self.held += len(data)
        super().write(data)

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """Send what there is room for."""
        if self.lost:
            return ConnectionLost()
        part = bytes(data[: self.room])
        self.room -= len(part)
        self.sent += part
        return len(part)

    def doWrite(self) -> object:
        """Send some of what is held."""
        sent = len(self.sent)
        result: object = super().doWrite()
        self.held -= len(self.sent) - sent
        return result

    def take(self, size: int) -> None:
        """The peer takes in `size` bytes, or what there is."""
        self.room = size
        while self.room and self.held:
            self.doWrite()

    def abortConnection(self) -> None:
        """End at once."""
        self.connectionLost(Failure(ConnectionAborted()))


def others(me: NodeId) -> dict[NodeId, Addresses]:
    """Where node 0 has node 1, and the other way round."""
    return {1 - me: (f"host{1 - me}:8080", "api")}


@define(eq=False)
class Cluster:
    """Networks 0 and 1 with a handler each; each dials the other, unless told otherwise."""

    limits: LinkLimits = Factory(LinkLimits)
    versions: tuple[int, int] = (NEWEST_VERSION, NEWEST_VERSION)
    identities: tuple[Identity, Identity] = (Identity(0, CLUSTER, VOTERS), Identity(1, CLUSTER, VOTERS))
    memories: tuple[PeersInMemory, PeersInMemory] = Factory(lambda: (PeersInMemory(), PeersInMemory()))
    clock: Clock = Factory(Clock)
    handlers: list[Recorder] = field(init=False)
    endpoints: list[MemoryEndpoint] = field(init=False)
    """endpoints[0] is the one by which 0 dials 1."""
    elsewhere: dict[str, MemoryEndpoint] = field(init=False, factory=dict)
    """By other addresses, for both."""
    networks: list[Network] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.handlers = [Recorder(), Recorder()]
        self.endpoints = [MemoryEndpoint(self.clock), MemoryEndpoint(self.clock)]
        self.networks = [
            Network(
                self.clock,
                identity,
                self.memories[me],
                partial(self._dial, me),
                Random(me),
                self.limits,
                self.versions[me],
            )
            for me, identity in enumerate(self.identities)
        ]
        for me, network in enumerate(self.networks):
            network.follow(others(me), frozenset(), 0)

    def _dial(self, me: int, addresses: Addresses) -> IStreamClientEndpoint:
        return self.endpoints[me] if addresses == others(me)[1 - me] else self.elsewhere[addresses[0]]

    def start(self, *dialling: int) -> "Cluster":
        """Start both; only the nodes named in `dialling` (both, where none is) find the other one listening."""
        for me in dialling or (0, 1):
            self.endpoints[me].target = self.networks[1 - me].server_factory()
        for me in (1, 0):
            self.networks[me].start(self.handlers[me])
        self.advance(2)
        return self

    def advance(self, seconds: float) -> None:
        """Let time pass in small steps, and everything that is written arrive."""
        self.settle()
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            self.settle()

    def settle(self) -> None:
        """Let everything that is written arrive."""
        everywhere = (*self.endpoints, *self.elsewhere.values())
        while any(pump.flush() for endpoint in everywhere for pump in endpoint.pumps):
            pass

    def cut(self, dialler: int) -> None:
        """End the latest connection that `dialler` made."""
        pump = self.endpoints[dialler].pumps[-1]
        pump.clientIO.loseConnection()
        pump.flush()


def hello_box(**changes: object) -> bytes:
    """The bytes of a Hello from node 1 to node 0, with changes."""
    hello = greeting(Party(Identity(1, CLUSTER, VOTERS)), 0, PeersInMemory().own)
    box = Hello.makeArguments(hello.arguments() | changes, None)
    box[amp.COMMAND], box[amp.ASK] = Hello.commandName, b"1"
    serialized: bytes = box.serialize()
    return serialized


def met_box(verdict: Verdict = Verdict.WELCOME, drawn: bytes = b"") -> bytes:
    """The bytes by which node 1, which dialled, ends its handshake."""
    box = Met.makeArguments({"drawn": drawn, "verdict": verdict}, None)
    box[amp.COMMAND], box[amp.ASK] = Met.commandName, b"2"
    return bytes(box.serialize())


def handshake(verdict: Verdict = Verdict.WELCOME, drawn: bytes = b"", **changes: object) -> bytes:
    """The bytes of all that node 1 says until its connection to node 0 is up."""
    return hello_box(**changes) + met_box(verdict, drawn or PeersInMemory().own.start)


def hello_answer(
    incarnation: Incarnation | None = None, drawn: bytes = b"", known: int = 0, version: int | None = NEWEST_VERSION
) -> bytes:
    """The bytes by which node 1 answers the Hello of node 0, the first question of that."""
    answer = {"incarnation": incarnation or PeersInMemory().own, "drawn": drawn, "known": known, "version": version}
    box = Hello.makeResponse(answer, None)
    box[amp.ANSWER] = b"1"
    return bytes(box.serialize())


def met_answer(verdict: Verdict = Verdict.WELCOME) -> bytes:
    """The bytes by which node 1 answers Met, the second question."""
    box = Met.makeResponse({"verdict": verdict}, None)
    box[amp.ANSWER] = b"2"
    return bytes(box.serialize())


def removed_answer(text: str) -> bytes:
    """The bytes by which node 1 says that node 0 was removed, which answer its Hello."""
    error = {amp.ERROR: b"1", amp.ERROR_CODE: Hello.fatalErrors[RemovedThere], amp.ERROR_DESCRIPTION: text.encode()}
    return bytes(amp.Box(error).serialize())


def dial(network: Network, address: IPv4Address = ADDRESS) -> tuple[IProtocol, QuickTransport]:
    """A bare connection to `network`: its protocol, and the transport that shows what it writes."""
    protocol, transport = network.server_factory().buildProtocol(address), QuickTransport()
    assert protocol is not None
    protocol.makeConnection(transport)
    return protocol, transport


def warnings(events: Iterable[LogEvent]) -> list[str]:
    """The lines in the log from warnings up."""
    return [event["log_format"].format(**event) for event in events if event["log_level"] >= LogLevel.warn]
