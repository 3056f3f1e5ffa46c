"""A network that follows the membership: whom it dials, and where; whom it hangs up on; who may come."""

from collections.abc import Mapping
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol
from twisted.logger import capturedLogs
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.memory import (
    CLUSTER,
    Cluster,
    MemoryEndpoint,
    dial,
    handshake,
    hello_box,
    met_box,
    others,
    warnings,
)
from tests.rpc.test_link import message_box
from txraft.core.configuration import Addresses
from txraft.core.messages import Heartbeat, HeartbeatReply, NodeId, RequestVote, RequestVoteReply
from txraft.errors import MemberRemoved, Unreachable
from txraft.interfaces import Identity
from txraft.rpc import LinkLimits
from txraft.rpc.amp_commands import RemovedThere
from txraft.storage.identity import History
from txraft.storage.memory import PeersInMemory

HEARTBEAT = Heartbeat(1, 2, 1, 3)
HOME, MOVED = others(0)[1], ("moved:8080", "api")


def follow(
    cluster: Cluster, peers: Mapping[NodeId, Addresses], removed: set[NodeId] | None = None, index: int = 5
) -> None:
    """Node 0 hears of a membership."""
    cluster.networks[0].follow(peers, removed or set(), index)
    cluster.settle()


class DiallingTests(SynchronousTestCase):
    """Node 0, and where it dials node 1."""

    def start(self) -> Cluster:
        """Node 0 has dialled node 1, which is reached elsewhere, too."""
        cluster = Cluster().start(0)
        cluster.elsewhere["moved:8080"] = MemoryEndpoint(cluster.clock, cluster.networks[1].server_factory())
        return cluster

    def test_new_member(self) -> None:
        """Who is new is dialled at once; before the start, at the start."""
        for before in (True, False):
            cluster = Cluster()
            follow(cluster, {})
            if before:
                follow(cluster, others(0))
            cluster.endpoints[0].target = cluster.networks[1].server_factory()
            for me in (1, 0):
                cluster.networks[me].start(cluster.handlers[me])
            cluster.advance(1)
            if not before:
                self.assertEqual(cluster.endpoints[0].attempts, 0)
                follow(cluster, others(0))
            self.assertEqual([handler.events for handler in cluster.handlers], [["connected 1"], ["connected 0"]])

    def test_the_same_again(self) -> None:
        """To hear of the same members again, or of one without its addresses, changes nothing."""
        cluster = self.start()
        without: dict[NodeId, Addresses] = {1: ()}
        for peers in (others(0), without, others(0)):
            follow(cluster, peers)
            cluster.advance(1)
        self.assertEqual(cluster.endpoints[0].attempts, 1)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"])

    def test_moved(self) -> None:
        """At a new address a member is dialled at once. The old connection stays until that is up, and is closed then;
        what is lost later is dialled at the new address alone."""
        cluster = self.start()
        cluster.elsewhere["moved:8080"].target, target = None, cluster.elsewhere["moved:8080"].target
        follow(cluster, {1: MOVED})
        cluster.advance(3)
        self.assertGreater(cluster.elsewhere["moved:8080"].attempts, 2)
        self.assertFalse(cluster.endpoints[0].pumps[0].clientIO.disconnected)
        cluster.networks[0].send(1, HEARTBEAT)
        cluster.settle()
        self.assertEqual(cluster.handlers[1].received, [(0, HEARTBEAT)])
        cluster.elsewhere["moved:8080"].target = target
        cluster.advance(2)
        self.assertTrue(cluster.endpoints[0].pumps[0].clientIO.disconnected)
        self.assertEqual(cluster.networks[0]._dialler._retired, {})
        self.assertEqual(cluster.handlers[0].events, ["connected 1"] * 2)
        cluster.elsewhere["moved:8080"].pumps[0].clientIO.loseConnection()
        cluster.advance(2)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"] * 3)
        self.assertEqual(cluster.endpoints[0].attempts, 1)

    def test_moved_again(self) -> None:
        """What is up at the new address is the old connection at the next move, and stays as that did."""
        cluster = self.start()
        follow(cluster, {1: MOVED})
        cluster.advance(1)
        cluster.elsewhere["again:8080"] = MemoryEndpoint(cluster.clock)
        follow(cluster, {1: ("again:8080",)})
        cluster.advance(2)
        self.assertFalse(cluster.elsewhere["moved:8080"].pumps[0].clientIO.disconnected)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"] * 2)

    def test_moved_to_nowhere(self) -> None:
        """The log says soon that a peer is not reached at its new address, whatever it said of the old one; and nothing
        any more of an attempt at the old one that ends late."""
        cluster = Cluster(LinkLimits(unreachable_after=1))
        cluster.elsewhere["moved:8080"] = MemoryEndpoint(cluster.clock)
        late: Deferred[IProtocol] = Deferred()
        with capturedLogs() as events:
            cluster.networks[0].start(cluster.handlers[0])
            cluster.advance(3)
            with patch.object(MemoryEndpoint, "connect", lambda *_: late):
                cluster.advance(3)
            follow(cluster, {1: MOVED})
            cluster.advance(3)
            cluster.networks[0]._warnings.forget((1, "unreachable"))
            late.errback(ConnectionRefusedError())
        lines = [f"node 1 at {where} cannot be reached: nothing listens there" for where in (HOME[0], MOVED[0])]
        self.assertEqual(warnings(events), lines)

    def test_moved_and_gone(self) -> None:
        """Where the old connection is lost before the new one is up, nobody dials the old address again; it may be that
        of another by now. The member is lost when the new one is tried in vain."""
        cluster = self.start()
        cluster.elsewhere["moved:8080"].target = None
        follow(cluster, {1: MOVED})
        cluster.cut(0)
        cluster.advance(2)
        self.assertEqual(cluster.endpoints[0].attempts, 1)
        self.assertEqual(cluster.handlers[0].events, ["connected 1", "lost 1"])

    def test_moved_twice(self) -> None:
        """Of an address that was never reached nothing is left when there is another."""
        cluster = self.start()
        cluster.elsewhere["moved:8080"].target, target = None, cluster.elsewhere["moved:8080"].target
        cluster.elsewhere["again:8080"] = MemoryEndpoint(cluster.clock, target)
        follow(cluster, {1: MOVED})
        cluster.advance(2)
        follow(cluster, {1: ("again:8080",)})
        attempts = cluster.elsewhere["moved:8080"].attempts
        cluster.advance(2)
        self.assertEqual(cluster.elsewhere["moved:8080"].attempts, attempts)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"] * 2)
        self.assertEqual(len(cluster.networks[0]._links), 1)

    def test_address_that_cannot_be_used(self) -> None:
        """It is a line in the log, and the connection that there is stays. A node that joins, and does not know yet
        where the others are, says nothing."""
        line = r"node 2 cannot be dialled, and is tried again and again: ' \\n'"
        for addresses, lines in (((" \n",), [line]), ((), [])):
            cluster = self.start()
            with capturedLogs() as events:
                follow(cluster, {1: addresses, 2: addresses})
                follow(cluster, {1: addresses, 2: addresses})
                cluster.advance(2)
            self.assertEqual([line for line in warnings(events) if "node 2" in line], lines)
            self.assertEqual(cluster.handlers[0].events, ["connected 1"])
            self.assertEqual(cluster.endpoints[0].attempts, 1)

    def test_address_that_can_be_used_later(self) -> None:
        """What is needed to dial there may come later: certificates that are mounted, say."""
        cluster = self.start()
        endpoint = cluster.elsewhere.pop("moved:8080")
        follow(cluster, {1: MOVED})
        cluster.advance(2)
        self.assertEqual((endpoint.attempts, cluster.handlers[0].events), (0, ["connected 1"]))
        cluster.elsewhere["moved:8080"] = endpoint
        cluster.advance(2)
        self.assertEqual((endpoint.attempts, cluster.handlers[0].events), (1, ["connected 1"] * 2))

    def test_who_went(self) -> None:
        """Who is no member any more is not dialled, and what was dialled to it is closed. What it dialled stays."""
        cluster = Cluster().start()
        cluster.networks[0].follow({}, frozenset(), 5)
        self.assertEqual(cluster.networks[0]._outgoing, {})
        cluster.advance(3)
        self.assertEqual(cluster.endpoints[0].attempts, 1)
        self.assertTrue(cluster.endpoints[0].pumps[0].clientIO.disconnected)
        cluster.networks[0].send(1, HEARTBEAT)
        cluster.settle()
        self.assertEqual(cluster.handlers[1].received, [(0, HEARTBEAT)])
        self.assertEqual(cluster.handlers[0].events[1:], ["connected 1"])  # entries go by the other one now
        self.assertEqual(cluster.networks[0]._dialler._current, {})

    def test_who_went_and_had_moved(self) -> None:
        """Its connection at the old address is closed, too."""
        cluster = self.start()
        cluster.elsewhere["moved:8080"].target = None
        follow(cluster, {1: MOVED})
        follow(cluster, {})
        self.assertTrue(cluster.endpoints[0].pumps[0].clientIO.disconnected)
        self.assertEqual(cluster.networks[0]._dialler._retired, {})

    def test_who_went_and_was_not_reached(self) -> None:
        """Attempts to reach it end."""
        cluster = Cluster()
        cluster.networks[0].start(cluster.handlers[0])
        follow(cluster, {})
        attempts = cluster.endpoints[0].attempts
        with capturedLogs() as events:
            cluster.advance(10)
        self.assertEqual(cluster.endpoints[0].attempts, attempts)
        self.assertEqual(warnings(events), [])

    def test_handshake_of_who_went(self) -> None:
        """A connection that is not up yet is closed, too."""
        cluster = Cluster()
        cluster.endpoints[0].target = cluster.networks[1].server_factory()
        cluster.networks[1].start(cluster.handlers[1])
        cluster.networks[0].start(cluster.handlers[0])
        cluster.networks[0].follow({}, frozenset(), 5)
        cluster.advance(2)
        self.assertEqual([handler.events for handler in cluster.handlers], [[], []])

    def test_who_went_and_comes_back(self) -> None:
        """A change that is truncated away leaves nothing behind: who went is dialled again."""
        cluster = self.start()
        for _ in range(3):
            follow(cluster, {})
            cluster.advance(1)
            follow(cluster, others(0))
            cluster.advance(1)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"] * 4)

    def test_stop(self) -> None:
        """A stop ends what was dialled at any address; nobody is dialled after it, and no timer is left."""
        moves: tuple[list[Mapping[NodeId, Addresses]], ...] = (
            [{1: MOVED}],
            [{1: MOVED}, {1: ("again:8080",)}],
            [{1: MOVED}, {}],
            [{1: ("third:8080",)}],
            [{1: MOVED}, {}, {1: MOVED}],
        )
        for memberships in moves:
            cluster = self.start()
            cluster.handlers[1].on_change = Deferred  # a question that waits keeps the connection by which it was asked
            cluster.networks[0].change_members(1, ()).addErrback(lambda _: None)
            for where in ("moved:8080", "again:8080"):
                cluster.elsewhere[where] = MemoryEndpoint(cluster.clock)
            cluster.elsewhere["third:8080"] = MemoryEndpoint(cluster.clock, cluster.networks[1].server_factory())
            for peers in memberships:
                follow(cluster, peers)
                cluster.advance(1)
            stopped = [network.stop() for network in cluster.networks]
            follow(cluster, others(0))
            cluster.settle()
            for result in stopped:
                self.successResultOf(result)
            self.assertEqual(cluster.endpoints[0].attempts, 1)
            self.assertEqual(cluster.clock.getDelayedCalls(), [])
            self.assertEqual(cluster.networks[0]._dialler._retired, {})


