"""The network of nodes that pass messages as they are: an `IPeers` over links that is rougher than TCP is.

Every message may be lost, doubled, late and out of order (hazard R19). What has an answer, a proposal or a read
barrier, belongs to a connection, as it does over AMP: when that breaks, the outcome is unknown. Who is let in, the real
handshake says, except of directories. (`txraft.testing.streams` is the other `IPeers`: the real one, over simulated
TCP.)
"""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.core.changes import Change
from txraft.core.configuration import Addresses, Configuration
from txraft.core.messages import Message, NodeId
from txraft.errors import (
    ChangeRefused,
    CommandFailed,
    MemberRemoved,
    NotApplied,
    OutcomeUnknown,
    Undecided,
    Unreachable,
)
from txraft.interfaces import Identity, IPeerHandler, IPeers, SnapshotFile
from txraft.rpc.handshake import Party, Refusal, check, greeting
from txraft.rpc.versions import NEWEST_VERSION
from txraft.testing.links import Links
from txraft.testing.schedule import Process, Schedule

_T = TypeVar("_T")

REDIAL = (0.005, 0.1)
"""Seconds until a lost connection is tried again."""
AGAIN = 0.05
"""Seconds until TCP sends again what has not come through."""


class Station(Protocol):
    """What the network needs of a node's machine."""

    id: NodeId
    identity: Identity
    addresses: set[str]
    """Where it listens. What one of them is begins with its id: `3`, and when it has moved, `3.1`."""

    @property
    def process(self) -> Process | None:
        """What runs on it now."""

    @property
    def handler(self) -> IPeerHandler:
        """Its node. Only while a process runs."""

    def deliver(self, sender: NodeId, message: Message) -> bool:
        """A message arrived at the machine. Whether a process runs there, to take it."""

    def message_lost(self, to: NodeId, message: Message) -> None:
        """A copy of what the machine sent does not arrive. For the transcript: no process hears of it."""

    def may_act(self) -> bool:
        """Something is about to leave the machine's process. It may die instead."""


@define(eq=False)
class Connection:
    """What one node has dialled to another, and the questions on it that are not answered yet."""

    dialler: "Datagrams"
    peer: Station
    peer_process: Process
    addresses: Addresses
    """Where the peer was dialled."""
    open: bool = True
    _asked: dict[int, tuple["Deferred[Any]", type[Undecided]]] = field(factory=dict)
    _last: int = 0

    def ask(self, question: Callable[[], "Deferred[Any]"], if_lost: type[Undecided]) -> "Deferred[Any]":
        """Send a question; the connection being lost, it fails with `if_lost`."""
        self._last += 1
        answered: Deferred[Any] = Deferred()
        self._asked[self._last] = answered, if_lost
        self._carry(self.dialler.station, self.peer, self._arrive, question, self._last)
        return answered

    def _arrive(self, question: Callable[[], "Deferred[Any]"], number: int) -> None:
        self.peer_process.enter(self._put, question, number)

    def _put(self, question: Callable[[], "Deferred[Any]"], number: int) -> None:
        self.dialler.schedule.steps += 1
        question().addBoth(self._answer, number)

    def _answer(self, result: object, number: int) -> None:
        if self.peer_process.alive and self.peer.may_act():
            self._carry(self.peer, self.dialler.station, self._answered, result, number)

    def _answered(self, result: object, number: int) -> None:
        self.dialler.process.enter(self._give, result, number)

    def _give(self, result: object, number: int) -> None:
        answered, if_lost = self._asked.pop(number, (None, NotApplied))
        if answered is None or answered.called:
            return
        if isinstance(result, Failure):
            known = result.check(NotApplied, OutcomeUnknown, ChangeRefused, CommandFailed)
            answered.errback(result if known else Failure(if_lost(result.getErrorMessage())))
        else:
            answered.callback(result)

    def _carry(self, sender: Station, receiver: Station, arrive: Callable[..., None], *args: Any) -> None:
        """Carry something, as TCP does: late, if the way is cut, and never where the connection is lost first."""
        links = self.dialler.links
        if self.open and links.carries(sender.id, receiver.id):
            self.dialler.schedule.after(links.delay(), arrive, *args)
        elif self.open:
            self.dialler.schedule.after(AGAIN, self._carry, sender, receiver, arrive, *args)

    def close(self) -> None:
        """The connection is lost, and the dialler hears of it."""
        if self.open:
            self.open = False
            self.dialler.process.enter(self.dialler.lost, self)

    def give_up(self) -> None:
        """Tell those who wait for answers."""
        asked, self._asked = self._asked, {}
        for answered, if_lost in asked.values():
            if not answered.called:
                answered.errback(if_lost("the connection was lost"))


