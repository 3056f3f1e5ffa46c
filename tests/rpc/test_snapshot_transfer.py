"""The data of a snapshot go over: whole, resumed, at a pace, never mixed (hazard S10)."""

import hashlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import attrs
from attrs import Factory, define
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.memory import Cluster, dial, handshake, warnings
from tests.web.test_work import work
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import AppendEntries, Entry, EntryKind, Heartbeat
from txraft.errors import BadSnapshot, NotApplied, OutcomeUnknown, Overloaded, SnapshotFailed, Unreachable
from txraft.interfaces import SnapshotFile
from txraft.rpc import LinkLimits
from txraft.rpc.amp_commands import FinishSnapshot, OfferSnapshot, SnapshotChunk
from txraft.rpc.snapshot_transfer import CHUNK, DELAY, LEAST_IN_FLIGHT, MOST_CHUNKS, MOST_IN_FLIGHT, Pace

TERM = 3
HEARTBEAT = Heartbeat(TERM, 2, 1, 3)


@define(eq=False)
class Source:
    """A snapshot's file on the node that sends it, and how it is read."""

    data: bytes
    reads: list[tuple[int, int]] = Factory(list)
    on_read: Callable[[bytes], Deferred[bytes]] = succeed

    @property
    def file(self) -> SnapshotFile:
        """What is offered."""
        snapshot = Snapshot(10, 2, Configuration({0, 1}))
        return SnapshotFile(snapshot, len(self.data), hashlib.sha256(self.data).digest())

    def read(self, offset: int, size: int) -> Deferred[bytes]:
        """As in IPeers.send_snapshot."""
        self.reads.append((offset, size))
        return self.on_read(self.data[offset : offset + size])


def source(size: int) -> Source:
    """One whose every 4 bytes are different."""
    return Source(b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size])