class RemovedTests(SynchronousTestCase):
    """hazard M7: a node that was removed for good."""

    def test_hung_up_on_and_told(self) -> None:
        """Both connections are closed. When it calls again it is told, ends with a line that says so, and learns
        nothing else; the log of the other has a line, too."""
        cluster = Cluster(LinkLimits(unreachable_after=1e9)).start()
        with capturedLogs() as events:
            follow(cluster, {}, {1})
            self.assertTrue(cluster.endpoints[0].pumps[0].clientIO.disconnected)
            self.assertTrue(cluster.endpoints[1].pumps[0].clientIO.disconnected)
            cluster.advance(2)
        self.assertEqual(cluster.handlers[1].events[-1], f"refused by 0: {MemberRemoved(1, told_by=0)}")
        self.assertIn("node 1 was removed from the cluster, as node 0 says: ", cluster.handlers[1].events[-1])
        self.assertIn("which says that it is node 1, which was removed from this cluster", "".join(warnings(events)))
        self.failureResultOf(cluster.networks[0].propose(1, b"command"), Unreachable)
        self.assertNotIn("refused", "".join(cluster.handlers[0].events))

    def test_still_told(self) -> None:
        """A leader that tells it of its removal is not cut off from it. It is hung up on afterwards."""
        cluster = Cluster().start()
        follow(cluster, others(0), {1})
        for dialler in (0, 1):
            cluster.cut(dialler)
        cluster.advance(2)
        cluster.networks[0].send(1, HEARTBEAT)
        cluster.settle()
        self.assertEqual(cluster.handlers[1].received, [(0, HEARTBEAT)])
        follow(cluster, {}, {1})
        cluster.advance(2)
        self.assertIn("refused", cluster.handlers[1].events[-1])

    def test_of_an_earlier_release(self) -> None:
        """It is refused as that can read it. One of this release sees which node refuses it."""
        memory = PeersInMemory(History(b"original", b"thestart"))
        cluster = Cluster(memories=(memory, PeersInMemory())).start(1)
        follow(cluster, {}, {1})
        for changes, code in (
            ({"newest_version": None, "configuration_index": None}, b"HANDSHAKE_REFUSED"),
            ({}, b"MEMBER_REMOVED"),
        ):
            protocol, transport = dial(cluster.networks[0])
            protocol.dataReceived(hello_box(**changes))
            (answer,) = amp.parseString(transport.value())
            self.assertEqual(answer[b"_error_code"], code)
        self.assertEqual(RemovedThere(answer[b"_error_description"].decode()).incarnation, memory.own)

    def test_removed_during_its_handshake(self) -> None:
        """It does not get in by a handshake that began before."""
        cluster = Cluster().start(1)
        cluster.cut(1)
        protocol, transport = dial(cluster.networks[0])
        protocol.dataReceived(hello_box())
        follow(cluster, {}, {1})
        protocol.dataReceived(met_box(drawn=PeersInMemory().own.start) + message_box(HEARTBEAT))
        self.assertTrue(transport.disconnected)
        self.assertEqual(cluster.handlers[0].received, [])


