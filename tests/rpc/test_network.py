"""Nodes that talk, in memory: ways, questions, connections that come and go."""

from functools import partial

import attrs
from twisted.internet import error as dialling
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.rpc.memory import VOTERS, Cluster, dial, warnings
from txraft.core import messages
from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import AppendEntries, Entry, EntryKind, Heartbeat, HeartbeatReply, RequestVote
from txraft.errors import (
    LONGEST_REASON,
    ChangeRefused,
    ChangeUnderWay,
    CommandFailed,
    NoSuchVoter,
    NotApplied,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    Unreachable,
)
from txraft.interfaces import Identity, IPeers
from txraft.rpc import LinkLimits
from txraft.rpc.handshake import Party, Refusal, greeting

OURS = Identity(0, "ours", VOTERS)
THEIRS = Identity(1, "theirs", VOTERS)

REQUEST = Heartbeat(1, 2, 1, 3)
REPLY = HeartbeatReply(1, 3)
EVERYTHING: list[messages.Message] = [
    RequestVote(3, 2, 1, 4, True),
    messages.RequestVoteReply(1, 2, False, True),
    AppendEntries(1, 2, 3, 1, (Entry(4, 1, EntryKind.COMMAND, b"x"),), 3),
    messages.AppendEntriesReply(1, 2, False, 3, 1),
    messages.InstallSnapshot(1, 2, Snapshot(3, 1, Configuration(VOTERS))),
    REQUEST,
    REPLY,
]


class MessagesTests(SynchronousTestCase):
    """Messages reach the other node's handler."""

    def crash(self) -> None:
        """A handler with a bug."""
        raise ZeroDivisionError

    def test_interface(self) -> None:
        """A network is IPeers."""
        verifyObject(IPeers, Cluster().networks[0])

    def test_every_message(self) -> None:
        """Every kind of message arrives, once, with its sender."""
        cluster = Cluster().start()
        for number, message in enumerate(EVERYTHING):
            cluster.networks[0].send(1, message)
            cluster.settle()
            self.assertEqual(cluster.handlers[1].received[number:], [(0, message)])
        self.assertEqual(cluster.handlers[0].received, [])

    def test_large_entry(self) -> None:
        """An entry of 10 MiB arrives through two real protocols: hazard R20."""
        cluster = Cluster().start()
        message = AppendEntries(1, 2, 3, 1, (Entry(4, 1, EntryKind.COMMAND, bytes(10 * 1024 * 1024)),), 3)
        cluster.networks[0].send(1, message)
        cluster.settle()
        self.assertTrue(cluster.handlers[1].received == [(0, message)])

    def test_the_way(self) -> None:
        """Entries and proposals go by the connection that was dialled, all else by the one that the peer dialled."""
        cluster = Cluster().start()
        ours, theirs = cluster.endpoints[0].pumps[0].clientIO, cluster.endpoints[1].pumps[0].serverIO
        for message in EVERYTHING:
            cluster.networks[0].send(1, message)
            large = isinstance(message, AppendEntries)
            self.assertEqual([bool(way.getOutBuffer()) for way in (ours, theirs)], [large, not large], message)
        cluster.networks[0].propose(1, b"x")
        cluster.clock.advance(0)
        self.assertTrue(ours.getOutBuffer())
        self.assertFalse(theirs.getOutBuffer())

    def test_one_way_reachable(self) -> None:
        """Where only one node can dial, everything goes both ways on that connection."""
        cluster = Cluster().start(0)
        for sender in (0, 1):
            cluster.networks[sender].send(1 - sender, REQUEST)
            cluster.networks[sender].send(1 - sender, REPLY)
            cluster.settle()
            self.assertEqual(cluster.handlers[1 - sender].received, [(sender, REQUEST), (sender, REPLY)])
            result = cluster.networks[sender].propose(1 - sender, b"command")
            cluster.settle()
            self.assertEqual(self.successResultOf(result), b"done")

    def test_without_connection(self) -> None:
        """A message without a connection, or to a node that does not exist, is dropped."""
        cluster = Cluster()
        for message in EVERYTHING:
            cluster.networks[0].send(1, message)
            cluster.networks[0].send(5, message)
        cluster.start()
        self.assertEqual(cluster.handlers[1].received, [])

    def test_handler_fails(self) -> None:
        """A handler that fails is logged as critical, and the connection goes on."""
        cluster = Cluster().start()
        cluster.handlers[1].on_receive = self.crash
        with capturedLogs() as events:
            cluster.networks[0].send(1, REQUEST)
            cluster.networks[0].send(1, REPLY)
            cluster.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual([event["log_level"] for event in events], [LogLevel.critical] * 2)
        self.assertEqual(len(cluster.handlers[1].received), 2)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"])