class Later:
    """Answers that are given when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []

    def __call__(self) -> Deferred[Any]:
        """One more."""
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def answer(self, answer: object = None) -> None:
        """Give the oldest."""
        self.waiting.pop(0).callback(answer)


class SnapshotTransferTests(SynchronousTestCase):
    """From node 0 to node 1."""

    def setUp(self) -> None:
        """Connect them."""
        self.connect()

    def connect(self, limits: LinkLimits | None = None, *dialling: int) -> None:
        """Connect two nodes."""
        self.cluster = Cluster(limits or LinkLimits()).start(*dialling)
        self.network, self.handler = self.cluster.networks[0], self.cluster.handlers[1]

    def send(self, source: Source) -> Deferred[None]:
        """Send it, as far as it goes at once."""
        sent = self.network.send_snapshot(1, source.file, source.read, TERM)
        self.cluster.settle()
        return sent

    def taken(self) -> bytes:
        """What node 1 was given, which must be in order."""
        chunks = self.handler.chunks
        for (_, _, offset, data), (_, _, following, _) in pairwise(chunks):
            self.assertEqual(offset + len(data), following)
        return b"".join(data for _, _, _, data in chunks)

    def test_whole(self) -> None:
        """All of it arrives, in order, and its end when everything before is written, whatever its size."""
        for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 20 * CHUNK + 7):
            self.connect()
            sent = self.send(of := source(size))
            self.assertIsNone(self.successResultOf(sent))
            self.assertEqual(self.handler.offers, [(0, TERM, of.file)])
            self.assertTrue(self.taken() == of.data)
            self.assertEqual({(sender, file) for sender, file, _, _ in self.handler.chunks} - {(0, of.file)}, set())
            self.assertEqual(self.handler.finished, [(0, of.file)])
            self.assertEqual(self.network._outgoing[1].unanswered, 0)

    def test_resumed(self) -> None:
        """After a lost connection it goes on where the other node says (hazard S10)."""
        of, later = source(20 * CHUNK), Later()
        self.handler.on_chunk = later
        sent = self.send(of)
        later.answer()
        self.cluster.settle()
        self.cluster.cut(0)
        self.failureResultOf(sent, Unreachable)
        self.cluster.advance(2)
        self.handler.chunks.clear()
        self.handler.on_offer = lambda: succeed(CHUNK + 5)
        self.handler.on_chunk = lambda: succeed(None)
        self.assertIsNone(self.successResultOf(self.send(of)))
        self.assertEqual(self.handler.chunks[0][2], CHUNK + 5)
        self.assertTrue(self.taken() == of.data[CHUNK + 5 :])

    def test_there_already(self) -> None:
        """Nothing is read where everything is there; the end is said again, since its answer may have been lost."""
        of = source(CHUNK)
        self.handler.on_offer = lambda: succeed(CHUNK)
        self.assertIsNone(self.successResultOf(self.send(of)))
        self.assertEqual((of.reads, self.handler.chunks, len(self.handler.finished)), ([], [], 1))

    def test_more_than_there_is(self) -> None:
        """A node that has more of a file than its size talks nonsense, and the connection ends."""
        self.handler.on_offer = lambda: succeed(CHUNK + 1)
        with capturedLogs() as events:
            self.failureResultOf(self.send(source(CHUNK)), Unreachable)
        self.assertEqual(len(warnings(events)), 1)
        self.assertNotIn(1, self.network._outgoing)

    def test_the_way(self) -> None:
        """It goes by the connection that this node dialled, which heartbeats do not use (hazard R18)."""
        self.network.send_snapshot(1, source(1).file, source(1).read, TERM)
        self.cluster.clock.advance(0)
        self.assertTrue(self.cluster.endpoints[0].pumps[0].clientIO.getOutBuffer())
        self.assertFalse(self.cluster.endpoints[1].pumps[0].serverIO.getOutBuffer())

    def test_in_flight(self) -> None:
        """No more is read and sent than may be in flight: 32 KiB at first, and 480 soon, where answers come in time."""
        of, later = source(100 * CHUNK), Later()
        self.handler.on_chunk = later
        self.send(of)
        in_flight, answered = [], 0
        while later.waiting:
            self.assertEqual(len(of.reads), len(self.handler.chunks))
            in_flight.append(len(self.taken()) - answered)
            answered += len(self.handler.chunks[-len(later.waiting)][3])
            later.answer()
            self.cluster.settle()
        self.assertEqual(in_flight[0], LEAST_IN_FLIGHT)
        self.assertEqual(set(in_flight[30:50]), {MOST_IN_FLIGHT})

    def test_one_read_at_a_time(self) -> None:
        """The next part is asked for when the one before is there."""
        reads: list[Deferred[bytes]] = []

        def on_read(_: bytes) -> Deferred[bytes]:
            reads.append(Deferred())
            return reads[-1]

        of = Source(bytes(9 * CHUNK), on_read=on_read)
        self.send(of)
        for read in reads:  # there are more and more of them
            self.assertIs(read, reads[-1])
            read.callback(bytes(of.reads[-1][1]))
            self.cluster.settle()
        self.assertTrue(self.taken() == of.data)
        self.assertEqual(len(self.handler.finished), 1)

    def test_slow_disk(self) -> None:
        """Where each chunk takes a minute to write, and the end five, it takes as long, and nothing is aborted."""
        of, later = source(3 * CHUNK), Later()
        self.handler.on_chunk = self.handler.on_finish = later
        with capturedLogs() as events:
            sent = self.send(of)
            while not self.handler.finished:
                self.cluster.advance(60)
                later.answer()
                self.cluster.settle()
            self.cluster.advance(300)
            self.assertNoResult(sent)
            later.answer()
            self.cluster.settle()
        self.assertIsNone(self.successResultOf(sent))
        self.assertEqual((warnings(events), self.cluster.endpoints[0].attempts), ([], 1))

    def test_stalled(self) -> None:
        """Where no answer comes for very long, whichever it is of, it is given up, and the connection goes on."""
        for limit in ("on_offer", "on_chunk", "on_finish"):
            self.connect(LinkLimits(snapshot_stall=100))
            of = source(3 * CHUNK)
            setattr(self.handler, limit, Deferred)
            sent = self.send(of)
            self.cluster.advance(99)
            self.assertNoResult(sent)
            self.cluster.advance(2)
            self.failureResultOf(sent, Unreachable)
            self.assertEqual((self.network._outgoing[1].unanswered, self.cluster.endpoints[0].attempts), (0, 1))

    def test_stalled_while_reading(self) -> None:
        """An answer that comes after it was given up, while the file is being read, changes nothing."""
        self.connect(LinkLimits(snapshot_stall=100))
        reads: list[Deferred[bytes]] = []
        later = Later()
        self.handler.on_chunk = later

        def on_read(data: bytes) -> Deferred[bytes]:
            reads.append(Deferred())
            return succeed(data) if len(reads) < 2 else reads[-1]

        sent = self.send(Source(bytes(3 * CHUNK), on_read=on_read))
        later.answer()
        self.cluster.settle()
        self.assertEqual(len(reads), 2)
        self.cluster.advance(101)
        reads[-1].callback(b"x")
        self.failureResultOf(sent, Unreachable)

    def test_cancelled(self) -> None:
        """Cancelling stops it wherever it is. What was in flight harms nothing, the next transfer starts with an offer,
        and is whole (hazard S10)."""
        for stage in ("on_offer", "on_chunk", "on_finish"):
            self.connect()
            of, later = source(20 * CHUNK), Later()
            setattr(self.handler, stage, later)
            sent = self.send(of)
            reads = len(of.reads)
            sent.cancel()
            self.failureResultOf(sent, CancelledError)
            self.assertEqual(self.network._outgoing[1].unanswered, 0)
            while later.waiting:
                later.answer(0)
            self.cluster.settle()
            self.cluster.advance(1000)
            self.assertEqual(len(of.reads), reads)
            self.handler.chunks.clear()
            self.handler.on_offer, self.handler.on_chunk = (lambda: succeed(0)), (lambda: succeed(None))
            self.handler.on_finish = lambda: succeed(None)
            other = Source(b"other" * CHUNK)
            self.assertIsNone(self.successResultOf(self.send(other)))
            self.assertTrue(self.taken() == other.data)
            self.assertEqual(self.handler.finished[-1], (0, other.file))
            self.assertEqual((self.flushLoggedErrors(), self.cluster.endpoints[0].attempts), ([], 1))

    def test_cancelled_while_reading(self) -> None:
        """The same while the file is read; the read is told so."""
        told: list[object] = []
        of = Source(bytes(CHUNK), on_read=lambda _: Deferred(told.append))
        sent = self.send(of)
        sent.cancel()
        self.failureResultOf(sent, CancelledError)
        self.assertEqual((len(told), self.handler.chunks), (1, []))

    def test_failures(self) -> None:
        """What the other node refuses, or cannot write, is not applied, in its words; a bug there is logged there. No
        chunk that was in flight is handed on afterwards, and the connection stays."""
        for stage in ("on_offer", "on_chunk", "on_finish"):
            for error, kind, words in (
                (NotApplied("a later term"), NotApplied, "a later term"),
                (BadSnapshot("out of order"), NotApplied, "out of order"),
                (SnapshotFailed("no space left"), NotApplied, "no space left"),
                (OutcomeUnknown("who knows"), Unreachable, "who knows"),
                (RuntimeError("a bug"), Unreachable, "its log says why"),
            ):
                self.connect()
                setattr(self.handler, stage, partial(fail, error))
                of = source(3 * CHUNK)
                failure = self.failureResultOf(self.send(of), kind)
                self.assertIn(words, failure.getErrorMessage())
                self.assertEqual(len(self.flushLoggedErrors()), isinstance(error, RuntimeError))
                self.assertTrue(
                    self.taken() == (of.data if stage == "on_finish" else self.taken()[: LEAST_IN_FLIGHT // 2])
                )
                self.assertEqual(bool(self.taken()), stage != "on_offer")
                self.assertEqual((self.network._outgoing[1].unanswered, self.cluster.endpoints[0].attempts), (0, 1))

    def test_one_of_several_fails(self) -> None:
        """Of the chunks in flight the first fails: the others are answered as they may be, and those that come after it
        are refused until there is an offer."""
        of, later = source(20 * CHUNK), Later()
        self.handler.on_chunk = later
        sent = self.send(of)
        while len(later.waiting) < MOST_CHUNKS:
            later.answer()
            self.cluster.settle()
        later.waiting.pop(0).errback(SnapshotFailed("no space left"))
        self.network._outgoing[1].ask_about_snapshot(SnapshotChunk, offset=0, data=b"x").addErrback(lambda _: None)
        handed_on = len(self.handler.chunks)
        self.cluster.settle()
        self.failureResultOf(sent, NotApplied)
        self.assertEqual(len(self.handler.chunks), handed_on)
        while later.waiting:
            later.answer()
        self.cluster.settle()
        self.assertEqual(self.handler.finished, [])

    def test_handler_raises(self) -> None:
        """A handler that raises, or answers with what is no answer, is logged, and its node not reached."""
        for answer in (lambda: 1 // 0, lambda: succeed(None)):
            self.handler.on_offer = answer  # type: ignore[assignment]  # wrong on purpose
            self.failureResultOf(self.send(source(1)), Unreachable)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, TypeError)), 2)

    def test_read_fails(self) -> None:
        """What reading fails with is what it ends in; and a file that ends too early is no endless loop."""
        for read, kind in (
            (lambda _: fail(BadSnapshot("another one by now")), BadSnapshot),
            (lambda _: 1 // 0, ZeroDivisionError),
            (lambda _: succeed(b""), NotApplied),
        ):
            of = Source(bytes(CHUNK), on_read=read)  # type: ignore[arg-type]  # one is wrong on purpose
            self.failureResultOf(self.send(of), kind)
            self.assertEqual((len(of.reads), self.handler.finished), (1, []))

    def test_without_connection(self) -> None:
        """Unreachable at once, and nothing is read."""
        of, cluster = source(CHUNK), Cluster()
        self.failureResultOf(cluster.networks[0].send_snapshot(1, of.file, of.read, TERM), Unreachable)
        self.assertEqual(of.reads, [])

    def test_lost_while_reading(self) -> None:
        """A connection that is lost while nothing is in flight is noticed by the next chunk."""
        read: Deferred[bytes] = Deferred()
        sent = self.send(Source(bytes(CHUNK), on_read=lambda _: read))
        self.cluster.cut(0)
        self.cluster.advance(2)
        self.assertNoResult(sent)
        read.callback(b"x")
        self.failureResultOf(sent, Unreachable)
        self.assertEqual(self.handler.chunks, [])

    def test_its_own_connection_is_back(self) -> None:
        """A transfer that had to take the heartbeats' connection ends when the other one is back (hazard R18)."""
        self.connect(None, 1)
        of, later = source(20 * CHUNK), Later()
        self.handler.on_chunk = later
        sent = self.send(of)
        self.cluster.endpoints[0].target = self.cluster.networks[1].server_factory()
        self.cluster.advance(2)
        later.answer()
        self.cluster.settle()
        self.assertIn("another connection", self.failureResultOf(sent, Unreachable).getErrorMessage())
        self.handler.on_chunk = lambda: succeed(None)
        self.assertIsNone(self.successResultOf(self.send(of)))

    def test_too_much_waits(self) -> None:
        """Where entries and questions that wait for the peer are at their bound, no more is added."""
        self.connect(LinkLimits(send_queue_size=1000))
        of, later = source(20 * CHUNK), Later()
        self.handler.on_chunk = later
        sent = self.send(of)
        pump = self.cluster.endpoints[0].pumps[0]
        pump.clientIO.full = True
        self.network.send(1, AppendEntries(1, 2, 3, 1, (Entry(4, 1, EntryKind.COMMAND, bytes(200_000)),), 3))
        later.answer()
        self.cluster.settle()
        self.failureResultOf(sent, Overloaded)
        self.assertLess(self.network._outgoing[1]._send_queue.size, 300_000)

    def test_work(self) -> None:
        """Twice as many bytes are twice the work, and there are as many reads as chunks."""

        def send(chunks: int) -> None:
            self.connect()
            of = source(chunks * CHUNK)
            sent = self.send(of)
            self.assertIsNone(self.successResultOf(sent))
            self.assertEqual(len(of.reads), len(self.handler.chunks))
            self.assertLess(len(of.reads), chunks + 5)

        send(1)
        once, twice = (sum(work(partial(send, chunks))) for chunks in (40, 80))
        self.assertLess(twice, 2.2 * once)


