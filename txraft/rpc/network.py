"""All connections of a node: it dials every peer, lets every peer in, and finds the way for a message."""

from collections.abc import Callable, Mapping, Sequence, Set
from random import Random
from typing import Any

from attrs import define, field
from twisted.application.internet import backoffPolicy
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.core.changes import Change
from txraft.core.configuration import Addresses, Configuration
from txraft.core.messages import AppendEntries, Message, NodeId
from txraft.errors import DirectoryRefused, MemberRemoved, NotApplied, Unreachable
from txraft.interfaces import Identity, IPeerHandler, IPeerMemory, IPeers, SnapshotFile
from txraft.rpc.dialling import Dialler
from txraft.rpc.directories import Verdict
from txraft.rpc.handshake import Party
from txraft.rpc.limited_log import LimitedLog
from txraft.rpc.link import Link
from txraft.rpc.link_limits import LinkLimits
from txraft.rpc.sides import Callee, Caller
from txraft.rpc.snapshot_transfer import SnapshotSender
from txraft.rpc.strangers import Strangers
from txraft.rpc.versions import NEWEST_VERSION, OUTDATED, fits

_log = Logger()


@implementer(IPeers)
@define(eq=False)
class Network:
    """A node's peers. Made before the node, which takes it as an argument, and started with the node:

        network = Network(reactor, identity, memory, endpoint_of, random)
        node = ...(peers=network)
        network.follow(...)
        network.start(node)
        listening_endpoint.listen(network.server_factory())

    `endpoint_of` says how to dial a peer that has these addresses, at the first of them: where another one changes, the
    peer is not dialled anew. It must give up connecting after a time of its own (some seconds). It may raise anything
    where they make no sense.

    `newest_version` is for tests: the node behaves like a release that speaks no newer one.
    """

    reactor: IReactorTime
    identity: Identity
    memory: IPeerMemory
    endpoint_of: Callable[[Addresses], IStreamClientEndpoint]
    random: Random
    limits: LinkLimits = field(factory=LinkLimits)
    newest_version: int = NEWEST_VERSION
    handler: IPeerHandler = field(init=False)
    running: bool = field(init=False, default=False)
    _peers: frozenset[NodeId] = field(init=False, default=frozenset())
    _removed: frozenset[NodeId] = field(init=False, default=frozenset())
    _configuration_index: int = field(init=False, default=0)
    _dialler: Dialler = field(init=False)
    _links: dict[Link, None] = field(init=False, factory=dict)
    """In the order in which they opened, so that a run can be repeated."""
    _outgoing: dict[NodeId, Link] = field(init=False, factory=dict)
    _incoming: dict[NodeId, Link] = field(init=False, factory=dict)
    _superseded: dict[tuple[type[Link], NodeId], Link] = field(init=False, factory=dict)
    """The last one each that a newer connection has replaced, until it is lost."""
    _unwelcome: set[NodeId] = field(init=False, factory=set)
    """Peers that were reached last time and turned out to be of no use: no handshake, or nonsense after it."""
    _missed: set[NodeId] = field(init=False, factory=set)
    """Peers whose last connection has closed, and that no attempt has reached or failed to reach since."""
    _strangers: Strangers = field(init=False)
    _warnings: LimitedLog = field(init=False)
    _comings: LimitedLog = field(init=False)
    """Connections that open and close. After the burst, one line a minute and peer says what was last."""

    def __attrs_post_init__(self) -> None:
        self._strangers = Strangers(self.limits.max_strangers)
        self._warnings = LimitedLog(_log, self.reactor, burst=1, interval=self.limits.repeat_after)
        self._comings = LimitedLog(_log, self.reactor, burst=10, interval=60)
        self._dialler = Dialler(
            self.reactor,
            self.endpoint_of,
            lambda peer, address: _Factory(lambda _resolved: Caller(self, peer, address)),
            self._retry_policy,
            self._warnings,
            self.limits.unreachable_after,
            self._not_reached,
        )

    def start(self, handler: IPeerHandler) -> None:
        """Dial every peer, and let peers in. `handler` is told of what comes from now on."""
        self.handler = handler
        self.running = True
        self._dialler.start()

    def leave(self) -> Deferred[None]:
        """This node is about to end. Fires when no peer asks anything more of it, and each has its answers."""
        return gatherResults([link.leave() for link in self._links if link.up]).addCallback(lambda _: None)

    def stop(self) -> Deferred[None]:
        """Close every connection. Fires when the last is gone, which takes `limits.close` seconds at most."""
        self.running = False
        self._warnings.stop()
        self._comings.stop()
        for link in list(self._links):
            link.close()
        over: list[Deferred[Any]] = [link.lost for link in self._links]
        over += self._dialler.stop()
        return gatherResults(over).addCallback(lambda _: None)

    def server_factory(self) -> IProtocolFactory:
        """What the node listens with. Until `start` and after `stop`, connections are closed at once."""
        return _Factory(lambda caller: Callee(self, caller) if self.running else None)

    def _retry_policy(self, peer: NodeId) -> Callable[[int], float]:
        limits = self.limits
        backoff = backoffPolicy(limits.retry_first, limits.retry_most, 1.5, self._jitter)
        return lambda attempt: limits.retry_most + self._jitter() if peer in self._unwelcome else backoff(attempt)

    def _jitter(self) -> float:
        return self.random.uniform(0, self.limits.retry_first)

    # IPeers

    def follow(self, peers: Mapping[NodeId, Addresses], removed: Set[NodeId], configuration_index: int) -> None:
        """As IPeers.follow. Who is in both is still being told of its removal, and is hung up on when it is not among
        `peers` any more."""
        self._peers, self._configuration_index = frozenset(peers), configuration_index
        self._removed = frozenset(removed) - self._peers
        for link in tuple(self._links):
            if link.peer in self._removed or (isinstance(link, Caller) and link.peer not in self._peers):
                link.close()
        self._dialler.follow(peers)

    def versions(self) -> Mapping[NodeId, int]:
        """As IPeers.versions."""
        return {peer: link.version for ways in (self._incoming, self._outgoing) for peer, link in ways.items()}

    def send(self, to: NodeId, message: Message) -> None:
        """As IPeers.send: entries by the connection that this node dialled, all else by the other (`txraft.rpc`)."""
        is_large = isinstance(message, AppendEntries)
        link = self._link_to(to) if is_large else self._incoming.get(to) or self._outgoing.get(to)
        if link is not None:
            link.send(message)

    def propose(self, to: NodeId, command: bytes) -> Deferred[bytes]:
        """As IPeers.propose."""
        link = self._link_to_ask(to)
        return _unreachable(to) if link is None else link.propose(command)

    def read_barrier(self, to: NodeId) -> Deferred[int]:
        """As IPeers.read_barrier."""
        link = self._link_to_ask(to)
        return _unreachable(to) if link is None else link.read_barrier()

    def transfer_leadership(self, leader: NodeId, target: NodeId) -> Deferred[NodeId]:
        """As IPeers.transfer_leadership."""
        link = self._link_to_ask(leader)
        return _unreachable(leader) if link is None else link.transfer_leadership(target)

    def change_members(self, leader: NodeId, changes: Sequence[Change]) -> Deferred[Configuration]:
        """As IPeers.change_members."""
        link = self._link_to_ask(leader)
        return _unreachable(leader) if link is None else link.change_members(changes)

    def send_snapshot(
        self, to: NodeId, file: SnapshotFile, read: Callable[[int, int], Deferred[bytes]], term: int
    ) -> Deferred[None]:
        """As IPeers.send_snapshot."""
        link = self._link_to(to)
        if link is None:
            return _unreachable(to)
        if not fits(file.snapshot.configuration, link.version):
            return fail(NotApplied(f"node {to}, which needs a snapshot, {OUTDATED}"))
        sender = SnapshotSender(
            link, file, read, lambda: self._link_to(to) is link, self.reactor, self.limits.snapshot_stall
        )
        return Deferred.fromCoroutine(sender.send(term)).addErrback(_without_frames)

    def _link_to(self, peer: NodeId) -> Link | None:
        return self._outgoing.get(peer) or self._incoming.get(peer)

    def _link_to_ask(self, peer: NodeId) -> Link | None:
        """None also where it is about to end: it might do so before it reads the question, and nobody would know."""
        link = self._link_to(peer)
        return None if link is None or link.peer_leaves else link

    # Owner of the links

    @property
    def party(self) -> Party:
        """As Owner.party."""
        return Party(self.identity, self._peers, self._removed, self._configuration_index, self.newest_version)

    def _known(self, peer: NodeId | None) -> NodeId | None:
        """None also where a caller chose the id: there must be a bound on what is kept for each."""
        return peer if peer is not None and self.party.knows(peer) else None

    def link_made(self, link: Link) -> None:
        """As Owner.link_made. A peer gets in however many strangers call (`txraft.rpc.strangers`)."""
        self._links[link] = None
        link.lost.addCallback(lambda _: self._forget(link))
        if isinstance(link, Callee):
            surplus = self._strangers.called(link, link.host)
            if surplus is not None:
                self.complain(surplus, "many", f"more than {self.limits.max_strangers} strangers call: hung up on one")
                surplus.abort()

    def link_greeted(self, link: Link, peer: NodeId) -> None:
        """As Owner.link_greeted."""
        older = self._strangers.greeted(link, self._known(peer))
        if older is not None:
            older.abort()

    def _forget(self, link: Link) -> None:
        self._links.pop(link, None)
        self._strangers.forget(link)
        if link.peer is not None and self._superseded.get((type(link), link.peer)) is link:
            del self._superseded[type(link), link.peer]

    def link_up(self, link: Link, peer: NodeId) -> None:
        """As Owner.link_up. A newer connection replaces the older (`Link.retire`), and one of an earlier start of the
        peer is none of the peer's any more, whichever way it goes: it may be that of a copy (hazard S6)."""
        # Meanwhile one of a later start may have come, or the peer's removal.
        if self.memory.known(peer) != link.incarnation or peer in self._removed:
            link.abort()
            return
        for other in tuple(self._links):
            if other.up and not other.closed and other.peer == peer and other.incarnation != link.incarnation:
                other.abort()
        ways, used = self._ways(link), self._link_to(peer)
        older = ways.get(peer)
        ways[peer] = link
        self._missed.discard(peer)
        if older is not None:
            self._supersede(older, peer)
        self._strangers.forget(link)
        age = "" if link.version == self.newest_version else f", which speaks version {link.version} of the protocol"
        if isinstance(link, Caller):
            self._dialler.reached(peer, closes_former=older is not None)
            self._unwelcome.discard(peer)
            for kind in ("refused", "late", "lost"):  # so that the next time is news
                self._warnings.forget((Caller, peer, kind))
            self._comings.info(peer, "connected to node {peer}{age}", peer=peer, age=age)
        else:
            self._comings.info(self._known(peer), "node {peer} has connected{age}", peer=peer, age=age)
        self._tell_if_changed(peer, used)

    def _supersede(self, link: Link, peer: NodeId) -> None:
        """Nothing is sent or asked by it any more. There is never more than one such, however often a peer calls."""
        before = self._superseded.get((type(link), peer))
        self._superseded[type(link), peer] = link
        if before is not None:
            before.abort()
        link.retire()

    def refuse(self, link: Link, peer: NodeId, verdict: Verdict) -> None:
        """As Owner.refuse. The log has it once, also where both sides dialled."""
        if isinstance(link, Caller):
            self._give_up(link.peer)
        line = "refused node {peer}: {what}; it ends, and its last line says what to do"
        self._warnings.warn((self._known(peer), "directory"), line, peer=peer, what=verdict.logged)

    def refused(self, peer: NodeId, verdict: Verdict) -> None:
        """As Owner.refused: nothing that this node says may count any more."""
        self.handler.refused(peer, DirectoryRefused(verdict.told.format(by=peer)))

    def removed(self, peer: NodeId) -> None:
        """As Owner.removed."""
        self.handler.refused(peer, MemberRemoved(self.identity.node_id, told_by=peer))

    def link_closed(self, link: Link) -> None:
        """As Owner.link_closed."""
        ways, peer = self._ways(link), link.peer
        if peer is None or ways.get(peer) is not link:
            return
        used = self._link_to(peer)
        del ways[peer]
        if isinstance(link, Caller):
            self._comings.info(peer, "lost the connection to node {peer}", peer=peer)
        else:
            self._comings.info(self._known(peer), "node {peer} has disconnected", peer=peer)
        if self._link_to(peer) is None:
            if peer in self._dialler:
                self._missed.add(peer)
        else:
            self._tell_if_changed(peer, used)

    def _not_reached(self, peer: NodeId) -> None:
        """An attempt to reach a peer has failed. Where it follows on a connection that closed, the peer is lost: nobody
        listens there. A process that lives is there again by then, whatever has closed its connections."""
        if peer in self._missed:
            self._missed.discard(peer)
            self._tell(self.handler.peer_lost, peer)

    def complain(self, link: Link, kind: object, line: str) -> None:
        """As Owner.complain."""
        self._warnings.warn((type(link), self._known(link.peer), kind), "{line}", line=line)

    def reject(self, link: Link, kind: object, line: str) -> None:
        """As Owner.reject."""
        if isinstance(link, Caller):
            self._give_up(link.peer)
        self.complain(link, kind, line)

    def _give_up(self, peer: NodeId) -> None:
        """Dialling it again at once would not help."""
        self._unwelcome.add(peer)
        self._not_reached(peer)

    def _ways(self, link: Link) -> dict[NodeId, Link]:
        return self._outgoing if isinstance(link, Caller) else self._incoming

    def _tell_if_changed(self, peer: NodeId, before: Link | None) -> None:
        """Tell the handler where entries and questions to `peer` do not go by `before` any more (hazard R22)."""
        if self._link_to(peer) is not before:
            self._tell(self.handler.peer_connected, peer)

    def _tell(self, listener: Callable[[NodeId], None], peer: NodeId) -> None:
        try:
            listener(peer)
        except Exception:
            _log.failure("the news about node {peer} made the node fail", peer=peer)


class _Factory(Factory):
    noisy = False

    def __init__(self, make: Callable[[str], Link | None]) -> None:
        """`make` is given the address of the other side."""
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._make(f"{addr.host}:{addr.port}" if isinstance(addr, IPv4Address | IPv6Address) else str(addr))


def _unreachable(peer: NodeId) -> Deferred[Any]:
    return fail(Unreachable(f"there is no connection to node {peer}"))


def _without_frames(failure: Failure) -> Failure:
    """Keep of its traceback only the text. It goes through the frames that found the connection lost, which would keep
    the connection."""
    failure.cleanFailure()
    return failure
