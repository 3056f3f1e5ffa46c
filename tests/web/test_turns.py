"""Clients that send many requests at once have them read in turns, and others come between (hazard N2)."""

from twisted.trial.unittest import SynchronousTestCase

from tests.web.test_slow_clients import SlowTransport
from tests.web.wire import Wire
from txraft.kv import Result
from txraft.settings import Timing
from txraft.web.site import BYTES_A_TURN, REQUESTS_A_TURN

NOWHERE = b"GET / HTTP/1.1\r\nHost:\r\n\r\n"
ANSWER = b"HTTP/1.1 404 "


class TurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = SlowTransport()
        self.wire = Wire(transport=self.transport, timing=Timing(receive_timeout=30_000))

    def client(self) -> SlowTransport:
        """One more connection."""
        transport = SlowTransport()
        protocol = self.wire.site.buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(transport)
        transport.protocol = protocol
        return transport

    def answers(self, *clients: SlowTransport) -> list[int]:
        """How many answers each has."""
        return [client.value().count(ANSWER) for client in clients]

    def test_one_client(self) -> None:
        """One request a turn, in order, and nothing is read from the socket before the last has had its own."""
        self.wire.protocol.dataReceived(NOWHERE * 5 + b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        for turn in range(1, 6):
            self.assertEqual(self.answers(self.transport), [turn])
            self.assertEqual(self.transport.producerState, "paused")
            self.wire.clock.turn()
        self.assertIn(b"HTTP/1.1 200 ", self.transport.value().rpartition(ANSWER)[2])
        self.assertEqual(self.transport.producerState, "producing")

    def test_without_pipelining(self) -> None:
        """A client that waits for its answers never waits for a turn, whether they come at once or later."""
        timers = len(self.wire.clock.getDelayedCalls())
        self.wire.replica.waiting = []
        self.wire.protocol.dataReceived(b"GET /set?key=k&val=v HTTP/1.1\r\nHost: x\r\n\r\n")
        self.wire.replica.waiting.pop().callback(Result.DONE.value)
        self.wire.protocol.dataReceived(NOWHERE)
        self.wire.protocol.dataReceived(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        self.assertEqual(self.answers(self.transport), [2])
        self.assertEqual(len(self.wire.clock.getDelayedCalls()), timers)

    def test_many_clients(self) -> None:
        """However many there are, REQUESTS_A_TURN are read in a turn, and all have one before any has another."""
        clients = [self.client() for _ in range(2 * REQUESTS_A_TURN)]
        for client in clients:
            client.protocol.dataReceived(NOWHERE * 3)
        for turn in range(1, 5):
            self.wire.clock.turn()
            self.assertEqual(sum(self.answers(*clients)), len(clients) + turn * REQUESTS_A_TURN)
            self.assertLessEqual(max(self.answers(*clients)) - min(self.answers(*clients)), 1)
        self.wire.protocol.dataReceived(NOWHERE)
        self.assertEqual(self.answers(self.transport), [1])

    def test_long_requests(self) -> None:
        """Fewer where they are long."""
        long = NOWHERE[:-2] + b"X: y\r\n" * 90 + b"\r\n"
        clients = [self.client() for _ in range(REQUESTS_A_TURN)]
        for client in clients:
            client.protocol.dataReceived(long * 3)
        self.wire.clock.turn()
        self.assertEqual(sum(self.answers(*clients)), len(clients) + BYTES_A_TURN // len(long) + 1)

    def test_decided_at_once(self) -> None:
        """What waits behind requests that are decided together is not read in the same turn."""
        self.wire.replica.waiting = []
        self.wire.protocol.dataReceived(b"GET /set?key=k&val=v HTTP/1.1\r\nHost: x\r\n\r\n" + NOWHERE)
        self.wire.replica.waiting.pop().callback(Result.DONE.value)
        self.assertEqual(self.answers(self.transport), [0])
        self.wire.clock.turn()
        self.assertEqual(self.answers(self.transport), [1])

    def test_deadline(self) -> None:
        """A client does not pay for the time that its requests wait here."""
        self.wire.protocol.dataReceived(NOWHERE * 2 + NOWHERE[:5])
        self.wire.clock.rightNow += 1000
        self.wire.clock.turn()
        self.wire.clock.turn()
        self.assertEqual(self.answers(self.transport), [2])
        self.assertFalse(self.transport.half_closed)
        self.wire.clock.pump([1] * 31)
        self.assertIn(b"HTTP/1.1 408 ", self.transport.value())

    def test_half_closed(self) -> None:
        """A client that will send no more gets all of its answers first."""
        self.wire.protocol.dataReceived(NOWHERE * 3)
        self.wire.protocol.readConnectionLost()
        self.assertFalse(self.transport.disconnecting)
        self.wire.clock.advance(0)
        self.assertEqual(self.answers(self.transport), [3])
        self.assertTrue(self.transport.disconnecting)

    def test_client_goes(self) -> None:
        """Nothing is read of a client that has gone."""
        self.wire.protocol.dataReceived(NOWHERE * 3)
        self.wire.disconnect()
        self.wire.clock.advance(0)
        self.assertEqual(self.answers(self.transport), [1])
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])
