"""One connection, looked at from close by: what is refused, what ends it, what it may hold back."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.memory import Cluster, Recorder, dial, hello_box, warnings
from txraft.core.messages import AppendEntries, Entry, EntryKind, Heartbeat, HeartbeatReply, Message
from txraft.errors import NotApplied, OutcomeUnknown
from txraft.rpc import Limits, commands
from txraft.rpc.link import Caller

HEARTBEAT = Heartbeat(1, 2, 3)


def box(name: bytes, /, **values: bytes) -> bytes:
    """The bytes of a box with this command."""
    serialized: bytes = amp.Box({b"_command": name} | {k.encode(): v for k, v in values.items()}).serialize()
    return serialized


def message_box(message: Message) -> bytes:
    """The bytes of a message."""
    command = commands.COMMAND_OF[type(message)]
    return box(
        command.commandName, **{k.decode(): v for k, v in command.makeArguments({"message": message}, None).items()}
    )


class CalleeTests(SynchronousTestCase):
    """Bytes that come in by the port on which node 0 listens."""

    def setUp(self) -> None:
        """A node that listens, and somebody who dials it."""
        self.cluster = Cluster().start(1)
        self.cluster.cut(1)
        self.handler, self.clock = self.cluster.handlers[0], self.cluster.clock
        self.protocol, self.transport = dial(self.cluster.networks[0])

    def answers(self) -> list[amp.AmpBox]:
        """What the node has written."""
        boxes: list[amp.AmpBox] = amp.parseString(self.transport.value())
        return boxes

    def test_hello(self) -> None:
        """After Hello was answered, messages are heard."""
        self.protocol.dataReceived(hello_box())
        self.assertEqual(self.answers(), [{b"_answer": b"1"}])
        self.protocol.dataReceived(message_box(HEARTBEAT))
        self.assertEqual(self.handler.received, [(1, HEARTBEAT)])

    def test_bytes_one_by_one(self) -> None:
        """How the bytes are cut does not matter."""
        for byte in hello_box() + message_box(HEARTBEAT):
            self.protocol.dataReceived(bytes([byte]))
        self.assertEqual(self.handler.received, [(1, HEARTBEAT)])

    def test_refusals(self) -> None:
        """Who is not meant is told why, and the connection ends; what it says after that is not heard."""
        for changes, word in (
            ({"protocol_version": 99}, b"version"),
            ({"cluster_id": "theirs"}, b"cluster"),
            ({"to_id": 1}, b"addresses"),
            ({"from_id": 0}, b"two nodes have one id"),
            ({"from_id": 5}, b"configuration"),
        ):
            self.protocol, self.transport = dial(self.cluster.networks[0])
            with capturedLogs() as events:
                self.protocol.dataReceived(hello_box(**changes) + message_box(HEARTBEAT))
            (answer,) = self.answers()
            self.assertEqual(answer[b"_error_code"], b"HANDSHAKE_REFUSED")
            self.assertIn(word, answer[b"_error_description"])
            self.assertTrue(self.transport.disconnecting)
            (line,) = warnings(events)
            self.assertIn(answer[b"_error_description"].decode(), line)
        self.assertEqual(self.handler.received, [])

    def test_refused_caller_that_stays(self) -> None:
        """Who is refused and does not go is cut off, without another line in the log."""
        self.protocol.dataReceived(hello_box(to_id=1))
        with capturedLogs() as events:
            self.clock.advance(6)
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(warnings(events), [])

    def test_late(self) -> None:
        """Who does not say Hello in time is cut off."""
        with capturedLogs() as events:
            self.clock.advance(4.9)
            self.assertFalse(self.transport.disconnected)
            self.clock.advance(0.2)
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(len(warnings(events)), 1)

    def test_in_time(self) -> None:
        """Who said Hello is not cut off."""
        self.protocol.dataReceived(hello_box())
        self.clock.advance(100)
        self.assertFalse(self.transport.disconnected)

    def test_nonsense_instead_of_hello(self) -> None:
        """Anything but Hello ends the connection with one line and no traceback, and is not heard."""
        propose = box(b"Propose", command=b"x", _ask=b"1")
        for noise in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff" * 100,
            b"\0\0",
            message_box(HEARTBEAT),
            propose,
            box(b"ReadBarrier", _ask=b"1"),
            box(b"Nonsense", _ask=b"1"),
            box(b"Hello", _ask=b"1"),
            hello_box().replace(b"1", b"x"),
            hello_box(cluster_id="a").replace(b"\0\1a", b"\0\1\xff"),
            amp.Box({b"_answer": b"1"}).serialize(),
        ):
            self.check_ends(noise, b"")

    def test_nonsense_after_hello(self) -> None:
        """What cannot be read ends the connection with one line; nothing of it is heard, nor what follows it."""
        good = message_box(HEARTBEAT)
        entries = [Entry(4 + i, term, EntryKind.COMMAND, b"data") for i, term in enumerate((1, 2, 1))]
        gap = AppendEntries(1, 2, 3, 1, (entries[0],), 3)
        for noise in (
            hello_box(),
            b"\1\0" + bytes(100),
            b"\0\0",
            box(b"Nonsense"),
            box(b"Nonsense", _ask=b"1"),
            box(b"Heartbeat"),
            box(b"Heartbeat", message=b"\xc1"),
            box(b"Heartbeat", message=b"\x91\1"),
            box(b"Heartbeat", message=b"\x93\1\2\3", _ask=b"1"),
            box(b"Propose", command=b"x"),
            box(b"Propose", _ask=b"1"),
            message_box(gap).replace(b"\x94\4", b"\x94\5"),
            message_box(AppendEntries(1, 2, 3, 1, tuple(entries[:2]), 3)),
            message_box(AppendEntries(2, 2, 3, 1, tuple(entries), 3)),
            message_box(HeartbeatReply(2**63 - 1, 0)),
            message_box(HeartbeatReply(-1, 0)),
            amp.Box({b"_answer": b"77"}).serialize(),
            amp.Box({b"_error": b"77", b"_error_code": b"X", b"_error_description": b""}).serialize(),
        ):
            self.check_ends(noise + good, hello_box())

    def check_ends(self, noise: bytes, before: bytes) -> None:
        """`noise`, said after `before`, ends a connection."""
        protocol, transport = dial(self.cluster.networks[0])
        with capturedLogs() as events:
            protocol.dataReceived(before + noise)
            protocol.dataReceived(b"\xff")
        self.assertTrue(transport.disconnected, noise)
        self.assertEqual(len(warnings(events)), 1, noise)
        self.assertEqual(self.flushLoggedErrors(), [], noise)
        self.assertEqual((self.handler.received, self.handler.proposals), ([], []), noise)


class CallerTests(SynchronousTestCase):
    """What node 0 does with whoever answers when it dials."""

    def test_no_answer(self) -> None:
        """A peer that does not answer Hello is cut off and tried again; it is logged once, and never was connected."""
        cluster = Cluster(Limits(handshake=2.0))
        cluster.endpoints[0].target = Factory.forProtocol(Protocol)
        with capturedLogs() as events:
            cluster.networks[0].start(cluster.handlers[0])
            cluster.advance(10)
        self.assertIn(cluster.endpoints[0].attempts, (3, 4))
        self.assertEqual(len(warnings(events)), 1)
        self.assertEqual(cluster.handlers[0].events, [])
        self.failureResultOf(cluster.networks[0].propose(1, b""), NotApplied)

    def test_hangs_up(self) -> None:
        """A peer that hangs up instead of answering is logged once, and tried again after the longest wait."""
        cluster = Cluster(Limits(retry_first=0.01))
        cluster.endpoints[0].target = Factory.forProtocol(HangsUp)
        with capturedLogs() as events:
            cluster.networks[0].start(cluster.handlers[0])
            cluster.advance(5)
        self.assertIn(cluster.endpoints[0].attempts, (5, 6))
        self.assertEqual(len(warnings(events)), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_no_hello_from_the_called(self) -> None:
        """A peer that says Hello to its caller, or a message before its answer, is cut off."""
        for noise in (hello_box(), message_box(HEARTBEAT)):
            caller, transport, handler = self.dialling()
            caller.dataReceived(noise)
            self.assertTrue(transport.disconnected)
            self.assertEqual((handler.received, handler.events), ([], []))

    def test_malformed_answer(self) -> None:
        """An answer that cannot be read ends the connection; a proposal's outcome is then unknown."""
        for read, answer in (
            (False, {}),
            (False, {b"result-2": b""}),
            (True, {}),
            (True, {b"read_index": b"x"}),
        ):
            caller, transport, _ = self.dialling()
            caller.dataReceived(amp.Box({b"_answer": b"1"}).serialize())
            result: Deferred[Any] = caller.read_barrier() if read else caller.propose(b"x")
            with capturedLogs() as events:
                caller.dataReceived(amp.Box({b"_answer": b"2"} | answer).serialize())
            self.failureResultOf(result, NotApplied if read else OutcomeUnknown)
            self.assertTrue(transport.disconnected)
            self.assertEqual(len(warnings(events)), 1)

    def test_error_that_nobody_knows(self) -> None:
        """An error of a newer version, or one without sense, makes the outcome unknown."""
        for code, text in ((b"UNKNOWN", b""), (b"BRAND_NEW", b""), (b"UNHANDLED", b""), (b"NOT_LEADER", b"x")):
            caller, _, _ = self.dialling()
            caller.dataReceived(amp.Box({b"_answer": b"1"}).serialize())
            result = caller.propose(b"x")
            error = {b"_error": b"2", b"_error_code": code, b"_error_description": text}
            caller.dataReceived(amp.Box(error).serialize())
            self.failureResultOf(result, OutcomeUnknown)

    def dialling(self) -> tuple[Caller, StringTransport, Recorder]:
        """A connection that node 0 dialled and on which nothing was answered yet."""
        network, handler, transport = Cluster().networks[0], Recorder(), StringTransport()
        network.handler = handler
        caller = Caller(network, 1)
        caller.makeConnection(transport)
        return caller, transport, handler


