"""What of a snapshot is let in, and from whom."""

import hashlib

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import NodeId
from txraft.errors import BadSnapshot, NotApplied
from txraft.interfaces import SnapshotFile
from txraft.node.pending_requests import AppliedIndex
from txraft.node.snapshot_receiving import SnapshotReceiving
from txraft.storage.memory_snapshots import MemorySnapshotFiles

DATA = b"abcdef"


def file_of(index: int, data: bytes = DATA) -> SnapshotFile:
    return SnapshotFile(Snapshot(index, 1, Configuration((1, 2, 3))), len(data), hashlib.sha256(data).digest())


class ReceivingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = MemorySnapshotFiles()
        self.applied = AppliedIndex(5)
        self.term = 3
        self.leader: NodeId | None = 1
        self.log_start = 0
        self.receiving = self.receiving_with(self.applied)

    def receiving_with(self, applied: AppliedIndex) -> SnapshotReceiving:
        return SnapshotReceiving(
            self.files, self.files.open(), applied, lambda: (self.term, self.leader), lambda: self.log_start
        )

    def offer(self, sender: NodeId, term: int, index: int = 10) -> "Deferred[int]":
        return self.receiving.offered(sender, term, file_of(index))

    def receive(self, sender: NodeId, index: int, data: bytes = DATA) -> None:
        """All of it."""
        file = file_of(index, data)
        self.assertEqual(self.successResultOf(self.receiving.offered(sender, self.term, file)), 0)
        self.successResultOf(self.receiving.received(sender, file, 0, data))
        self.successResultOf(self.receiving.finished(sender, file))

    def test_from_whom(self) -> None:
        """None but the leader of the current term, as far as this node knows it: otherwise anybody could fill the disk,
        or keep out the leader's (hazard S10)."""
        for sender, term in ((1, 2), (1, 4), (2, 3), (2, 4)):
            self.failureResultOf(self.offer(sender, term), NotApplied)
        self.assertEqual(self.successResultOf(self.offer(1, 3)), 0)
        self.leader = None
        self.assertEqual(self.successResultOf(self.offer(2, 3)), 0)

    def test_one_at_a_time(self) -> None:
        """That of the later leader takes the place of the earlier one's, whose data are refused from then on (hazard
        S10)."""
        self.successResultOf(self.offer(1, 3))
        self.successResultOf(self.receiving.received(1, file_of(10), 0, b"abc"))
        self.assertEqual(self.successResultOf(self.offer(1, 3)), 3)
        self.term, self.leader = 4, 2
        self.successResultOf(self.offer(2, 4))
        for refused in (
            self.receiving.received(1, file_of(10), 3, b"def"),
            self.receiving.finished(1, file_of(10)),
        ):
            self.failureResultOf(refused, NotApplied)
        self.failureResultOf(self.offer(1, 3), NotApplied)
        self.successResultOf(self.receiving.received(2, file_of(10), 3, b"def"))

    def test_another_file(self) -> None:
        """One that is not whole makes room for another of the same leader."""
        self.successResultOf(self.offer(1, 3))
        self.successResultOf(self.receiving.received(1, file_of(10), 0, b"abc"))
        self.assertEqual(self.successResultOf(self.offer(1, 3, index=11)), 0)
        self.failureResultOf(self.receiving.received(1, file_of(10), 3, b"def"), BadSnapshot)

    def test_kept_until_it_is_not_needed(self) -> None:
        """What is whole is there to be installed, until as much is applied, whichever way."""
        self.receive(1, index=20)
        self.receive(1, index=10)
        self.assertTrue(self.receiving.has(file_of(10).snapshot))
        self.applied.advance(15)
        self.assertEqual([snapshot.index for snapshot in self.files.open()], [20])
        self.assertFalse(self.receiving.has(file_of(10).snapshot))
        self.assertTrue(self.receiving.has(file_of(20).snapshot))

    def test_overtaken(self) -> None:
        """One whose leader sends a later one is not kept, or they would pile up while a follower does not catch up; but
        for what the state machine is behind the log's start, and is to be restored from (hazard S18)."""
        self.receive(1, index=10)
        self.receive(1, index=20)
        self.assertEqual([snapshot.index for snapshot in self.files.open()], [20])
        self.assertFalse(self.receiving.has(file_of(10).snapshot))
        self.log_start = 20
        self.receive(1, index=30)
        self.assertEqual([snapshot.index for snapshot in self.files.open()], [20, 30])
        self.applied.advance(20)
        self.assertEqual([snapshot.index for snapshot in self.files.open()], [30])

    def test_half_one_that_is_not_needed(self) -> None:
        """What is not whole goes when as much is applied by the log; what is left of another stays. Whoever goes on
        sending it is told that all of it is here."""
        self.successResultOf(self.offer(1, 3, index=10))
        self.successResultOf(self.offer(1, 3, index=10))
        self.successResultOf(self.receiving.received(1, file_of(10), 0, b"abc"))
        self.applied.advance(9)
        self.assertEqual(self.successResultOf(self.files.offered(file_of(10))), 3)
        self.applied.advance(10)
        self.failureResultOf(self.files.received(file_of(10), 3, b"def"), BadSnapshot)
        self.assertEqual(self.successResultOf(self.offer(1, 3, index=10)), len(DATA))
        self.successResultOf(self.receiving.finished(1, file_of(10)))
        self.assertEqual(self.files.open(), ())

    def test_found_at_the_start(self) -> None:
        """What a start finds is kept where it may be needed, and removed where it is not."""
        self.applied.index = 0
        for index in (4, 5, 6):
            self.receive(1, index)
        found = self.receiving_with(AppliedIndex(5))
        found.start()
        self.assertEqual([snapshot.index for snapshot in self.files.open()], [6])
        self.assertTrue(found.has(file_of(6).snapshot))

    def test_finished_again(self) -> None:
        """The answer was lost, say."""
        self.receive(1, index=10)
        self.assertEqual(self.successResultOf(self.offer(1, 3)), len(DATA))
        self.successResultOf(self.receiving.finished(1, file_of(10)))
        self.assertTrue(self.receiving.has(file_of(10).snapshot))