class LineTests(SynchronousTestCase):
    """What else goes by the same connection."""

    def gaps(self, rate: int, seconds: float) -> tuple[float, int]:
        """Send a heartbeat every 0.1 s and, by the only connection between the two, a snapshot, on a line of `rate`
        bytes a second. The longest time between two heartbeats that arrive, and the bytes of the snapshot that do."""
        cluster = Cluster().start(0)
        clock, handler = cluster.clock, cluster.handlers[1]
        transport = cluster.endpoints[0].pumps[0].clientIO
        endless = attrs.evolve(source(1).file, size=2**62)
        heard: list[float] = []
        handler.on_receive = lambda: heard.append(clock.seconds())
        sent = cluster.networks[0].send_snapshot(1, endless, lambda _, size: succeed(bytes(size)), TERM)
        step = 0.01
        for number in range(round(seconds / step)):
            clock.advance(step)
            if number % 10 == 0:
                cluster.networks[0].send(1, HEARTBEAT)
            held = b"".join(transport.stream)
            size = round(rate * step)
            transport.stream = [held[:size]] if held else []
            for pump in cluster.endpoints[0].pumps:
                pump.pump(advanceClock=False)
            transport.stream[:0] = [held[size:]] if held[size:] else []
        sent.addErrback(lambda _: None).cancel()
        return max(after - before for before, after in pairwise(heard)), sum(len(chunk[3]) for chunk in handler.chunks)

    def test_heartbeats(self) -> None:
        """Heartbeats that have to share the connection wait for less than an election timeout behind chunks, and the
        line is in use for nearly all of the time (hazard R18)."""
        for rate in (150_000, 1_000_000, 3_000_000):
            gap, size = self.gaps(rate, 10)
            self.assertLess(gap, 0.3, rate)
            self.assertGreater(size, 0.9 * rate * 10, rate)


