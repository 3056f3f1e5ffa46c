"""HTTP as the measurements speak it, without a socket."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.bench import connections
from tests.bench.connections import Answer, Connection, Pool, post

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello"
CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"7\r\nhello\r\n\r\nf;x=y\r\n0123456789abcde\r\n0\r\nTrailer: x\r\n\r\n"
)
EMPTY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.connection, self.transport = Connection(), StringTransport()
        self.connection.makeConnection(self.transport)

    def test_request(self) -> None:
        """With its length in bytes."""
        self.assertTrue(post("/set", "é".encode(), "text/x").startswith(b"POST /set HTTP/1.1\r\n"))
        self.assertTrue(post("/set", "é".encode()).endswith("Content-Length: 2\r\n\r\né".encode()))

    def test_answers_in_order(self) -> None:
        """Whatever they are cut into."""
        asked = [self.connection.ask(each) for each in (b"1", b"2", b"3")]
        self.assertEqual(self.transport.value(), b"123")
        for byte in OK + EMPTY + OK:
            self.connection.dataReceived(bytes([byte]))
        answers = [self.successResultOf(each) for each in asked]
        self.assertEqual(answers, [Answer(200, b"hello"), Answer(503, b""), Answer(200, b"hello")])

    def test_answers_at_once(self) -> None:
        """Several arrive in one piece."""
        asked = [self.connection.ask(b"x") for _ in range(2)]
        self.connection.dataReceived(OK + EMPTY)
        self.assertEqual([self.successResultOf(each).code for each in asked], [200, 503])

    def test_chunks(self) -> None:
        """What is long may come so; with trailers, and something else behind it."""
        for answers in ([CHUNKS + OK], [bytes([byte]) for byte in CHUNKS + OK]):
            asked = [self.connection.ask(each) for each in (b"1", b"2")]
            for each in answers:
                self.connection.dataReceived(each)
            self.assertEqual(self.successResultOf(asked[0]), Answer(200, b"hello\r\n0123456789abcde"))
            self.assertEqual(self.successResultOf(asked[1]), Answer(200, b"hello"))

    def test_cancelled(self) -> None:
        """The connection ends with it, since its answer would be taken for another's."""
        first, second = self.connection.ask(b"1"), self.connection.ask(b"2")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertTrue(self.connection.lost and self.transport.disconnected)
        self.connection.dataReceived(OK)  # too late
        self.connection.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(second, ConnectionDone)


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.made: list[Connection] = []
        self.patch(connections, "MOST", 2)
        self.patch(connections, "connect", self.connect)
        self.pool = Pool(None, "http://node")

    async def connect(self, _reactor: object, _url: str) -> Connection:
        self.made.append(Connection())
        self.made[-1].makeConnection(StringTransport())
        return self.made[-1]

    def ask(self, request: bytes) -> "Deferred[Answer]":
        return ensureDeferred(self.pool.ask(request))

    def sent(self) -> list[bytes]:
        transports: list[Any] = [each.transport for each in self.made]
        return [each.value() for each in transports]

    def test_one_at_a_time(self) -> None:
        """Of each connection; it is used again, and what finds none free waits."""
        asked = [self.ask(each) for each in (b"1", b"2", b"3")]
        self.assertEqual(self.sent(), [b"1", b"2"])
        self.made[1].dataReceived(OK)
        self.assertEqual(self.sent(), [b"1", b"23"])
        self.made[0].dataReceived(OK)
        self.made[1].dataReceived(EMPTY)
        self.assertEqual([self.successResultOf(each).code for each in asked], [200, 200, 503])

    def test_lost(self) -> None:
        """What is lost is replaced, whether it was idle or not."""
        lost, kept = self.ask(b"1"), self.ask(b"2")
        self.made[0].connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(lost, ConnectionDone)
        self.made[1].dataReceived(OK)
        self.successResultOf(kept)
        self.made[1].connectionLost(Failure(ConnectionDone()))
        again = [self.ask(b"3"), self.ask(b"4")]
        self.assertEqual(self.sent(), [b"1", b"2", b"3", b"4"])
        self.made[2].dataReceived(OK)
        self.made[3].dataReceived(OK)
        for each in again:
            self.successResultOf(each)

    def test_no_answer(self) -> None:
        """The time counts from when the request is sent, and what does not answer is replaced."""
        clock = Clock()
        self.pool = Pool(clock, "http://node", patience=1.0)
        asked = [self.ask(each) for each in (b"1", b"2", b"3")]
        clock.advance(0.9)
        self.made[1].dataReceived(OK)
        self.successResultOf(asked[1])
        clock.advance(0.9)
        self.failureResultOf(asked[0], TimeoutError)
        self.assertNoResult(asked[2])
        self.made[1].dataReceived(OK)
        self.successResultOf(asked[2])
        self.ask(b"4")
        self.ask(b"5")
        self.assertEqual(self.sent(), [b"1", b"234", b"5"])

    def test_cannot_connect(self) -> None:
        """The request fails, and those that wait for a connection go on."""

        async def refused(_reactor: object, _url: str) -> Connection:
            raise ConnectionRefusedError

        self.patch(connections, "connect", refused)
        for _ in range(3):
            self.failureResultOf(self.ask(b"1"), ConnectionRefusedError)
        self.patch(connections, "connect", self.connect)
        self.ask(b"2")
        self.assertEqual(self.sent(), [b"2"])
        self.pool.close()
        self.assertTrue(self.made[0].lost)
