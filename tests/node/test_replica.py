"""The replica alone, between a node and peers of the test's own; with real ones it is tested in `test_driver`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, cast
from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.clock import Clock
from tests.node.world import WorldTestCase
from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Addresses, Configuration
from txraft.core.messages import Message, NodeId
from txraft.errors import ChangeRefused, InvariantViolated, NotApplied, NotLeader, OutcomeUnknown, Unreachable
from txraft.interfaces import IPeers, SnapshotFile
from txraft.node.driver import Node
from txraft.node.pending_requests import AppliedIndex
from txraft.node.replica import Replica


class FakeNode:
    """A node that follows whom the test says."""

    node_id = 0
    configuration = Configuration(voters=range(4))
    configuration_index = commit_index = 0

    def __init__(self) -> None:
        self.leader_id: int | None = None
        self.changes = 0
        self.applied = AppliedIndex(0)
        self.asked: list[Deferred[Any]] = []
        """What it was asked as the leader, and has not answered."""

    @property
    def view(self) -> "FakeNode":
        return self

    def lead(self, leader: NodeId) -> None:
        """News of a leader."""
        self.leader_id = leader
        self.changes += 1

    def read_index(self) -> "Deferred[int]":
        """As Node.read_index."""
        self.asked.append(Deferred())
        return self.asked[-1]

    def propose(self, command: bytes) -> "Deferred[bytes]":  # noqa: ARG002 - the node's
        """As Node.propose."""
        self.asked.append(Deferred())
        return self.asked[-1]

    def change_members(self, changes: Sequence[Change]) -> "Deferred[Configuration]":  # noqa: ARG002 - the node's
        """As Node.change_members."""
        self.asked.append(Deferred())
        return self.asked[-1]

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

    def follow(self, peers: Mapping[NodeId, Addresses], removed: Set[NodeId], configuration_index: int) -> None:
        """Nobody is ever dialled."""

    def versions(self) -> Mapping[NodeId, int]:
        """Nobody is ever connected."""
        return {}

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

    def change_members(
        self,
        leader: NodeId,
        changes: Sequence[Change],  # noqa: ARG002 - as above
    ) -> "Deferred[Configuration]":
        """As IPeers."""
        return self._ask("change_members", leader)

    def send_snapshot(
        self,
        to: NodeId,
        file: SnapshotFile,  # noqa: ARG002 - as above
        read: Callable[[int, int], "Deferred[bytes]"],  # noqa: ARG002 - as above
        term: int,  # noqa: ARG002 - as above
    ) -> "Deferred[None]":
        """As IPeers."""
        return self._ask("send_snapshot", to)


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
        self.assertLess(followers[follower.id].last_contact or 9, 0.2)
        self.assertTrue(2.8 < (followers[cut_off.id].last_contact or 9) < 3.2)
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


class ReplicaTestCase(SynchronousTestCase):
    """The replica alone, between a node and peers of the test's own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.node = FakeNode()
        self.peers = FakePeers()
        self.replica = Replica(
            cast(Node, self.node),
            self.peers,
            "test",
            frozenset(),
            self.clock,
            request_timeout=5.0,
            patience=0.5,
            max_held_size=1000,
            max_held=1,
        )
        self.requests: tuple[Callable[[], Deferred[Any]], ...] = (
            lambda: self.replica.propose(b"a"),
            self.replica.read_barrier,
            lambda: self.replica.transfer_leadership(3),
            lambda: self.replica.change_members([Change(ChangeKind.REMOVE, 3)]),
        )

    def assert_nothing_is_left(self) -> None:
        """No time limit runs, and there is room for the one change that may be held."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertNoResult(self.replica.propose(b"another"))


class LeaderTests(ReplicaTestCase):
    """Where this node leads, and is asked at once."""

    def setUp(self) -> None:
        super().setUp()
        self.node.lead(self.node.node_id)

    def test_answered(self) -> None:
        """With what the node says; the Deferred is the node's own."""
        change = self.replica.propose(b"a")
        self.assertIs(change, self.node.asked[0])
        self.node.asked.pop().callback(b"A")
        self.assertEqual(self.successResultOf(change), b"A")
        read = self.replica.read_barrier()
        self.node.asked.pop().callback(0)
        self.successResultOf(read)
        self.assert_nothing_is_left()

    def test_does_not_lead_after_all(self) -> None:
        """It took nothing in, so another one is asked (hazard C8)."""
        for request in (lambda: self.replica.propose(b"a"), self.replica.read_barrier):
            self.node.lead(self.node.node_id)
            done: Deferred[Any] = request()
            self.node.lead(2)
            self.node.asked.pop().errback(NotLeader(2))
            self.peers.answer(2, 0)
            self.successResultOf(done)
        self.assert_nothing_is_left()

    def test_nobody_leads_after_all(self) -> None:
        """When the time is over nothing has been handed over, and a promise of that is given (hazard C5)."""
        change = self.replica.propose(b"a")
        self.node.leader_id = None
        self.node.asked.pop().errback(NotLeader(None))
        self.clock.pump([0.1] * 51)
        self.assertIn("no leader was found within 5 s", str(self.failureResultOf(change, NotApplied).value))
        self.assert_nothing_is_left()

    def test_no_answer(self) -> None:
        """A change that the node has taken in may take effect, and its wait is over (hazards C5, C9)."""
        change, read = self.replica.propose(b"a"), self.replica.read_barrier()
        self.clock.pump([0.1] * 49)
        self.assertNoResult(change)
        self.clock.pump([0.1] * 2)
        self.failureResultOf(change, OutcomeUnknown)
        self.failureResultOf(read, NotApplied)
        self.assert_nothing_is_left()

    def test_refused(self) -> None:
        """What the node says of a change is passed on as it is, and nobody else is asked (hazard C8)."""
        for error in (NotApplied("replaced"), OutcomeUnknown("stopped")):
            change = self.replica.propose(b"a")
            self.node.asked.pop().errback(error)
            self.assertIs(self.failureResultOf(change).value, error)
        self.assertEqual(self.peers.asked, {})
        self.assert_nothing_is_left()

    def test_membership(self) -> None:
        """A change of it is made here, and what the node says of it is passed on as it is."""
        for answer in (ChangeRefused("node 3 is no member"), self.node.configuration):
            change = self.replica.change_members([Change(ChangeKind.REMOVE, 3)])
            self.node.asked.pop().callback(Failure(answer) if isinstance(answer, Exception) else answer)
            if isinstance(answer, Exception):
                self.assertIs(self.failureResultOf(change).value, answer)
            else:
                self.assertIsNone(self.successResultOf(change))
        self.assert_nothing_is_left()

    def test_read_fails(self) -> None:
        """A read for which the node gives another reason than that it does not lead is not begun anew."""
        error = InvariantViolated("broken")
        read = self.replica.read_barrier()
        self.node.asked.pop().errback(error)
        self.assertIs(self.failureResultOf(read).value, error)
        self.assertEqual(self.node.asked, [])
        self.assert_nothing_is_left()

    def test_no_bytes(self) -> None:
        """A command that no disk takes in is the caller's mistake, and does not reach the node, which it would end."""
        for command in ("a", bytearray(b"a"), None):
            error = self.assertRaises(TypeError, self.replica.propose, command)
            self.assertEqual(str(error), f"a command is bytes, not {type(command).__name__}")
        self.assertEqual(self.node.asked, [])
        self.assert_nothing_is_left()

    def test_given_up(self) -> None:
        """By who asked: wherever the change is, nothing of it is left here."""
        change, read = self.replica.propose(b"a"), self.replica.read_barrier()
        change.cancel()
        read.cancel()
        self.failureResultOf(change, CancelledError)
        self.failureResultOf(read, CancelledError)
        self.assert_nothing_is_left()

    def test_given_up_elsewhere(self) -> None:
        """The same, after it has gone to another node."""
        change = self.replica.propose(b"a")
        self.node.lead(2)
        self.node.asked.pop().errback(NotLeader(2))
        change.cancel()
        self.failureResultOf(change, CancelledError)
        self.assert_nothing_is_left()