class HangsUp(Protocol):
    """Closes the connection at the first byte."""

    def dataReceived(self, data: bytes) -> None:  # noqa: ARG002  Protocol's signature
        """Close the connection."""
        assert self.transport is not None
        self.transport.loseConnection()


class SlowPeerTests(SynchronousTestCase):
    """A transport that does not get rid of what is written: hazard R18."""

    LIMIT = 100_000

    def setUp(self) -> None:
        """Two nodes; what 0 sends to 1 stays where it is."""
        self.cluster = Cluster(Limits(backlog=self.LIMIT)).start()
        self.network, self.clock = self.cluster.networks[0], self.cluster.clock
        self.transport = self.cluster.endpoints[0].pumps[0].clientIO
        self.message = AppendEntries(1, 2, 3, 1, (Entry(4, 1, EntryKind.COMMAND, bytes(1000)),), 3)

    def flood(self) -> int:
        """Send far more than the limit; gives back how many bytes wait."""
        for _ in range(1000):
            self.network.send(1, self.message)
        return sum(map(len, self.transport.stream))

    def test_bounded(self) -> None:
        """While the transport is paused, no more waits than the limit and one message."""
        self.transport.producer.pauseProducing()
        self.assertIn(self.flood(), range(self.LIMIT, self.LIMIT + 1200))

    def test_what_is_small_or_bounded_is_not_dropped(self) -> None:
        """Proposals, reads and heartbeats wait behind a full backlog, and arrive when there is room again."""
        self.transport.producer.pauseProducing()
        self.flood()
        asked: tuple[Deferred[Any], ...] = (self.network.propose(1, b"late"), self.network.read_barrier(1))
        self.network.send(1, Heartbeat(1, 2, 3))
        self.transport.producer.resumeProducing()
        self.cluster.settle()
        self.assertEqual([self.successResultOf(one) for one in asked], [b"done", 7])
        self.assertIn((0, Heartbeat(1, 2, 3)), self.cluster.handlers[1].received)

    def test_a_burst_is_not_dropped(self) -> None:
        """What the transport takes in is all sent, and after a pause sending goes on."""
        self.assertGreater(self.flood(), 1_000_000)
        self.cluster.settle()
        self.transport.producer.pauseProducing()
        self.flood()
        self.cluster.settle()
        self.transport.producer.resumeProducing()
        before = len(self.cluster.handlers[1].received)
        self.flood()
        self.cluster.settle()
        self.assertEqual(len(self.cluster.handlers[1].received) - before, 1000)

    def test_stuck(self) -> None:
        """A transport that stays paused is aborted, the handler hears of it, and the peer is dialled again."""
        self.transport.producer.pauseProducing()
        self.clock.advance(9.9)
        self.assertEqual(self.cluster.handlers[0].events, ["connected 1"])
        with capturedLogs() as events:
            self.clock.advance(0.2)
        self.assertEqual(len(warnings(events)), 1)
        self.assertEqual(self.cluster.handlers[0].events, ["connected 1", "lost 1"])
        self.cluster.advance(1)
        self.assertEqual(self.cluster.handlers[0].events, ["connected 1", "lost 1", "connected 1"])

    def test_stop_while_stuck(self) -> None:
        """A network with a connection that is stuck stops in time all the same."""
        transport = StringTransport()
        caller = Caller(self.network, 1)
        caller.makeConnection(transport)
        assert transport.producer is not None
        transport.producer.pauseProducing()
        caller.close()
        self.assertTrue(transport.disconnecting)
        self.assertIsNone(transport.producer)
        self.clock.advance(1.1)
        self.assertTrue(transport.disconnected)
