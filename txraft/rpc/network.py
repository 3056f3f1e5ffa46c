"""All connections of a node: it dials every peer, lets every peer in, and finds the way for a message."""

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from attrs import define, field
from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger, LogPublisher
from zope.interface import implementer

from txraft.core.messages import AppendEntries, Message, NodeId
from txraft.errors import Unreachable
from txraft.interfaces import Identity, IPeerHandler, IPeers
from txraft.rpc.handshake import News
from txraft.rpc.link import Callee, Caller, Link
from txraft.rpc.link_limits import LinkLimits

_log = Logger()


@implementer(IPeers)
@define(eq=False)
class Network:
    """A node's peers. Made before the node, which takes it as an argument, and started with the node:

        network = Network(reactor, identity, endpoints, random)
        node = ...(peers=network)
        network.start(node)
        listening_endpoint.listen(network.server_factory())

    `endpoints` says how to dial each peer; each must give up connecting after a time of its own (some seconds).
    """

    reactor: IReactorTime
    identity: Identity
    endpoints: Mapping[NodeId, IStreamClientEndpoint]
    random: Random
    limits: LinkLimits = field(factory=LinkLimits)
    handler: IPeerHandler = field(init=False)
    running: bool = field(init=False, default=False)
    _dialling: list[ClientService] = field(init=False, factory=list)
    _links: set[Link] = field(init=False, factory=set)
    _outgoing: dict[NodeId, Link] = field(init=False, factory=dict)
    _incoming: dict[NodeId, Link] = field(init=False, factory=dict)
    _unwelcome: set[NodeId] = field(init=False, factory=set)
    """Peers that were reached last time, without a handshake that succeeded."""
    _news: News = field(init=False, factory=News)

    def start(self, handler: IPeerHandler) -> None:
        """Dial every peer, and let peers in. `handler` is told of what comes from now on."""
        self.handler = handler
        self.running = True
        for peer, endpoint in self.endpoints.items():
            factory = _Factory(partial(Caller, self, peer))
            self._dialling.append(_Dialling(endpoint, factory, self._retry_policy(peer), self.reactor))
        for service in self._dialling:
            service.startService()

    def stop(self) -> Deferred[None]:
        """Close every connection. Fires when the last is gone, which takes `limits.close` seconds at most."""
        self.running = False
        for link in list(self._links):
            link.close()
        over: list[Deferred[Any]] = [link.lost for link in self._links]
        over += [service.stopService() for service in self._dialling]
        self._dialling.clear()
        return gatherResults(over).addCallback(lambda _: None)

    def server_factory(self) -> IProtocolFactory:
        """What the node listens with. Until `start` and after `stop`, connections are closed at once."""
        return _Factory(lambda: Callee(self) if self.running else None)

    def _retry_policy(self, peer: NodeId) -> Callable[[int], float]:
        limits = self.limits
        backoff = backoffPolicy(limits.retry_first, limits.retry_most, 1.5, self._jitter)
        return lambda attempt: limits.retry_most + self._jitter() if peer in self._unwelcome else backoff(attempt)

    def _jitter(self) -> float:
        return self.random.uniform(0, self.limits.retry_first)

    # IPeers

    def send(self, to: NodeId, message: Message) -> None:
        """As IPeers.send: entries by the connection that this node dialled, all else by the other (`txraft.rpc`)."""
        is_large = isinstance(message, AppendEntries)
        link = self._link_to(to) if is_large else self._incoming.get(to) or self._outgoing.get(to)
        if link is not None:
            link.send(message)

    def propose(self, to: NodeId, command: bytes) -> Deferred[bytes]:
        """As IPeers.propose."""
        link = self._link_to(to)
        return _unreachable(to) if link is None else link.propose(command)

    def read_barrier(self, to: NodeId) -> Deferred[int]:
        """As IPeers.read_barrier."""
        link = self._link_to(to)
        return _unreachable(to) if link is None else link.read_barrier()

    def transfer_leadership(self, leader: NodeId, target: NodeId) -> Deferred[NodeId]:
        """As IPeers.transfer_leadership."""
        link = self._link_to(leader)
        return _unreachable(leader) if link is None else link.transfer_leadership(target)

    def _link_to(self, peer: NodeId) -> Link | None:
        return self._outgoing.get(peer) or self._incoming.get(peer)

    # Owner of the links

    def link_made(self, link: Link) -> None:
        """As Owner.link_made."""
        self._links.add(link)
        link.lost.addCallback(lambda _: self._links.discard(link))

    def link_up(self, link: Link, peer: NodeId) -> None:
        """As Owner.link_up. A newer connection replaces the older."""
        ways, used = self._ways(link), self._link_to(peer)
        older = ways.get(peer)
        ways[peer] = link
        if older is not None:
            older.abort()
        self._news.forget((type(link), peer))
        if isinstance(link, Caller):
            self._unwelcome.discard(peer)
            _log.info("connected to node {peer}", peer=peer)
        else:
            _log.info("node {peer} has connected", peer=peer)
        self._tell_if_changed(peer, used)

    def link_closed(self, link: Link) -> None:
        """As Owner.link_closed."""
        ways, peer = self._ways(link), link.peer
        if peer is None or ways.get(peer) is not link:
            return
        used = self._link_to(peer)
        del ways[peer]
        if isinstance(link, Caller):
            _log.info("lost the connection to node {peer}", peer=peer)
        else:
            _log.info("node {peer} has disconnected", peer=peer)
        self._tell_if_changed(peer, used)

    def handshake_failed(self, link: Link, peer: NodeId | None, kind: object, line: str) -> None:
        """As Owner.handshake_failed. Logged unless the last failure was the same."""
        if isinstance(link, Caller):
            self._unwelcome.add(link.peer)
        if self._news.is_new((type(link), peer), kind):
            way = "the connection to" if isinstance(link, Caller) else "a connection from"
            who = "a stranger" if peer is None else f"node {peer}"
            _log.warn("{way} {who} failed: {line}", way=way, who=who, line=line)

    def _ways(self, link: Link) -> dict[NodeId, Link]:
        return self._outgoing if isinstance(link, Caller) else self._incoming

    def _tell_if_changed(self, peer: NodeId, before: Link | None) -> None:
        """Tell the handler where entries and questions to `peer` do not go by `before` any more (hazard R22)."""
        link = self._link_to(peer)
        if link is not before:
            self._tell(self.handler.peer_lost if link is None else self.handler.peer_connected, peer)

    def _tell(self, listener: Callable[[NodeId], None], peer: NodeId) -> None:
        try:
            listener(peer)
        except Exception:
            _log.failure("the news about node {peer} made the node fail", peer=peer)


class _Dialling(ClientService):
    """It would log every attempt, one a second for each peer that is down; its log goes to nobody."""

    _log = Logger(observer=LogPublisher())


class _Factory(Factory):
    noisy = False

    def __init__(self, make: Callable[[], Link | None]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ARG002  Factory's signature
        return self._make()


def _unreachable(peer: NodeId) -> Deferred[Any]:
    return fail(Unreachable(f"there is no connection to node {peer}"))
