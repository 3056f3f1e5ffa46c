"""Requests that are too long, or no requests at all."""

from collections.abc import Generator
from io import StringIO
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTCP, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.web.wire import FakeReplica, Wire
from txraft.settings import SizeLimits
from txraft.web import site
from txraft.web.channel import LINGER_SECONDS, MAX_HEADERS, MAX_LINE, ApiChannel
from txraft.web.parameters import body_limit

SMALL = SizeLimits(key_size=100, value_size=1000)
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


class ChannelTests(SynchronousTestCase):
    def refused(self, sent: bytes, code: int, body: str) -> None:
        """What is sent is answered with one line, once, nothing after it is read, and no request is made of it."""
        wire = Wire(limits=SMALL)
        wire.send(sent)
        wire.send(b"GET /set?key=k&val=v HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        response = wire.response()
        self.assertEqual(response.code, code)
        self.assertRegex(response.body.decode(), body)
        self.assertEqual(response.headers["cache-control"], "no-store")
        self.assertEqual(response.headers["connection"], "close")
        self.assertEqual(wire.transport.value(), b"")
        self.assertTrue(wire.transport.disconnecting)
        self.assertEqual(wire.replica.proposals, 0)
        wire.disconnect()
        self.assertEqual(wire.clock.getDelayedCalls(), [])

    def test_long_url(self) -> None:
        """414, and what to do instead, whether or not the line has ended."""
        url = b"GET /set?key=k&val=" + b"v" * MAX_LINE
        self.refused(url, 414, "POST")
        self.refused(url + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "POST")

    def test_url_below_the_limit(self) -> None:
        """A URL of nearly 64 KiB, and headers beside it, are read."""
        wire = Wire()
        value = "v" * (MAX_LINE - 100)
        wire.ask("GET", f"/set?key=k&val={value}", X_Header="x" * 10_000)
        self.assertEqual(wire.get("/get?key=k").body.decode(), value)

    def test_long_headers(self) -> None:
        """One header that is too long, or all of them together."""
        start = b"GET / HTTP/1.1\r\n"
        self.refused(start + b"X: " + b"x" * MAX_LINE, 431, "header")
        self.refused(start + b"X: %b\r\n" % (b"x" * 1000) * (MAX_HEADERS // 1000 + 1) + b"\r\n", 400, "headers")

    def test_no_http(self) -> None:
        """Anything else than HTTP is a 400 with a line."""
        for sent in (b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\nX: y\r\n\r\n", b"GET / FTP/1\r\n\r\n"):
            self.refused(sent, 400, "not a valid HTTP request")

    def test_announced_body(self) -> None:
        """A body that is announced as too long is refused before it comes, and is not invited with a 100."""
        length = body_limit(SMALL) + 1
        head = b"POST /set HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n%bContent-Length: %d\r\n\r\n" % (FORM, length)
        self.refused(head, 413, f"longer than {length - 1} bytes")
        self.refused(head + b"x" * length, 413, "longer")

    def test_chunked_body(self) -> None:
        """A body of unknown length is counted as it comes."""
        head = b"POST /set HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%b\r\n" % FORM
        chunks = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
        self.refused(head + chunks * 4, 413, "longer")
        self.refused(head + chunks * 4 + b"0\r\n\r\n", 413, "longer")

    def test_bodies_below_the_limit(self) -> None:
        """The longest key and value, with every byte escaped, fit; so they do in chunks."""
        key, value = b"k" * SMALL.key_size, b"v" * SMALL.value_size
        form = b"key=" + b"%6b" * len(key) + b"&val=" + b"%76" * len(value)
        wire = Wire(limits=SMALL)
        self.assertEqual(wire.ask("POST", "/set", form, Content_Type=FORM[14:-2].decode()).code, 200)
        wire.send(b"POST /get HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%b\r\n" % FORM)
        wire.send(b"4\r\nkey=\r\n64\r\n%b\r\n0\r\n\r\n" % key)
        self.assertEqual(wire.response().body, value)

    def test_no_access_log(self) -> None:
        """A request leaves no line in the log, even where there is one."""
        wire = Wire()
        lines = StringIO()
        wire.site.logFile = lines
        wire.get("/status")
        self.assertEqual(lines.getvalue(), "")


@implementer(ITCPTransport)
class HalfClosing(StringTransport):
    """A transport that can close the half that it writes to."""

    half_closed = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def getTcpKeepAlive(self) -> bool:
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass


class LingerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = HalfClosing()
        self.wire = Wire(transport=self.transport)
        self.wire.send(b"hello\r\n")
        self.assertEqual(self.wire.response().code, 400)

    def test_client_goes_on(self) -> None:
        """After a refusal our half is closed, and the client has LINGER_SECONDS to close its own, however it sends."""
        self.assertTrue(self.transport.half_closed)
        self.wire.clock.advance(LINGER_SECONDS - 1)
        self.wire.send(b"x" * 100)
        self.assertFalse(self.transport.disconnecting)
        self.wire.clock.advance(1)
        self.assertTrue(self.transport.disconnecting)

    def test_client_goes(self) -> None:
        """A client that closes leaves no timer behind."""
        self.wire.disconnect()
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])


class Uploader(Protocol):
    """Sends a request whose body is `pieces` times 64 KiB, whatever is answered meanwhile."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.received = b""
        self.reason = Failure(ConnectionDone())
        self.closed: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"POST /set HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (self.pieces << 16))
        self.transport.write(b"x" * (self.pieces << 16))

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default is a constant
        self.reason = reason
        self.closed.callback(None)


class LoopbackTests(TestCase):
    @inlineCallbacks
    def test_early_refusal(self) -> Generator["Deferred[Any]", Any, None]:
        """Over TCP, a client that sends 20 MB in spite of the limit still gets all of the answer, and no reset."""
        tcp = cast(IReactorTCP, reactor)
        server_closed: Deferred[None] = Deferred()
        lost = ApiChannel.connectionLost

        def connection_lost(channel: ApiChannel, reason: Failure) -> None:
            lost(channel, reason)
            server_closed.callback(None)

        self.patch(ApiChannel, "connectionLost", connection_lost)
        replica = FakeReplica()
        factory = site(replica, replica.store, SizeLimits(), cast(IReactorTime, reactor))
        port = yield TCP4ServerEndpoint(tcp, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        client = Uploader(320)
        yield connectProtocol(TCP4ClientEndpoint(tcp, "127.0.0.1", port.getHost().port), client)
        yield client.closed
        yield server_closed
        self.assertTrue(client.received.startswith(b"HTTP/1.1 413 "))
        self.assertTrue(client.received.endswith(b"more than key and values take"))
        self.assertTrue(client.reason.check(ConnectionDone), client.reason)
