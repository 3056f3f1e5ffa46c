"""What clients of a node are told that is no member yet."""

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from txraft.web.waiting import LONGEST_HEAD, PATIENCE, Waiting, WaitingFactory


class WaitingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = WaitingFactory(3, lambda: "nobody has added it", self.clock)

    def connect(self) -> tuple[Waiting, StringTransport]:
        protocol, transport = self.factory.buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        self.addCleanup(protocol.connectionLost)
        return protocol, transport

    def test_answer(self) -> None:
        """Once the head is here, and once: it certainly has no effect, and what the node waits for is said."""
        protocol, transport = self.connect()
        protocol.dataReceived(b"POST /set HTTP/1.1\r\nHost: x\r\n")
        self.assertEqual((transport.value(), transport.disconnecting), (b"", False))
        for _ in range(2):
            protocol.dataReceived(b"\r\nkey=a&val=b")
        head, _, body = transport.value().partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertEqual(lines[0], b"HTTP/1.1 503 Service Unavailable")
        for line in (
            b"X-Txraft-Outcome: not-applied",
            b"Retry-After: 1",
            b"Content-Length: %d" % len(body),
            b"X-Txraft-Waits-To-Join: 3",
        ):
            self.assertIn(line, lines)
        self.assertEqual(body, b"node 3 waits to join the cluster: nobody has added it")
        self.assertTrue(transport.disconnecting)

    def test_endless_head(self) -> None:
        """It is answered, and no more of it is kept (hazard N1)."""
        protocol, transport = self.connect()
        protocol.dataReceived(b"a" * LONGEST_HEAD)
        self.assertEqual(transport.value(), b"")
        protocol.dataReceived(b"a")
        self.assertIn(b" 503 ", transport.value())

    def test_slow(self) -> None:
        """It is hung up on (hazard N6); and nothing is left of one that has gone."""
        protocol, transport = self.connect()
        self.clock.advance(PATIENCE)
        self.assertTrue(transport.disconnected)
        protocol, _ = self.connect()
        protocol.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])
