"""A peer that moves while something is asked of it, or by it."""

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.memory import MEMBERS, Cluster, MemoryEndpoint
from tests.rpc.test_following import HOME, MOVED, follow
from txraft.core.configuration import Configuration
from txraft.errors import OutcomeUnknown
from txraft.rpc import LinkLimits
from txraft.rpc.versions import NEWEST_VERSION
from txraft.storage.memory import PeersInMemory


def start() -> Cluster:
    """Node 0 has dialled node 1, which is reached elsewhere, too, and does not dial."""
    cluster = Cluster().start(0)
    cluster.elsewhere["moved:8080"] = MemoryEndpoint(cluster.clock, cluster.networks[1].server_factory())
    return cluster


class MovingTests(SynchronousTestCase):
    """Node 1 moves."""

    def test_moved_for_clients_alone(self) -> None:
        """Where only another address than the first one changes, which is for clients, the connection stays."""
        cluster = start()
        answer: Deferred[Configuration] = Deferred()
        cluster.handlers[1].on_change = lambda: answer
        asked = cluster.networks[0].change_members(1, ())
        cluster.settle()
        anew = cluster.elsewhere[HOME[0]] = MemoryEndpoint(cluster.clock)
        follow(cluster, {1: (HOME[0], "elsewhere")})
        cluster.advance(2)
        self.assertEqual((len(cluster.endpoints[0].pumps), anew.attempts), (1, 0))
        self.assertNoResult(asked)
        answer.callback(MEMBERS)
        cluster.settle()
        self.assertEqual(self.successResultOf(asked), MEMBERS)

    def test_moved_and_asked(self) -> None:
        """What was asked by the old connection, by either side, is answered by it though the new one is up:
        a change of the members that moves its own way is told to who asked for it. Then it is closed."""
        cluster = start()
        there: Deferred[Configuration] = Deferred()
        here: Deferred[bytes] = Deferred()
        cluster.handlers[1].on_change, cluster.handlers[0].on_propose = lambda: there, lambda: here
        asked = cluster.networks[0].change_members(1, ())
        back = cluster.networks[1].propose(0, b"command")
        follow(cluster, {1: MOVED})
        cluster.advance(2)
        self.assertEqual(len(cluster.elsewhere["moved:8080"].pumps), 1)
        old = cluster.endpoints[0].pumps[0]
        there.callback(MEMBERS)
        cluster.advance(1)
        self.assertEqual(self.successResultOf(asked), MEMBERS)
        self.assertFalse(old.clientIO.disconnected)
        self.assertNoResult(back)
        here.callback(b"done")
        cluster.advance(1)
        self.assertEqual(self.successResultOf(back), b"done")
        self.assertTrue(old.clientIO.disconnected)
        self.assertEqual([len(network._links) for network in cluster.networks], [1, 1])
        self.assertEqual([network._superseded for network in cluster.networks], [{}, {}])

    def test_moved_and_never_answered(self) -> None:
        """hazard C5: the old connection is closed after a time, and at the next move. Who asked is told that the
        outcome is unknown, since the connection was lost, and nothing of how that is called inside."""
        for moves_again in (False, True):
            cluster = start()
            cluster.handlers[1].on_change = Deferred
            asked = cluster.networks[0].change_members(1, ())
            follow(cluster, {1: MOVED})
            cluster.advance(2)
            self.assertNoResult(asked)
            if moves_again:
                target = cluster.elsewhere["moved:8080"].target
                cluster.elsewhere["again:8080"] = MemoryEndpoint(cluster.clock, target)
                follow(cluster, {1: ("again:8080",)})
                cluster.advance(1)
            else:
                cluster.advance(LinkLimits().answer)
            line = str(self.failureResultOf(asked, OutcomeUnknown).value)
            self.assertEqual(line, "node 1 did not answer: the connection to it was lost")
            self.assertTrue(cluster.endpoints[0].pumps[0].clientIO.disconnected)
            self.assertEqual([len(network._links) for network in cluster.networks], [1, 1])
            self.assertEqual(cluster.networks[0].versions(), {1: NEWEST_VERSION})

    def test_moved_and_started_again(self) -> None:
        """hazard S6: what is left of an earlier start is closed at once, also where it waits for an answer; a later
        start may be that of another directory with the same id."""
        cluster = start()
        cluster.handlers[1].on_change = Deferred
        asked = cluster.networks[0].change_members(1, ())
        follow(cluster, {1: MOVED})
        cluster.advance(2)
        own = cluster.memories[1].history
        later = PeersInMemory(evolve(own, starts=own.starts + b"laterone"))
        again = Cluster(memories=(PeersInMemory(), later), clock=cluster.clock)
        cluster.elsewhere["moved:8080"].target = again.networks[1].server_factory()
        again.networks[1].start(again.handlers[1])
        cluster.elsewhere["moved:8080"].pumps[0].clientIO.loseConnection()
        cluster.advance(2)
        self.failureResultOf(asked, OutcomeUnknown)
        self.assertTrue(cluster.endpoints[0].pumps[0].clientIO.disconnected)
        self.assertEqual(len(cluster.networks[0]._links), 1)