class QuestionsTests(SynchronousTestCase):
    """Proposals and read barriers, and what becomes of them."""

    def setUp(self) -> None:
        """Two nodes, connected."""
        self.cluster = Cluster().start()
        self.network, self.handler = self.cluster.networks[0], self.cluster.handlers[1]

    def test_bounded(self) -> None:
        """hazard C9: no more questions wait for one peer than may; the rest are refused, and not sent."""
        cluster = Cluster(LinkLimits(max_questions=3)).start()
        cluster.handlers[1].on_propose = Deferred
        waiting = [cluster.networks[0].propose(1, b"") for _ in range(3)]
        cluster.settle()
        self.failureResultOf(cluster.networks[0].propose(1, b"refused"), Overloaded)
        self.failureResultOf(cluster.networks[0].read_barrier(1), Overloaded)
        cluster.settle()
        self.assertEqual(cluster.handlers[1].proposals, [b""] * 3)
        waiting.pop().addErrback(lambda _: None).cancel()
        cluster.handlers[1].on_propose = lambda: succeed(b"done")
        self.assertNoResult(cluster.networks[0].propose(1, b"taken"))  # there is room again, at this end

    def test_who_gives_up_leaves_nothing_behind(self) -> None:
        """hazard C9: neither here, also where the answer comes late, as a result or as an error, nor there."""
        answers: list[Deferred[bytes]] = []

        def on_propose() -> Deferred[bytes]:
            answers.append(Deferred())
            return answers[-1]

        self.handler.on_propose = on_propose
        results = [self.network.propose(1, b"") for _ in range(2)]
        self.cluster.settle()
        link = self.network._outgoing[1]
        self.assertEqual(link.unanswered, 2)
        for result in results:
            result.addErrback(lambda _: None).cancel()
        self.assertEqual(link.unanswered, 0)
        answers[0].callback(b"late")
        answers[1].errback(NotLeader(2))
        self.cluster.settle()
        self.assertIs(self.network._outgoing[1], link)
        self.assertEqual(len(self.cluster.networks[1]._incoming[0]._answering), 0)

    def test_questions_have_a_deadline(self) -> None:
        """hazard C9: one that a leader cannot answer is let go, each at its time; its outcome is unknown."""
        cluster = Cluster(LinkLimits(answer=5.0)).start()
        given_up: list[Deferred[bytes]] = []
        cluster.handlers[1].on_propose = lambda: Deferred(given_up.append)
        first = cluster.networks[0].propose(1, b"")
        cluster.advance(3)
        second = cluster.networks[0].propose(1, b"")
        cluster.advance(1.9)
        self.assertNoResult(first)
        cluster.advance(0.2)
        self.failureResultOf(first, OutcomeUnknown)
        cluster.advance(2.7)
        self.assertNoResult(second)
        cluster.advance(0.3)
        self.failureResultOf(second, OutcomeUnknown)
        self.assertEqual(len(given_up), 2)
        self.assertEqual(len(cluster.networks[1]._incoming[0]._answering), 0)
        third = cluster.networks[0].propose(1, b"")
        cluster.advance(5.1)
        self.failureResultOf(third, OutcomeUnknown)

    def test_answers(self) -> None:
        """The answers come back, large ones too."""
        large = bytes(200_000)
        self.handler.on_propose = lambda: succeed(large)
        result, index = self.network.propose(1, large), self.network.read_barrier(1)
        self.cluster.settle()
        self.assertEqual(self.successResultOf(result), large)
        self.assertEqual(self.successResultOf(index), 7)
        self.assertEqual(self.handler.proposals, [large])

    def test_transfer(self) -> None:
        """A request for a transfer of leadership arrives, and its answer comes back."""
        asked = self.network.transfer_leadership(1, 2)
        self.cluster.settle()
        self.assertEqual(self.successResultOf(asked), 2)
        self.assertIn("transfer to 2", self.handler.events)

    def test_transfer_to_nobody(self) -> None:
        """The leader, whose configuration counts, may know no such voter: that is an answer, and no bug of its own."""
        self.handler.on_transfer = lambda target: fail(NoSuchVoter(f"node {target} cannot lead"))
        asked = self.network.transfer_leadership(1, 2)
        self.cluster.settle()
        self.assertEqual(str(self.failureResultOf(asked, NoSuchVoter).value), "node 2 cannot lead")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_errors(self) -> None:
        """Outcomes arrive as what they are, anything else as OutcomeUnknown (for a read, NotApplied)."""
        for error, proposal, read in (
            (NotApplied("no"), NotApplied, NotApplied),
            (Overloaded("full"), NotApplied, NotApplied),
            (NotLeader(2), NotLeader, NotLeader),
            (NotLeader(None), NotLeader, NotLeader),
            (OutcomeUnknown("who knows"), OutcomeUnknown, NotApplied),
            (CommandFailed("no"), CommandFailed, NotApplied),
            (RuntimeError("a bug"), OutcomeUnknown, NotApplied),
        ):
            self.handler.on_propose = self.handler.on_read = partial(fail, error)
            asked = self.network.propose(1, b""), self.network.read_barrier(1)
            self.cluster.settle()
            arrived = [
                self.failureResultOf(result, kind).value for result, kind in zip(asked, (proposal, read), strict=True)
            ]
            if isinstance(error, NotLeader):
                self.assertEqual([str(other) for other in arrived], [str(error)] * 2)
                self.assertEqual([other.leader_id for other in arrived], [error.leader_id] * 2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.assertEqual(self.cluster.handlers[0].events, ["connected 1"])

    def test_command_failed(self) -> None:
        """hazard C10: its text is the same on the node that asked, whatever is in it."""
        for text in ("it\nfailed " + "é" * 99_999, "\udcff x", "x" * (LONGEST_REASON - 1) + " y", "\x1f\0\x85"):
            error = CommandFailed(text)
            self.handler.on_propose = partial(fail, error)
            asked = self.network.propose(1, b"")
            self.cluster.settle()
            self.assertEqual(str(self.failureResultOf(asked, CommandFailed).value), str(error))

    def test_handler_raises(self) -> None:
        """A handler that raises, or answers with what is no answer, is logged and the outcome unknown."""
        for answer in (lambda: 1 // 0, lambda: succeed(None)):
            self.handler.on_propose = answer  # type: ignore[assignment]  # wrong on purpose
            result = self.network.propose(1, b"")
            self.cluster.settle()
            self.failureResultOf(result, OutcomeUnknown)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, TypeError)), 2)

    def test_not_connected(self) -> None:
        """Without a connection, Unreachable at once, and nothing arrives later: hazard C8."""
        cluster = Cluster()
        for result in (cluster.networks[0].propose(1, b"x"), cluster.networks[0].read_barrier(1)):
            self.failureResultOf(result, Unreachable)
        cluster.start()
        self.assertEqual(cluster.handlers[1].proposals, [])

    def test_lost_before_the_answer(self) -> None:
        """A proposal whose connection is lost has an unknown outcome, and is not sent again: hazard C8."""
        self.handler.on_propose = self.handler.on_read = Deferred
        result, index = self.network.propose(1, b"once"), self.network.read_barrier(1)
        self.cluster.settle()
        self.assertNoResult(result)
        self.cluster.cut(0)
        self.failureResultOf(result, OutcomeUnknown)
        self.failureResultOf(index, NotApplied)
        self.cluster.advance(3)
        self.assertEqual(self.cluster.handlers[0].events, ["connected 1"] * 3)  # by the other one meanwhile
        self.assertEqual(self.handler.proposals, [b"once"])

    def test_lost_before_it_arrived(self) -> None:
        """The outcome is unknown as well where the other side never saw the proposal: hazard C8."""
        result = self.network.propose(1, b"never")
        pump = self.cluster.endpoints[0].pumps[-1]
        pump.clientIO.getOutBuffer()
        self.cluster.cut(0)
        self.failureResultOf(result, OutcomeUnknown)
        self.cluster.advance(3)
        self.assertEqual(self.handler.proposals, [])

    def test_leaving(self) -> None:
        """A node that is about to end is asked nothing more, and has answered what it was asked (hazard C8): also what
        was on its way when it said so."""
        answers: list[Deferred[bytes]] = []

        def on_propose() -> Deferred[bytes]:
            answers.append(Deferred())
            return answers[-1]

        self.handler.on_propose = on_propose
        results = [self.network.propose(1, b"first")]
        self.cluster.settle()
        left = self.cluster.networks[1].leave()
        results.append(self.network.propose(1, b"second"))
        self.cluster.settle()
        self.failureResultOf(self.network.propose(1, b"third"), Unreachable)
        self.failureResultOf(self.network.read_barrier(1), Unreachable)
        self.assertEqual(self.handler.proposals, [b"first", b"second"])
        answers[0].callback(b"done")
        self.assertNoResult(left)
        answers[1].errback(NotLeader(2))
        self.successResultOf(left)
        self.cluster.networks[1].stop()
        self.cluster.settle()
        self.assertEqual(self.successResultOf(results[0]), b"done")
        self.failureResultOf(results[1], NotLeader)

    def test_still_told_while_it_leaves(self) -> None:
        """Messages go to it as before: it has to learn what was committed, and may ask others itself."""
        self.cluster.networks[1].leave()
        self.cluster.settle()
        self.network.send(1, REQUEST)
        result = self.cluster.networks[1].propose(0, b"command")
        self.cluster.settle()
        self.assertEqual(self.handler.received, [(0, REQUEST)])
        self.assertEqual(self.successResultOf(result), b"done")

    def test_lost_while_it_leaves(self) -> None:
        """Nobody is left to answer."""
        self.handler.on_propose = Deferred
        self.network.propose(1, b"").addErrback(lambda _: None)
        self.cluster.settle()
        left = self.cluster.networks[1].leave()
        for dialler in (0, 1):
            self.assertNoResult(left)
            self.cluster.cut(dialler)
        self.successResultOf(left)
        self.successResultOf(Cluster().networks[0].leave())

    def test_back_again(self) -> None:
        """By a new connection it is asked again."""
        self.cluster.networks[1].leave()
        self.cluster.settle()
        for dialler in (0, 1):
            self.cluster.cut(dialler)
        self.cluster.advance(3)
        result = self.network.propose(1, b"command")
        self.cluster.settle()
        self.assertEqual(self.successResultOf(result), b"done")

    def test_asking_again_at_once(self) -> None:
        """Who asks again as soon as a connection is lost does not do so on that connection."""
        self.handler.on_propose = Deferred
        again: list[Deferred[bytes]] = []
        self.cluster.endpoints[1].target = None
        self.cluster.cut(1)
        result = self.network.propose(1, b"first")
        result.addErrback(lambda _: again.append(self.network.propose(1, b"second")))
        self.cluster.settle()
        self.cluster.cut(0)
        self.failureResultOf(again[0], NotApplied)

    def test_change_of_the_membership(self) -> None:
        """What a follower passes on arrives, and the answer is the configuration then."""
        changes = (Change(ChangeKind.ADD_LEARNER, 3, ("host3:8080", "api"), joins=True), Change(ChangeKind.REMOVE, 1))
        after = Configuration(VOTERS, learners={3}, joining={3: None}, addresses={3: ("host3:8080", "api")})
        self.handler.on_change = lambda: succeed(after)
        result = self.network.change_members(1, changes)
        self.cluster.settle()
        self.assertEqual(self.handler.changes, [changes])
        self.assertEqual(self.successResultOf(result), after)

    def test_changes_that_fail(self) -> None:
        """Each outcome arrives as what it is, with its text; a bug there, or a lost connection, is unknown."""
        for error in (
            ChangeRefused("there is another member at host3:8080"),
            ChangeUnderWay("another change has not ended"),
            NotApplied("no"),
            OutcomeUnknown("perhaps"),
        ):
            self.handler.on_change = partial(fail, error)
            result = self.network.change_members(1, [])
            self.cluster.settle()
            failure = self.failureResultOf(result)
            self.assertEqual((type(failure.value), str(failure.value)), (type(error), str(error)))
        self.handler.on_change = partial(fail, NotLeader(2))
        result = self.network.change_members(1, [])
        self.cluster.settle()
        self.assertEqual(self.failureResultOf(result, NotLeader).value.leader_id, 2)
        self.handler.on_change = partial(fail, ZeroDivisionError())
        result = self.network.change_members(1, [])
        self.cluster.settle()
        self.failureResultOf(result, OutcomeUnknown)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.handler.on_change = Deferred
        result = self.network.change_members(1, [])
        self.cluster.settle()
        self.cluster.cut(0)
        self.failureResultOf(result, OutcomeUnknown)
        self.failureResultOf(self.network.change_members(7, []), Unreachable)

    def test_cancelled(self) -> None:
        """An answer to what nobody waits for any more harms nothing; nor does a failure that nobody handles."""
        answer: Deferred[bytes] = Deferred()
        self.handler.on_propose = lambda: answer
        result = self.network.propose(1, b"")
        self.cluster.settle()
        result.addErrback(lambda _: None).cancel()
        answer.errback(NotLeader(2))
        self.handler.on_propose = lambda: fail(NotLeader(2))
        result = self.network.propose(1, b"")
        self.cluster.settle()
        self.assertEqual(self.cluster.handlers[0].events, ["connected 1"])
        self.failureResultOf(result, NotLeader)

    def test_cancelled_before_any_other(self) -> None:
        """The same, where the question is the first on its connection: on one that the peer dialled, this node has said
        no Hello before."""
        cluster = Cluster().start(1)
        answer: Deferred[bytes] = Deferred()
        cluster.handlers[1].on_propose = lambda: answer
        result = cluster.networks[0].propose(1, b"")
        cluster.settle()
        result.addErrback(lambda _: None).cancel()
        answer.callback(b"late")
        cluster.settle()
        self.assertEqual(cluster.handlers[0].events, ["connected 1"])

    def test_answer_after_the_connection(self) -> None:
        """An answer that is ready when the connection is gone goes nowhere, silently."""
        answer: Deferred[bytes] = Deferred()
        self.handler.on_propose = lambda: answer
        result = self.network.propose(1, b"")
        self.cluster.settle()
        self.cluster.cut(0)
        self.failureResultOf(result, OutcomeUnknown)
        answer.callback(b"too late")


