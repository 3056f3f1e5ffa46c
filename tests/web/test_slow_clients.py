"""Clients that send slowly, or do not take what they asked for (hazards N2 and N6)."""

from collections.abc import Iterable
from typing import ClassVar

from twisted.internet.interfaces import IPushProducer
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.web.wire import HalfClosing, Wire
from txraft.kv import Result
from txraft.settings import SizeLimits, Timing
from txraft.web.channel import LINGER_SECONDS, ApiChannel

TIMING = Timing(receive_timeout=30_000, idle_timeout=60_000)
FORM = b"POST /set HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
GET = b"GET /get?key=k HTTP/1.1\r\nHost: x\r\n\r\n"


class SlowTransport(HalfClosing):
    """Holds what is written until the test lets the client take it. Tells its producer when that is too much, and when
    that has been taken: only then, as the reactor's own do."""

    FULL: ClassVar = 1 << 16
    is_full = False
    producer: IPushProducer | None
    protocol: ApiChannel

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None and len(self.value()) > self.FULL:
            self.is_full = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def take(self) -> bytes:
        """The client takes everything."""
        taken = self.value()
        self.clear()
        if self.producer is not None and self.is_full:
            self.is_full = False
            self.producer.resumeProducing()
        return taken


class NeverReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = SlowTransport()
        self.wire = Wire(transport=self.transport, timing=TIMING)
        self.wire.ask("POST", "/set?key=k", b"val=" + b"v" * 100_000, Content_Type="application/x-www-form-urlencoded")

    def test_pipelined(self) -> None:
        """One answer is held, however many are asked for in one packet or more; the others come as it is taken."""
        barriers = self.wire.replica.barriers
        self.wire.send(GET * 5)
        self.assertEqual(self.transport.producerState, "paused")
        self.wire.send(GET * 5)  # was on its way
        self.assertEqual(self.wire.replica.barriers, barriers + 1)
        answers = b""
        for count in range(1, 11):
            self.assertEqual(self.wire.replica.barriers, barriers + count)
            answers += self.transport.take()
            self.wire.clock.advance(0)
        self.assertEqual((answers.count(b"HTTP/1.1 200 OK"), self.transport.value()), (10, b""))
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(self.wire.get("/get?key=x").code, 404)

    def test_pipelined_while_waiting(self) -> None:
        """While a request is being decided, what follows it is left in the socket, and then read."""
        self.wire.replica.waiting = []
        self.wire.request("POST", "/set?key=k&val=w")
        self.assertEqual(self.transport.producerState, "producing")
        status = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"
        self.wire.send(status[:10])
        self.assertEqual(self.transport.producerState, "paused")
        self.wire.send(status[10:] * 2)  # was on its way
        self.assertEqual(self.transport.value(), b"")
        self.wire.replica.waiting.pop().callback(Result.DONE.value)
        self.wire.clock.advance(0)
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual([self.wire.response().code for _ in range(2)], [200, 200])

    def test_dropped(self) -> None:
        """Who takes nothing of an answer is dropped, and what was asked for behind it is never looked at."""
        self.wire.send(GET * 3)
        self.wire.clock.pump([1] * 29)
        self.assertFalse(self.transport.disconnecting)
        self.wire.clock.advance(1)
        self.assertTrue(self.transport.disconnected)
        self.wire.disconnect()
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_dropped_when_closing(self) -> None:
        """A request that asks to close leaves its client as much time to take the answer."""
        self.wire.send(GET.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        self.wire.clock.pump([1] * 29)
        self.assertFalse(self.transport.disconnected)
        self.wire.clock.advance(1)
        self.assertTrue(self.transport.disconnected)


class SlowSenderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = SlowTransport()
        self.wire = Wire(transport=self.transport, timing=TIMING)

    def drip(self, data: bytes) -> int:
        """Send a byte every second. Gives how many went before the connection was given up."""
        count = 0
        while not self.transport.half_closed:
            self.wire.send(data[count : count + 1])
            self.wire.clock.advance(1)
            count += 1
        self.assertLess(count, len(data))
        return count

    def test_head(self) -> None:
        """A head that comes a byte a second is answered 408 when its time is over, and the connection closed."""
        self.assertEqual(self.drip(b"GET /get?key=" + b"k" * 100), 30)
        response = self.wire.response()
        self.assertEqual((response.code, response.body), (408, b"the request did not come within 30 s"))
        self.wire.clock.pump([1] * int(LINGER_SECONDS))
        self.assertTrue(self.transport.disconnected)

    def test_body(self) -> None:
        """A body has the rest of the time that its head has left."""
        self.wire.send(b"POST /set?key=k HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n")
        self.wire.clock.pump([1] * 20)
        self.wire.send(b"\r\n")
        self.assertEqual(self.drip(b"x" * 100), 10)
        self.assertEqual(self.wire.response().code, 408)

    def test_chunks(self) -> None:
        """Chunks, and the trailer behind them, have that time too."""
        self.wire.send(b"POST /set?key=k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        self.assertEqual(self.drip(b"x" * 100), 30)

    def test_slow_decision(self) -> None:
        """A request that is here may take as long as it takes: that is not the client's fault."""
        self.wire.replica.waiting = []
        self.wire.request("POST", "/set?key=k&val=w")
        self.wire.clock.pump([1] * 1000)
        self.wire.replica.waiting.pop().callback(Result.DONE.value)
        self.assertEqual(self.wire.response().code, 200)


class IdleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = SlowTransport()
        self.wire = Wire(transport=self.transport, timing=TIMING)

    def is_idle_for(self, seconds: int) -> bool:
        """Whether the connection is closed, without a word, after this many seconds and no earlier."""
        self.wire.clock.pump([1] * (seconds - 1))
        self.assertFalse(self.transport.half_closed)
        self.wire.clock.advance(1)
        self.assertEqual(self.transport.value(), b"")
        return self.transport.half_closed

    def test_no_request(self) -> None:
        """A connection on which no request comes is closed."""
        self.assertTrue(self.is_idle_for(60))
        self.wire.clock.pump([1] * int(LINGER_SECONDS))
        self.assertTrue(self.transport.disconnected)

    def test_kept_alive(self) -> None:
        """One that is kept open has all of the time after each answer, and is served until then."""
        for _ in range(3):
            self.wire.clock.pump([1] * 59)
            self.assertEqual(self.wire.get("/status").code, 200)
        self.assertTrue(self.is_idle_for(60))

    def test_after_a_large_answer(self) -> None:
        """The time counts from when the answer was taken."""
        self.wire.post("/set", b"key=k&val=" + b"v" * 60_000)
        self.wire.send(GET * 2)
        self.wire.clock.pump([1] * 20)
        while self.transport.take():
            self.wire.clock.advance(0)
        self.assertTrue(self.is_idle_for(60))

    def test_watch_ends(self) -> None:
        """Nobody looks for slow clients where there are none at all, and somebody does when one comes again."""
        self.wire.disconnect()
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])
        protocol = self.wire.site.buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(SlowTransport())
        self.assertEqual(len(self.wire.clock.getDelayedCalls()), 1)


