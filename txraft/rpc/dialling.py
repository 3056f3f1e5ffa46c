"""Dialling the peers, again and again, wherever they are by now, and saying so when one cannot be reached."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final
from weakref import WeakSet

from attrs import define, field
from twisted.application.internet import ClientService
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.core.configuration import Addresses
from txraft.core.messages import NodeId
from txraft.rpc.limited_log import LimitedLog, shown

_REASONS: Final[dict[type[Exception], str]] = {
    error.DNSLookupError: "the name does not resolve",
    error.ConnectionRefusedError: "nothing listens there",
    error.TimeoutError: "no answer",
    error.TCPTimedOutError: "no answer",
    error.NoRouteError: "no route leads there",
}


@implementer(IStreamClientEndpoint)
@define(eq=False)
class WatchedEndpoint:
    """Dials a peer by another endpoint. `_on_failure` is told of each attempt that fails. Where none has succeeded for
    `_patience` seconds, the log says why, and again as often as `_log` lets it."""

    _peer: NodeId
    _address: str
    _make: Callable[[], IStreamClientEndpoint]
    """Makes the other endpoint, which may fail: a directory of certificates is mounted late, say."""
    _clock: IReactorTime
    _log: LimitedLog
    _patience: float
    _on_failure: Callable[[NodeId], None]
    _first_attempt: float | None = None
    """When the first one began since the peer was last reached."""
    _endpoint: IStreamClientEndpoint | None = None
    retired: bool = False
    """Nothing is to be dialled any more."""

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """As IStreamClientEndpoint. Never fires, where there is nothing to dial."""
        if self.retired:
            return Deferred()
        if self._first_attempt is None:
            self._first_attempt = self._clock.seconds()
        attempt = maybeDeferred(self._connect, protocolFactory).addCallbacks(self._reached, self._failed)
        # To cancel it raises NotConnectingError, after it has failed as it should, where it is over for Twisted's
        # connector and nobody was told: while the protocol is told of its connection, or after that went wrong.
        dialled: Deferred[IProtocol] = Deferred(lambda _: _cancel(attempt))
        attempt.chainDeferred(dialled)
        return dialled

    def _connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        if self._endpoint is None:
            try:
                self._endpoint = self._make()
            except Exception as problem:  # the text is an operator's, and what reads it is the application's
                self._log.warn(
                    (self._peer, "address"),
                    "node {peer} cannot be dialled, and is tried again and again: {reason}",
                    peer=self._peer,
                    reason=shown(problem, 200),
                )
                raise
            self._log.forget((self._peer, "address"))
        connecting: Deferred[IProtocol] = self._endpoint.connect(factory)
        return connecting

    def _reached(self, protocol: IProtocol) -> IProtocol:
        self._first_attempt = None
        self._log.forget((self._peer, "unreachable"))
        return protocol

    def _failed(self, failure: Failure) -> Failure:
        assert self._first_attempt is not None
        if self.retired or failure.check(CancelledError, error.ConnectingCancelledError):
            return failure
        self._on_failure(self._peer)
        if self._clock.seconds() - self._first_attempt >= self._patience:
            kind = failure.check(*_REASONS)
            self._log.warn(
                (self._peer, "unreachable"),
                "node {peer} at {address} cannot be reached: {reason}",
                peer=self._peer,
                address=self._address,
                reason=shown(failure.getErrorMessage()) if kind is None else _REASONS[kind],
            )
        return failure


def _cancel(attempt: Deferred[IProtocol]) -> None:
    with suppress(error.NotConnectingError):
        attempt.cancel()


class Dialling(ClientService):
    """Dials one peer at one address. It would log every attempt, one a second for each peer that is down; its log goes
    to nobody."""

    _log = Logger(observer=LogPublisher())

    def __init__(
        self, watched: WatchedEndpoint, factory: IProtocolFactory, retry: Callable[[int], float], clock: IReactorTime
    ) -> None:
        super().__init__(watched, factory, retry, clock)
        self._watched = watched

    def retire(self) -> None:
        """Keep the connection, if there is one, and never dial again."""
        self._watched.retired = True


@define(eq=False)
class Dialler:
    """Dials every peer that it is told of, from `start` to `stop`.

    Where the first of a peer's addresses changes, what was dialled at the old one is kept until the peer is reached at
    the new one, and until all that was asked by it is answered: nothing is lost meanwhile, and the log says so at once
    if the new one is wrong. It is not dialled there again, where somebody else may be by now. The other addresses are
    for others, and nothing is dialled anew for them.
    """

    _clock: IReactorTime
    _endpoint_of: Callable[[Addresses], IStreamClientEndpoint]
    _factory_of: Callable[[NodeId, str], IProtocolFactory]
    """For a peer, and its address as the log has it."""
    _retry_policy: Callable[[NodeId], Callable[[int], float]]
    _log: LimitedLog
    _patience: float
    _on_failure: Callable[[NodeId], None]
    _running: bool = field(init=False, default=False)
    _addresses: dict[NodeId, Addresses] = field(init=False, factory=dict)
    """The latest that are known, of all that are to be dialled."""
    _current: dict[NodeId, Dialling] = field(init=False, factory=dict)
    _retired: dict[NodeId, Dialling] = field(init=False, factory=dict)
    """At a former address, until the peer is reached at the current one."""
    _superseded: WeakSet[Dialling] = field(init=False, factory=WeakSet)
    """At a former address, while their last connections live."""

    def __contains__(self, peer: NodeId) -> bool:
        """Whether the peer is being dialled."""
        return peer in self._current

    def follow(self, peers: Mapping[NodeId, Addresses]) -> None:
        """Dial these, and no others.

        Of a peer without addresses, as version 5 of the protocol says it, what was known before is right."""
        for peer in self._addresses.keys() - peers.keys():
            del self._addresses[peer]
            self._end(self._current, peer)
            self._end(self._retired, peer)
        for peer, addresses in peers.items():
            before = self._addresses.get(peer)
            if before is None or addresses:
                self._addresses[peer] = addresses
                if self._running and (before is None or addresses[:1] != before[:1]):
                    self._dial(peer)

    def start(self) -> None:
        """Begin to dial."""
        self._running = True
        for peer in self._addresses:
            self._dial(peer)

    def stop(self) -> list[Deferred[None]]:
        """End it. They fire when the connections are gone."""
        self._running = False
        every = (*self._current.values(), *self._retired.values(), *self._superseded)
        ended = [dialling.stopService() for dialling in every]
        self._current.clear()
        self._retired.clear()
        self._superseded.clear()
        return ended

    def reached(self, peer: NodeId, closes_former: bool) -> None:
        """A connection to the peer is up, which makes the one before superfluous. `closes_former` is whether the caller
        closes that."""
        if closes_former and peer in self._retired:
            self._superseded.add(self._retired.pop(peer))
        else:
            self._end(self._retired, peer)

    def _dial(self, peer: NodeId) -> None:
        addresses = self._addresses[peer]
        if not addresses:  # this node joins, and has not received yet where the others are
            return
        address, make = shown(addresses[0]), partial(self._endpoint_of, addresses)
        watched = WatchedEndpoint(peer, address, make, self._clock, self._log, self._patience, self._on_failure)
        former = self._current.get(peer)
        if peer in self._retired:  # then the former one has not been reached
            self._end(self._current, peer)
        elif former is not None:
            former.retire()
            self._retired[peer] = former
        self._log.forget((peer, "unreachable"))
        dialling = Dialling(watched, self._factory_of(peer, address), self._retry_policy(peer), self._clock)
        self._current[peer] = dialling
        dialling.startService()

    def _end(self, diallings: dict[NodeId, Dialling], peer: NodeId) -> None:
        dialling = diallings.pop(peer, None)
        if dialling is not None:
            dialling.retire()
            dialling.stopService()
