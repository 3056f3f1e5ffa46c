"""When the log is cut, how far, and in which bites."""

from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.log import MEMORY_OVERHEAD
from txraft.core.messages import Entry, EntryKind
from txraft.errors import ContractBroken, SnapshotFailed, WriteFailed
from txraft.node import compaction
from txraft.node.compaction import BITE_ENTRIES, BITE_SIZE, MOST_HELD, Compaction, Keep


class CompactionTests(SynchronousTestCase):
    """A log of which 800 entries, or 8000 bytes, are kept: a bite has 101 entries, or 1001 bytes."""

    def setUp(self) -> None:
        self.index = 0
        self.held_after: int | None = None
        self.persisted: Deferred[int] | None = None
        self.persists = 0
        self.cuts: list[int] = []
        self.failures: list[Failure] = []
        self.compaction = self.with_keep(Keep(800, 8000))

    def with_keep(self, keep: Keep, start: int = 0) -> Compaction:
        return Compaction(keep, start, self.persist, self.cuts.append, lambda: self.held_after, self.failures.append)

    def persist(self) -> "Deferred[int]":
        self.persists += 1
        return succeed(self.index) if self.persisted is None else self.persisted

    def apply(self, count: int, size: int = 1) -> None:
        for _ in range(count):
            self.index += 1
            self.compaction.applied(self.index, size)

    def save(self) -> int:
        """The disk finishes the bite that was cut last."""
        self.compaction.saved(self.cuts[-1])
        return self.cuts[-1]

    def test_contract(self) -> None:
        """One line says what is wrong with what `persist` gives."""
        for persisted, what in ((succeed(None), "fires with NoneType, not an index"), (5, "gives int, not a Deferred")):
            self.setUp()
            self.persisted = cast(Any, persisted)
            self.apply(1101)
            lines = [(failure.type, failure.getErrorMessage()) for failure in self.failures]
            line = f"the state machine's `persist` {what}; this is a bug in the state machine"
            self.assertEqual(lines, [(ContractBroken, line)])

    def test_what_is_kept(self) -> None:
        """Nothing is cut until there is a quarter more than what is kept; then all but that, in bites, each after the
        one before is durable (hazard S11)."""
        self.apply(1000)
        self.assertEqual((self.cuts, self.persists), ([], 0))
        self.apply(101)
        self.assertEqual((self.cuts, self.persists), ([101], 1))
        self.save()
        self.assertEqual(self.cuts, [101, 202])
        self.save()
        self.save()
        self.assertEqual(self.cuts, [101, 202, 303])  # which leaves 798
        self.apply(202)
        self.assertEqual(self.persists, 1)
        self.apply(10)
        self.assertEqual((self.cuts[3:], self.persists), ([404], 2))

    def test_size(self) -> None:
        """Large entries count by their bytes, and fewer are a bite."""
        self.apply(10, size=1000)
        self.assertEqual(self.cuts, [])
        self.apply(2, size=1000)
        self.assertEqual(self.cuts, [2])
        for _ in range(100):
            self.save()
            self.apply(1, size=1000)
            self.assertLess(self.index - self.cuts[-1], 12)

    def test_bites_are_bounded(self) -> None:
        """However much is kept."""
        self.compaction = self.with_keep(Keep(1_000_000, 1 << 30))
        self.assertEqual((self.compaction._bite_entries, self.compaction._bite_size), (BITE_ENTRIES, BITE_SIZE))

    def test_what_is_durable(self) -> None:
        """No more is cut than the state machine has on its disk, though it has applied more (hazard S18)."""
        self.persisted = Deferred()
        self.apply(2000)
        self.assertEqual((self.cuts, self.persists), ([], 1))
        persisted, self.persisted = self.persisted, succeed(350)
        persisted.callback(250)
        self.assertEqual(self.cuts, [101])
        self.save()
        self.save()
        self.assertEqual(self.cuts, [101, 202])
        self.apply(101)
        self.assertEqual(self.cuts, [101, 202, 303])

    def test_found(self) -> None:
        """What the log has at the start counts."""
        self.compaction = self.with_keep(Keep(800, 8000), start=100)
        self.compaction.found(Entry(index, 1, EntryKind.COMMAND, b"a") for index in range(101, 1301))
        self.index = 1300
        self.compaction.consider()
        self.assertEqual(self.cuts, [201])

    def test_held(self) -> None:
        """What follows on a snapshot that is on its way stays (hazard R17): until there is so much of it that memory
        counts for more."""
        self.held_after = 303
        self.apply(2000)
        for _ in range(4):
            self.save()
        self.assertEqual((self.cuts, self.persists), ([101, 202, 303], 1))
        self.apply(300 + MOST_HELD * 800 - 2000 + 101)
        self.assertEqual(self.cuts, [101, 202, 303])
        self.patch(compaction, "HELD_SIZE", 3300 * MEMORY_OVERHEAD)
        self.apply(101)
        self.assertEqual(self.cuts, [101, 202, 303, 404])
        self.held_after = None
        self.compaction.consider()
        for _ in range(40):
            self.save()
        self.assertLess(self.index - self.cuts[-1], 800)

    def test_let_go(self) -> None:
        """When nothing is held any more, it goes on when it is asked to."""
        self.held_after = 0
        self.apply(2000)
        self.assertEqual((self.cuts, self.persists), ([], 0))
        self.held_after = None
        self.compaction.consider()
        self.assertEqual(self.cuts, [101])

    def test_snapshot_meanwhile(self) -> None:
        """A snapshot that is installed while a bite is on its way makes that superfluous, and what is cut later begins
        after it (hazard S9)."""
        self.apply(1111)
        self.compaction.saved(5000)
        self.assertEqual(self.cuts, [101])
        self.index = 5000
        self.apply(1000)
        self.assertEqual(self.cuts, [101])
        self.apply(102)
        self.assertEqual(self.cuts, [101, 5001])
        self.save()
        self.save()
        self.save()
        self.assertEqual(self.cuts, [101, 5001, 5102, 5203, 5304])

    def test_snapshot_in_place_of_large_entries(self) -> None:
        """What a snapshot stands for takes no room of the log (hazard S9)."""
        self.persisted = Deferred()
        self.apply(11, size=1000)
        self.compaction.saved(5000)
        self.persisted.callback(11)
        self.persisted = None
        self.index = 5000
        self.apply(9, size=1000)
        self.assertEqual(self.cuts, [])
        self.apply(3, size=1000)
        self.assertEqual(self.cuts, [5001])

    def test_interrupted(self) -> None:
        """A machine that was restored meanwhile is asked again later."""
        self.persisted = fail(SnapshotFailed("restored"))
        self.apply(1111)
        self.assertEqual((self.cuts, self.failures), ([], []))
        self.persisted = None
        self.apply(101)
        self.assertEqual(self.cuts, [101])

    def test_failed(self) -> None:
        """Where the machine cannot make its data durable, the node is told."""
        self.persisted = fail(WriteFailed("no"))
        self.apply(1111)
        self.failures[0].trap(WriteFailed)
