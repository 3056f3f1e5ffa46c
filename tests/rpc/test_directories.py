"""Which directory a peer has: what is made of it, and what becomes of one that forgot (hazards S6, M7)."""

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.memory import (
    Cluster,
    QuickTransport,
    dial,
    handshake,
    hello_answer,
    hello_box,
    met_answer,
    met_box,
    removed_answer,
    warnings,
)
from txraft.core.messages import Heartbeat, NodeId
from txraft.errors import REMEDY_FOR_LOST_DATA, MalformedMessage, MemberRemoved, WriteFailed
from txraft.interfaces import Incarnation
from txraft.rpc import LinkLimits
from txraft.rpc.amp_commands import PackedIncarnation, RemovedThere, VerdictName
from txraft.rpc.directories import Verdict, judge
from txraft.rpc.sides import Caller
from txraft.storage.identity import History
from txraft.storage.memory import PeersInMemory

HEARTBEAT = Heartbeat(1, 2, 1, 3)


ORIGINAL = History(b"original", b"thefirstthe nextthestart")
THE_START = ORIGINAL.incarnation
LATER = History(b"original", ORIGINAL.starts + b"laterone")
WIPED = History(b"emptied!", b"anewone!" * 4)
EARLIER = History(b"original", b"thefirstthe next")
SECOND = History(b"original", b"thefirstthe nextofa copy")
STARTED_OFTEN = History(b"original", b"thefirstthe next" + b"ofa copy" * 9)


class JudgeTests(SynchronousTestCase):
    """What a node makes of a directory, by what it remembers."""

    def test_verdicts(self) -> None:
        """Another directory, and a start that is not later, unless it is the one that is known."""
        for known, said, drawn, verdict in (
            (None, THE_START, b"", Verdict.WELCOME),
            (THE_START, THE_START, b"thestart", Verdict.WELCOME),
            (THE_START, LATER.incarnation, b"thestart", Verdict.WELCOME),
            (THE_START, WIPED.incarnation, b"thestart", Verdict.WIPED),
            (THE_START, EARLIER.incarnation, b"", Verdict.OLDER),
            (THE_START, SECOND.incarnation, b"ofa copy", Verdict.OLDER),
        ):
            self.assertIs(judge(known, said, drawn), verdict, (known, said))


@define(eq=False)
class SlowPeers(PeersInMemory):
    """Durable when the test says so."""

    durable: Callable[[], "Deferred[None]"] = Deferred

    def meet(self, peer: NodeId, incarnation: Incarnation) -> "Deferred[None]":
        super().meet(peer, incarnation)
        return self.durable()


def giving(durable: "Deferred[None]") -> Callable[[], "Deferred[None]"]:
    """The same one, whenever it is asked for."""
    return lambda: durable


