"""How a new server comes into a cluster that runs: it asks a member over HTTP who belongs to the cluster, again and
again until it is one of them itself. Then it starts, with an empty log, and the leader sends it everything.

What it begins with is the cluster's identity, and the founders as the membership of entry 0, which every node of the
cluster began with. Who came and went since then, the log says. So an answer that is out of date by the time does no
harm.

An operator adds it (`txraft member add`), before or after it is started. Until then its directory is empty, so it can
be ended at any time and started again.
"""

import json
from collections.abc import Generator
from http.client import OK, SERVICE_UNAVAILABLE
from typing import Any, Final, NoReturn, cast

import cattrs
from attrs import Attribute, define, field, frozen
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.defer import TimeoutError as AnswerTimeoutError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, RequestTransmissionFailed, ResponseFailed
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from txraft.addresses import Address, Place, parse_place
from txraft.answer_body import body_of
from txraft.core.configuration import Configuration
from txraft.core.messages import NodeId
from txraft.errors import JoinRefused, MemberRemoved, SettingsError
from txraft.settings import MAX_ID, MAX_MEMBERS
from txraft.statuses import WAITS_TO_JOIN
from txraft.storage.identity import is_called
from txraft.texts import one_line, shown

INTERVAL: Final = 1.0
"""Seconds between two questions."""
CONNECT_TIMEOUT: Final = 2.0
"""Seconds after which a member is not reached."""
PATIENCE: Final = 10.0
"""Seconds for an answer; a node that has no leader answers after its `request_timeout`."""
LONGEST_NAME: Final = 300
"""Characters of what identifies a cluster: a name has 255, and a cluster that was restored 28 more."""
SHOWN: Final = 100
"""Characters of an answer that is not what was asked for."""
_NAME_A_MEMBER: Final = "--join takes the HTTP address of a member, its KVADDR"

_log = Logger()


@frozen
class Joiner:
    """The server that wants to become a member, as its command line has it."""

    id: NodeId
    asks: Address
    """The HTTP address of a member."""
    kvaddr: Address | None = None
    """Where clients are to reach it; None for where the membership says."""
    name: str | None = None
    """What the cluster has to be called; None for any."""
    addresses: str = "HOST:PORT HOST:PORT"
    """For the others and for clients, in the command that adds it, as far as they are known."""
    address: Place | None = None
    """Where the others are to reach it, by its command line; None for where the membership says."""


def _check_cluster(_: object, __: "Attribute[str]", cluster: str) -> None:
    if not (0 < len(cluster) <= LONGEST_NAME and cluster.isprintable()):  # which no half of a surrogate pair is
        raise ValueError("no cluster is called so")


def _check_founders(_: object, __: "Attribute[frozenset[NodeId]]", founders: frozenset[NodeId]) -> None:
    if not 1 <= len(founders) <= MAX_MEMBERS:
        raise ValueError(f"no cluster has {len(founders)} founders")


@frozen
class _Member:
    id: NodeId
    address: Place
    """Where the others reach it."""
    kvaddr: Address
    """Where clients do."""


@frozen
class _Membership:
    """What is used of what a member of the cluster answers."""

    cluster: str = field(validator=_check_cluster)
    founders: frozenset[NodeId] = field(validator=_check_founders)
    removed: frozenset[NodeId]
    members: tuple[_Member, ...]


@frozen
class Admission:
    """What a server that has become a member begins with."""

    cluster_id: str
    configuration: Configuration
    """Of entry 0. The founders vote, and have the addresses that are known. That of this server is there too, though it
    is no member yet: where it is started again before the log says more, it has to listen there."""
    address: Place
    kvaddr: Address


class _NotYetError(Exception):
    """Why the server has to wait."""


