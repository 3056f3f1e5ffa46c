"""What waits for a slow peer is known, and bounded."""

from twisted.internet.interfaces import IPullProducer, ISSLTransport
from twisted.internet.main import CONNECTION_DONE
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides
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
        """It is a pull producer."""
        verifyObject(IPullProducer, self.queue)

    def test_at_once(self) -> None:
        """What the socket has room for is sent at once; the rest goes to the transport, and what follows it waits."""
        self.transport.room = 1500
        self.queue.write(bytes(1000))
        self.assertEqual((len(self.transport.sent), self.transport.held, self.queue.size), (1000, 0, 0))
        self.queue.write(bytes(1000))
        self.assertEqual((len(self.transport.sent), self.transport.held, self.queue.size), (1500, 500, 0))
        self.transport.room = PIECE
        self.queue.write(bytes(1000))
        self.assertEqual((self.transport.held, self.queue.size), (500, 1000 + PIECE_OVERHEAD))
        self.transport.take(2000)
        self.queue.write(bytes(100))
        self.assertEqual((len(self.transport.sent), self.transport.held, self.queue.size), (3100, 0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_end_of_turn(self) -> None:
        """What may wait goes when the turn of the reactor ends, or with what may not wait, in the order of writing."""
        self.transport.room = PIECE
        for end in (lambda: self.clock.advance(0), self.queue.flush, lambda: self.queue.write(b"c")):
            self.transport.sent = b""
            self.queue.write_soon(b"a")
            self.queue.write_soon(b"b")
            self.assertEqual((self.transport.sent, self.queue.size), (b"", 2 + 2 * PIECE_OVERHEAD))
            end()
            self.assertIn(self.transport.sent, (b"ab", b"abc"))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_behind_others(self) -> None:
        """What may wait goes behind what the transport has not sent yet."""
        self.queue.write(b"a")
        self.queue.write_soon(b"b")
        self.clock.advance(0)
        self.transport.take(2)
        self.assertEqual(self.transport.sent, b"ab")

    def test_asked_late(self) -> None:
        """A transport that asks for the first piece in a later turn, as under TLS, has one producer until then."""
        registered: list[tuple[object, bool]] = []
        self.patch(self.transport, "registerProducer", lambda *producer: registered.append(producer))
        self.queue.write(b"a")
        self.queue.write(b"b")
        self.queue.write_soon(b"c")
        self.queue.flush()
        self.assertEqual((registered, self.transport.held), ([(self.queue, False)], 0))
        self.queue.resumeProducing()
        self.assertEqual((self.transport.held, self.queue.size), (3, 0))

    def test_lost(self) -> None:
        """That a connection is lost is the transport's to find out."""
        self.transport.lost = True
        self.queue.write(b"x")
        self.assertEqual(self.transport.held, 1)
        self.queue.stopProducing()
        self.assertEqual((self.clock.getDelayedCalls(), self.transport.producer), ([], None))

    def test_tls(self) -> None:
        """Nothing goes round TLS."""
        directlyProvides(self.transport, ISSLTransport)
        self.transport.room = PIECE
        queue = SendQueue(self.transport, self.clock, PIECE, 10, self.fail)
        queue.write(b"x")
        self.assertEqual((self.transport.sent, self.transport.held), (b"", 1))

    def test_order(self) -> None:
        """What waits goes in the order in which it was written, and the transport never has more than a piece."""
        parts = [bytes([number]) * size for number, size in enumerate((PIECE, 5, 10 * PIECE + 7, 1, 3 * PIECE))]
        for part in parts:
            self.queue.write(part)
        while self.transport.held:
            waiting = sum(map(len, parts)) - len(self.transport.sent) - self.transport.held
            self.assertLessEqual(waiting, self.queue.size)
            self.assertLessEqual(self.queue.size, waiting + (waiting // PIECE + len(parts)) * PIECE_OVERHEAD)
            self.assertLessEqual(self.transport.held, PIECE)
            self.transport.take(10_000)
        self.assertTrue(self.transport.sent == b"".join(parts))

    def test_full(self) -> None:
        """From the limit on it is full, until less waits."""
        self.make(limit=100)
        self.queue.write(bytes(PIECE + 99 - PIECE_OVERHEAD))
        self.assertFalse(self.queue.full)
        self.queue.write(bytes(1))
        self.assertTrue(self.queue.full)
        self.transport.take(2 * PIECE)
        self.assertFalse(self.queue.full)

    def test_stuck(self) -> None:
        """A transport that is not rid of what it has is stuck, counted from when it got it, however much comes."""
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
        """A transport that has sent what it had, or is gone, is not stuck and leaves no timer."""
        for end in (lambda: self.transport.take(1), self.queue.stopProducing):
            self.queue.write(b"x")
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            end()
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertIsNone(self.transport.producer)

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

    def test_close(self) -> None:
        """A transport that is told to close does so when everything has gone."""
        self.queue.write(bytes(3 * PIECE))
        self.transport.loseConnection()
        self.transport.take(10 * PIECE)
        self.assertEqual(len(self.transport.sent), 3 * PIECE)
        self.assertIs(self.transport.doWrite(), CONNECTION_DONE)
