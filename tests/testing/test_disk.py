"""The simulated disk: what a crash leaves, and what a fault does to a write."""

from pathlib import Path
from random import Random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import entries_of
from txraft.core.ready import Save, TermAndVote
from txraft.errors import WriteFailed
from txraft.interfaces import Incarnation
from txraft.testing.disk import Disk, DiskStorage, Synced
from txraft.testing.schedule import Process, Schedule
from txraft.testing.violation import Violation

ENTRIES = entries_of(1, 1, 2)
VOTE = TermAndVote(2, 1)


class DiskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schedule = Schedule()
        self.disk = Disk(Random(1), delay=(1.0, 1.0))
        self.process = Process(self.schedule, Random(1), lambda: None)
        self.storage = DiskStorage(self.disk, self.process, self.lives, self.lives)

    def lives(self) -> bool:
        return self.process.alive

    def save(self) -> "Deferred[None]":
        """Begin to write a vote and, in a save of its own, three entries."""
        return self.storage.save([Save(VOTE, ()), Save(None, ENTRIES)])

    def has_all(self) -> bool:
        """Whether all of that is on the disk; none of it otherwise."""
        stored = self.storage.load()
        self.assertIn((stored.term_and_vote, stored.entries), [(VOTE, ENTRIES), (TermAndVote(0, None), ())])
        return bool(stored.entries)

    def test_takes_time(self) -> None:
        """Durable when its time is over, and not before."""
        done = self.save()
        self.schedule.run(0.9, lambda: False)
        self.assertNoResult(done)
        self.assertFalse(self.has_all())
        self.schedule.run(1.1, lambda: False)
        self.successResultOf(done)
        self.assertTrue(self.has_all())
        self.assertTrue(self.disk.has(3, 2))
        self.assertFalse(self.disk.has(3, 1))
        self.assertFalse(self.disk.has(4, 2))

    def test_crash(self) -> None:
        """A write that is under way is there, or not, by chance; nobody is told, and what was there stays."""
        left = set()
        for seed in range(20):
            self.setUp()
            self.disk.random.seed(seed)
            done = self.save()
            self.process.kill()
            self.disk.lose_power()
            self.schedule.run(2, lambda: False)
            self.assertNoResult(done)
            left.add(self.has_all())
            before = self.has_all()
            self.disk.lose_power()
            self.assertEqual(self.has_all(), before)
        self.assertEqual(left, {True, False})

    def test_dead_process(self) -> None:
        """What a dead process wants written never is."""
        self.process.kill()
        self.assertNoResult(self.save())
        self.assertIsNone(self.disk.under_way)

    def test_faults(self) -> None:
        """A write fails once, or until there is room; it may be there all the same."""
        for fault in ("fails", "full"):
            left = set()
            for seed in range(20):
                self.setUp()
                self.disk.random.seed(seed)
                setattr(self.disk, fault, True)
                done = self.save()
                self.schedule.run(1.1, lambda: False)
                self.failureResultOf(done, WriteFailed)
                left.add(self.has_all())
                self.assertEqual(self.disk.failures, 1)
                self.assertEqual(getattr(self.disk, fault), fault == "full")
            self.assertEqual(left, {True, False})

    def test_real_file(self) -> None:
        """The log file is written too, and compared when a process starts."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.disk.synced.directory, self.disk.has_log_file = directory, True
        self.addCleanup(self.disk.close)
        self.assertFalse(self.has_all())
        self.save()
        self.schedule.run(1.1, lambda: False)
        self.assertTrue(self.has_all())
        self.disk.synced.log.entries.pop()
        self.assertRaises(Violation, self.storage.load)


class ExchangeTests(SynchronousTestCase):
    """What an operator puts in the place of what a disk had (hazards S6, M7)."""

    def setUp(self) -> None:
        self.disk = Disk(Random(1))
        self.starts = Random(2)

    def write(self, *saves: Save) -> None:
        self.disk.under_way = saves
        self.disk.sync()

    def test_older_copy(self) -> None:
        """It has what there was before the last start, and stays so; what was put aside counts until it is back."""
        self.disk.count_start(self.starts)
        self.write(Save(VOTE, ENTRIES[:2]))
        self.disk.meet(2, Incarnation(b"directory", 1, b"thestart"))
        self.disk.synced.application["data"] = [1]
        self.disk.count_start(self.starts)
        self.write(Save(None, ENTRIES[2:]))
        self.disk.synced.peers.clear()
        self.disk.synced.application["data"].append(2)
        original, copy = self.disk.synced, self.disk.earlier
        assert copy is not None
        assert copy.history is not None
        assert original.history is not None
        self.disk.put_in_place(copy.copy())
        self.assertEqual(self.disk.load().entries, ENTRIES[:2])
        self.assertEqual((list(self.disk.synced.peers), self.disk.synced.application), ([2], {"data": [1]}))
        self.assertTrue(self.disk.has(3, 2))
        self.disk.count_start(self.starts)
        self.assertEqual(self.disk.synced.starts, original.starts)
        self.assertNotEqual(self.disk.synced.history, original.history)
        self.assertEqual(copy.history.directory, original.history.directory)
        self.disk.put_back()
        self.assertIs(self.disk.synced, original)
        self.assertEqual(self.disk.load().entries, ENTRIES)

    def test_emptied(self) -> None:
        """Nothing is left, files neither, and another directory is made of it."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.disk = Disk(Random(1), Synced(directory / "1"), has_log_file=True)
        self.addCleanup(self.disk.close)
        self.disk.count_start(self.starts)
        self.disk.load()
        self.write(Save(VOTE, ENTRIES))
        self.disk.meet(2, Incarnation(b"original", 1, b"thestart"))
        self.assertEqual(self.disk.load().entries, ENTRIES)
        copy = self.disk.synced.copy()
        lost = self.disk.lose()
        self.assertEqual(self.disk.load().entries, ())
        self.assertFalse(self.disk.has(1, 1))
        self.disk.count_start(self.starts)
        self.assertNotEqual(self.disk.synced.history, lost.history)
        for other in (copy, lost):
            self.disk.put_in_place(other)
            self.assertEqual(self.disk.load().entries, ENTRIES)
            self.disk.put_back()

    def test_forgets_a_peer(self) -> None:
        """In the file, too: what is in the one and not in the other is found."""
        self.disk.synced.directory, self.disk.has_log_file = Path(self.mktemp()), True
        self.addCleanup(self.disk.close)
        self.disk.load()
        self.disk.meet(2, Incarnation(b"original", 1, b"thestart"))
        self.disk.forget(2)
        self.disk.load()
        self.disk.meet(2, Incarnation(b"original", 1, b"thestart"))
        self.disk.synced.peers.clear()
        self.assertRaises(Violation, self.disk.load)