@define(eq=False)
class Joining:
    """Waits until a server is a member."""

    joiner: Joiner
    agent: IAgent
    clock: IReactorTime
    waits_for: str = field(init=False, default="it has not asked yet")
    """What the server waits for, in a line."""
    _stopped: bool = field(init=False, default=False)
    _pending: "Deferred[Any] | None" = field(init=False, default=None)
    _first: _Membership | None = field(init=False, default=None)

    @inlineCallbacks
    def admitted(self) -> Generator[Deferred[Any], Any, Admission | None]:
        """Fires when the server is a member; with None where it was stopped first.

        Fails with JoinRefused or MemberRemoved where to wait is of no use."""
        while not self._stopped:
            try:
                membership: _Membership = yield self._until(self._ask())
                return self._admission(membership)
            except _NotYetError as reason:
                if not self._stopped:
                    self._wait_for(str(reason))
                    yield self._until(deferLater(self.clock, INTERVAL)).addErrback(lambda _: None)
        return None

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        if self._pending is not None:
            self._pending.cancel()

    def _until(self, pending: "Deferred[Any]") -> "Deferred[Any]":
        """What a stop cancels. (An agent's request does not say in its failure that it was cancelled.)"""
        self._pending = pending
        return pending

    def _wait_for(self, what: str) -> None:
        """Say so, where it is another thing than before."""
        if what != self.waits_for:
            self.waits_for = what
            _log.info("node {id} waits to join the cluster: {what}", id=self.joiner.id, what=what)

    @inlineCallbacks
    def _ask(self) -> Generator[Deferred[Any], Any, _Membership]:
        """Fires with the membership. Fails with _NotYetError."""
        try:
            status, body, waits = yield self._answer().addTimeout(PATIENCE, self.clock, _timed_out)
        except AnswerTimeoutError:
            raise _NotYetError(f"{self.joiner.asks} does not answer") from None
        except (ResponseFailed, RequestTransmissionFailed) as error:  # whose text is for who has read Twisted
            raise _NotYetError(
                f"{self.joiner.asks} does not answer over HTTP, or ended while it did: {_NAME_A_MEMBER}"
            ) from error
        except Exception as error:
            raise _NotYetError(f"{self.joiner.asks} cannot be reached: {one_line(str(error))}") from error
        if waits == str(self.joiner.id).encode():
            raise _NotYetError(f"{self.joiner.asks} is this node itself, or one with its id: {_NAME_A_MEMBER}")
        if waits is not None:
            raise _NotYetError(
                f"{self.joiner.asks} is node {_shown(waits)}, which waits to join, too: {_NAME_A_MEMBER}"
            )
        if status == SERVICE_UNAVAILABLE:
            raise _NotYetError(f"{self.joiner.asks} cannot say who the members are: {_shown(body)}")
        try:
            if status != OK:
                raise ValueError(status)
            return _converter.structure(json.loads(body), _Membership)
        except (ValueError, TypeError, LookupError, RecursionError, SettingsError) as error:
            raise _NotYetError(
                f"{self.joiner.asks} answers as no member does, with status {status} ({_shown(body)}): {_NAME_A_MEMBER}"
            ) from error

    @inlineCallbacks
    def _answer(self) -> Generator[Deferred[Any], Any, tuple[int, bytes, bytes | None]]:
        """Fires with the status, the body, and the id of the node where it is no member itself yet."""
        response = yield self.agent.request(b"GET", f"http://{self.joiner.asks}/members".encode())
        (waits,) = response.headers.getRawHeaders(WAITS_TO_JOIN, [None])[:1]
        return response.code, (yield body_of(response)), waits

    def _admission(self, membership: _Membership) -> Admission:
        """What the server begins with. Raises _NotYetError where it is no member, JoinRefused and MemberRemoved."""
        id, member, first = self.joiner.id, self.joiner.asks, self._first or membership
        self._first = first
        name, cluster_id = self.joiner.name, membership.cluster
        if (cluster_id, membership.founders) != (first.cluster, first.founders):
            raise JoinRefused(
                f"{member} answered for cluster {shown(first.cluster)} before, and does for {shown(cluster_id)} now:"
                f" find out which of the two node {id} is to join, and start it again"
            )
        if name is not None and not is_called(cluster_id, name):
            raise JoinRefused(
                f"{member} is in cluster {shown(cluster_id)}, and the configuration is that of {shown(name)}: give"
                " --join a member of that one, or --config the configuration of the other"
            )
        if id in membership.removed:
            raise MemberRemoved(id)
        if id in membership.founders:
            raise JoinRefused(
                f"node {id} belongs to the cluster since its beginning, and its directory is empty: where its disk is"
                f" lost, replace it by a node whose id was never used, txraft member replace {id} NEW HOST:PORT"
                f" HOST:PORT --node {member}"
            )
        members = {each.id: each for each in membership.members}
        if id not in members:
            raise _NotYetError(
                f"it is no member yet; to add it: txraft member add {id} {self.joiner.addresses} --node {member}"
            )
        address, kvaddr = members[id].address, members[id].kvaddr
        if self.joiner.kvaddr not in (None, kvaddr):
            # Where the two were given in the wrong order, each is free only when both change.
            own = self.joiner.address or (kvaddr if self.joiner.kvaddr == address else address)
            moves = (
                f"--kvaddr {self.joiner.kvaddr}" if own == address else f"--address {own} --kvaddr {self.joiner.kvaddr}"
            )
            raise JoinRefused(
                f"clients are to reach node {id} at {kvaddr}, as it was added, and --kvaddr is {self.joiner.kvaddr}:"
                f" start it with --kvaddr {kvaddr}, or change the member: txraft member update {id} {moves} --node"
                f" {member}"
            )
        known = {
            each: (str(members[each].address), str(members[each].kvaddr))
            for each in members.keys() & {*membership.founders, id}
        }
        configuration = Configuration(voters=membership.founders, addresses=known)
        return Admission(cluster_id, configuration, address, kvaddr)


@implementer(IAgentEndpointFactory)
@define(eq=False)
class _Endpoints:
    """Where an agent connects to. Twisted's own write two lines to the log for each question."""

    _reactor: Any

    def endpointForURI(self, uri: URI) -> "_QuietEndpoint":
        """As IAgentEndpointFactory."""
        return _QuietEndpoint(HostnameEndpoint(self._reactor, uri.host.decode(), uri.port, timeout=CONNECT_TIMEOUT))


@implementer(IStreamClientEndpoint)
@define(eq=False)
class _QuietEndpoint:
    _endpoint: HostnameEndpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """As IStreamClientEndpoint."""
        cast(Factory, protocolFactory).noisy = False
        connected: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connected


def agent(reactor: Any) -> IAgent:
    """What asks, on a reactor."""
    asking: IAgent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor))
    return asking


def _id(value: object, _: type) -> int:
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise ValueError(f"{value!r} is no id")
    return value


def _text(value: object, _: type) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r} is no text")
    return value


_converter = cattrs.Converter(detailed_validation=False)
_converter.register_structure_hook(int, _id)
_converter.register_structure_hook(str, _text)
_converter.register_structure_hook(Address, lambda value, _: Address.parse(_text(value, str)))
_converter.register_structure_hook_func(lambda type_: type_ == Place, lambda value, _: parse_place(_text(value, str)))


def _timed_out(result: object, timeout: float) -> NoReturn:
    raise AnswerTimeoutError(timeout) from (result.value if isinstance(result, Failure) else None)


def _shown(body: bytes) -> str:
    """The beginning of an answer, in a line."""
    return one_line(" ".join(body[:SHOWN].decode(errors="replace").split()))