class ConnectionsTests(SynchronousTestCase):
    """Connections that open, break, and open again."""

    def test_news_of_the_only_connection(self) -> None:
        """The handler is told when it opens, on both sides, whoever dialled (hazard R22); and when it has closed and
        the next attempt to reach the peer has failed."""
        cluster = Cluster().start(0)
        cluster.endpoints[0].target = None
        cluster.cut(0)
        for me in (0, 1):
            self.assertEqual(cluster.handlers[me].events, [f"connected {1 - me}"])
        cluster.advance(2)
        for me in (0, 1):
            self.assertEqual(cluster.handlers[me].events, [f"connected {1 - me}", f"lost {1 - me}"])

    def test_news_of_a_connection_that_breaks(self) -> None:
        """A peer that is there again at once was never lost, also where only that one dials: a firewall that starts
        anew deposes nobody."""
        cluster = Cluster(LinkLimits(retry_first=0.01)).start(0)
        cluster.advance(5)
        cluster.cut(0)
        cluster.advance(0.05)
        attempts = cluster.endpoints[1].attempts
        cluster.advance(2)
        self.assertGreater(cluster.endpoints[1].attempts, attempts)
        for me in (0, 1):
            self.assertEqual(cluster.handlers[me].events, [f"connected {1 - me}"] * 2)
        cluster.networks[1].identity = THEIRS
        cluster.cut(0)
        cluster.advance(0.05)
        self.assertEqual(cluster.handlers[0].events, ["connected 1", "connected 1", "lost 1"])

    def test_news_of_two_connections(self) -> None:
        """The handler is told whenever entries go by another one, and not of the one by which they do not go (R22)."""
        cluster = Cluster().start(0)
        cluster.endpoints[1].target = cluster.networks[0].server_factory()
        cluster.advance(2)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"])
        self.assertEqual(cluster.handlers[1].events, ["connected 0"] * 2)
        cluster.endpoints[1].target = None
        cluster.cut(1)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"])
        self.assertEqual(cluster.handlers[1].events, ["connected 0"] * 3)
        cluster.endpoints[0].target = None
        cluster.cut(0)
        cluster.advance(2)
        self.assertEqual(cluster.handlers[0].events, ["connected 1", "lost 1"])
        self.assertEqual(cluster.handlers[1].events, [*["connected 0"] * 3, "lost 0"])

    def test_backoff(self) -> None:
        """Attempts come often at first, then about once in retry_most."""
        cluster = Cluster(LinkLimits(retry_first=0.1, retry_most=2.0)).start(1)
        first = cluster.endpoints[0].attempts
        self.assertGreaterEqual(first, 5)
        cluster.advance(20)
        self.assertIn(cluster.endpoints[0].attempts - first, range(9, 13))

    def test_newer_connection_replaces_the_older(self) -> None:
        """A peer that connects again, its old connection still open here, is answered on the new one, and the handler
        is told (hazard R22). The old one is aborted, soon where nobody is there any more."""
        limits = LinkLimits()
        for patience, lives in ((limits.close, False), (limits.answer, True)):
            cluster = Cluster().start(1)
            again = Cluster(clock=cluster.clock)
            again.endpoints[1].target = cluster.networks[0].server_factory()
            again.networks[1].start(again.handlers[1])
            again.settle()
            if lives:
                cluster.settle()
            cluster.networks[0].send(1, REPLY)
            again.settle()
            self.assertEqual(again.handlers[1].received, [(0, REPLY)])
            self.assertEqual(cluster.handlers[1].received, [])
            cluster.clock.advance(patience - 0.1)
            self.assertFalse(cluster.endpoints[1].pumps[0].serverIO.disconnected)
            cluster.clock.advance(0.2)
            cluster.settle()
            self.assertTrue(cluster.endpoints[1].pumps[0].serverIO.disconnected)
            self.assertEqual(cluster.handlers[0].events, ["connected 1"] * 2)

    def test_links_that_have_closed(self) -> None:
        """A network keeps its links while they are open, however often they break."""
        cluster = Cluster().start()
        for _ in range(20):
            for me in (0, 1):
                cluster.cut(me)
            cluster.advance(1)
            self.assertEqual([len(network._links) for network in cluster.networks], [2, 2])
            self.assertEqual([len(network._strangers) for network in cluster.networks], [0, 0])
        self.assertGreater(len(cluster.handlers[0].events), 40)

    def test_stop(self) -> None:
        """Stopping closes what is open, sends what waits, and leaves no timer."""
        cluster = Cluster().start()
        cluster.networks[0].send(1, REQUEST)
        stopped = [network.stop() for network in cluster.networks]
        cluster.settle()
        for result in stopped:
            self.successResultOf(result)
        self.assertEqual([network._links for network in cluster.networks], [{}, {}])
        self.assertEqual(cluster.clock.getDelayedCalls(), [])

    def test_only_while_running(self) -> None:
        """A network that listens before it is started, or after it was stopped, lets nobody in."""
        cluster = Cluster()
        cluster.endpoints[0].target = cluster.networks[1].server_factory()
        cluster.networks[0].start(cluster.handlers[0])
        cluster.advance(1)
        self.assertEqual(cluster.endpoints[0].pumps, [])
        cluster.networks[1].start(cluster.handlers[1])
        cluster.advance(2)
        self.assertEqual(len(cluster.endpoints[0].pumps), 1)
        stopped = cluster.networks[1].stop()
        cluster.advance(3)
        self.successResultOf(stopped)
        self.assertEqual(len(cluster.endpoints[0].pumps), 1)
        self.assertEqual(cluster.handlers[0].events, ["connected 1", "lost 1"])