class UnknownMembersTests(SynchronousTestCase):
    """hazard E10: members that this node does not know."""

    def test_vote_that_is_needed(self) -> None:
        """Of nodes 0, 1 and 2, the leader 2 has added 5, which node 1 has heard of, and has died before it told node 0.
        To elect anybody, three of the four are needed, so node 5, which alone may have the longest log, needs the vote
        of node 0, and its own is needed there. It is heard, and is answered, by the connection that it dials."""
        cluster = Cluster()
        network, handler = cluster.networks[0], cluster.handlers[0]
        network.start(handler)
        follow(cluster, {1: HOME, 2: ("host2:8080",)}, index=0)
        ask, answer = RequestVote(3, 9, 2, 1, pre_vote=True), RequestVoteReply(3, 1, True, vote_granted=True)
        protocol, transport = dial(network)
        protocol.dataReceived(handshake(from_id=5, configuration_index=9) + message_box(ask))
        self.assertEqual(handler.received, [(5, ask)])
        network.send(5, answer)
        self.assertTrue(transport.value().endswith(message_box(answer)))
        protocol.dataReceived(message_box(HEARTBEAT))  # it has won
        network.send(5, HeartbeatReply(1, 3))
        self.assertEqual(handler.received[1:], [(5, HEARTBEAT)])
        self.assertEqual(network.versions(), {5: 6})

    def test_vote_that_is_needed_after_a_removal(self) -> None:
        """Node 0 led once, and appended the removal of node 1, which nobody else has. Nodes 1 and 2 went on without
        it, and node 2 has died. Nodes 0 and 1 are a majority of what is committed, and node 1 has the longest log: it
        is heard, although the membership of node 0, which is going to be truncated, is the later one."""
        cluster = Cluster().start(1)
        cluster.cut(1)
        follow(cluster, {2: ("host2:8080",)}, index=7)
        ask = RequestVote(3, 9, 2, 1, pre_vote=True)
        protocol, _ = dial(cluster.networks[0])
        protocol.dataReceived(handshake(configuration_index=0) + message_box(ask))
        self.assertEqual(cluster.handlers[0].received, [(1, ask)])

    def test_nobodys_member(self) -> None:
        """A node that no leader has sent anything is refused: it has nothing to say yet."""
        cluster = Cluster().start(1)
        for changes in ({"configuration_index": 0}, {"configuration_index": None, "newest_version": None}):
            protocol, transport = dial(cluster.networks[0])
            protocol.dataReceived(handshake(from_id=5, **changes))
            self.assertTrue(transport.disconnecting)
            self.assertNotIn(5, cluster.networks[0].versions())

    def test_says_its_own_index(self) -> None:
        """Node 1, which joined, is let in at node 0, which has not heard of it, once node 1 has a membership."""
        founders = frozenset({0, 2})
        cluster = Cluster(identities=(Identity(0, CLUSTER, founders), Identity(1, CLUSTER, founders)))
        follow(cluster, {2: ("host2:8080",)}, index=0)
        cluster.start(1)
        self.assertEqual(cluster.handlers[0].events, [])
        cluster.networks[1].follow(others(1), frozenset(), 12)
        cluster.advance(2)
        self.assertEqual(cluster.handlers[0].events, ["connected 1"])

    def test_any_ids(self) -> None:
        """Callers who give ever new ids cost no more than the silent ones: hazards N3, N5."""
        cluster = Cluster().start(1)
        network, most = cluster.networks[0], LinkLimits().max_strangers
        with capturedLogs() as events:
            transports = []
            for node in range(1000, 1000 + 3 * most):
                protocol, transport = dial(network)
                protocol.dataReceived(hello_box(from_id=node, configuration_index=1))
                transports.append(transport)
            self.assertEqual(sum(not transport.disconnected for transport in transports), most)
            for node in range(1000, 1000 + 3 * most):
                protocol, transport = dial(network)
                protocol.dataReceived(handshake(from_id=node, configuration_index=1) + b"\0\0")
                self.assertTrue(transport.disconnected)
            cluster.clock.advance(3600)
        self.assertEqual(cluster.handlers[0].events.count("connected 1"), 1)
        self.assertLess(len(events), 700)
        self.assertEqual(network._missed, set())
        self.assertLess(len(network._comings._kinds) + len(network._warnings._kinds), 20)
