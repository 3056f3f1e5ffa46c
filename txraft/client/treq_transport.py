"""HTTP for programs on Twisted, over treq: as many connections to a node as there are requests under way, up to a
greatest number. What goes beyond that waits, and its time runs. The connections are kept for later requests."""

from collections import defaultdict
from io import BytesIO
from typing import Any, Final

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Cooperator, deferLater
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, FileBodyProducer, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from txraft.addresses import Address
from txraft.answer_body import body_of
from txraft.client.http import LONGEST_ANSWER, HttpAnswer, HttpRequest, line_of
from txraft.errors import NoHttpAnswer, OutcomeUnknown, Unreachable

CONNECT_TIMEOUT: Final = 2.0
"""Seconds in which a node must take the connection; its kernel does, however busy the node is."""
KEPT_FOR: Final = 50
"""Seconds that a connection is kept without a request: less than a node's `idle_timeout`, 60 s by default."""


class TreqTransport:
    """A `Transport` on a reactor."""

    def __init__(self, reactor: Any, connections: int) -> None:
        """`connections`: to one node, at most."""
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.retryAutomatically = False  # what became of the first try is for the session to judge
        self._pool.maxPersistentPerHost = connections
        self._pool.cachedConnectionTimeout = KEPT_FOR
        self._http = HTTPClient(Agent.usingEndpointFactory(reactor, _Endpoints(reactor), self._pool))
        self._turns: defaultdict[Address, DeferredSemaphore] = defaultdict(lambda: DeferredSemaphore(connections))
        self._cooperator = Cooperator(scheduler=lambda work: reactor.callLater(0, work))

    async def send(self, address: Address, request: HttpRequest, timeout: float) -> HttpAnswer:
        """As Transport."""
        deadline = self.now() + timeout
        turns = self._turns[address]
        try:
            await turns.acquire().addTimeout(timeout, self._reactor)
        except TimeoutError as error:
            raise Unreachable(f"all {turns.limit} connections were in use for {timeout:.3g} s") from error
        try:
            left = max(0.0, deadline - self.now())
            asked = Deferred.fromCoroutine(self._ask(address, request))
            asked.addTimeout(left, self._reactor, lambda end, _: _timed_out(end, timeout))
            return await _cancelled_as_such(asked)
        except (Unreachable, OutcomeUnknown, CancelledError):
            raise
        except Exception as error:
            is_cut_off = isinstance(error, ResponseFailed) and error.response is None  # before there was a head
            kind = NoHttpAnswer if is_cut_off else OutcomeUnknown
            raise kind(f"no answer: {_reason(error)}") from error
        finally:
            turns.release()

    async def sleep(self, seconds: float) -> None:
        """As Transport."""
        await deferLater(self._reactor, seconds)

    def now(self) -> float:
        """As Transport."""
        seconds: float = self._reactor.seconds()
        return seconds

    def close(self) -> "Deferred[None]":
        """Close the connections that are kept. Fires when that is done."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    async def _ask(self, address: Address, request: HttpRequest) -> HttpAnswer:
        body = FileBodyProducer(BytesIO(request.body), cooperator=self._cooperator) if request.body else None
        response = await self._http.request(
            request.method,
            f"http://{address}{request.target}",
            headers=Headers({name: [value] for name, value in request.headers}),
            data=body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        answer = await body_of(response, LONGEST_ANSWER + 1)
        if len(answer) > LONGEST_ANSWER:
            raise OutcomeUnknown(f"an answer of more than {LONGEST_ANSWER} bytes")
        raw = response.headers.getAllRawHeaders()
        headers = {name.decode("latin-1").lower(): values[-1].decode("latin-1") for name, values in raw}
        return HttpAnswer(response.code, headers, answer)


def _cancelled_as_such(asked: "Deferred[HttpAnswer]") -> "Deferred[HttpAnswer]":
    """The same, but for a caller who cancels it, because nobody wants the answer any more: it fails with CancelledError
    then, and not with what was cut off by that, which would be tried again."""

    def cancel(it: "Deferred[HttpAnswer]") -> None:
        it.errback(CancelledError())
        asked.cancel()

    def end(result: "HttpAnswer | Failure") -> None:
        if not answer.called:
            answer.callback(result)

    answer: Deferred[HttpAnswer] = Deferred(cancel)
    asked.addBoth(end)
    return answer


def _reason(error: Exception) -> str:
    """The line of what Twisted has put into another error, or of the error."""
    reasons = getattr(error, "reasons", ())
    return line_of(reasons[-1].getErrorMessage() if reasons else error) or type(error).__name__


def _timed_out(end: "HttpAnswer | Failure", timeout: float) -> "HttpAnswer | Failure":
    """What an attempt ends with that has no time left. Raises Unreachable where there was no connection yet."""
    if not isinstance(end, Failure):
        return end
    if end.check(Unreachable):
        return end
    if end.check(ConnectingCancelledError):
        raise Unreachable("took no connection in time")
    raise OutcomeUnknown(f"no answer within {timeout:.3g} s")


@implementer(IAgentEndpointFactory)
@frozen
class _Endpoints:
    """Where a URL leads."""

    reactor: Any

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """As IAgentEndpointFactory. Where the host is an IP address, there is nothing to look up, and HostnameEndpoint
        would take 0.3 s to say that nobody listens."""
        host = uri.host.decode("ascii")
        kind: Any = HostnameEndpoint
        if isIPAddress(host):
            kind = TCP4ClientEndpoint
        elif isIPv6Address(host):
            kind = TCP6ClientEndpoint
        return _Endpoint(kind(self.reactor, host, uri.port, timeout=CONNECT_TIMEOUT))


@implementer(IStreamClientEndpoint)
@frozen
class _Endpoint:
    """Says of a failure that there was no connection, so that nothing was sent."""

    endpoint: IStreamClientEndpoint

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """As IStreamClientEndpoint. Fails with Unreachable, or ConnectingCancelledError where it was cancelled."""
        return self.endpoint.connect(protocolFactory).addCallbacks(_without_delay, _not_connected)


def _without_delay(protocol: IProtocol) -> IProtocol:
    """Head and body are two segments, and the second one waits for nothing (40 ms, with Nagle's algorithm)."""
    transport: Any = protocol.transport  # type: ignore[attr-defined]  # IProtocol does not mention it
    transport.setTcpNoDelay(True)
    return protocol


def _not_connected(failure: Failure) -> Failure:
    if failure.check(ConnectingCancelledError, CancelledError):
        return failure
    raise Unreachable(f"cannot be reached: {line_of(failure.getErrorMessage())}")
