"""What a node does about the membership (`txraft.node.membership_watch`, `txraft.node.starting`), by itself."""

import random
from collections.abc import Mapping, Sequence, Set
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster
from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Addresses, Configuration, Snapshot
from txraft.core.messages import Entry, EntryKind, NodeId
from txraft.core.raft import Raft
from txraft.core.ready import TermAndVote
from txraft.core.state import RaftOptions
from txraft.errors import DirectoryRefused, MemberRemoved
from txraft.interfaces import Stored
from txraft.node.membership_watch import MembershipWatch
from txraft.node.starting import start_raft

FOUNDERS = Configuration({1, 2, 3}, addresses={each: (f"raft{each}", f"kv{each}") for each in (1, 2, 3)})
WITHOUT_1 = Configuration({2, 3}, removed={1}, addresses=FOUNDERS.addresses[1:])
JOINT = Configuration({2, 3}, outgoing={1, 2, 3}, auto_leave=True, addresses=FOUNDERS.addresses)


@define
class Peers:
    """Remembers whom it is to follow."""

    peers: Mapping[NodeId, Addresses] = field(factory=dict)
    removed: Set[NodeId] = frozenset()

    def follow(self, peers: Mapping[NodeId, Addresses], removed: Set[NodeId], configuration_index: int) -> None:  # noqa: ARG002  as IPeers
        """Remember it."""
        self.peers, self.removed = peers, removed


def started(last_applied: int, *configurations: Configuration) -> Raft:
    """Node 1, whose log has these, and whose state machine goes up to `last_applied`."""
    entries: Sequence[Entry] = [
        Entry(index, 1, EntryKind.CONFIGURATION, each.to_bytes()) for index, each in enumerate(configurations, 1)
    ]
    stored = Stored(TermAndVote(1, None), tuple(entries), Snapshot(0, 0, FOUNDERS))
    return start_raft(1, stored, (), last_applied, RaftOptions(), random.Random(1), 0.0)


def watch_of(raft: Raft, peers: Any) -> MembershipWatch:
    """One that tells nobody. `peers` are `Peers`, which are as much of IPeers as it takes."""
    return MembershipWatch(raft, peers, Logger(observer=LogPublisher()), lambda: None, lambda _: None)


class RemovedTests(SynchronousTestCase):
    """hazard M7: a node ends when its removal is committed, and not before (hazard M5)."""

    def test_when_it_starts(self) -> None:
        """Its state machine has applied the entry, so that is committed."""
        self.assertRaises(MemberRemoved, started, 1, WITHOUT_1)
        self.assertEqual(started(0, WITHOUT_1).configuration, WITHOUT_1)
        self.assertEqual(started(1, JOINT, WITHOUT_1).configuration, WITHOUT_1)

    def test_when_it_is_told(self) -> None:
        """A voter believes another voter that says so again while no leader is known, and nobody else; who has no vote
        believes anybody."""
        raft = started(0)
        watch = watch_of(raft, Peers())

        def believed(*peers: NodeId) -> list[bool]:
            return [watch.believes(peer, MemberRemoved(1)) for peer in peers]

        self.assertEqual(believed(9, 2, 9, 3, 9), [False] * 5)
        self.assertEqual(believed(3), [True])
        raft._state.leader_id = 2
        self.assertEqual(believed(2, 3, 3), [False] * 3)
        learner = Configuration({2, 3}, learners={1})
        self.assertTrue(watch_of(started(0, learner), Peers()).believes(9, MemberRemoved(1)))

    def test_told_again_after_a_leader(self) -> None:
        """What a node was told before it heard a leader counts for nothing: that leader knew it as a member."""
        raft = started(0)
        watch = watch_of(raft, Peers())
        for _ in range(3):
            self.assertFalse(watch.believes(2, MemberRemoved(1)))
            raft._state.leader_id = 3
            watch.look(raft.view())
            raft._state.leader_id = None
            watch.look(raft.view())

    def test_who_says_that_it_forgot(self) -> None:
        """hazard S6: voters are believed at once, also while one leads, and so are those that came later than what the
        log has. Others that are in there are not: an operator may have been given any address for them."""
        watch = watch_of(started(0, Configuration({1, 2}, learners={3}, removed={4})), Peers())
        told = [peer for peer in range(2, 6) if watch.believes(peer, DirectoryRefused("it was emptied"))]
        self.assertEqual(told, [2, 5])

    def test_when_it_hears_of_it(self) -> None:
        """Nobody has to tell it but its own core."""
        raft, peers = started(0, WITHOUT_1), Peers()
        watch = watch_of(raft, peers)
        watch.look(raft.view())
        self.assertEqual(peers.removed, set())
        raft._state.commit_to(1)
        self.assertRaises(MemberRemoved, watch.look, raft.view())
        self.assertEqual(peers.removed, {1})


class FollowTests(SynchronousTestCase):
    """Whom the network speaks to."""

    def test_who_leaves(self) -> None:
        """A leader speaks to those whom it feeds still, members or not."""
        cluster, peers = Cluster(configuration=FOUNDERS), Peers()
        leader = cluster.elect(1)
        cluster.beat()
        watch = watch_of(leader.raft, peers)
        leader.change_members(Change(ChangeKind.REMOVE, 3))
        watch.look(leader.view)
        self.assertEqual(set(peers.peers), {2, 3})
        cluster.settle()
        for _ in range(3):
            cluster.beat()
        watch.look(leader.view)
        self.assertEqual((dict(peers.peers), peers.removed), ({2: ("raft2", "kv2")}, {3}))

    def test_told_while_a_later_change_is_under_way(self) -> None:
        """hazard M7: that one is committed counts, though another follows on it that is not."""
        gone = Configuration({1, 2}, removed={3})
        raft, peers = started(0, gone, Configuration({1, 2}, learners={4}, removed={3})), Peers()
        watch = watch_of(raft, peers)
        watch.look(raft.view())
        self.assertEqual(peers.removed, set())
        raft._state.commit_to(1)
        watch.look(raft.view())
        self.assertEqual(peers.removed, {3})

    def test_who_leads(self) -> None:
        """hazard M4: the leader is spoken to though its removal is committed, until another leads."""
        cluster, peers = Cluster(configuration=FOUNDERS), Peers()
        cluster.elect(3)
        cluster.beat()
        raft = cluster[1].raft
        watch = watch_of(raft, peers)
        gone = Configuration({1, 2}, removed={3})
        raft.log.append((Entry(raft.log.last_index + 1, 1, EntryKind.CONFIGURATION, gone.to_bytes()),))
        raft._state.commit_to(raft.log.last_index)
        watch.look(raft.view())
        self.assertEqual(set(peers.peers), {2, 3})
        cluster.isolate(3)
        cluster.advance(2)
        cluster[1].time_out()
        watch.look(raft.view())
        self.assertEqual((set(peers.peers), peers.removed), ({2}, {3}))


class SettledTests(SynchronousTestCase):
    """When a change is done."""

    def test_committed(self) -> None:
        """Then at once; before that, not."""
        two = Configuration({1, 2}, removed={3})
        raft, waiting = started(0, two), Deferred[None]()
        settled = watch_of(raft, Peers()).settled(lambda: waiting)
        self.assertNoResult(settled)
        raft._state.commit_to(1)
        waiting.callback(None)
        self.assertEqual(self.successResultOf(settled), two)

    def test_joint(self) -> None:
        """It is no end, also where it is committed: whoever leads next leaves it."""
        raft, waiting = started(1, JOINT), Deferred[None]()
        self.assertNoResult(watch_of(raft, Peers()).settled(lambda: waiting))
