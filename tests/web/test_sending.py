"""Answers leave at once where the socket takes them, and in order where it does not. A client that does not take its
answer is not read from (hazard N2)."""

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from tests.web.wire import FakeReplica
from txraft.kv import Result
from txraft.settings import Timing
from txraft.web import site
from txraft.web.channel import MAX_AT_ONCE

GET = b"GET /get?key=k HTTP/1.1\r\nHost: x\r\n\r\n"
SET = b"GET /set?key=k&val=%b HTTP/1.1\r\nHost: x\r\n\r\n"


class Socket(FileDescriptor):
    """Twisted's transport over a socket that takes `room` bytes more."""

    def __init__(self, reactor: MemoryReactor) -> None:
        super().__init__(reactor)
        self.connected = 1
        self.taken = b""
        self.room = 1 << 30
        self.lost = False

    def writeSomeData(self, data: bytes) -> int | BaseException:
        if self.lost:
            return ConnectionLost()
        taken = bytes(data[: self.room])
        self.taken += taken
        self.room -= len(taken)
        return len(taken)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 1)

    getHost = getPeer


class SendingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor, self.clock = MemoryReactor(), Clock()
        self.socket = Socket(self.reactor)
        replica = FakeReplica()
        self.site = site(replica, replica.store, self.clock, timing=Timing(receive_timeout=30_000))
        protocol = self.site.buildProtocol(None)
        assert protocol is not None
        self.protocol = protocol
        self.socket.startReading()
        protocol.makeConnection(self.socket)
        self.replica = replica

    def send(self, data: bytes) -> None:
        """From the client, and what the node does."""
        self.protocol.dataReceived(data)
        self.clock.advance(0)

    def reads(self) -> bool:
        """Whether the reactor looks for what the client sends."""
        return self.socket in self.reactor.getReaders()

    def waits(self) -> bool:
        """Whether the reactor looks for room in the socket."""
        return self.socket in self.reactor.getWriters()

    def test_at_once(self) -> None:
        """An answer is sent before anything else is done, and nothing waits for the reactor."""
        for data in (SET % b"v", GET, GET):
            self.socket.taken = b""
            self.protocol.dataReceived(data)
            self.assertTrue(self.socket.taken.startswith(b"HTTP/1.1 200 OK\r\n"))
            self.assertFalse(self.waits())
            self.assertTrue(self.reads())

    def test_in_order(self) -> None:
        """However much the socket takes at a time, the client reads the same bytes, and an answer is not sent past the
        rest of the one before."""
        value = b"v" * 5000
        self.send(SET % value)
        self.socket.taken = b""
        self.send(GET)
        answer, self.socket.taken = self.socket.taken, b""
        for room in (0, 1, 200, len(answer) - 1):
            self.socket.room = room
            barriers = self.replica.barriers
            self.send(GET)
            self.send(GET)  # was on its way
            self.assertEqual(self.replica.barriers, barriers + 1)
            self.assertEqual((self.reads(), self.waits()), (False, True))
            while self.waits():
                self.socket.room = 777
                self.socket.doWrite()
                self.clock.advance(0)
            self.assertEqual((self.socket.taken, self.replica.barriers), (answer * 2, barriers + 2))
            self.assertTrue(self.reads())
            self.socket.taken = b""

    def test_long(self) -> None:
        """A long answer is left to the transport."""
        value = b"v" * (MAX_AT_ONCE + 1)
        body = b"key=k&val=" + value
        head = b"POST /set HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        self.send(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.socket.taken = b""
        self.send(GET)
        self.assertEqual((self.socket.taken, self.reads()), (b"", False))
        while self.waits():
            self.socket.doWrite()
        self.assertTrue(self.socket.taken.endswith(b"\r\n\r\n" + value))
        self.assertTrue(self.reads())

    def test_nobody_takes(self) -> None:
        """Who does not take the rest of an answer in time is dropped, however short it is (hazard N6)."""
        self.send(GET)
        self.socket.room = 10
        aborted: list[bool] = []
        self.socket.abortConnection = lambda: aborted.append(True)  # type: ignore[attr-defined]  # Socket has none
        self.send(GET)
        self.clock.pump([1] * 29)
        self.assertEqual(aborted, [])
        self.clock.advance(1)
        self.assertEqual(aborted, [True])

    def test_continue(self) -> None:
        """An invitation that has to wait is not overtaken by the answer, and what comes meanwhile is still the body."""
        form = b"key=k&val=v"
        head = (
            b"POST /set HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
        )
        for behind in (b"", form[:4], form):
            self.socket.room, self.socket.taken = 5, b""
            proposals = self.replica.proposals
            self.send(head % len(form) + behind)
            self.assertEqual(self.reads(), False)
            self.socket.room = 1 << 30
            self.socket.doWrite()
            self.clock.advance(0)
            self.assertEqual(self.reads(), True)
            self.send(form[len(behind) :])
            self.assertEqual(self.replica.proposals, proposals + 1)
            self.assertTrue(self.socket.taken.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"))

    def test_body_behind_an_invitation(self) -> None:
        """A body that looks like a request whose head is known is a body, though its invitation had to wait."""
        self.send(GET)
        self.socket.room, self.socket.taken = 5, b""
        self.send(b"POST /get HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(GET))
        self.socket.room = 1 << 30
        self.socket.doWrite()
        self.send(GET)
        self.assertEqual(self.replica.barriers, 1)
        self.assertEqual(self.socket.taken.count(b"HTTP/1.1 "), 2)

    def test_answer_behind_an_invitation(self) -> None:
        """An answer waits behind what waits, though there is room by now."""
        self.replica.waiting = []
        self.socket.room = 5
        self.send(b"GET /set?key=k&val=v HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n")
        self.socket.room = 1 << 30
        self.replica.waiting.pop().callback(Result.DONE.value)
        self.socket.doWrite()
        self.assertTrue(self.socket.taken.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"))

    def test_lost(self) -> None:
        """A connection that turns out to be lost is the transport's to report."""
        self.send(GET)
        self.socket.lost = True
        self.send(GET)
        self.assertTrue(self.waits())
        self.assertIsInstance(self.socket.doWrite(), ConnectionLost)
