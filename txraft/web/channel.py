"""HTTP as Twisted reads it, with limits of its own, and a line of text for whoever goes beyond them.

A request that is refused before all of it has been read is a matter of some care. To close the connection while the
client still sends makes its kernel drop what it has received, the answer included. So the answer is written, our half
of the connection is closed, and what still comes is dropped, until the client closes its half or LINGER_SECONDS are
over (RFC 9112 §9.6).
"""

# mypy: allow-untyped-calls
# (Most of Twisted's HTTP classes have no annotations.)

from io import BytesIO

from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import IResource

from txraft.web.outcomes import TEXT

MAX_LINE = 64 * 1024
"""Of the request line, and of a header. In bytes."""
MAX_HEADERS = MAX_LINE + 16 * 1024
"""Of the request line and all headers. In bytes."""
LINGER_SECONDS = 5.0


class ApiChannel(http.HTTPChannel):
    """The server's side of one connection."""

    MAX_LENGTH = MAX_LINE
    totalHeadersSize = MAX_HEADERS
    site: "ApiSite"
    refused = False
    _lingering: IDelayedCall | None = None

    def refuse(self, status: int, line: str) -> None:
        """Answer the request that is being read, and read no more of it, or of any other."""
        if self.refused:
            return
        self.refused = True
        self.paused = True  # ends LineReceiver's loop over what is buffered
        body = line.encode()
        reason = http.RESPONSES.get(status, b"Refused")
        assert self.transport is not None
        self.transport.writeSequence(
            [
                b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n" % (status, reason, TEXT, len(body)),
                b"Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                body,
            ]
        )
        if ITCPTransport.providedBy(self.transport):
            self.transport.loseWriteConnection()
            self.setTimeout(None)
            self._lingering = self.callLater(LINGER_SECONDS, self.transport.abortConnection)
        else:
            self.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        if not self.refused:
            super().dataReceived(data)

    def lineLengthExceeded(self, _: bytes) -> None:
        """The request line, or a header, is longer than MAX_LINE."""
        if self.requests:
            self.refuse(431, f"a header is longer than {MAX_LINE} bytes")
        else:
            self.refuse(414, f"the URL is longer than {MAX_LINE} bytes; send it as POST form fields")

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted gives no default either
        """The connection is closed."""
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        super().connectionLost(reason)

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Twisted's name for what it does with anything that is not HTTP; its own answer is a bare status line.
        self.refuse(400, f"this is not a valid HTTP request, or its headers have more than {MAX_HEADERS} bytes")


class ApiRequest(server.Request):
    """A request. Its body stays in memory, for it is bounded; query string and form are left to `web.forms`."""

    channel: ApiChannel
    content: BytesIO
    lost = False
    """The client has gone: there is nobody to write to."""
    _received = 0

    def gotLength(self, length: int | None) -> None:
        """The headers have been read; `length` is the body's, None where it comes in chunks."""
        self.content = BytesIO()
        if length is not None:
            self._check_length(length)

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        self._received += len(data)
        self._check_length(self._received)
        if not self.channel.refused:
            self.content.write(data)

    def _check_length(self, length: int) -> None:
        limit = self.channel.site.body_limit
        if length > limit:
            self.requestHeaders.removeHeader(b"expect")  # or Twisted goes on to invite the body
            self.channel.refuse(413, f"the body is longer than {limit} bytes, which is more than key and values take")

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of the request is here."""
        if self.channel.refused:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.args = {}
        self.content.seek(0)
        self.responseHeaders.setRawHeaders(b"Cache-Control", [b"no-store"])
        self.process()

    def connectionLost(self, reason: Failure) -> None:
        """The client has gone."""
        self.lost = True
        super().connectionLost(reason)


class ApiSite(server.Site):
    """Listens, and serves one resource. No request is logged."""

    protocol = ApiChannel  # type: ignore[assignment]  # declared as the wrapper that switches to HTTP/2
    noisy = False

    def __init__(self, resource: IResource, body_limit: int, reactor: IReactorTime) -> None:
        super().__init__(resource, requestFactory=ApiRequest, reactor=reactor)
        self.body_limit = body_limit

    def log(self, request: http.Request) -> None:
        """Log nothing."""