class MeetingTests(SynchronousTestCase):
    """Nodes that have nothing against each other."""

    def test_both_remember(self) -> None:
        """Whoever dialled."""
        for dialler in (0, 1):
            cluster = Cluster(memories=(PeersInMemory(ORIGINAL), PeersInMemory(LATER))).start(dialler)
            self.assertEqual(
                [memory.peers for memory in cluster.memories], [{1: LATER.incarnation}, {0: ORIGINAL.incarnation}]
            )
            self.assertEqual([handler.events for handler in cluster.handlers], [["connected 1"], ["connected 0"]])

    def test_again(self) -> None:
        """After starts that the other one has met, or has not, either way."""
        for known, now in ((ORIGINAL, ORIGINAL), (ORIGINAL, LATER), (EARLIER, LATER)):
            for dialling in ((0,), (1,), (0, 1)):
                cluster = Cluster(memories=(PeersInMemory(WIPED, {1: known.incarnation}), PeersInMemory(now)))
                cluster.start(*dialling)
                self.assertEqual(cluster.memories[0].peers, {1: now.incarnation})
                self.assertEqual([handler.events[0] for handler in cluster.handlers], ["connected 1", "connected 0"])

    def test_not_before_it_is_durable(self) -> None:
        """Neither side is connected before it has written down whom it met: what it says then would count. Where the
        called one writes, the caller waits, too."""
        for slow in (0, 1):
            for dialler in (0, 1):
                durable: Deferred[None] = Deferred()
                memories = [PeersInMemory(), PeersInMemory()]
                memories[slow] = SlowPeers(durable=giving(durable))
                cluster = Cluster(memories=(memories[0], memories[1])).start(dialler)
                self.assertEqual([handler.events for handler in cluster.handlers], [[], []])
                durable.callback(None)
                cluster.settle()
                self.assertEqual([handler.events for handler in cluster.handlers], [["connected 1"], ["connected 0"]])
                for sender in (0, 1):
                    cluster.networks[sender].send(1 - sender, HEARTBEAT)
                cluster.settle()
                self.assertEqual(
                    [handler.received for handler in cluster.handlers], [[(1, HEARTBEAT)], [(0, HEARTBEAT)]]
                )

    def test_cannot_be_kept(self) -> None:
        """Where it cannot be written, there is no connection; the storage sees to the rest."""
        for slow in (0, 1):
            for dialler in (0, 1):
                memories = [PeersInMemory(), PeersInMemory()]
                memories[slow] = SlowPeers(durable=lambda: fail(WriteFailed("no room")))
                cluster = Cluster(memories=(memories[0], memories[1])).start(dialler)
                self.assertEqual([handler.events for handler in cluster.handlers], [[], []])

    def test_given_up_meanwhile(self) -> None:
        """What is written too late for the handshake's time limit, or for a node that stops, comes to nothing."""
        for slow in (0, 1):
            for dialler in (0, 1):
                durable: Deferred[None] = Deferred()
                memories = [PeersInMemory(), PeersInMemory()]
                memories[slow] = SlowPeers(durable=giving(durable))
                cluster = Cluster(memories=(memories[0], memories[1])).start(dialler)
                stopped = cluster.networks[slow].stop()
                durable.callback(None)
                cluster.advance(2)
                self.successResultOf(stopped)
                self.assertEqual([handler.events for handler in cluster.handlers], [[], []])

    def test_a_later_start(self) -> None:
        """Its connections take the place of all those of an earlier one, which ends when it comes back: a copy was
        started while the original runs, and one of the two has to go."""
        cluster = Cluster(memories=(PeersInMemory(), PeersInMemory(ORIGINAL))).start()
        protocol, transport = dial(cluster.networks[0])
        protocol.dataReceived(handshake(incarnation=LATER.incarnation, drawn=b"thestart"))
        self.assertFalse(transport.disconnecting)
        self.assertEqual(cluster.networks[0]._incoming[1].incarnation, LATER.incarnation)
        self.assertEqual(cluster.networks[0]._outgoing, {})
        cluster.advance(2)
        self.assertIn("a copy from before a start", cluster.handlers[1].events[-1])
        self.assertFalse(transport.disconnecting)

    def test_a_later_start_between(self) -> None:
        """A handshake that a later start overtakes is void, and refuses nobody: what was asked about is not what is
        known any more."""
        for known in (None, THE_START):
            cluster = Cluster().start(1)
            cluster.memories[0].peers.clear()
            if known is not None:
                cluster.memories[0].peers[1] = known
            earlier, transport = dial(cluster.networks[0])
            earlier.dataReceived(hello_box(incarnation=THE_START))
            later, _ = dial(cluster.networks[0])
            later.dataReceived(handshake(incarnation=LATER.incarnation, drawn=b"thestart"))
            with capturedLogs() as events:
                earlier.dataReceived(met_box(drawn=b"thestart"))
            self.assertTrue(transport.disconnected)
            self.assertEqual(warnings(events), [])
            self.assertEqual(cluster.networks[0]._incoming[1].incarnation, LATER.incarnation)

    def test_both_ways_at_once(self) -> None:
        """After a start, both sides dial: that the other connection is there first does not make this one's void."""
        cluster = Cluster().start(1)
        cluster.memories[0].peers[1] = THE_START
        peers = [dial(cluster.networks[0]) for _ in range(2)]
        for protocol, _ in peers:
            protocol.dataReceived(hello_box(incarnation=LATER.incarnation))
        for protocol, transport in peers:
            protocol.dataReceived(met_box(drawn=b"thestart"))
            self.assertFalse(transport.disconnected)


