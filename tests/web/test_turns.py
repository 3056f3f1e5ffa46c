"""Clients that send many requests at once have them read in turns, and others come between (hazard N2)."""

import sys

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from tests.kv.applying import apply_command
from tests.web.test_slow_clients import SlowTransport
from tests.web.wire import Wire
from txraft.kv import Result, Set, encode
from txraft.kv.commands import encode_batch_result
from txraft.settings import Timing
from txraft.web.outcomes import COST_OF_VALUES
from txraft.web.turns import AT_ONCE, BYTES_A_TURN, LONG, REQUESTS_A_TURN, LongJobs

NOWHERE = b"GET / HTTP/1.1\r\nHost:\r\n\r\n"
ANSWER = b"HTTP/1.1 404 "


class Clients(SynchronousTestCase):
    """Of one node."""

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


class TurnTests(Clients):
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


class LongTests(Clients):
    """What takes long to read, or to send, is done with pauses, of whatever clients it is (hazards N1, N2)."""

    def form(self, length: int) -> bytes:
        """A request whose body takes long to read, and has nothing in it for its route."""
        head = b"POST /set HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        return head + b"Content-Length: %d\r\n\r\n" % length + b"%41" * (length // 3) + b"x" * (length % 3)

    def pause(self) -> None:
        """The end of this turn, and of the pause after it."""
        self.wire.clock.turn()
        self.wire.clock.turn()

    def served(self, clients: list[SlowTransport]) -> int:
        """How many have an answer."""
        return sum(client.value().startswith(b"HTTP/1.1 ") for client in clients)

    def test_forms(self) -> None:
        """Of the longest bodies one is read at once; short requests do not wait for the next."""
        clients = [self.client() for _ in range(5)]
        for client in clients:
            client.protocol.dataReceived(self.form(AT_ONCE))
        for time in range(1, 6):
            self.assertEqual(self.served(clients), time)
            self.wire.protocol.dataReceived(NOWHERE)
            self.assertEqual(self.answers(self.transport), [time])
            self.pause()

    def test_several_at_once(self) -> None:
        """As many as there is room for, which short ones do not use up."""
        length = AT_ONCE // 4
        clients = [self.client() for _ in range(10)]
        for client in clients:
            client.protocol.dataReceived(self.form(length - 100))
        for time in range(1, 3):
            self.assertEqual(self.served(clients), 4 * time)
            self.pause()
        short = [self.client() for _ in range(600)]
        for client in short:
            client.protocol.dataReceived(self.form(LONG - 100))
        self.assertEqual(self.served(short), 600)

    def test_nothing_stays(self) -> None:
        """After the last pause, the reactor has rest."""
        timers = len(self.wire.clock.getDelayedCalls())
        self.wire.send(self.form(AT_ONCE))
        self.pause()
        self.assertEqual(len(self.wire.clock.getDelayedCalls()), timers)

    def test_answers(self) -> None:
        """Large values that are asked for together go out a few at once, and are copied no earlier: hundreds of clients
        together might ask for more than there is memory (hazard N2)."""
        length = AT_ONCE // 4 * COST_OF_VALUES - 100
        for value in (b"v" * length, "é".encode() * (length // 2)):
            apply_command(self.wire.replica.store, 1, encode(Set(b"k", value)))
            record = self.wire.replica.store.record(b"k")
            references = sys.getrefcount(record)
            clients = [self.client() for _ in range(10)]
            for client in clients:
                client.protocol.dataReceived(b"GET /get?key=k HTTP/1.1\r\nHost: x\r\n\r\n")
            for served in (4, 8, 10, 10):
                self.assertEqual(self.served(clients), served)
                self.assertEqual(sys.getrefcount(record) - references, 10 - served)
                self.pause()

    def batches(self, number: int) -> tuple[list[SlowTransport], int]:
        """Clients whose batches, each of which reads a large value, are done together; and how long a result is."""
        result = encode_batch_result([b"v" * (AT_ONCE // 4 * 3)])
        self.wire.replica.waiting = []
        clients = [self.client() for _ in range(number)]
        body = b'[{"get": {"key": "k"}}]'
        head = b"POST /batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        for client in clients:
            client.protocol.dataReceived(head % len(body) + body)
        for proposal in self.wire.replica.waiting:
            proposal.callback(result)
        return clients, len(result)

    def test_batches(self) -> None:
        """What came of batches that are done together is written as JSON a few at once. Until then it is counted, and
        once its client has taken it, or has gone, it is not, and nothing is kept of it (hazards N1, C9)."""
        clients, length = self.batches(7)
        for turn, waiting in enumerate((5, 3, 1, 0)):
            self.assertEqual(self.served(clients), 7 - waiting)
            self.assertGreater(self.wire.site._answers.total, waiting * length)
            for client in clients[2 * turn : 2 * turn + 2]:
                client.take()
                client.write(ANSWER)  # that it has been served
            self.assertEqual(self.wire.site._answers.total, waiting * length)
            self.pause()

        clients, length = self.batches(4)
        for client in clients:
            client.protocol.connectionLost(Failure(ConnectionLost()))
            self.assertIsNone(client.protocol._later)
        self.assertEqual(self.wire.site._answers.total, 0)
        self.pause()
        self.assertEqual(self.served(clients), 2)

    def test_too_many_batches(self) -> None:
        """Beyond what the node keeps, the answers that wait longest are given up, though nobody is slow."""
        self.patch(self.wire.site, "_max_held", 3 * AT_ONCE)
        clients, length = self.batches(7)
        self.assertEqual([client.disconnected for client in clients], [True] * 4 + [False] * 3)
        self.assertEqual(self.wire.site._answers.total, 3 * length)

    def test_client_goes(self) -> None:
        """Nothing is read, or sent, of a client that has gone."""
        value = b"v" * (AT_ONCE * COST_OF_VALUES)
        apply_command(self.wire.replica.store, 1, encode(Set(b"k", value)))
        for request in (self.form(AT_ONCE), b"GET /get?key=k HTTP/1.1\r\nHost: x\r\n\r\n"):
            first, second = self.client(), self.client()
            for client in (first, second):
                client.protocol.dataReceived(request)
            second.protocol.connectionLost(Failure(ConnectionLost()))
            self.wire.clock.advance(0)
            self.assertEqual((self.served([first]), self.served([second])), (1, 0))

    def test_what_waits_is_counted(self) -> None:
        """A body that waits is one that the node holds; one that has been read is not (hazard N3)."""
        first, second = self.client(), self.client()
        self.wire.replica.waiting = []
        for client in (first, second):
            client.protocol.dataReceived(self.form(AT_ONCE))
        self.assertEqual(self.wire.site._bodies.total, AT_ONCE)
        self.pause()
        self.assertEqual(self.wire.site._bodies.total, 0)

    def test_what_has_been_read_is_not_kept(self) -> None:
        """Neither while it is decided, nor where its client goes before it is read."""
        self.wire.replica.waiting = []
        form = b"key=k&val=" + b"v" * AT_ONCE
        head = b"POST /set HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        request = head + b"Content-Length: %d\r\n\r\n" % len(form) + form
        first, second = self.client(), self.client()
        for client in (first, second):
            client.protocol.dataReceived(request)
        questions = [*first.protocol.requests, *second.protocol.requests]
        self.assertTrue(questions[1].body)
        second.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.wire.replica.proposals, 1)
        self.assertEqual([question.body for question in questions], [b"", b""])

    def test_pauses(self) -> None:
        """Each is as long as the work before it, whatever comes meanwhile; who takes long does not change that."""
        clock, done = Clock(), list[int]()

        def job(number: int) -> None:
            clock.rightNow += 0.2
            done.append(number)

        jobs = LongJobs(clock)
        for number in range(3):
            jobs.run(AT_ONCE, job, number)
        clock.advance(0)
        jobs.run(LONG + 1, job, 3)
        jobs.run(LONG, done.append, 4)
        self.assertEqual(done, [0, 4])
        for before, after in (([0, 4], [0, 4, 1]), ([0, 4, 1], [0, 4, 1, 2]), ([0, 4, 1, 2], [0, 4, 1, 2, 3])):
            clock.advance(0.19)
            self.assertEqual(done, before)
            clock.advance(0.02)
            self.assertEqual(done, after)
        clock.advance(0.21)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_refused_while_it_waits(self) -> None:
        """A request whose body was given up for room, and that was told that nothing was done, is not done later."""
        head = b"POST /set?key=k&val=v HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        request = head + b"Content-Length: %d\r\n\r\n" % AT_ONCE + b"&" * AT_ONCE
        first, second = self.client(), self.client()
        first.protocol.dataReceived(self.form(AT_ONCE))
        second.protocol.dataReceived(request)
        proposals = self.wire.replica.proposals
        second.protocol.refuse(503, "nothing was done")
        self.pause()
        self.assertIn(b"HTTP/1.1 503 ", second.value())
        self.assertEqual(self.wire.replica.proposals, proposals)
