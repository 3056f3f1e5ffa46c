"""Requests that are too long, or no requests at all."""

from collections.abc import Generator
from typing import Any, cast
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.web.wire import FakeReplica, HalfClosing, Wire
from txraft.settings import SizeLimits
from txraft.web import site
from txraft.web.channel import LINGER_SECONDS, ApiChannel
from txraft.web.head import MAX_HEADER_NAME, MAX_HEADERS, MAX_LINE
from txraft.web.parameters import body_limit
from txraft.web.request import SMALL_CHUNKS, ApiRequest

SMALL = SizeLimits(key_size=100, value_size=1000, batch_size=1000)
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
        self.assertNotIn("\n", response.body.decode())
        self.assertEqual(response.headers["content-type"], "text/plain; charset=utf-8")
        self.assertEqual(response.headers["cache-control"], "no-store")
        self.assertEqual(response.headers["x-content-type-options"], "nosniff")
        self.assertEqual(response.headers["connection"], "close")
        self.assertEqual(wire.transport.value(), b"")
        self.assertTrue(wire.transport.disconnecting)
        self.assertEqual(wire.replica.proposals, 0)
        wire.disconnect()
        self.assertEqual(wire.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_reason(self) -> None:
        """The status line of what Twisted has no words for, too."""
        wire = Wire(limits=SMALL)
        wire.send(b"GET /status HTTP/1.1\r\nX: " + b"x" * MAX_LINE)
        self.assertTrue(wire.transport.value().startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"))
        wire.disconnect()

    def test_long_url(self) -> None:
        """414, and what to do instead, whether or not the line has ended."""
        url = b"GET /set?key=k&val=" + b"v" * MAX_LINE
        self.refused(url, 414, f"^the URL is longer than {MAX_LINE} bytes; send it as POST form fields$")
        self.refused(url + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "POST")

    def test_url_below_the_limit(self) -> None:
        """A URL of nearly 8 KiB, and headers beside it, are read."""
        wire = Wire()
        value = "v" * (MAX_LINE - 100)
        wire.ask("GET", f"/set?key=k&val={value}", X_Header="x" * 5_000)
        self.assertEqual(wire.get("/get?key=k").body.decode(), value)

    def test_long_headers(self) -> None:
        """One header that is too long, or all of them together."""
        start = b"GET / HTTP/1.1\r\n"
        self.refused(start + b"X: " + b"x" * MAX_LINE, 431, f"^a header is longer than {MAX_LINE} bytes$")
        many = b"X: %b\r\n" % (b"x" * 1000) * (MAX_HEADERS // 1000 + 1)
        self.refused(start + many, 431, f"^the URL and the headers have more than {MAX_HEADERS} bytes together$")

    def test_many_headers(self) -> None:
        """100 are taken, and no more."""
        wire = Wire()
        wire.send(b"GET /get?key=k HTTP/1.1\r\nHost: x\r\n" + b"X:\r\n" * 99 + b"\r\n")
        self.assertEqual(wire.response().code, 404)
        self.refused(b"GET / HTTP/1.1\r\n" + b"X:\r\n" * 101 + b"\r\n", 431, "^there are more than 100 headers$")

    def test_no_http(self) -> None:
        """Anything else than HTTP/1.1 or 1.0 is a 400 with a line."""
        for sent in (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / FTP/1\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",  # one empty line is forgiven
            b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\nX: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET / HTTP/1.1\r\nA b: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\0\r\n\r\n",
        ):
            self.refused(sent, 400, "^this is not a valid HTTP/1.1 request$")
        for sent in (
            b"hello\r\n\r\n",
            b"GET /status\r\n",  # HTTP/0.9
            b"GET /get?key=a b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /get?key=\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",  # TLS, whose client sends no end of a line
            b"\0",
            b"\xff",
        ):
            self.refused(sent, 400, "^the first line of a request is METHOD URL HTTP/1.1; in the URL, a space is .*%20")
        for sent in (
            b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
            b" GET / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\n\tHost: x\r\n",
        ):
            self.refused(sent, 400, "^a header, or the request, begins with a space$")

    def test_long_names_of_headers(self) -> None:
        """Twisted keeps the names of 10,000 headers for good, so they may not be long."""
        self.refused(
            b"GET / HTTP/1.1\r\n%b: x\r\n\r\n" % (b"x" * (MAX_HEADER_NAME + 1)),
            431,
            "^the name of a header is longer than 100 bytes$",
        )
        wire = Wire()
        wire.send(b"GET /status HTTP/1.1\r\nHost: x\r\n%b: x\r\n\r\n" % (b"x" * MAX_HEADER_NAME))
        self.assertEqual(wire.response().code, 200)

    def test_host(self) -> None:
        """There is one, except in HTTP/1.0, where there may be none."""
        self.refused(b"GET / HTTP/1.1\r\n\r\n", 400, "one Host")
        self.refused(b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, "one Host")
        self.refused(b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400, "one Host")
        wire = Wire()
        wire.send(b"GET /status HTTP/1.0\r\n\r\n")
        self.assertEqual(wire.response().code, 200)

    def test_targets(self) -> None:
        """A path, or the URL that a proxy is sent, whose host counts; nothing else."""
        for start in (
            b"OPTIONS *",
            b"CONNECT localhost:80",
            b"GET status",
            b"GET ftp://x/status",
            b"GET http:///status",
        ):
            self.refused(start + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400, "target")
        wire = Wire()
        self.assertEqual(wire.get("HTTP://other:80/status").code, 200)
        self.assertEqual(wire.get("http://other").code, 404)
        self.assertEqual(wire.get("http://other?key=k").code, 404)
        self.assertEqual(wire.ask("GET", "http://other/set?key=k&val=v", Origin="http://localhost").code, 403)
        self.assertEqual(wire.ask("GET", "http://other/set?key=k&val=v", Origin="http://other").code, 200)

    def test_lengths(self) -> None:
        """What says how long the body is must say it once, and in a way that all understand."""
        head = b"POST /set HTTP/1.1\r\nHost: x\r\n"
        self.refused(
            head + b"Content-Length: %b\r\n\r\n" % (b"9" * 5000), 400, "^the Content-Length is no number of bytes$"
        )
        self.refused(head + b"content-length:%b\r\n\r\n" % (b"9" * 21), 400, "Content-Length")
        self.refused(head + b"Content-Length: %b\r\n\r\n" % (b"9" * 19), 413, "longer than")
        for length in (b"-1", b"+1", b"1,1", b"0x1", b"", b"\xb2"):
            self.refused(head + b"Content-Length: %b\r\n\r\nxxxx" % length, 400, "not a valid")
        chunked = b"Transfer-Encoding: chunked\r\n"
        for twice in (b"Content-Length: 1\r\nContent-Length: 1\r\n", b"Content-Length: 1\r\n" + chunked, chunked * 2):
            self.refused(head + twice + b"\r\n", 400, "not a valid")
        for coding in (b"gzip", b"gzip, chunked", b"identity", b"chunked;q=1", b"x" * 5000):
            self.refused(head + b"Transfer-Encoding: %b\r\n\r\n" % coding, 501, "chunked")
        self.refused(b"POST /set HTTP/1.0\r\n" + chunked + b"\r\n", 400, "HTTP/1.0")

    def test_chunks(self) -> None:
        """Chunks that are none."""
        head = b"POST /set HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        for chunk in (
            b"x\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"\r\n",
            b"1\r\nxx\r\n",
            b"1;\0\r\n",
            b"1" * 1100,
            b"0\r\n" + b"x" * 70_000,
            b"0\r\n" + b"x: y\r\n" * 700,
        ):
            self.refused(head + chunk, 400, "not a valid")
        self.refused(head + b"F" * 1000 + b"\r\n" + b"x" * 30_000, 413, "longer")

    def test_small_chunks(self) -> None:
        """They are counted against the length of the body, and the rest of what has come is not looked at."""
        head = b"POST /set HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%b\r\n" % FORM
        self.refused(head + b"1\r\nx\r\n" * 102 + b"no chunk", 400, "^the body comes in too many small chunks; send")
        form = b"key=k&val=" + b"v" * 90
        for chunks in (
            b"".join(b"1\r\n%c\r\n" % byte for byte in form),
            b"64\r\n%b\r\n" % form + b"40\r\n%b\r\n" % (b"v" * 64) * 500,
        ):
            wire = Wire()
            wire.send(head + chunks + b"0\r\n\r\n")
            self.assertEqual(wire.response().code, 200)
        wire = Wire()
        wire.send(head + b"64\r\n")
        for byte in form:  # one chunk, however it comes
            wire.send(b"%c" % byte)
        wire.send(b"\r\n0\r\n\r\n")
        self.assertEqual(wire.response().code, 200)

    def test_encoded(self) -> None:
        """A body that is not sent as it is, and expectations that nobody knows."""
        self.refused(b"POST /set HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n\r\n", 415, "Content-Encoding")
        self.refused(b"POST /set HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n", 417, "100-continue")
        wire = Wire()
        response = wire.ask(
            "POST", "/set", b"key=k&val=v", Content_Type=FORM[14:-2].decode(), Content_Encoding="Identity"
        )
        self.assertEqual(response.code, 200)
        head = b"POST /set HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n"
        self.refused(head + b"Content-Encoding: gzip\r\n\r\n", 415, "Content-Encoding")
        wire.request("POST", "/set", b"", Expect="100-Continue", Content_Length=str(body_limit(SizeLimits())))
        self.assertEqual(wire.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_methods(self) -> None:
        """Methods are case-sensitive."""
        for method in ("get", "OPTIONS", "TRACE", "X" * 5_000):
            response = Wire().ask(method, "/get?key=k")
            self.assertEqual((response.code, response.headers["allow"]), (405, "GET, HEAD, POST"))

    def test_allowed_hosts(self) -> None:
        """With a list of names, requests for others are refused, reads too (hazard N7)."""
        names = ("kv.example", "::1", "10.0.0.1")
        for host in ("kv.example", "KV.example:80", "[::1]:27004", "[::1]", "10.0.0.1:1"):
            wire = Wire(allowed_hosts=names)
            wire.send(b"GET /get?key=k HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
            self.assertEqual(wire.response().code, 404, host)
        for host in ("evil.example", "kv.example.evil", "", ":80", "1", "[::1]evil", "[10.0.0.1].evil"):
            wire = Wire(allowed_hosts=names)
            wire.send(b"GET /get?key=k HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
            response = wire.response()
            self.assertEqual((response.code, response.headers["connection"]), (403, "close"), host)
            line = f"the Host '{host}' is not in allowed_hosts of this node's configuration"
            self.assertEqual(response.body.decode(), line)
        wire = Wire(allowed_hosts=names)
        self.assertEqual(wire.get("http://evil.example/get?key=k").code, 403)

        wire = Wire(allowed_hosts=names)
        wire.send(b"GET /get?key=k HTTP/1.0\r\n\r\n")
        self.assertIn(b"a request without a Host is not in allowed_hosts", wire.response().body)

    def test_announced_body(self) -> None:
        """A body that is announced as too long is refused before it comes, and is not invited with a 100."""
        length = body_limit(SMALL) + 1
        head = b"POST /set HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n%bContent-Length: %d\r\n\r\n" % (FORM, length)
        self.refused(head, 413, f"^the body is longer than {length - 1} bytes, which is more than any may be$")
        self.refused(head + b"x" * length, 413, "longer")

    def test_chunked_body(self) -> None:
        """A body of unknown length is counted as it comes."""
        head = b"POST /set HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%b\r\n" % FORM
        chunks = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
        self.refused(head + chunks * 4, 413, "longer")
        self.refused(head + chunks * 4 + b"0\r\n\r\n", 413, "longer")
        longest = b"%x\r\n%b\r\n0\r\n\r\n" % (body_limit(SMALL), b"x" * body_limit(SMALL))
        wire = Wire(limits=SMALL)
        wire.send(head + longest)
        self.assertEqual(wire.response().code, 400)  # it is no form, but not too long

    def test_chunks_behind_a_refusal(self) -> None:
        """They are not looked at, though they have come (hazard N1)."""
        head = b"POST /set HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%b\r\n" % FORM
        seen = ApiRequest.handleContentChunk
        with patch.object(ApiRequest, "handleContentChunk", autospec=True, side_effect=seen) as piece:
            self.refused(head + b"1\r\na\r\n" * 10_000, 400, "too many small chunks")
        self.assertLess(piece.call_count, 2 * SMALL_CHUNKS)

    def test_two_values_fit(self) -> None:
        """The longest request there is: a key, the old value and the new one, all of them escaped."""
        size = 100_000
        wire = Wire(limits=SizeLimits(value_size=size))
        form = b"key=%6b&old=" + b"%76" * size + b"&val=" + b"%76" * size
        self.assertEqual(wire.ask("POST", "/cas", form, Content_Type=FORM[14:-2].decode()).code, 409)

    def test_bodies_below_the_limit(self) -> None:
        """The longest key and value, with every byte escaped, fit; so they do in chunks."""
        key, value = b"k" * SMALL.key_size, b"v" * SMALL.value_size
        form = b"key=" + b"%6b" * len(key) + b"&val=" + b"%76" * len(value)
        wire = Wire(limits=SMALL)
        self.assertEqual(wire.ask("POST", "/set", form, Content_Type=FORM[14:-2].decode()).code, 200)
        wire.send(b"POST /get HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%b\r\n" % FORM)
        wire.send(b"4\r\nkey=\r\n64\r\n%b\r\n0\r\n\r\n" % key)
        self.assertEqual(wire.response().body, value)


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
        factory = site(replica, replica.store, cast(IReactorTime, reactor))
        port = yield TCP4ServerEndpoint(tcp, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        client = Uploader(320)
        yield connectProtocol(TCP4ClientEndpoint(tcp, "127.0.0.1", port.getHost().port), client)
        yield client.closed
        yield server_closed
        self.assertTrue(client.received.startswith(b"HTTP/1.1 413 "))
        self.assertTrue(client.received.endswith(b"more than any may be"))
        self.assertTrue(client.reason.check(ConnectionDone), client.reason)
