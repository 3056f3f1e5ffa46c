"""What waits for a slow peer is known, and bounded."""

from twisted.internet.interfaces import IPushProducer
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.clock import Clock
from tests.rpc.memory import SlowTransport
from txraft.rpc.send_queue import PIECE, PIECE_OVERHEAD, SendQueue


class SendQueueTests(SynchronousTestCase):
    """A queue that is stuck after 10 seconds."""

    def setUp(self) -> None:
        """Make one with room for much."""
        self.clock = Clock()
        self.make(limit=1000 * PIECE)

    def make(self, limit: int) -> None:
        """Make one that is full at `limit` bytes."""
        self.stuck: list[float] = []
        self.transport = SlowTransport()
        self.queue = SendQueue(self.transport, self.clock, limit, 10, lambda: self.stuck.append(self.clock.seconds()))

    def test_interface(self) -> None:
        """It is a streaming producer."""
        verifyObject(IPushProducer, self.queue)

    def test_at_once(self) -> None:
        """What the transport has room for does not wait."""
        for _ in range(10):
            self.queue.write(bytes(1000))
        self.assertEqual((self.queue.size, self.transport.held), (0, 10_000))
        self.assertFalse(self.queue.full)

    def test_order(self) -> None:
        """What waits goes in the order in which it was written, and the transport never has more than two pieces."""
        parts = [bytes([number]) * size for number, size in enumerate((PIECE, 5, 10 * PIECE + 7, 1, 3 * PIECE))]
        for part in parts:
            self.queue.write(part)
        while self.transport.held:
            waiting = sum(map(len, parts)) - len(self.transport.sent) - self.transport.held
            self.assertLessEqual(waiting, self.queue.size)
            self.assertLessEqual(self.queue.size, waiting + (waiting // PIECE + len(parts)) * PIECE_OVERHEAD)
            self.assertLessEqual(self.transport.held, 2 * PIECE)
            self.transport.take(10_000)
        self.assertTrue(self.transport.sent == b"".join(parts))

    def test_full(self) -> None:
        """From the limit on it is full, until less waits."""
        self.make(limit=100)
        self.queue.write(bytes(2 * PIECE + 99 - PIECE_OVERHEAD))
        self.assertFalse(self.queue.full)
        self.queue.write(bytes(1))
        self.assertTrue(self.queue.full)
        self.transport.take(2 * PIECE)
        self.assertFalse(self.queue.full)

    def test_stuck(self) -> None:
        """A transport that is not rid of what it has is stuck, counted from when it paused, however much comes."""
        for _ in range(100):
            self.queue.write(bytes(PIECE))
            self.clock.advance(0.0999)
        self.assertEqual(self.stuck, [])
        self.clock.advance(0.2)
        self.assertEqual((len(self.stuck), self.queue.size), (1, 0))

    def test_one_slow_message(self) -> None:
        """One message that takes minutes is not stuck while it is taken in; then it is."""
        self.queue.write(bytes(100 * PIECE))
        for _ in range(50):
            self.clock.advance(9.9)
            self.transport.take(2 * PIECE)
        self.assertEqual((self.stuck, self.transport.held), ([], 0))
        self.queue.write(bytes(2 * PIECE))
        self.transport.take(PIECE)
        self.clock.advance(10)
        self.assertEqual(len(self.stuck), 1)

    def test_not_stuck(self) -> None:
        """A transport that resumes, stops, or is to close, is not stuck and leaves no timer."""
        for end in (self.queue.resumeProducing, self.queue.stopProducing, self.queue.release):
            self.queue.pauseProducing()
            end()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_overflows(self) -> None:
        """What is written although it is full is bounded too; small pieces count for the memory that they take."""
        self.make(limit=100)
        for _ in range(100):
            self.queue.write(bytes(3 * PIECE))
            self.transport.take(4 * PIECE)
        self.queue.write(bytes(10 * PIECE))  # as much as it likes, while it was not full
        self.assertTrue(self.queue.full)
        self.queue.write(b"x")
        self.assertEqual(self.stuck, [])
        self.queue.write(b"x")
        self.assertEqual((len(self.stuck), self.queue.size), (1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_release(self) -> None:
        """A transport that is to close gets everything, and waits for nobody."""
        transport = StringTransport()
        queue = SendQueue(transport, self.clock, 100, 10, self.fail)
        queue.pauseProducing()
        queue.write(bytes(3 * PIECE))
        self.assertEqual(transport.value(), b"")
        queue.release()
        self.assertEqual(len(transport.value()), 3 * PIECE)
        self.assertIsNone(transport.producer)
