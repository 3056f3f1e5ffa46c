"""Dialling one peer, again and again, and saying so when it cannot be reached."""

from collections.abc import Callable
from typing import Final

from attrs import define
from twisted.application.internet import ClientService
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.core.messages import NodeId
from txraft.rpc.limited_log import LimitedLog, shown


class Dialling(ClientService):
    """It would log every attempt, one a second for each peer that is down; its log goes to nobody."""

    _log = Logger(observer=LogPublisher())


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
    _endpoint: IStreamClientEndpoint
    _clock: IReactorTime
    _log: LimitedLog
    _patience: float
    _on_failure: Callable[[NodeId], None]
    _first_attempt: float | None = None
    """When the first one began since the peer was last reached."""

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """As IStreamClientEndpoint."""
        if self._first_attempt is None:
            self._first_attempt = self._clock.seconds()
        return self._endpoint.connect(protocolFactory).addCallbacks(self._reached, self._failed)

    def _reached(self, protocol: IProtocol) -> IProtocol:
        self._first_attempt = None
        self._log.forget((self._peer, "unreachable"))
        return protocol

    def _failed(self, failure: Failure) -> Failure:
        assert self._first_attempt is not None
        if failure.check(CancelledError, error.ConnectingCancelledError):
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