class WebServer(Protocol):
    """Answers as one does to what is not HTTP."""

    def dataReceived(self, data: bytes) -> None:  # noqa: ARG002  Protocol's signature
        """Refuse."""
        assert self.transport is not None
        self.transport.write(b"<!DOCTYPE HTML><title>Error response</title>")


class WarningsTests(SynchronousTestCase):
    """What the log says of peers that are not reached, or not let in."""

    def test_refused(self) -> None:
        """A refused handshake is logged once on each side, however often it is tried, with the longest wait between.
        Only the side that refuses says what does not match."""
        cluster = Cluster(LinkLimits(retry_first=0.01, unreachable_after=1e9), identities=(OURS, THEIRS))
        with capturedLogs() as events:
            cluster.start(0).advance(8)
        what = Refusal.CLUSTER.describe(Party(THEIRS), greeting(Party(OURS), 1))
        self.assertEqual(
            sorted(warnings(events)),
            [
                f"node 1 at host1:8080 refused this node: {Refusal.CLUSTER.told}",
                f"refused a stranger at 127.0.0.1:8080, which {what}",
            ],
        )
        self.assertIn(cluster.endpoints[0].attempts, range(9, 12))
        self.assertEqual([handler.events for handler in cluster.handlers], [[], []])
        self.assertEqual([handler.received for handler in cluster.handlers], [[], []])

    def test_other_voters(self) -> None:
        """Nodes of one cluster that were started with different voters do not talk, whoever dials (hazard E14)."""
        more = Identity(1, "ours", VOTERS | {2, 3, 4})
        for dialler in (0, 1):
            with capturedLogs() as events:
                cluster = Cluster(identities=(OURS, more)).start(dialler)
            self.assertEqual([handler.events for handler in cluster.handlers], [[], []])
            for line in warnings(events):
                self.assertIn("founders", line)
            self.failureResultOf(cluster.networks[dialler].propose(1 - dialler, b"command"), Unreachable)

    def test_refused_no_longer(self) -> None:
        """Once a handshake succeeds, the next wait is short, and the next refusal is logged again where it was called.
        A caller cannot make the called say more by being let in between: hazard N5."""
        cluster = Cluster(LinkLimits(retry_first=0.01, unreachable_after=1e9), identities=(OURS, THEIRS)).start(0)
        cluster.networks[1].identity = attrs.evolve(THEIRS, cluster_id="ours")
        cluster.advance(2)
        cluster.cut(0)
        cluster.advance(0.2)
        self.assertEqual(cluster.handlers[0].events, ["connected 1", "connected 1"])
        cluster.networks[1].identity = THEIRS
        with capturedLogs() as events:
            cluster.cut(0)
            cluster.advance(5)
        self.assertEqual(warnings(events), [f"node 1 at host1:8080 refused this node: {Refusal.CLUSTER.told}"])

    def test_unreachable(self) -> None:
        """A peer that is not reached for some seconds is named with the reason; again rarely, however often it is
        tried; and there is a line when it is back."""
        cluster = Cluster()
        cluster.networks[0].start(cluster.handlers[0])
        with capturedLogs() as events:
            cluster.advance(4.9)
            self.assertEqual(warnings(events), [])
            cluster.advance(1.5)
            self.assertEqual(warnings(events), ["node 1 at host1:8080 cannot be reached: nothing listens there"])
            cluster.advance(290)
            self.assertEqual(len(warnings(events)), 1)
            cluster.advance(620)
            self.assertEqual(len(warnings(events)), 4)
        cluster.endpoints[0].target = cluster.networks[1].server_factory()
        cluster.networks[1].start(cluster.handlers[1])
        with capturedLogs() as events:
            cluster.advance(2)
            self.assertIn("connected to node 1", [formatEvent(event) for event in events])
        with capturedLogs() as events:
            cluster.networks[1].stop()
            cluster.endpoints[0].target = None
            cluster.cut(0)
            cluster.advance(4.9)
            self.assertEqual(warnings(events), [])
            cluster.advance(1.5)
            self.assertEqual(len(warnings(events)), 1)

    def test_reasons(self) -> None:
        """What an operator reads of each way in which a peer cannot be reached."""
        for problem, reason in (
            (dialling.ConnectionRefusedError(), "nothing listens there"),
            (
                dialling.DNSLookupError("no results for hostname lookup: no-such-host.invalid"),
                "the name does not resolve",
            ),
            (dialling.TimeoutError(), "no answer"),
            (dialling.TCPTimedOutError(), "no answer"),
            (dialling.NoRouteError(), "no route leads there"),
            (ValueError("invalid hostname\n"), "invalid hostname\\n"),
        ):
            cluster = Cluster()
            cluster.endpoints[0].error = problem
            cluster.networks[0].start(cluster.handlers[0])
            with capturedLogs() as events:
                cluster.advance(6.5)
            self.assertEqual(warnings(events), [f"node 1 at host1:8080 cannot be reached: {reason}"])

    def test_start(self) -> None:
        """Nodes that start within a few seconds of each other have nothing to complain of, nor have they when they
        stop."""
        cluster = Cluster()
        with capturedLogs() as events:
            cluster.networks[0].start(cluster.handlers[0])
            cluster.advance(4)
            cluster.start()
            for network in cluster.networks:
                network.stop()
            cluster.advance(20)
        self.assertEqual(warnings(events), [])

    def test_no_node(self) -> None:
        """What answers, and is no node, is named as what it is; and so is what calls, and is none."""
        cluster = Cluster()
        cluster.endpoints[0].target = Factory.forProtocol(WebServer)
        with capturedLogs() as events:
            cluster.networks[0].start(cluster.handlers[0])
            cluster.advance(20)
            self.assertEqual(warnings(events), ["what answers at host1:8080 does not speak txraft's protocol"])
        self.assertLess(cluster.endpoints[0].attempts, 25)
        with capturedLogs() as events:
            for _ in range(1000):
                protocol, _transport = dial(cluster.networks[0])
                protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n")
                protocol.connectionLost(Failure(ConnectionDone()))
            self.assertEqual(warnings(events), ["a stranger at 127.0.0.1:8080 does not speak txraft's protocol"])

    def test_news_that_the_handler_cannot_bear(self) -> None:
        """A handler that fails at news of a peer is logged as critical, and the connection stays."""
        cluster = Cluster()
        cluster.handlers[0].events = None  # type: ignore[assignment]  # append to it fails
        cluster.start()
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        result = cluster.networks[0].propose(1, b"")
        cluster.settle()
        self.assertEqual(self.successResultOf(result), b"done")
