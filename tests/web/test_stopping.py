"""The end of a node's API: clients get what they wait for, and no connection stays."""

from collections.abc import Generator
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.web.wire import FakeReplica, HalfClosing, Wire
from txraft.kv import Result, Set, encode
from txraft.web import site
from txraft.web.site import STOP_SECONDS

GET = b"GET /get?key=k HTTP/1.1\r\nHost: x\r\n\r\n"
SET = b"GET /set?key=k&val=v HTTP/1.1\r\nHost: x\r\n\r\n"
NOTHING_DONE = b"this node stops; nothing was done, so ask another node"


class StopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = HalfClosing()
        self.wire = Wire(transport=self.transport)
        self.wire.replica.waiting = []

    def assert_stopped(self, stopped: "Deferred[None]") -> None:
        """When the connection has closed, and not before. Then nothing of the site is left on the reactor."""
        self.assertNoResult(stopped)
        self.wire.disconnect()
        self.successResultOf(stopped)
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def assert_refused(self) -> None:
        """With one answer, in which our half of the connection ends. What still comes is not looked at."""
        response = self.wire.response()
        self.assertEqual((response.code, response.body), (503, NOTHING_DONE))
        self.assertEqual(response.headers["x-txraft-outcome"], "not-applied")
        self.assertEqual(response.headers["connection"], "close")
        self.assertTrue(self.transport.half_closed)
        self.wire.send(GET)
        self.assertEqual(self.transport.value(), b"")

    def test_nobody_connected(self) -> None:
        self.wire.disconnect()
        self.successResultOf(self.wire.site.stop())
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_idle(self) -> None:
        """A connection on which nothing was asked yet, or is not any more, is closed at once, and not served again."""
        for asked in (False, True):
            self.setUp()
            if asked:
                self.wire.send(GET)  # by the long way; the next one would go the short way
                self.assertEqual(self.wire.response().code, 404)
            stopped = self.wire.site.stop()
            self.assertTrue(self.transport.disconnecting)
            self.wire.protocol.dataReceived(GET)
            self.assertEqual(self.transport.value(), b"")
            self.assert_stopped(stopped)

    def test_being_decided(self) -> None:
        """A request under way is answered with its outcome, and is the last, whatever was sent behind it."""
        for behind in (b"", SET):
            self.setUp()
            assert self.wire.replica.waiting is not None
            self.wire.send(SET)
            self.wire.send(behind)
            stopped = self.wire.site.stop()
            self.assertEqual((self.transport.disconnecting, self.transport.half_closed), (False, False))
            self.wire.replica.waiting[0].callback(Result.DONE.value)
            self.wire.clock.pump([0.1] * 10)
            response = self.wire.response()
            self.assertEqual((response.code, response.body), (200, b"set value"))
            self.assertEqual(response.headers["connection"], "close")
            self.assertEqual(self.transport.value(), b"")
            self.assertEqual(self.wire.replica.proposals, 1)
            self.assertTrue(self.transport.half_closed)
            self.assertEqual(self.transport.producerState, "producing")  # or the client's end would not be seen
            self.wire.protocol.readConnectionLost()
            self.assertTrue(self.transport.disconnecting)
            self.assert_stopped(stopped)

    def test_being_decided_for_one_who_sends_no_more(self) -> None:
        """The client's half is closed already, so the connection is closed with the answer."""
        assert self.wire.replica.waiting is not None
        self.wire.send(SET)
        self.wire.protocol.readConnectionLost()
        stopped = self.wire.site.stop()
        self.assertFalse(self.transport.disconnecting)
        self.wire.replica.waiting[0].callback(Result.DONE.value)
        self.assertEqual(self.wire.response().code, 200)
        self.assertTrue(self.transport.disconnecting)
        self.assert_stopped(stopped)

    def test_half_sent(self) -> None:
        """A request that has not come whole is refused, and so is one that waits for its turn behind another."""
        for sent in (GET[:5], SET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nbody")):
            self.setUp()
            self.wire.send(sent)
            stopped = self.wire.site.stop()
            self.assert_refused()
            self.assert_stopped(stopped)
        self.setUp()
        self.wire.protocol.dataReceived(GET * 3)
        self.wire.response()
        stopped = self.wire.site.stop()
        self.assert_refused()
        self.assert_stopped(stopped)

    def test_closing_already(self) -> None:
        """Who was refused may still take that answer, and gets no other; who was silent for too long is not waited
        for."""
        self.wire.send(b"hello\r\n")
        self.assertEqual(self.wire.response().code, 400)
        stopped = self.wire.site.stop()
        self.assertEqual((self.transport.value(), self.transport.disconnecting), (b"", False))
        self.assert_stopped(stopped)
        self.setUp()
        self.wire.clock.pump([1] * 60)
        self.assertEqual((self.transport.half_closed, self.transport.disconnecting), (True, False))
        stopped = self.wire.site.stop()
        self.assertTrue(self.transport.disconnecting)
        self.assert_stopped(stopped)

    def test_bound(self) -> None:
        """Who does not close, and who is still waited for, is cut off when the time is over, and not before."""
        for sent in (SET, GET[:5]):
            self.setUp()
            self.wire.send(sent)
            stopped = self.wire.site.stop()
            self.wire.clock.advance(STOP_SECONDS - 0.1)
            self.assertFalse(self.transport.disconnected)
            self.wire.clock.advance(0.1)
            self.assertTrue(self.transport.disconnected)
            self.assert_stopped(stopped)

    def test_long_answers(self) -> None:
        """What waits for a pause of the reactor is not waited for when nobody is left."""
        self.wire.send(SET)
        stopped = self.wire.site.stop()
        self.wire.site.long_jobs.run(1 << 30, lambda: None)
        self.wire.site.long_jobs.run(1 << 30, self.fail)
        self.wire.site.pipelines.wait(self.wire.protocol)
        self.assert_stopped(stopped)


class SlowReader(Protocol):
    """Asks for much, several times, and does not take it."""

    received = b""

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        transport = cast(Any, self.transport)
        transport.pauseProducing()
        transport.write(GET * 20)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default is a constant
        self.lost.errback(reason)


class LoopbackTests(TestCase):
    @inlineCallbacks
    def long_answer(self, stops_first: bool) -> Generator["Deferred[Any]", Any, None]:
        """One arrives whole before the connection closes."""
        tcp, replica, client = cast(IReactorTCP, reactor), FakeReplica(), SlowReader()
        value, asked, barrier = b"v" * (8 << 20), Deferred[None](), Deferred[None]()

        def ask() -> "Deferred[None]":
            asked.callback(None)
            return barrier

        self.patch(replica, "read_barrier", ask)
        replica.propose(encode(Set(b"k", value)))
        api = site(replica, replica.store, cast(IReactorTime, reactor))
        port = yield TCP4ServerEndpoint(tcp, 0, interface="127.0.0.1").listen(api)
        yield connectProtocol(TCP4ClientEndpoint(tcp, "127.0.0.1", port.getHost().port), client)
        yield asked
        yield port.stopListening()
        if stops_first:
            stopped = api.stop()
            barrier.callback(None)
        else:
            barrier.callback(None)
            stopped = api.stop()
        self.assertNoResult(stopped)
        cast(Any, client.transport).resumeProducing()
        yield self.assertFailure(client.lost, ConnectionDone)
        self.assertTrue(client.received.endswith(value))
        self.assertEqual(client.received.count(b"HTTP/1.1 200 OK"), 1)
        yield stopped

    def test_before_it_is_there(self) -> "Deferred[None]":
        return self.long_answer(stops_first=True)

    def test_while_it_is_taken(self) -> "Deferred[None]":
        return self.long_answer(stops_first=False)
