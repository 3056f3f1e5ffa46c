"""One connection, looked at from close by: what is refused, what ends it, what it may hold back."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.memory import (
    CLUSTER,
    Cluster,
    QuickTransport,
    Recorder,
    SlowTransport,
    dial,
    handshake,
    hello_answer,
    hello_box,
    met_answer,
    warnings,
)
from txraft.core.messages import AppendEntries, Entry, EntryKind, Heartbeat, HeartbeatReply, Message, NodeId
from txraft.errors import NotApplied, OutcomeUnknown, Overloaded
from txraft.rpc import LinkLimits, amp_commands
from txraft.rpc.sides import Caller

HEARTBEAT = Heartbeat(1, 2, 1, 3)


def box(name: bytes, /, **values: bytes) -> bytes:
    """The bytes of a box with this command."""
    serialized: bytes = amp.Box({b"_command": name} | {k.encode(): v for k, v in values.items()}).serialize()
    return serialized


def message_box(message: Message) -> bytes:
    """The bytes of a message."""
    command = amp_commands.COMMAND_OF[type(message)]
    return box(
        command.commandName, **{k.decode(): v for k, v in command.makeArguments({"message": message}, None).items()}
    )


class CalleeTests(SynchronousTestCase):
    """Bytes that come in by the port on which node 0 listens."""

    def setUp(self) -> None:
        """A node that listens, and somebody who dials it."""
        self.cluster = Cluster(LinkLimits(unreachable_after=1e9, max_questions=10)).start(1)
        self.cluster.cut(1)
        self.handler, self.clock = self.cluster.handlers[0], self.cluster.clock
        self.protocol, self.transport = dial(self.cluster.networks[0])

    def answers(self) -> list[amp.AmpBox]:
        """What the node has written."""
        self.clock.advance(0)
        boxes: list[amp.AmpBox] = amp.parseString(self.transport.value())
        return boxes

    def test_hello(self) -> None:
        """After Hello was answered, messages are heard."""
        self.protocol.dataReceived(handshake())
        self.assertEqual(self.answers(), amp.parseString(hello_answer(known=1) + met_answer()))
        self.protocol.dataReceived(message_box(HEARTBEAT))
        self.assertEqual(self.handler.received, [(1, HEARTBEAT)])

    def test_bytes_one_by_one(self) -> None:
        """How the bytes are cut does not matter."""
        for byte in handshake() + message_box(HEARTBEAT):
            self.protocol.dataReceived(bytes([byte]))
        self.assertEqual(self.handler.received, [(1, HEARTBEAT)])

    def test_refusals(self) -> None:
        """Who is not meant is told so, and the connection ends; what it says after that is not heard. It learns nothing
        of this node, whose log has one line of it: hazard N5."""
        for changes, word in (
            ({"protocol_version": 7, "newest_version": 99}, "version"),
            ({"protocol_version": 0, "newest_version": 4}, "version"),
            ({"protocol_version": 4, "newest_version": None}, "version"),
            ({"cluster_id": "theirs"}, "cluster"),
            ({"cluster_id": "t" * 1024}, "cluster"),
            ({"voters": (0, 1, 2)}, "founders"),
            ({"to_id": 1}, "meant"),
            ({"from_id": 0}, "two nodes have one id"),
            ({"from_id": 5}, "no member"),
            ({"from_id": 5, "newest_version": None, "configuration_index": None}, "no member"),
        ):
            self.clock.advance(LinkLimits().repeat_after)
            self.protocol, self.transport = dial(self.cluster.networks[0])
            with capturedLogs() as events:
                self.protocol.dataReceived(hello_box(**changes) + message_box(HEARTBEAT))
            self.assertTrue(self.transport.disconnecting)
            self.assertTrue(self.transport.value())  # it went before that
            (answer,) = self.answers()
            self.assertEqual(answer[b"_error_code"], b"HANDSHAKE_REFUSED")
            self.assertIn(word, answer[b"_error_description"].decode())
            self.assertNotIn(CLUSTER.encode(), self.transport.value())
            (line,) = warnings(events)
            self.assertIn("refused a stranger at 127.0.0.1:8080", line)
            self.assertIn(word, line)
            self.assertLess(len(line), 260)
        self.assertEqual(self.handler.received, [])

    def test_hello_of_another_version(self) -> None:
        """It is refused as that, whatever else it says or leaves out."""
        self.protocol.dataReceived(box(b"Hello", protocol_version=b"1", from_id=b"none", _ask=b"1"))
        (answer,) = self.answers()
        self.assertEqual(answer[b"_error_code"], b"HANDSHAKE_REFUSED")
        self.assertIn(b"version", answer[b"_error_description"])

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
        self.protocol.dataReceived(handshake())
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
            hello_box(protocol_version=6, newest_version=5),
            hello_box(protocol_version=99),
            hello_box().replace(b"newest_version\0\x016", b"newest_version\0\x01-"),
            hello_box(newest_version=2**63),
            hello_box(configuration_index=-1),
            hello_box(from_id=2**63),
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
            self.check_ends(noise + good, handshake())

    def test_the_answer_comes_before_questions(self) -> None:
        """hazard R22: what has waited for the only way to the caller leaves when the caller knows that it is let in."""
        network = self.cluster.networks[0]

        def ask(peer: NodeId) -> None:
            network.send(peer, HEARTBEAT)
            network.read_barrier(peer).addErrback(lambda _: None)

        self.patch(type(self.handler), "peer_connected", lambda _, peer: ask(peer))
        self.protocol.dataReceived(handshake())
        said = [each.get(b"_command", b"answer") for each in self.answers()]
        self.assertEqual(said, [b"answer", b"answer", b"Heartbeat", b"ReadBarrier"])

    def test_one_write(self) -> None:
        """Answers of one turn go out in one write; a message waits for nobody, and takes along what waits."""
        self.protocol.dataReceived(handshake())
        self.answers()
        link, sends = self.cluster.networks[0]._incoming[1], self.transport.sends
        ping = box(b"Ping", _ask=b"1")
        self.protocol.dataReceived(ping * 100)
        self.assertEqual(self.transport.sends, sends)
        self.assertEqual((len(self.answers()), self.transport.sends), (102, sends + 1))
        self.protocol.dataReceived(ping)
        link.send(HEARTBEAT)
        link.send(HEARTBEAT)
        self.assertEqual(self.transport.sends, sends + 3)
        self.assertEqual((len(self.answers()), self.transport.sends), (105, sends + 3))

    def test_closed(self) -> None:
        """Of what came together, nothing is heard after the connection is closed, or sent after it is aborted."""
        self.protocol.dataReceived(handshake())
        self.handler.on_receive = self.cluster.networks[0]._incoming[1].close
        self.protocol.dataReceived(message_box(HEARTBEAT) * 2)
        self.assertEqual(self.handler.received, [(1, HEARTBEAT)])
        self.protocol, self.transport = dial(self.cluster.networks[0])
        self.protocol.dataReceived(handshake() + box(b"Ping", _ask=b"1") + b"\0\0")
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(self.answers(), [])

    def test_more_questions_than_are_answered(self) -> None:
        """Of one peer some questions wait; more are refused, as not applied. Those that wait when the connection closes
        are let go: hazard C9."""
        waiting: list[Deferred[Any]] = []

        def ask() -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        self.handler.on_propose = self.handler.on_read = ask
        limit = self.cluster.limits.max_questions
        self.protocol.dataReceived(handshake())
        for number in range(limit):
            self.protocol.dataReceived(box(b"Propose", command=b"x", _ask=b"%d" % number))
        self.assertEqual(len(self.answers()), 2)
        for question in (box(b"Propose", command=b"x", _ask=b"a"), box(b"ReadBarrier", _ask=b"b")):
            self.protocol.dataReceived(question)
            self.assertEqual(self.answers()[-1][b"_error_code"], b"NOT_APPLIED")
        waiting[0].callback(b"done")
        self.protocol.dataReceived(box(b"ReadBarrier", _ask=b"c"))
        self.assertEqual(len(waiting), limit + 1)
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(all(question.called for question in waiting))

    def check_ends(self, noise: bytes, before: bytes) -> None:
        """`noise`, said after `before`, ends a connection."""
        self.clock.advance(LinkLimits().repeat_after)
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
        cluster = Cluster(LinkLimits(handshake=2.0))
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
        cluster = Cluster(LinkLimits(retry_first=0.01))
        cluster.endpoints[0].target = Factory.forProtocol(HangsUp)
        with capturedLogs() as events:
            cluster.networks[0].start(cluster.handlers[0])
            cluster.advance(5)
        self.assertIn(cluster.endpoints[0].attempts, (5, 6))
        self.assertEqual(warnings(events), ["what answers at host1:8080 closed the connection during the handshake"])
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
            caller.dataReceived(hello_answer() + met_answer())
            result: Deferred[Any] = caller.read_barrier() if read else caller.propose(b"x")
            with capturedLogs() as events:
                caller.dataReceived(amp.Box({b"_answer": b"3"} | answer).serialize())
            self.failureResultOf(result, NotApplied if read else OutcomeUnknown)
            self.assertTrue(transport.disconnected)
            self.assertEqual(len(warnings(events)), 1)

    def test_error_that_nobody_knows(self) -> None:
        """An error of a newer version, or one without sense, makes the outcome unknown."""
        for code, text in ((b"UNKNOWN", b""), (b"BRAND_NEW", b""), (b"UNHANDLED", b""), (b"NOT_LEADER", b"x")):
            caller, _, _ = self.dialling()
            caller.dataReceived(hello_answer() + met_answer())
            result = caller.propose(b"x")
            error = {b"_error": b"3", b"_error_code": code, b"_error_description": text}
            caller.dataReceived(amp.Box(error).serialize())
            self.failureResultOf(result, OutcomeUnknown)

    def dialling(self) -> tuple[Caller, QuickTransport, Recorder]:
        """A connection that node 0 dialled and on which nothing was answered yet."""
        network, handler, transport = Cluster().networks[0], Recorder(), QuickTransport()
        network.handler = handler
        caller = Caller(network, 1, "host1:8080")
        caller.makeConnection(transport)
        return caller, transport, handler


class HangsUp(Protocol):
    """Closes the connection at the first byte."""

    def dataReceived(self, data: bytes) -> None:  # noqa: ARG002  Protocol's signature
        """Close the connection."""
        assert self.transport is not None
        self.transport.loseConnection()


class _Void(list[bytes]):
    """What is written into it is gone."""

    def append(self, data: bytes) -> None:
        """Lose it."""


class SlowPeerTests(SynchronousTestCase):
    """A peer that takes in little, or nothing: hazard R18."""

    LIMIT = 1_000_000
    MESSAGE = AppendEntries(1, 2, 3, 1, (Entry(4, 1, EntryKind.COMMAND, bytes(60_000)),), 3)

    def setUp(self) -> None:
        """Node 0 is connected to node 1, which takes in what it is told to."""
        cluster = Cluster(LinkLimits(send_queue_size=self.LIMIT))
        self.network, self.clock, self.handler = cluster.networks[0], cluster.clock, cluster.handlers[0]
        self.network.handler = self.handler
        self.transport = SlowTransport()
        self.caller = Caller(self.network, 1, "host1:8080")
        self.caller.makeConnection(self.transport)
        self.caller.dataReceived(hello_answer() + met_answer())

    def taken(self) -> list[bytes]:
        """The names of the commands that the peer has taken in, without those of the handshake."""
        return [box[b"_command"] for box in amp.parseString(self.transport.sent)][2:]

    def test_steady_load(self) -> None:
        """A peer that is behind, never quite catches up, and takes all of it in, is sent all of it."""
        self.network.send(1, self.MESSAGE)
        self.network.send(1, self.MESSAGE)
        with capturedLogs() as events:
            for _ in range(100):
                self.network.send(1, self.MESSAGE)
                self.transport.take(60_000)
                self.clock.advance(4)
                self.assertGreater(self.transport.held, 0)
        self.transport.take(200_000)
        self.assertEqual(self.taken().count(b"AppendEntries"), 102)
        self.assertEqual(warnings(events), [])

    def test_bounded(self) -> None:
        """Toward a peer that takes nothing in, no more waits than the limit, and one message that passes it."""
        for _ in range(1000):
            self.network.send(1, self.MESSAGE)
        self.transport.take(100_000_000)
        self.assertIn(len(self.transport.sent), range(self.LIMIT, self.LIMIT + 300_000))

    def test_room_again(self) -> None:
        """What was dropped while too much waited goes when it is sent again."""
        self.test_bounded()
        before = len(self.taken())
        for _ in range(5):
            self.network.send(1, self.MESSAGE)
        self.transport.take(1_000_000)
        self.assertEqual(len(self.taken()) - before, 5)

    def test_larger_than_the_limit(self) -> None:
        """A single message of any size goes: hazard R20."""
        self.network.send(1, AppendEntries(1, 2, 3, 1, (Entry(4, 1, EntryKind.COMMAND, bytes(5_000_000)),), 3))
        self.transport.take(6_000_000)
        self.assertEqual(self.taken(), [b"AppendEntries"])

    def test_what_is_refused(self) -> None:
        """Where too much waits a proposal is refused, for certain not applied; what is small waits too."""
        for _ in range(1000):
            self.network.send(1, self.MESSAGE)
        self.failureResultOf(self.network.propose(1, b"late"), Overloaded)
        self.assertNoResult(self.network.read_barrier(1))
        self.network.send(1, HEARTBEAT)
        self.transport.take(100_000_000)
        self.assertEqual(self.taken()[-2:], [b"ReadBarrier", b"Heartbeat"])
        self.assertNoResult(self.network.propose(1, b"now"))

    def test_asks_and_does_not_read(self) -> None:
        """A peer that asks without end, and reads so slowly that it is not stuck, is given up, with one line."""
        ping, asked = box(b"Ping", _ask=b"1"), 0
        with capturedLogs() as events:
            while not self.transport.disconnected and asked < 1_000_000:
                self.caller.dataReceived(ping * 10_000)
                self.transport.take(70_000)
                self.clock.advance(9)
                asked += 10_000
        self.assertIn(asked, range(30_000, 90_000))
        (line,) = warnings(events)
        self.assertIn("does not take in what it is sent", line)

    def test_stopped_for_hours(self) -> None:
        """A peer that takes nothing in gets heartbeats, and is given up when they no longer fit, with one line."""
        with capturedLogs() as events:
            while not self.transport.disconnected:
                self.network.send(1, HEARTBEAT)
                self.clock.advance(0.1)
        self.assertLess(self.transport.held, 70_000)
        self.assertEqual(len(warnings(events)), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stuck(self) -> None:
        """A transport that is not rid of what it has is aborted, whoever dialled it, and the peer is dialled again."""
        cluster = Cluster().start()
        for transport in (cluster.endpoints[0].pumps[0].clientIO, cluster.endpoints[1].pumps[0].serverIO):
            transport.full = True
        cluster.networks[0].propose(1, b"x").addErrback(lambda _: None)
        cluster.clock.advance(0)
        cluster.networks[0].send(1, HEARTBEAT)
        cluster.clock.advance(9.9)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"])
        with capturedLogs() as events:
            cluster.clock.advance(0.2)
        self.assertEqual(len(warnings(events)), 2)
        self.assertEqual(cluster.handlers[0].events, ["connected 1", "connected 1"])
        cluster.advance(1)
        for handler, peer in zip(cluster.handlers, (1, 0), strict=True):
            self.assertEqual(set(handler.events[2:]), {f"connected {peer}"})

    def test_silent(self) -> None:
        """hazard R15: a connection by which nothing comes any more, though it takes everything in, is aborted within a
        minute, by both sides and whoever dialled; one that answers lives on, also where nobody says anything else."""
        cluster = Cluster().start()
        cluster.advance(200)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"])
        pump = cluster.endpoints[0].pumps[0]
        pump.clientIO.stream = pump.serverIO.stream = _Void()
        with capturedLogs() as events:
            cluster.advance(61)
        self.assertEqual(len(warnings(events)), 2)
        for handler, peer in zip(cluster.handlers, (1, 0), strict=True):
            self.assertEqual(handler.events[:1], [f"connected {peer}"])
        self.assertEqual(cluster.handlers[0].events, ["connected 1"] * 3)  # by the other one meanwhile

    def test_stop_while_stuck(self) -> None:
        """A network with a connection that is stuck stops in time all the same."""
        self.caller.close()
        self.assertEqual(self.transport.disconnecting, True)
        self.clock.advance(0.9)
        self.assertEqual(self.transport.disconnected, False)
        self.clock.advance(0.2)
        self.assertEqual(self.transport.disconnected, True)

    def test_close(self) -> None:
        """What was written before a connection is closed goes before it closes, whether it waits for the transport or
        for the end of the turn."""
        self.network.send(1, self.MESSAGE)
        self.caller.call(amp_commands.Ping).addErrback(lambda _: None)
        self.caller.close()
        self.transport.take(60_000)
        self.assertGreater(self.transport.held, 0)
        self.transport.take(10_000)
        self.assertEqual(self.taken(), [b"AppendEntries", b"Ping"])
        self.assertIs(self.transport.doWrite(), CONNECTION_DONE)
        self.setUp()
        self.transport.room = 1000
        self.caller.close()
        self.assertIn(b"Hello", self.transport.sent)
