"""The replica alone, between a node and peers of the test's own; with real ones it is tested in `test_driver`."""

from collections import Counter
from collections.abc import Callable
from typing import Any, cast
from unittest.mock import patch

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.clock import Clock
from tests.node.world import WorldTestCase
from txraft.core.configuration import Configuration
from txraft.core.messages import Message, NodeId
from txraft.errors import NotApplied, NotLeader, OutcomeUnknown, Unreachable
from txraft.interfaces import IPeers
from txraft.node.driver import Node
from txraft.node.pending_requests import AppliedIndex
from txraft.node.replica import Replica


class FakeNode:
    """A node that follows whom the test says."""

    node_id = 0
    configuration = Configuration(voters=range(4))

    def __init__(self) -> None:
        self.leader_id: int | None = None
        self.changes = 0
        self.applied = AppliedIndex(0)

    @property
    def view(self) -> "FakeNode":
        return self

    def lead(self, leader: NodeId) -> None:
        """News of a leader."""
        self.leader_id = leader
        self.changes += 1

    def change_since(self, changes: int) -> "Deferred[None]":
        """As Node.change_since."""
        return Deferred() if changes == self.changes else succeed(None)


@implementer(IPeers)
class FakePeers:
    """Peers that answer when the test says so."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._waiting: list[tuple[NodeId, Deferred[Any]]] = []

    def _ask(self, what: str, to: NodeId) -> "Deferred[Any]":
        self.asked[what] += 1
        self._waiting.append((to, Deferred()))
        return self._waiting[-1][1]

    def answer(self, peer: NodeId, answer: object) -> None:
        """The peer answers the one question that it was asked last, which must be its own."""
        asked, waiting = self._waiting.pop()
        assert asked == peer
        waiting.callback(Failure(answer) if isinstance(answer, Exception) else answer)

    def send(self, to: NodeId, message: Message) -> None:
        """Into the void."""

    def propose(self, to: NodeId, command: bytes) -> "Deferred[bytes]":  # noqa: ARG002 - the interface's
        """As IPeers."""
        return self._ask("propose", to)

    def read_barrier(self, to: NodeId) -> "Deferred[int]":
        """As IPeers."""
        return self._ask("read_barrier", to)

    def transfer_leadership(self, leader: NodeId, target: NodeId) -> "Deferred[NodeId]":  # noqa: ARG002 - as above
        """As IPeers."""
        return self._ask("transfer", leader)


class StatusTests(WorldTestCase):
    """What a node says of the others while it leads."""

    def test_followers(self) -> None:
        """How far each is, and how long ago it answered: one that is cut off falls behind in both."""
        world, leader = self.begun()
        cut_off, follower = world.followers()
        world.isolate(cut_off.id)
        leader.replica.propose(b"a")
        world.run(3)
        expected = {follower.id: 2, cut_off.id: 1}
        followers = {each.id: each for each in leader.replica.status().followers}
        self.assertEqual({id: each.match_index for id, each in followers.items()}, expected)
        self.assertEqual([*followers], sorted(followers))
        self.assertLess(followers[follower.id].last_contact, 0.2)
        self.assertAlmostEqual(followers[cut_off.id].last_contact, 3, delta=0.2)
        self.assertEqual(leader.replica.status().cluster, "test")

    def test_roles(self) -> None:
        """Those of a cluster that has elected; one that is cut off asks for votes, which is called a candidate."""
        world, leader = self.begun()
        cut_off, follower = world.followers()
        self.assertEqual((leader.replica.status().role, follower.replica.status().role), ("leader", "follower"))
        self.assertEqual([member.voter for member in leader.replica.status().members], [True, True, True])
        world.isolate(cut_off.id)
        world.run(3)
        self.assertEqual(cut_off.replica.status().role, "candidate")
        members = Configuration(voters={leader.id, cut_off.id}, learners={follower.id})
        with patch.object(Node, "configuration", members):
            self.assertEqual((follower.replica.status().role, leader.replica.status().role), ("learner", "leader"))

    def test_nothing_of_others_where_it_does_not_lead(self) -> None:
        world, leader = self.begun()
        for machine in world.followers():
            self.assertEqual(machine.replica.status().followers, ())
        world.isolate(leader.id)
        world.run(3)
        self.assertEqual(leader.replica.status().followers, ())


class LateNewsTests(SynchronousTestCase):
    """A follower whose leader answers late: the replica alone, between a node and peers of the test's own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.node = FakeNode()
        self.peers = FakePeers()
        self.replica = Replica(
            cast(Node, self.node),
            self.peers,
            "test",
            {},
            self.clock,
            request_timeout=5.0,
            patience=0.5,
            max_held_size=1000,
            max_held=10,
        )
        self.requests: tuple[Callable[[], Deferred[Any]], ...] = (
            lambda: self.replica.propose(b"a"),
            self.replica.read_barrier,
            lambda: self.replica.transfer_leadership(3),
        )

    def test_new_leader_before_the_refusal(self) -> None:
        """The new leader was heard of before the old one says that it does not lead: it is asked at once."""
        for request in self.requests:
            self.node.lead(1)
            done = request()
            self.node.lead(2)
            self.peers.answer(1, NotLeader(None))
            self.peers.answer(2, 0)
            self.successResultOf(done)

    def test_silence(self) -> None:
        """A leader that takes its time is asked for the barrier again, and only for that (hazard C8)."""
        self.node.lead(1)
        read, change = self.replica.read_barrier(), self.replica.propose(b"a")
        self.clock.pump([0.1] * 19)
        self.assertEqual(self.peers.asked, {"read_barrier": 4, "propose": 1})
        self.clock.pump([0.1] * 41)
        line = str(self.failureResultOf(read, NotApplied).value)
        self.assertIn("within 5 s: node 1 leads, and it did not answer, or this node", line)
        self.failureResultOf(change, OutcomeUnknown)
        self.node.leader_id = None
        read = self.replica.read_barrier()
        self.clock.pump([0.1] * 51)
        self.assertIn("this node knows of no leader", str(self.failureResultOf(read, NotApplied).value))

    def test_no_news(self) -> None:
        """A leader that took nothing in may do so soon without anything that is news to this node: a connection that
        was closed, or full, is open again. It is asked again in a while.
        """
        for request in self.requests:
            self.node.lead(1)
            done = request()
            self.peers.answer(1, Unreachable("full"))
            self.clock.pump([0.1] * 6)
            self.peers.answer(1, 0)
            self.successResultOf(done)
