"""TCP, simulated, with the real AMP over it: what `txraft.rpc.Network` dials, and its transports.

Bytes arrive in order and once, in pieces that end where chance says, not where a box does. While the way is cut they
wait; when a connection breaks, some of what was still on its way arrives before the end, which may be half a box.
"""

from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IPullProducer, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.core.configuration import Addresses
from txraft.core.messages import NodeId
from txraft.interfaces import IPeerHandler, IPeerMemory
from txraft.rpc import Network
from txraft.testing.links import Links
from txraft.testing.schedule import Process, Schedule
from txraft.testing.simulated_network import AGAIN, Station, station_at

BUFFER = 64 << 10
"""Bytes that may be on their way before a socket takes no more."""

_ADDRESS = IPv4Address("TCP", "127.0.0.1", 0)


@define(eq=False, slots=False)
class Transport:
    """One end of a connection: as much of a TCP transport as AMP uses."""

    station: Station
    process: Process
    links: Links
    other: "Transport" = field(init=False)
    protocol: IProtocol | None = None
    """None before the connection is made, and when it is lost."""
    lost: bool = False
    _coming: bytes = b""
    """On its way here."""
    _producer: IPullProducer | None = None
    _waits: bool = False
    """Whether the producer waits until everything has arrived at the other end."""
    _due: bool = False

    def write(self, data: bytes) -> None:
        """Send bytes to the other end, however many are on their way."""
        if not self.lost and self.station.may_act():
            self.other.carry(data)
            self._waits = self._producer is not None

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """Send as many of the bytes as there is room for on the way. How many these are."""
        if self.lost:
            return ConnectionLost()
        if self.station.may_act():
            data = data[: max(0, BUFFER - len(self.other._coming))]
            self.other.carry(data)
        return len(data)

    def carry(self, data: bytes) -> None:
        """Bytes are on their way to this end."""
        self._coming += data
        if not self._due:
            self._due = True
            self.process.schedule.after(self.links.delay(), self._arrive)

    def _arrive(self) -> None:
        self._due = False
        if self.lost or not self._coming:
            return
        if not self.links.carries(self.other.station.id, self.station.id):
            self._due = True
            self.process.schedule.after(AGAIN, self._arrive)
            return
        size, random = len(self._coming), self.links.random
        piece = size if random.random() < 0.8 else random.randint(1, size)
        data, rest = self._coming[:piece], self._coming[piece:]
        self._coming = b""
        self.process.enter(self._receive, data)
        if rest:
            self.carry(rest)
        elif self.other._waits:
            self.process.schedule.after(self.links.delay(), self.other.process.enter, self.other._resume)

    def _resume(self) -> None:
        if self._producer is not None and self._waits and not self.other._coming:
            self._waits = False
            self._producer.resumeProducing()

    def _receive(self, data: bytes) -> None:
        if self.protocol is not None:
            self.protocol.dataReceived(data)

    def break_off(self) -> None:
        """The connection is lost for this end, in the middle of what was coming."""
        if self.lost:
            return
        self.lost = True
        if self._coming:
            self.process.enter(self._receive, self._coming[: self.links.random.randint(0, len(self._coming))])
        self.process.enter(self._hear_the_end)

    def _hear_the_end(self) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionLost()))

    # As ITransport and IConsumer

    def loseConnection(self) -> None:
        """Close the connection."""
        self.abortConnection()

    def abortConnection(self) -> None:
        """Close the connection; the other end hears of it later."""
        self.process.callLater(0, self.break_off)
        self.process.schedule.after(self.links.delay(), self.other.break_off)

    def registerProducer(self, producer: IPullProducer, streaming: bool) -> None:
        """Ask the producer for more now, and whenever everything has arrived."""
        assert not streaming
        self._producer = producer
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Nobody waits any more."""
        self._producer, self._waits = None, False

    def getPeer(self) -> IAddress:
        """Nothing that matters."""
        return _ADDRESS


@implementer(IStreamClientEndpoint)
@define(eq=False)
class Dial:
    """How one process reaches what listens at these addresses."""

    streams: "Streams"
    addresses: Addresses

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """As IStreamClientEndpoint. Refused where nobody listens, or nothing gets through."""
        streams = self.streams
        done: Deferred[IProtocol] = Deferred()
        streams.schedule.after(streams.links.delay(), self._reach, protocolFactory, done)
        return done

    def _reach(self, factory: IProtocolFactory, done: "Deferred[Any]") -> None:
        streams = self.streams
        if not streams.process.alive or done.called:  # or nobody wants it any more
            return
        station = station_at(self.addresses, streams.stations)
        listening = streams.everyone.get(station.id) if station is not None else None
        if listening is None or not streams.links.connects(streams.station.id, listening.station.id):
            streams.process.enter(done.errback, Failure(ConnectionRefusedError()))
            return
        here = Transport(streams.station, streams.process, streams.links)
        there = Transport(listening.station, listening.process, streams.links)
        here.other, there.other = there, here
        # From now on each end breaks when the other's process dies, also before it has been told of the connection.
        streams.transports.append(here)
        listening.transports.append(there)
        listening.process.enter(listening.accept, there)
        streams.process.enter(self._made, factory, here, done)

    def _made(self, factory: IProtocolFactory, transport: Transport, done: "Deferred[Any]") -> None:
        if done.called:
            transport.abortConnection()
        else:
            self.streams.take(transport, factory)
            done.callback(transport.protocol)


@define(eq=False)
class Streams:
    """A process's peers: the real network over simulated TCP."""

    schedule: Schedule
    links: Links
    station: Station
    process: Process
    random: Random
    memory: IPeerMemory
    stations: Mapping[NodeId, Station]
    everyone: "dict[NodeId, Streams]"
    """The streams of all processes that live."""
    peers: Network = field(init=False)
    transports: list[Transport] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        dial = partial(Dial, self)
        self.peers = Network(self.process, self.station.identity, self.memory, dial, self.random)

    def start(self, handler: IPeerHandler) -> None:
        """Dial every peer, and listen."""
        self.everyone[self.station.id] = self
        self.peers.start(handler)

    def accept(self, transport: Transport) -> None:
        """Somebody has dialled this process."""
        self.take(transport, self.peers.server_factory())

    def take(self, transport: Transport, factory: IProtocolFactory) -> None:
        """A connection is open."""
        protocol = factory.buildProtocol(_ADDRESS)
        if protocol is None:
            transport.abortConnection()
            return
        self.transports = [each for each in self.transports if not each.lost]
        transport.protocol = protocol
        protocol.makeConnection(transport)  # type: ignore[arg-type]  # it is as much of a transport as AMP uses

    def crashed(self) -> None:
        """The process is dead. Its peers hear so, each at its time."""
        if self.everyone.get(self.station.id) is self:
            del self.everyone[self.station.id]
        for transport in self.transports:
            self.schedule.after(self.links.delay(), transport.other.break_off)

    def knows_who_lives(self) -> bool:
        """Whether every connection leads to a process that lives."""
        return all(each.lost or each.other.process.alive for each in self.transports)

    def break_connection(self, peer: NodeId) -> None:
        """Break what this process has dialled to `peer`, or was dialled by it."""
        for transport in list(self.transports):
            if transport.other.station.id == peer:
                transport.break_off()
                self.schedule.after(self.links.delay(), transport.other.break_off)
