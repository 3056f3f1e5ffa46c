"""Answers leave at once where the socket takes them, and in order where it does not. A client that does not take its
answer is not read from (hazard N2)."""

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import ISSLTransport, ITCPTransport
from twisted.internet.testing import MemoryReactor
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, implementer

from tests.clock import Clock
from tests.web.wire import FakeReplica
from txraft.kv import Result
from txraft.settings import Timing
from txraft.web import site
from txraft.web.channel import MAX_AT_ONCE

GET = b"GET /get?key=k HTTP/1.1\r\nHost: x\r\n\r\n"
SET = b"GET /set?key=k&val=%b HTTP/1.1\r\nHost: x\r\n\r\n"


@implementer(ITCPTransport)
class Socket(FileDescriptor):
    """Twisted's transport over a socket that takes `room` bytes more."""

    def __init__(self, reactor: MemoryReactor) -> None:
        super().__init__(reactor)
        self.connected = 1
        self.taken = b""
        self.room = 1 << 30
        self.lost = False
        self.half_closed = False
        self.aborted = False

    def writeSomeData(self, data: bytes) -> int | BaseException:
        if self.lost:
            return ConnectionLost()
        taken = bytes(data[: self.room])
        self.taken += taken
        self.room -= len(taken)
        return len(taken)

    def _closeWriteConnection(self) -> None:  # FileDescriptor's name for what a socket does then
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    setTcpKeepAlive = setTcpNoDelay

    def getTcpNoDelay(self) -> bool:
        return True

    getTcpKeepAlive = getTcpNoDelay

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

    def take(self) -> int:
        """The client takes what waits in the transport. Gives how many bytes that is."""
        before, self.socket.room = len(self.socket.taken), 1 << 30
        while self.waits():
            self.socket.doWrite()
        return len(self.socket.taken) - before

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
        self.assertGreater(self.site._answers.total, len(value))
        while self.waits():
            self.socket.doWrite()
        self.assertEqual(self.site._answers.total, 0)
        self.assertTrue(self.socket.taken.endswith(b"\r\n\r\n" + value))
        self.assertTrue(self.reads())

    def test_nobody_takes(self) -> None:
        """Who does not take the rest of an answer in time is dropped, however short it is (hazard N6)."""
        self.send(GET)
        self.socket.room = 10
        self.send(GET)
        self.clock.pump([1] * 29)
        self.assertFalse(self.socket.aborted)
        self.clock.advance(1)
        self.assertTrue(self.socket.aborted)

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

    def test_unsent_is_held(self) -> None:
        """What is counted of an answer, or of an invitation, is what the socket has not taken (hazard N2)."""
        self.send(SET % (b"v" * 1000))
        self.socket.room, self.socket.taken = 300, b""
        self.send(GET)
        held = self.site._answers.total
        self.assertEqual(held, self.take())
        self.assertLess(held, 1000)
        self.assertEqual(self.site._answers.total, 0)
        self.socket.room = 5
        self.send(b"POST /get HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        self.assertEqual(self.site._answers.total, len(b"HTTP/1.1 100 Continue\r\n\r\n") - 5)

    def test_refusal_in_part(self) -> None:
        """A refusal that the socket takes in part goes when there is room, and then our half is closed. What the client
        still sends is read meanwhile, or to close would make its kernel drop the answer."""
        for room in (0, 10, 1 << 30):
            self.setUp()
            self.socket.room = room
            self.send(b"no request\r\n")
            self.assertTrue(self.reads())
            self.assertFalse(self.socket.half_closed)
            self.send(GET)
            self.take()
            self.assertTrue(self.socket.taken.startswith(b"HTTP/1.1 400 "))
            self.assertEqual(self.socket.taken.count(b"HTTP/1.1 4"), 1)
            self.assertTrue(self.socket.half_closed)
            self.assertTrue(self.reads())
            self.protocol.readConnectionLost()
            self.assertTrue(self.socket.disconnected)

    def test_one_refusal(self) -> None:
        """Who is refused is not refused again to make room for the refusal."""
        self.patch(self.site, "_max_held", 400)
        self.send(b"POST /set HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 390)
        self.socket.room = 10
        self.clock.pump([1] * 30)
        self.take()
        self.assertTrue(self.socket.taken.startswith(b"HTTP/1.1 408 "))
        self.assertEqual(self.socket.taken.count(b"Content-Length"), 1)
        self.assertFalse(self.socket.aborted)

    def test_tls(self) -> None:
        """Nothing goes round what stands between this node and a socket."""
        wrapped, encrypting = Socket(self.reactor), Socket(self.reactor)
        wrapper = WrappingFactory(self.site).buildProtocol(None)
        assert wrapper is not None
        wrapper.makeConnection(wrapped)
        directlyProvides(encrypting, ISSLTransport)
        protocol = self.site.buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(encrypting)
        for end, socket in ((wrapper, wrapped), (protocol, encrypting)):
            end.dataReceived(GET)
            self.assertEqual(socket.taken, b"")
            socket.doWrite()
            self.assertTrue(socket.taken.startswith(b"HTTP/1.1 404 "))

    def test_lost(self) -> None:
        """A connection that turns out to be lost is the transport's to report."""
        self.send(GET)
        self.socket.lost = True
        self.send(GET)
        self.assertTrue(self.waits())
        self.assertIsInstance(self.socket.doWrite(), ConnectionLost)