class RefusedTests(SynchronousTestCase):
    """Node 1 has forgotten what it promised, and node 0 knows."""

    def meet(
        self, said: History, *dialling: int, knows: dict[NodeId, Incarnation] | None = None
    ) -> tuple[Cluster, list[str]]:
        """Node 0, which has met node 1, meets it again as `said`, which `knows` others. Gives the lines in the log."""
        with capturedLogs() as events:
            memories = PeersInMemory(), PeersInMemory(said, knows or {})
            memories[0].peers[1] = THE_START
            cluster = Cluster(memories=memories).start(*dialling)
            cluster.advance(4)
        return cluster, [line for line in warnings(events) if "reached" not in line]

    def test_refused(self) -> None:
        """It is told what is wrong and what to do, whoever dialled; the other goes on, remembers the right one, and
        says it once."""
        for said, part in (
            (WIPED, "emptied or replaced"),
            (EARLIER, "a copy from before"),
            (SECOND, "a copy from before"),
        ):
            for dialling in ((0,), (1,), (0, 1)):
                cluster, lines = self.meet(said, *dialling)
                told = cluster.handlers[1].events
                self.assertTrue(told)
                for line in told:
                    self.assertRegex(line, "^refused by [0-9]: this directory is ")
                    self.assertIn("node 0 knows", line)
                    self.assertIn(part, line)
                    self.assertIn(REMEDY_FOR_LOST_DATA, line)
                self.assertEqual(cluster.handlers[0].events, [])
                self.assertEqual(cluster.memories[0].peers, {1: THE_START})
                self.assertEqual(len(lines), 1, lines)
                self.assertIn("refused node 1: its directory is ", lines[0])
                self.assertIn(part, lines[0])

    def test_two_that_refuse_each_other(self) -> None:
        """Either may be the wrong one, so neither ends for the other. A third one knows."""
        for dialling in ((0,), (1,), (0, 1)):
            cluster, lines = self.meet(EARLIER, *dialling, knows={0: THE_START})
            self.assertEqual([handler.events for handler in cluster.handlers], [[], []])
            self.assertEqual(len(lines), 2)

    def test_nothing_is_heard(self) -> None:
        """What a refused caller says is not, and it is hung up on."""
        cluster = Cluster()
        cluster.memories[0].peers[1] = THE_START
        cluster.start(1)
        protocol, transport = dial(cluster.networks[0])
        protocol.dataReceived(handshake())
        self.assertEqual(cluster.networks[0]._incoming, {})
        cluster.clock.advance(LinkLimits().handshake + 1)
        self.assertTrue(transport.disconnected)