class KeepAliveTests(SynchronousTestCase):
    def test_who_closes(self) -> None:
        """HTTP/1.1 keeps the connection open unless told to close it; HTTP/1.0 does not."""
        for head, closed in (
            (b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n", False),
            (b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", False),
            (b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n", True),
            (b"GET /status HTTP/1.0\r\n\r\n", True),
            (b"GET /status HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        ):
            wire = Wire()
            wire.send(head + GET)
            response = wire.response()
            self.assertEqual(response.code, 200)
            self.assertEqual(wire.transport.disconnecting, closed, head)
            self.assertEqual(wire.transport.value() == b"", closed, head)

    def test_closing_for_long(self) -> None:
        """A connection that is to be closed, and is not in all of that time, is given up."""
        transport = SlowTransport()
        wire = Wire(transport=transport, timing=TIMING)
        wire.send(b"GET /status HTTP/1.0\r\n\r\n")
        wire.clock.pump([1] * 59)
        self.assertEqual((transport.disconnecting, transport.disconnected), (True, False))
        wire.clock.advance(1)
        self.assertTrue(transport.disconnected)
        self.assertEqual(self.flushLoggedErrors(), [])


class HalfClosedTests(SynchronousTestCase):
    """A client that closes its half still gets what it asked for, and then the other half is closed."""

    def setUp(self) -> None:
        self.transport = SlowTransport()
        self.wire = Wire(transport=self.transport)
        self.wire.post("/set", b"key=k&val=" + b"v" * 60_000)

    def close(self) -> None:
        """The client will send nothing more."""
        self.wire.protocol.readConnectionLost()

    def test_between_requests(self) -> None:
        """Nothing is owed; half a request is none."""
        self.wire.send(GET[:10])
        self.close()
        self.assertTrue(self.transport.disconnecting)

    def test_while_deciding(self) -> None:
        """A request that is being decided, and what is behind it, are answered first."""
        status = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"
        for behind in (0, 1):
            self.setUp()
            self.wire.replica.waiting = []
            self.wire.request("POST", "/set?key=k&val=w")
            self.wire.send(status * behind)
            self.close()
            self.assertFalse(self.transport.disconnecting)
            self.wire.replica.waiting.pop().callback(Result.DONE.value)
            self.wire.clock.advance(0)
            self.assertEqual([self.wire.response().code for _ in range(1 + behind)], [200] * (1 + behind))
            self.assertTrue(self.transport.disconnecting)

    def test_while_nobody_reads(self) -> None:
        """Requests that wait for the client to take earlier answers are answered, then the connection closes."""
        self.wire.send(GET * 5)
        self.close()
        answers = b""
        while not self.transport.disconnecting:
            answers += self.transport.take()
            self.wire.clock.advance(0)
        self.assertEqual((answers + self.transport.value()).count(b"HTTP/1.1 200 OK"), 5)

    def test_after_a_refusal(self) -> None:
        """When both have closed their half, the connection is over before its deadline."""
        self.wire.send(b"hello\r\n")
        self.assertFalse(self.transport.disconnecting)
        self.close()
        self.assertTrue(self.transport.disconnecting)


class TooManyTests(SynchronousTestCase):
    def test_turned_away(self) -> None:
        """Beyond limits.connections nobody is let in, and the log says so once a minute (hazard N4)."""
        wire = Wire(limits=SizeLimits(connections=2), timing=Timing(idle_timeout=1e6))
        second = wire.site.buildProtocol(None)
        assert second is not None
        second.makeConnection(SlowTransport())
        with capturedLogs() as events:
            for _ in range(70):
                self.assertIsNone(wire.site.buildProtocol(None))
                wire.clock.advance(1)
        self.assertEqual(len(events), 2)
        self.assertIn("2 clients are connected", formatEvent(events[0]))
        self.assertEqual(wire.get("/status").code, 200)
        wire.disconnect()
        self.assertIsNotNone(wire.site.buildProtocol(None))


class HeldTests(SynchronousTestCase):
    """What all clients together hold is bounded (hazard N2)."""

    def setUp(self) -> None:
        self.first = SlowTransport()
        self.wire = Wire(transport=self.first)
        self.patch(self.wire.site, "_max_held", 250_000)
        self.wire.ask("POST", "/set?key=k", b"val=" + b"v" * 100_000, Content_Type="application/x-www-form-urlencoded")

    def another(self, sends: bytes) -> SlowTransport:
        """One more client, and what it sends."""
        transport = SlowTransport()
        protocol = self.wire.site.buildProtocol(None)
        assert protocol is not None
        transport.protocol = protocol
        protocol.makeConnection(transport)
        protocol.dataReceived(sends)
        return transport

    def test_answers(self) -> None:
        """Answers that are taken do not count."""
        self.wire.send(GET)
        second = self.another(GET)
        self.assertIn(b"200 OK", second.take())
        third, fourth = self.another(GET), self.another(GET)
        self.assertEqual(
            [each.disconnected for each in (self.first, second, third, fourth)], [True, False, False, False]
        )
        fifth = self.another(GET)
        self.assertEqual([each.disconnected for each in (second, third, fourth, fifth)], [False, True, False, False])

    def test_bodies(self) -> None:
        """Bodies count until they are whole, or their client has gone."""
        body = b"POST /get HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n" + b"x" * 100_000
        self.wire.send(body)
        self.wire.send(b"x")
        self.assertEqual(self.wire.response().code, 400)
        self.wire.send(body)
        self.wire.disconnect()
        self.assertEqual([self.another(body).value() for _ in range(2)], [b"", b""])

    def test_largest_body(self) -> None:
        """The largest is refused, with an answer; smaller ones, and answers, are left alone; one line is logged."""
        self.wire.send(GET)
        small = self.another(FORM % 13 + b"key=k&")
        largest = self.another(FORM % 100_001 + b"x" * 100_000)
        with capturedLogs() as events:
            others = [self.another(FORM % 90_000 + b"x" * 50_000) for _ in range(10)]
        self.assertEqual(len(events), 1)
        self.assertIn("more at once", formatEvent(events[0]))
        small.protocol.dataReceived(b"val=xyz")
        self.assertIn(b"HTTP/1.1 200 ", small.value())
        self.assertEqual([each.value() == b"" for each in others], [True, True] + [False] * 8)
        for refused in (largest, *others[2:]):
            head, _, body = refused.value().partition(b"\r\n\r\n")
            self.assertIn(b"HTTP/1.1 503 ", head)
            self.assertIn(b"X-Txraft-Outcome: not-applied\r\nRetry-After: 1\r\n", head)
            self.assertIn(b"Connection: close", head)
            self.assertIn(b"nothing was done", body)
            self.assertEqual((refused.half_closed, refused.disconnected), (True, False))
        self.assertIn(b"200 OK", self.first.take())
