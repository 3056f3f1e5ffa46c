"""What clients are told by a node that is not a member yet, and has nothing to serve."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from txraft.statuses import WAITS_TO_JOIN
from txraft.web.outcomes import TEXT

LONGEST_HEAD = 64 * 1024
"""Bytes in which the head of a request ends, or is answered without its end."""
PATIENCE = 10.0
"""Seconds that a connection lasts at most."""

_HEAD = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n"
    b"Retry-After: 1\r\nX-Txraft-Outcome: not-applied\r\nCache-Control: no-store\r\n"
    b"X-Content-Type-Options: nosniff\r\n%b: %d\r\n\r\n"
)


class WaitingFactory(ServerFactory):
    """Answers each request with 503 and what the node waits for."""

    noisy = False

    def __init__(self, id: int, waits_for: Callable[[], str], clock: IReactorTime) -> None:
        self.id = id
        self.waits_for = waits_for
        self.clock = clock

    def buildProtocol(self, addr: object) -> "Waiting":  # noqa: ARG002 - Twisted's
        """As IProtocolFactory."""
        return Waiting(self)


class Waiting(Protocol):
    """One connection, on which one request is answered."""

    transport: ITCPTransport

    def __init__(self, factory: WaitingFactory) -> None:
        self._factory = factory
        self._head = bytearray()
        self._answered = False
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """As IProtocol."""
        self._deadline = self._factory.clock.callLater(PATIENCE, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        """As IProtocol."""
        if self._answered:
            return
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > LONGEST_HEAD:
            self._answered = True
            id = self._factory.id
            line = f"node {id} waits to join the cluster: {self._factory.waits_for()}".encode()
            self.transport.write(_HEAD % (TEXT, len(line), WAITS_TO_JOIN, id) + line)
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - as Twisted has it
        """As IProtocol."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
