"""The network: who can hear whom, how long it takes, and what gets lost on the way.

`Links` knows the conditions. `Datagrams` is an `IPeers` over them that is rougher than TCP is: every message may be
lost, doubled, late and out of order (hazard R19). What has an answer, a proposal or a read barrier, belongs to a
connection, as it does over AMP: when that breaks, the outcome is unknown. (`txraft.testing.streams` is the other
`IPeers`: the real one, over simulated TCP.)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from random import Random
from typing import Any, Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.core.changes import Change
from txraft.core.configuration import Addresses, Configuration
from txraft.core.messages import Message, NodeId
from txraft.errors import ChangeRefused, CommandFailed, NotApplied, OutcomeUnknown, Undecided, Unreachable
from txraft.interfaces import IPeerHandler, IPeers, SnapshotFile
from txraft.rpc.versions import NEWEST_VERSION
from txraft.testing.schedule import Process, Schedule

_T = TypeVar("_T")

REDIAL = (0.005, 0.1)
"""Seconds until a lost connection is tried again."""
AGAIN = 0.05
"""Seconds until TCP sends again what has not come through."""


@define
class Noise:
    """What happens to messages on their way."""

    loss: float = 0.0
    """The share of them that is lost."""
    doubling: float = 0.0
    """The share that arrives twice."""
    lateness: float = 0.0
    """The share that is late, by up to `late_by` seconds, and so overtaken by others."""
    late_by: float = 1.0


@define(eq=False)
class Links:
    """Every way from one node to another."""

    random: Random
    noise: Noise = field(factory=Noise)
    latency: tuple[float, float] = (0.0002, 0.002)
    """Seconds that a message takes, from and to."""
    _cuts: dict[tuple[NodeId, NodeId], int] = field(factory=dict)

    def cut(self, ways: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Let nothing through from the first of each pair to the second. Cuts add up."""
        for way in ways:
            self._cuts[way] = self._cuts.get(way, 0) + 1

    def join(self, ways: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Take one cut of each away again."""
        for way in ways:
            self._cuts[way] = max(0, self._cuts.get(way, 0) - 1)

    def heal(self) -> None:
        """Take every cut away, and all noise."""
        self._cuts.clear()
        self.noise = Noise()

    def carries(self, sender: NodeId, receiver: NodeId) -> bool:
        """Whether anything gets through this way."""
        return not self._cuts.get((sender, receiver))

    def connects(self, one: NodeId, other: NodeId) -> bool:
        """Whether a connection between the two can be opened."""
        return self.carries(one, other) and self.carries(other, one)

    def delay(self) -> float:
        """Seconds that this message takes."""
        low, high = self.latency
        delay = low + (high - low) * self.random.random()
        if self.noise.lateness and self.random.random() < self.noise.lateness:
            delay += self.noise.late_by * self.random.random()
        return delay

    def copies(self) -> int:
        """How often this message arrives."""
        noise = self.noise
        if noise.loss and self.random.random() < noise.loss:
            return 0
        return 2 if noise.doubling and self.random.random() < noise.doubling else 1


class Station(Protocol):
    """What the network needs of a node's machine."""

    id: NodeId

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

    @property
    def peers(self) -> IPeers:
        """What the node sends by."""
        return self

    def start(self, _handler: IPeerHandler) -> None:
        """Dial every peer."""
        self.everyone[self.station.id] = self
        for peer in self.stations:
            if peer != self.station.id:
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

    def versions(self) -> Mapping[NodeId, int]:
        """As IPeers: all are of this release."""
        return dict.fromkeys(self.connections, NEWEST_VERSION)

    def send(self, to: NodeId, message: Message) -> None:
        """As IPeers."""
        copies = self.links.copies() if to in self.connections else 0
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
        del self.connections[connection.peer.id]
        self.station.handler.peer_lost(connection.peer.id)
        connection.give_up()
        self._dial_soon(connection.peer.id)

    def _dial_soon(self, peer: NodeId) -> None:
        self.schedule.after(self.links.random.uniform(*REDIAL), self.process.enter, self._dial, peer)

    def _dial(self, peer: NodeId) -> None:
        station = self.stations[peer]
        if station.process is None or station.process.paused or not self.links.connects(self.station.id, peer):
            self._dial_soon(peer)
            return
        self.connections[peer] = Connection(self, station, station.process)
        self.station.handler.peer_connected(peer)


def _forget(answer: "Deferred[None]") -> None:
    """Nobody waits for this answer."""
    answer.addErrback(lambda _: None)
