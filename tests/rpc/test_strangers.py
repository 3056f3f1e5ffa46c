"""Connections of callers who have not said who they are: hazard N3."""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.memory import Cluster, QuickTransport, dial, handshake, hello_box, met_box, warnings
from txraft.storage.memory import PeersInMemory

ROUND_TRIP = 0.2
"""Seconds."""
ELSEWHERE = IPv4Address("TCP", "192.0.2.1", 8080)


class StrangersTests(SynchronousTestCase):
    """Node 0 listens, and node 1 has dialled it."""

    def setUp(self) -> None:
        """Start both."""
        self.cluster = Cluster().start(1)
        self.network = self.cluster.networks[0]
        self.limit = self.network.limits.max_strangers

    def call(self, count: int = 1, said: bytes = b"") -> list[QuickTransport]:
        """Strangers call, and say that."""
        transports = []
        for _ in range(count):
            protocol, transport = dial(self.network)
            transports.append(transport)
            if said:
                protocol.dataReceived(said)
        return transports

    def finish(self, peer: Any) -> bool:
        """Node 1 ends its handshake, if it still can. Whether it has got in."""
        peer.dataReceived(met_box(drawn=PeersInMemory().own.start))
        return bool(peer.up and not peer.transport.disconnected)

    def test_who_goes(self) -> None:
        """The oldest, with one line for all of them; a peer stays in."""
        with capturedLogs() as events:
            strangers = self.call(10 * self.limit)
            (peer,) = self.call(said=handshake())
            strangers += self.call(10 * self.limit)
        open_ = [not transport.disconnected for transport in strangers]
        self.assertEqual(open_, [False] * 19 * self.limit + [True] * self.limit)
        self.assertFalse(peer.disconnected)
        self.assertEqual(warnings(events), [f"more than {self.limit} strangers call: hung up on one"])

    def test_long_way(self) -> None:
        """A peer has said Hello, and gets in, however many call until its next word, and whatever they say."""
        for said in (b"", hello_box(to_id=1), b"\0\1k"):
            peer, _ = dial(self.network)
            peer.dataReceived(hello_box())
            for _ in range(round(400 * ROUND_TRIP)):
                self.cluster.clock.advance(1 / 400)
                self.call(said=said)
            self.assertTrue(self.finish(peer), said)

    def test_many_at_once(self) -> None:
        """Those who call from one address push nobody out who calls from another, and has not been heard yet."""
        peer, _ = dial(self.network, ELSEWHERE)
        self.call(10 * self.limit)
        peer.dataReceived(hello_box())
        self.assertTrue(self.finish(peer))

    def test_begun_anew(self) -> None:
        """A peer that calls again and again before its handshake is over has two connections: the last."""
        calls = [dial(self.network) for _ in range(5)]
        for protocol, _ in calls:
            protocol.dataReceived(hello_box())
        self.assertEqual([transport.disconnected for _, transport in calls], [True, True, True, False, False])
        self.assertTrue(self.finish(calls[-1][0]))

    def test_they_come_and_go(self) -> None:
        """Those who have gone do not count, and nothing is kept of them."""
        (stranger,) = self.call()
        for said in (b"", hello_box(), hello_box(to_id=1)):
            for _ in range(1000):
                protocol, _ = dial(self.network)
                protocol.dataReceived(said)
                protocol.connectionLost(Failure(ConnectionDone()))
        self.assertFalse(stranger.disconnected)
        self.assertEqual(len(self.network._strangers), 1)