class StrangersTests(SynchronousTestCase):
    """What somebody can do who says the same without being a peer."""

    def dialled(self, known: dict[NodeId, Incarnation], said: bytes) -> tuple[list[str], Any]:
        """Node 0, which knows so much, dials what then says so. Gives what node 0 was told, and the transport."""
        cluster = Cluster()
        cluster.memories[0].peers.update(known)
        network = cluster.networks[0]
        network.handler, network.running = cluster.handlers[0], True
        transport = QuickTransport()
        caller = Caller(network, 1, "host1:8080")
        caller.makeConnection(transport)
        caller.dataReceived(said)
        return cluster.handlers[0].events, transport

    def test_at_the_port_of_a_peer(self) -> None:
        """Who does not know what was drawn for the peer's directory can end no node that has met the peer."""
        for said, drawn in ((WIPED, b""), (SECOND, b"ofa copy"), (LATER, b"")):
            events, transport = self.dialled(
                {1: THE_START}, hello_answer(said.incarnation, drawn) + met_answer(Verdict.WIPED)
            )
            self.assertEqual(events, [])
            self.assertTrue(transport.disconnecting)
        for known, drawn in ((THE_START, b"thestart"), (None, b"")):  # one that is new believes everybody
            events, _ = self.dialled(
                {} if known is None else {1: known}, hello_answer(THE_START, drawn) + met_answer(Verdict.WIPED)
            )
            self.assertEqual(len(events), 1)

    def test_removed_at_the_port_of_a_peer(self) -> None:
        """Nor by saying that the node was removed (hazard M7): an address may be given by anybody who reaches HTTP."""
        for known, said, drawn, is_believed in (
            (THE_START, WIPED.incarnation, b"", False),
            (THE_START, SECOND.incarnation, b"ofa copy", False),
            (THE_START, LATER.incarnation, b"", False),
            (THE_START, THE_START, b"thestart", True),
            (None, THE_START, b"", True),
        ):
            with capturedLogs() as logged:
                events, transport = self.dialled(
                    {} if known is None else {1: known}, removed_answer(RemovedThere.text(said, drawn))
                )
            self.assertEqual(events, [f"refused by 1: {MemberRemoved(0, told_by=1)}"] if is_believed else [])
            self.assertTrue(transport.disconnecting)
            (line,) = warnings(logged)
            self.assertEqual("counts for nothing" in line, not is_believed)
        for text in ("", "00", "the caller was removed"):
            with capturedLogs() as logged:
                events, transport = self.dialled({}, removed_answer(text))
            self.assertEqual((events, transport.disconnected), ([], True))
            self.assertIn("does not speak txraft's protocol", "".join(warnings(logged)))

    def test_other_refusals(self) -> None:
        """No other refusal ends a node, whatever it says."""
        cluster = Cluster().start(1)
        for said in (
            handshake(Verdict.WIPED, cluster_id="another"),
            handshake(Verdict.WIPED, incarnation=WIPED.incarnation),  # it is refused itself
            handshake(Verdict.WIPED, drawn=b"guessed."),
            met_box(Verdict.WIPED),
        ):
            protocol, _ = dial(cluster.networks[0])
            protocol.dataReceived(said)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"])

    def test_a_caller(self) -> None:
        """One whose handshake is in order, and who refuses, ends the node."""
        cluster = Cluster().start(1)
        protocol, transport = dial(cluster.networks[0])
        protocol.dataReceived(handshake(Verdict.OLDER))
        self.assertIn("a copy from before a start", cluster.handlers[0].events[-1])
        self.assertTrue(transport.disconnecting)

    def test_out_of_order(self) -> None:
        """Hello twice, or the end of a handshake without its beginning, or twice, is nonsense."""
        memory = SlowPeers()
        cluster = Cluster(memories=(memory, PeersInMemory())).start(1)
        for said in (hello_box() + hello_box(), met_box(), handshake() + met_box(), met_box() + hello_box()):
            cluster.clock.advance(LinkLimits().repeat_after)
            memory.peers.clear()
            protocol, transport = dial(cluster.networks[0])
            with capturedLogs() as events:
                protocol.dataReceived(said)
            self.assertTrue(transport.disconnected, said)
            (line,) = warnings(events)
            self.assertIn("does not speak txraft's protocol", line)

    def test_the_end_from_who_was_called(self) -> None:
        """Only who dialled ends a handshake; and it is over once."""
        events, transport = self.dialled({}, met_box())
        self.assertTrue(transport.disconnected)
        events, transport = self.dialled({}, hello_answer() + met_answer() + met_box())
        self.assertEqual(events, ["connected 1"])
        self.assertTrue(transport.disconnected)

    def test_answers_without_sense(self) -> None:
        """They end the connection."""
        for said in (
            hello_answer().replace(b"drawn", b"drown"),
            hello_answer() + met_answer().replace(b"WELCOME", b"WELCOM!"),
            hello_answer() + met_answer().replace(b"WELCOME", b"WELCOM\xff"),
        ):
            with capturedLogs() as logged:
                events, transport = self.dialled({}, said)
            self.assertTrue(transport.disconnected)
            self.assertEqual((events, len(warnings(logged))), ([], 1))


class WireTests(SynchronousTestCase):
    """The bytes."""

    def test_incarnation(self) -> None:
        """There and back; nothing else is read."""
        packed = PackedIncarnation()
        said = packed.toString(THE_START)
        self.assertEqual(packed.fromString(said), THE_START)
        self.assertEqual(said, b"original" + bytes(7) + b"\3thestart")
        for wrong in (b"", b"original", said + b"x", b"original" + b"\xff" * 8 + b"thestart"):
            self.assertRaises(MalformedMessage, packed.fromString, wrong)

    def test_verdict(self) -> None:
        """By its name."""
        for verdict in Verdict:
            self.assertIs(VerdictName().fromString(VerdictName().toString(verdict)), verdict)