@implementer(IPeers)
@define(eq=False)
class Datagrams:
    """A process's peers."""

    schedule: Schedule
    links: Links
    station: Station
    process: Process
    stations: Mapping[NodeId, Station]
    everyone: "dict[NodeId, Datagrams]"
    """The latest of each node."""
    connections: dict[NodeId, Connection] = field(factory=dict, init=False)
    _followed: dict[NodeId, Addresses] = field(factory=dict, init=False)
    _removed: frozenset[NodeId] = field(default=frozenset(), init=False)
    _configuration_index: int = field(default=0, init=False)
    _dialling: set[NodeId] = field(factory=set, init=False)
    """Whom it is going to dial."""
    _runs: bool = field(default=False, init=False)

    @property
    def peers(self) -> IPeers:
        """What the node sends by."""
        return self

    def start(self, _handler: IPeerHandler) -> None:
        """Dial every peer, and let peers in."""
        self.everyone[self.station.id] = self
        self._runs = True
        for peer in self._followed:
            self._dial_soon(peer)

    def crashed(self) -> None:
        """The process is dead. Its peers hear so: at once, or, where the machine has lost power, when TCP finds out."""
        for mine in self.connections.values():
            mine.open = False
        for other in self.everyone.values():
            connection = other.connections.get(self.station.id)
            if connection is not None and connection.peer_process is self.process:
                powerless = self.links.random.random() < 0.2
                self.schedule.after(self.links.random.random() if powerless else self.links.delay(), connection.close)

    def knows_who_lives(self) -> bool:
        """Whether every connection leads to a process that lives."""
        return all(connection.peer_process.alive for connection in self.connections.values())

    def break_connection(self, peer: NodeId) -> None:
        """Break what this process has dialled to `peer`."""
        connection = self.connections.get(peer)
        if connection is not None:
            connection.close()

    # IPeers

    def follow(self, peers: Mapping[NodeId, Addresses], removed: Set[NodeId], configuration_index: int) -> None:
        """As IPeers."""
        known = self._followed
        self._followed = {peer: peers[peer] or known.get(peer, ()) for peer in sorted(peers)}
        self._removed = frozenset(removed) - peers.keys()
        self._configuration_index = configuration_index
        for peer, connection in list(self.connections.items()):
            if self._followed.get(peer) != connection.addresses:
                self.schedule.after(0, connection.close)
        for peer in sorted(self._removed):
            if (coming := self._incoming(peer)) is not None:
                self.schedule.after(0, coming.close)
        if self._runs:
            for peer in self._followed.keys() - self.connections.keys():
                self._dial_soon(peer)

    def versions(self) -> Mapping[NodeId, int]:
        """As IPeers: all are of this release."""
        return dict.fromkeys([peer for peer in self.stations if self._is_connected(peer)], NEWEST_VERSION)

    def send(self, to: NodeId, message: Message) -> None:
        """As IPeers."""
        copies = self.links.copies() if self._is_connected(to) else 0
        for _ in range(copies):
            self.schedule.after(self.links.delay(), self._arrive, to, message)
        if not copies:
            self.station.message_lost(to, message)

    def propose(self, to: NodeId, command: bytes) -> "Deferred[bytes]":
        """As IPeers."""
        return self._ask(to, OutcomeUnknown, lambda handler: handler.passed_on(command))

    def read_barrier(self, to: NodeId) -> "Deferred[int]":
        """As IPeers."""
        return self._ask(to, Unreachable, lambda handler: handler.read_index())

    def transfer_leadership(self, leader: NodeId, target: NodeId) -> "Deferred[NodeId]":
        """As IPeers."""
        return self._ask(leader, OutcomeUnknown, lambda handler: handler.transfer_leadership(target))

    def change_members(self, leader: NodeId, changes: Sequence[Change]) -> "Deferred[Configuration]":
        """As IPeers."""
        return self._ask(leader, OutcomeUnknown, lambda handler: handler.change_members(changes))

    def send_snapshot(
        self, to: NodeId, file: SnapshotFile, read: "Callable[[int, int], Deferred[bytes]]", term: int
    ) -> "Deferred[None]":
        """As IPeers."""
        return Deferred.fromCoroutine(self._send_snapshot(to, file, read, term))

    async def _send_snapshot(
        self, to: NodeId, file: SnapshotFile, read: "Callable[[int, int], Deferred[bytes]]", term: int
    ) -> None:
        me = self.station.id
        offset = await self._ask(to, Unreachable, lambda handler: handler.snapshot_offered(me, term, file))
        while offset < file.size:
            data = await read(offset, file.size)
            await self._send_chunk(to, file, offset, data)
            offset += len(data)
        await self._ask(to, Unreachable, lambda handler: handler.snapshot_finished(me, file))

    def _send_chunk(self, to: NodeId, file: SnapshotFile, offset: int, data: bytes) -> "Deferred[None]":
        """One counts, by a connection. A copy may come later, also when this transfer is over; nobody is told."""

        def receive(handler: IPeerHandler) -> "Deferred[None]":
            return handler.snapshot_received(self.station.id, file, offset, data)

        def sent(result: _T) -> _T:
            if self.links.copies() > 1:
                self.schedule.after(self.links.delay(), self._arrive_late, to, receive)
            return result

        return self._ask(to, Unreachable, receive).addBoth(sent)

    def _arrive_late(self, to: NodeId, receive: "Callable[[IPeerHandler], Deferred[None]]") -> None:
        station = self.stations[to]
        if station.process is not None and self.links.carries(self.station.id, to):
            station.process.enter(lambda: _forget(receive(station.handler)))

    def _ask(
        self, to: NodeId, if_lost: type[Undecided], question: Callable[[IPeerHandler], "Deferred[Any]"]
    ) -> "Deferred[Any]":
        connection = self.connections.get(to)
        if connection is None:
            return fail(Unreachable(f"there is no connection to node {to}"))
        return connection.ask(lambda: question(connection.peer.handler), if_lost)

    def _arrive(self, to: NodeId, message: Message) -> None:
        if not (self.links.carries(self.station.id, to) and self.stations[to].deliver(self.station.id, message)):
            self.station.message_lost(to, message)

    # Connections

    def lost(self, connection: Connection) -> None:
        """A connection has been lost, and this process knows."""
        peer = connection.peer.id
        del self.connections[peer]
        if peer in self._followed:
            self.station.handler.peer_lost(peer)
        connection.give_up()
        self._dial_soon(peer)

    def _incoming(self, peer: NodeId) -> Connection | None:
        """What another node's process has dialled to this one."""
        calling = self.everyone.get(peer)
        connection = calling.connections.get(self.station.id) if calling is not None else None
        is_mine = connection is not None and connection.open and connection.peer_process is self.process
        return connection if is_mine else None

    def _is_connected(self, peer: NodeId) -> bool:
        return peer in self.connections or self._incoming(peer) is not None

    def _dial_soon(self, peer: NodeId) -> None:
        if peer in self._followed and peer not in self._dialling:
            self._dialling.add(peer)
            self.schedule.after(self.links.random.uniform(*REDIAL), self.process.enter, self._dial, peer)

    def _dial(self, peer: NodeId) -> None:
        self._dialling.discard(peer)
        if peer not in self._followed or peer in self.connections:
            return
        addresses = self._followed[peer]
        station = station_at(addresses, self.stations)
        listens = station is not None and station.process is not None and not station.process.paused
        if station is None or not listens or not self.links.connects(self.station.id, station.id):
            self._dial_soon(peer)
        elif (refusal := check(self.everyone[station.id].party, greeting(self.party, peer))) is Refusal.REMOVED:
            self.station.handler.refused(peer, MemberRemoved(self.station.id, told_by=peer))
            self._dial_soon(peer)
        elif refusal is not None:
            self._dial_soon(peer)
        else:
            assert station.process is not None
            self.connections[peer] = Connection(self, station, station.process, addresses)
            self.station.handler.peer_connected(peer)

    @property
    def party(self) -> Party:
        """Its side of a handshake. That is the real one, without the directories."""
        return Party(self.station.identity, self._followed.keys(), self._removed, self._configuration_index)


def station_at(addresses: Addresses, stations: Mapping[NodeId, Station]) -> Station | None:
    """Which machine listens there."""
    for address in addresses:
        station = stations.get(int(address.partition(".")[0]))
        if station is not None and address in station.addresses:
            return station
    return None


def _forget(answer: "Deferred[None]") -> None:
    """Nobody waits for this answer."""
    answer.addErrback(lambda _: None)
