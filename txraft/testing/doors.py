"""Between a simulated machine and the network: everything that comes to its node and leaves it passes here."""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from txraft.core.changes import Change
from txraft.core.configuration import Addresses, Configuration
from txraft.core.messages import Message, NodeId
from txraft.errors import TxraftError, Unreachable
from txraft.interfaces import IPeerHandler, IPeers, SnapshotFile

if TYPE_CHECKING:
    from txraft.testing.machine import Machine

T = TypeVar("T")

PIECE = 50
"""Bytes of a snapshot that go at once, or what leaves PIECES of them."""
PIECES = 20


@implementer(IPeerHandler)
@frozen(eq=False)
class Arrivals:
    """What the network calls on a machine, for its node."""

    _machine: "Machine"

    def receive(self, sender: NodeId, message: Message) -> None:
        """As IPeerHandler."""
        self._machine.receive(sender, message)

    def peer_connected(self, peer: NodeId) -> None:
        """As IPeerHandler."""
        self._machine.watcher.connects(peer)
        self._machine.node.peer_connected(peer)

    def peer_lost(self, peer: NodeId) -> None:
        """As IPeerHandler."""
        self._machine.node.peer_lost(peer)

    def refused(self, peer: NodeId, error: TxraftError) -> None:
        """As IPeerHandler."""
        self._machine.node.refused(peer, error)

    def passed_on(self, command: bytes) -> "Deferred[bytes]":
        """As IPeerHandler."""
        return self._machine.node.passed_on(command)

    def read_index(self) -> "Deferred[int]":
        """As IPeerHandler."""
        return self._machine.node.read_index()

    def transfer_leadership(self, target: NodeId) -> "Deferred[NodeId]":
        """As IPeerHandler."""
        return self._machine.node.transfer_leadership(target)

    def change_members(self, changes: Sequence[Change]) -> "Deferred[Configuration]":
        """As IPeerHandler."""
        return self._machine.node.change_members(changes)

    def snapshot_offered(self, sender: NodeId, term: int, file: SnapshotFile) -> "Deferred[int]":
        """As IPeerHandler."""
        self._machine.say(f"<- n{sender}  offers a snapshot of {file.snapshot.index}/{file.snapshot.term}, {file.size}")
        offered = self._machine.node.snapshot_offered(sender, term, file)
        return offered.addCallback(self._machine.watcher.snapshot_begun, sender, term, file)

    def snapshot_received(self, sender: NodeId, file: SnapshotFile, offset: int, data: bytes) -> "Deferred[None]":
        """As IPeerHandler."""
        self._machine.piece_arrived(sender)
        received = self._machine.node.snapshot_received(sender, file, offset, data)
        return received.addCallback(self._machine.watcher.snapshot_got_on, file, offset, len(data))

    def snapshot_finished(self, sender: NodeId, file: SnapshotFile) -> "Deferred[None]":
        """As IPeerHandler."""
        self._machine.say(f"<- n{sender}  has sent all of the snapshot of {file.snapshot.index}/{file.snapshot.term}")
        finished = self._machine.node.snapshot_finished(sender, file)
        return finished.addCallback(self._machine.watcher.snapshot_ended, file)


@implementer(IPeers)
@frozen(eq=False)
class Departures:
    """What a machine's node calls to reach the others."""

    _machine: "Machine"

    def follow(self, peers: Mapping[NodeId, Addresses], removed: Set[NodeId], configuration_index: int) -> None:
        """As IPeers."""
        self._machine.wiring.peers.follow(peers, removed, configuration_index)

    def versions(self) -> Mapping[NodeId, int]:
        """As IPeers."""
        return self._machine.wiring.peers.versions()

    def send(self, to: NodeId, message: Message) -> None:
        """As IPeers."""
        self._machine.send(to, message)

    def propose(self, to: NodeId, command: bytes) -> "Deferred[bytes]":
        """As IPeers."""
        return self._ask(lambda peers: peers.propose(to, command))

    def read_barrier(self, to: NodeId) -> "Deferred[int]":
        """As IPeers."""
        return self._ask(lambda peers: peers.read_barrier(to))

    def transfer_leadership(self, leader: NodeId, target: NodeId) -> "Deferred[NodeId]":
        """As IPeers."""
        return self._ask(lambda peers: peers.transfer_leadership(leader, target))

    def change_members(self, leader: NodeId, changes: Sequence[Change]) -> "Deferred[Configuration]":
        """As IPeers."""
        return self._ask(lambda peers: peers.change_members(leader, changes))

    def send_snapshot(
        self, to: NodeId, file: SnapshotFile, read: "Callable[[int, int], Deferred[bytes]]", term: int
    ) -> "Deferred[None]":
        """As IPeers."""
        self._machine.say(f"snapshot {file.snapshot.index}/{file.snapshot.term}, {file.size} bytes -> n{to}")
        most = max(PIECE, file.size // PIECES)
        return self._ask(lambda peers: peers.send_snapshot(to, file, lambda at, size: read(at, min(size, most)), term))

    def _ask(self, question: "Callable[[IPeers], Deferred[T]]") -> "Deferred[T]":
        """A question to another node leaves the process."""
        machine = self._machine
        return question(machine.wiring.peers) if machine.may_act() else fail(Unreachable("dead"))