class UnknownChangeTests(ReplicaTestCase):
    """A leader that was asked to change the membership hung up. Where this node can see that it was done, it was."""

    def changed_to(self, after: Configuration, index: int = 3) -> "Deferred[None]":
        """Ask for the removal of node 3. The leader hangs up, and another one leads, with this membership."""
        self.node.lead(3)
        change = self.replica.change_members([Change(ChangeKind.REMOVE, 3)])
        self.node.lead(1)
        self.node.configuration, self.node.configuration_index, self.node.commit_index = after, index, 3
        self.peers.answer(3, OutcomeUnknown("node 3 hung up"))
        self.peers.answer(1, 0)
        return change

    def test_done(self) -> None:
        """Node 3 is no member any more, and that is committed."""
        self.assertIsNone(self.successResultOf(self.changed_to(Configuration({0, 1, 2}))))
        self.assert_nothing_is_left()

    def test_not_known(self) -> None:
        """It is one still; it is none, which may yet be truncated; or another change is under way."""
        for after, index in (
            (Configuration(range(4)), 3),
            (Configuration({0, 1, 2}), 4),
            (Configuration({0, 1}, outgoing={0, 1, 2}), 3),
        ):
            line = str(self.failureResultOf(self.changed_to(after, index), OutcomeUnknown).value)
            self.assertEqual(line, "node 3 hung up")

    def test_nobody_can_say(self) -> None:
        """There is no leader any more, so it stays unknown."""
        self.node.lead(3)
        change = self.replica.change_members([Change(ChangeKind.REMOVE, 3)])
        self.peers.answer(3, OutcomeUnknown("node 3 hung up"))
        self.node.leader_id = None
        self.clock.pump([0.1] * 51)
        self.assertEqual(str(self.failureResultOf(change, OutcomeUnknown).value), "node 3 hung up")


class LateNewsTests(ReplicaTestCase):
    """A follower whose leader answers late."""

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