class PaceTests(SynchronousTestCase):
    """How much may be in flight."""

    def test_bounds(self) -> None:
        """At least two chunks, at most eight."""
        pace = Pace()
        for took, in_flight, chunk in (
            (5.0, MOST_IN_FLIGHT, CHUNK),
            (5.0 + 2 * DELAY, LEAST_IN_FLIGHT, LEAST_IN_FLIGHT // 2),
        ):
            for _ in range(100):
                pace.answered(pace.chunk, took)
            self.assertEqual((pace.in_flight, pace.chunk), (in_flight, chunk))

    def test_a_long_way(self) -> None:
        """What counts is how much longer an answer takes than the quickest: a far node is sent no less."""
        near, far = Pace(), Pace()
        for took in (0.001, 0.05, 0.09, 0.2, 0.02):
            near.answered(1000, took)
            far.answered(1000, took + 0.5)
        self.assertEqual(near.in_flight, far.in_flight)


class HostileTests(SynchronousTestCase):
    """Bytes that come from something that passes for node 1."""

    FILE = Source(bytes(10 * CHUNK)).file

    def setUp(self) -> None:
        """A connection on which Hello was said."""
        self.cluster = Cluster(LinkLimits(unreachable_after=1e9)).start(1)
        self.cluster.cut(1)
        self.handler = self.cluster.handlers[0]
        self.dial()

    def dial(self) -> None:
        """Connect."""
        self.protocol, self.transport = dial(self.cluster.networks[0])
        self.protocol.dataReceived(handshake())
        self.answers()

    def say(self, command: type[amp.Command], **arguments: object) -> None:
        """Ask one question."""
        box = command.makeArguments(arguments, None)
        box[amp.COMMAND], box[amp.ASK] = command.commandName, b"a"
        self.protocol.dataReceived(box.serialize())

    def offer(self, size: int = FILE.size) -> None:
        """Offer the file, of this size."""
        self.say(OfferSnapshot, term=TERM, file=attrs.evolve(self.FILE, size=size))

    def answers(self) -> list[amp.AmpBox]:
        """What the node has written since."""
        self.cluster.clock.advance(0)
        boxes: list[amp.AmpBox] = amp.parseString(self.transport.value())
        self.transport.clear()
        return boxes

    def test_nothing_was_offered(self) -> None:
        """A chunk, or an end, of nothing is refused, and not handed on."""
        self.say(SnapshotChunk, offset=0, data=b"x")
        self.say(FinishSnapshot)
        self.assertEqual([answer[b"_error_code"] for answer in self.answers()], [b"NOT_APPLIED"] * 2)
        self.assertEqual((self.handler.chunks, self.handler.finished), ([], []))
        self.assertFalse(self.transport.disconnected)

    def test_nonsense(self) -> None:
        """What no sender sends ends the connection, and is not handed on."""
        size = self.FILE.size
        for chunk in (
            (0, b""),
            (size, b"x"),
            (size - 1, b"xx"),
            (size + 1, b"x"),
            (2**63 - 1, b"x"),
            (2**63, b"x"),
            (-1, b"x"),
        ):
            self.dial()
            self.offer()
            self.say(SnapshotChunk, offset=chunk[0], data=chunk[1])
            self.assertTrue(self.transport.disconnected, chunk)
        for term, snapshot_term in ((TERM, TERM + 1), (2**62 + 1, 2), (2**63, 2), (-1, 0)):
            self.dial()
            self.handler.offers.clear()
            file = attrs.evolve(self.FILE, snapshot=Snapshot(10, snapshot_term, Configuration({0, 1})))
            self.say(OfferSnapshot, term=term, file=file)
            self.assertTrue(self.transport.disconnected, term)
            self.assertEqual(self.handler.offers, [])
        self.assertEqual(self.handler.chunks, [])

    def nonsense(self, offset: int, data: bytes) -> None:
        """A chunk like this ends the connection."""
        self.dial()
        self.offer()
        self.say(SnapshotChunk, offset=offset, data=data)
        self.assertTrue(self.transport.disconnected, (offset, data))

    def test_a_chunk_in_two_values(self) -> None:
        """A chunk is one value of a box, so none is longer."""
        self.offer()
        box = {amp.COMMAND: b"SnapshotChunk", amp.ASK: b"a", b"offset": b"0", b"data": bytes(0xFFFF), b"data-2": b"xx"}
        self.protocol.dataReceived(amp.AmpBox(box).serialize())
        self.assertEqual([len(chunk[3]) for chunk in self.handler.chunks], [0xFFFF])

    def test_an_enormous_file(self) -> None:
        """Its size is a number, which only the keeper of the file need believe."""
        self.offer(size=2**62)
        self.say(SnapshotChunk, offset=2**62 - 1, data=b"x")
        self.assertEqual(self.handler.offers[0][2].size, 2**62)
        self.assertEqual(self.handler.chunks[0][2:], (2**62 - 1, b"x"))

    def test_memory(self) -> None:
        """However much comes, a few chunks wait for the disk; the rest is refused, as offers are, until they are
        written (hazard N3)."""
        later = Later()
        self.handler.on_chunk = later
        self.offer()
        self.assertEqual(self.answers(), [{b"_answer": b"a", b"offset": b"0"}])
        for _ in range(1000):
            self.say(SnapshotChunk, offset=0, data=bytes(CHUNK))
        self.assertEqual(len(self.handler.chunks), 2 * MOST_CHUNKS)
        for _ in range(1000):
            self.offer()
        self.assertEqual(len(self.handler.offers), 1)
        self.assertEqual({answer[b"_error_code"] for answer in self.answers()}, {b"NOT_APPLIED"})
        while later.waiting:
            later.answer()
        self.offer()
        self.say(SnapshotChunk, offset=0, data=b"x")
        self.assertEqual(len(self.handler.chunks), 2 * MOST_CHUNKS + 1)

    def test_the_latest_offer_counts(self) -> None:
        """Chunks are of what was offered last, also where an earlier offer is answered, or fails, afterwards (hazard
        S10)."""
        offers: list[Deferred[int]] = []

        def on_offer() -> Deferred[int]:
            offers.append(Deferred())
            return offers[-1]

        self.handler.on_offer = on_offer
        self.offer()
        self.offer(size=77)
        offers[1].callback(0)
        offers[0].errback(NotApplied("too late"))
        self.say(SnapshotChunk, offset=0, data=b"x")
        self.say(FinishSnapshot)
        self.assertEqual([chunk[1].size for chunk in self.handler.chunks], [77])
        self.assertEqual([file.size for _, file in self.handler.finished], [77])

    def test_work_goes_on(self) -> None:
        """A connection that closes leaves alone what is being written, and a failure of that, if it is a bug, is
        logged."""
        answers: list[Deferred[None]] = []

        def on_chunk() -> Deferred[None]:
            answers.append(Deferred(lambda _: self.fail("it was cut short")))
            return answers[-1]

        self.handler.on_chunk = on_chunk
        self.offer()
        for _ in range(3):
            self.say(SnapshotChunk, offset=0, data=b"x")
        self.protocol.connectionLost(Failure(ConnectionDone()))
        answers[0].callback(None)
        answers[1].errback(SnapshotFailed("no space left"))
        self.assertEqual(self.flushLoggedErrors(), [])
        answers[2].errback(RuntimeError("a bug"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
