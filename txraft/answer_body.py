"""The body of an HTTP answer, also of a server that nobody trusts.

Twisted's `readBody` reads whatever comes, and where it is cancelled halfway, the end of the connection is an unhandled
AlreadyCalledError in the log.
"""

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

LONGEST: Final = 1024 * 1024
"""Bytes; the membership of a hundred nodes takes 30,000."""


def body_of(response: IResponse, longest: int = LONGEST) -> Deferred[bytes]:
    """Fires with the body, of which no more than the first `longest` bytes are read. Fails where the connection ends
    before the body does. To cancel it ends the connection."""
    body = _Body(longest)
    response.deliverBody(body)
    return body.read


class _Body(Protocol):
    transport: Any
    """What Twisted has for this: it can be told to `loseConnection`, until the body has come to its end."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self.read: Deferred[bytes] = Deferred(lambda _: self.transport.loseConnection())
        self._received = bytearray()

    def dataReceived(self, data: bytes) -> None:
        """More of it."""
        if self.read.called:
            return
        self._received += data
        if len(self._received) > self._longest:
            self.read.callback(bytes(self._received[: self._longest]))
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has ended. Where its length was not said, that is what the end of the connection means."""
        if self.read.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.read.callback(bytes(self._received))
        else:
            self.read.errback(reason)
