"""`txraft.core.log`: what each method's indexes mean, its errors, and the whole of it against a plain list."""

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import entries_of
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.log import MEMORY_OVERHEAD, MESSAGE_OVERHEAD, RaftLog, size_of
from txraft.core.messages import Entry, EntryKind
from txraft.errors import Compacted, InvariantViolated

START = Snapshot(3, 2, Configuration(voters={1}))


def compacted_log() -> RaftLog:
    """Entries 4 and 5 of terms 3 and 5; 1 to 3, the last of term 2, are compacted."""
    return RaftLog(entries_of(1, 2, 2, 3, 5)[3:], START)


class ReadingTests(SynchronousTestCase):
    """Questions to a log, and what they may be asked about."""

    def test_empty(self) -> None:
        """Index 0, of term 0, comes before the first entry (Figure 2)."""
        log = RaftLog()
        self.assertEqual((log.first_index, log.last_index, log.last_term, log.durable_index), (1, 0, 0, 0))
        self.assertEqual(log.term_at(0), 0)
        self.assertTrue(log.has(0, 0))
        self.assertEqual(log.between(1, 0), ())

    def test_what_it_is_made_with_is_durable(self) -> None:
        """A server that starts has read its log from its disk, and does not write it again."""
        log = RaftLog(entries_of(1, 1, 2))
        self.assertEqual((log.first_index, log.last_index, log.last_term, log.durable_index), (1, 3, 2, 3))
        self.assertEqual(log.take_unsaved(), ())

    def test_ends_of_a_compacted_log(self) -> None:
        """The first entry that is kept follows on the snapshot; a log without entries ends where its snapshot does."""
        log = compacted_log()
        self.assertEqual((log.first_index, log.last_index, log.last_term), (4, 5, 5))
        bare = RaftLog(start=START)
        self.assertEqual((bare.first_index, bare.last_index, bare.last_term, bare.durable_index), (4, 3, 2, 3))

    def test_term_at(self) -> None:
        """hazard R13: the snapshot's own term is known; below it there is a term, which is not 0 and not known."""
        log = compacted_log()
        self.assertEqual([log.term_at(index) for index in (3, 4, 5)], [2, 3, 5])
        for index in (0, 1, 2):
            with self.assertRaises(Compacted):
                log.term_at(index)
        with self.assertRaises(IndexError):
            log.term_at(6)

    def test_entry(self) -> None:
        """The snapshot's last entry has a term but is no longer there itself."""
        log = compacted_log()
        self.assertEqual([log.entry(4), log.entry(5)], list(entries_of(1, 2, 2, 3, 5)[3:]))
        for index in (0, 3):
            with self.assertRaises(Compacted):
                log.entry(index)

    def test_has(self) -> None:
        """hazard R13: an entry is its index and its term; what is compacted, or not there yet, is not held."""
        log = compacted_log()
        for index, term, held in [
            (2, 2, False),
            (0, 0, False),
            (3, 2, True),
            (3, 3, False),
            (4, 3, True),
            (4, 2, False),
            (5, 5, True),
            (6, 5, False),
        ]:
            self.assertIs(log.has(index, term), held, (index, term))

    def test_between(self) -> None:
        """Both ends are included; a range that starts below the first index has no answer."""
        log = compacted_log()
        four, five = entries_of(1, 2, 2, 3, 5)[3:]
        self.assertEqual(log.between(4, 5), (four, five))
        self.assertEqual(log.between(5, 5), (five,))
        self.assertEqual(log.between(6, 5), ())
        with self.assertRaises(Compacted):
            log.between(3, 5)

    def test_batch(self) -> None:
        """hazard R20: as many as fit, counted with their overhead, and one even if it does not fit."""
        log = RaftLog(entries_of(1, 1, 1, 1))
        each = size_of(log.entry(1))
        for max_bytes, count in [(0, 1), (each - 1, 1), (each, 1), (2 * each - 1, 1), (2 * each, 2), (9 * each, 3)]:
            self.assertEqual(log.batch(2, max_bytes), (log.between(2, 1 + count), count * each), max_bytes)

    def test_memory(self) -> None:
        """hazard C9: an entry of a leader takes no more than it is counted for, and not much less."""
        log, count = RaftLog(), 2000
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for index in range(1001, 1001 + count):
            log.append((Entry(log.last_index + 1, 1000, EntryKind.COMMAND, b"%011d" % index),))
        taken = (tracemalloc.get_traced_memory()[0] - before) / count
        tracemalloc.stop()
        self.assertLess(taken, 11 + MEMORY_OVERHEAD)
        self.assertGreater(taken, 0.7 * MEMORY_OVERHEAD)

    def test_size_of(self) -> None:
        """An entry without data is not free."""
        self.assertEqual(size_of(Entry(1, 1, EntryKind.COMMAND, b"abc")), MESSAGE_OVERHEAD + 3)
        self.assertGreater(MESSAGE_OVERHEAD, 0)

    def test_is_up_to_date(self) -> None:
        """§5.4.1: the later last term wins; of the same term, the longer log."""
        log = RaftLog(entries_of(1, 1, 3))
        for last_log_index, last_log_term, up_to_date in [
            (3, 3, True),
            (4, 3, True),
            (2, 3, False),
            (9, 2, False),
            (1, 4, True),
        ]:
            self.assertIs(log.is_up_to_date(last_log_index, last_log_term), up_to_date)

    def test_match_hint(self) -> None:
        """§5.3, fast backup: a whole term is skipped in one step."""
        log = RaftLog(entries_of(1, 1, 4, 4, 4, 6))
        for index, term, hint in [(6, 6, 6), (9, 9, 6), (6, 5, 5), (4, 5, 4), (5, 3, 2), (1, 4, 1), (6, 0, 0)]:
            self.assertEqual(log.match_hint(index, term), hint, (index, term))

    def test_match_hint_of_a_compacted_log(self) -> None:
        """hazard R14: where only compacted entries could match, the hint is below the snapshot."""
        log = compacted_log()
        for index, term, hint in [(5, 3, 4), (5, 2, 3), (5, 1, 2), (1, 9, 1), (0, 0, 0)]:
            self.assertEqual(log.match_hint(index, term), hint, (index, term))


class ChangingTests(SynchronousTestCase):
    """Appending, truncating, compacting."""

    def test_append_without_a_gap(self) -> None:
        """hazard R12: a gap, an overlap or a term that goes back is refused, and nothing of it is appended."""
        one, two, three, four = entries_of(2, 2, 2, 2)
        log = RaftLog((one,))
        for wrong in [(three,), (one,), (two, four), (two, Entry(3, 1, EntryKind.COMMAND, b""))]:
            with self.assertRaises(InvariantViolated):
                log.append(wrong)
            self.assertEqual(log.last_index, 1)
        log.append((two, three))
        self.assertEqual(log.between(1, 3), (one, two, three))

    def test_append_follows_on_the_snapshot(self) -> None:
        """hazard R12: also the first entry after a snapshot has its place and its least term."""
        for wrong in [entries_of(2, 2)[:1], entries_of(2, 2, 2, 2, 2)[4:], entries_of(1, 1, 1, 1)[3:]]:
            with self.assertRaises(InvariantViolated):
                RaftLog(wrong, START)

    def test_truncated_entries_are_gone_from_the_disk_too(self) -> None:
        """§5.3: what is truncated was there and is there no more; durable_index does not cover its replacement."""
        log = RaftLog(entries_of(1, 1, 1))
        log.truncate_from(2)
        self.assertEqual((log.last_index, log.durable_index), (1, 1))
        log.append(entries_of(1, 2, 2)[1:])
        self.assertEqual(log.durable_index, 1)
        self.assertEqual(log.take_unsaved(), entries_of(1, 2, 2)[1:])

    def test_compact(self) -> None:
        """What is compacted is gone except for the last one's term, and indexes stay what they were."""
        log = RaftLog(entries_of(1, 2, 2, 3))
        log.compact(3)
        self.assertEqual((log.snapshot_index, log.snapshot_term, log.first_index, log.last_index), (3, 2, 4, 4))
        self.assertEqual(log.entry(4), entries_of(1, 2, 2, 3)[3])
        log.compact(3)
        self.assertEqual((log.snapshot_index, log.snapshot_term, log.last_index), (3, 2, 4))
        log.compact(4)
        self.assertEqual((log.first_index, log.last_index, log.last_term, log.durable_index), (5, 4, 3, 4))
        with self.assertRaises(Compacted):
            log.compact(2)


class RestoringTests(SynchronousTestCase):
    """A snapshot takes the place of the log."""

    def test_everything_is_forgotten(self) -> None:
        """hazard S7: the log ends where the snapshot does, also where it was longer, and goes on from there."""
        for terms in [(1, 1), (1, 2, 2, 2, 2)]:
            log = RaftLog(entries_of(*terms))
            log.restore(Snapshot(4, 3, Configuration(voters={1})))
            self.assertEqual((log.snapshot_index, log.snapshot_term, log.first_index), (4, 3, 5))
            self.assertEqual((log.last_index, log.last_term, log.term_at(4)), (4, 3, 3))
            self.assertRaises(Compacted, log.entry, 4)
            log.append((Entry(5, 3, EntryKind.COMMAND, b""),))
            self.assertEqual(log.last_index, 5)

    def test_written_as_entries_are(self) -> None:
        """hazard S9: nothing of it is durable before its own write ends, which is given out once, with the entries that
        have come since."""
        for entries in [(), entries_of(1, 1, 1, 3, 3, 3)[4:]]:
            log = RaftLog(entries_of(1, 2))
            log.restore(Snapshot(4, 3, Configuration(voters={1})))
            log.append(entries)
            self.assertEqual(log.durable_index, 0)
            self.assertEqual(log.take_unsaved(), entries)
            self.assertEqual((log.take_unsaved(), log.durable_index), ((), 0))
            log.mark_durable(log.last_index, 3)
            self.assertEqual(log.durable_index, log.last_index)

    def test_writes_that_were_under_way(self) -> None:
        """hazards R11, S9: they end later, and say nothing of the log as it is now; writes end in order all the
        same."""
        log = RaftLog()
        log.append(entries_of(1, 1, 2, 2, 2, 2))
        log.take_unsaved()
        log.restore(Snapshot(4, 3, Configuration(voters={1})))
        log.take_unsaved()
        log.append(entries_of(1, 1, 1, 3, 3, 3)[4:])
        log.take_unsaved()
        log.mark_durable(6, 2)
        self.assertEqual(log.durable_index, 0)
        log.mark_durable(4, 3)
        self.assertEqual(log.durable_index, 4)
        log.mark_durable(6, 3)
        self.assertEqual(log.durable_index, 6)


class DurabilityTests(SynchronousTestCase):
    """What has been given out to be written, and what is written."""

    def test_given_out_once(self) -> None:
        """An entry goes into one write, and into another only when it has been replaced."""
        log = RaftLog()
        log.append(entries_of(1, 1))
        self.assertEqual(log.take_unsaved(), entries_of(1, 1))
        self.assertEqual(log.take_unsaved(), ())
        log.append(entries_of(1, 1, 1)[2:])
        self.assertEqual(log.take_unsaved(), entries_of(1, 1, 1)[2:])

    def test_durable_when_written(self) -> None:
        """hazard R10: given out is not durable; each write counts when it ends, up to its own last entry."""
        log = RaftLog()
        log.append(entries_of(1, 1))
        log.take_unsaved()
        log.append(entries_of(1, 1, 1)[2:])
        log.take_unsaved()
        self.assertEqual(log.durable_index, 0)
        log.mark_durable(2, 1)
        self.assertEqual(log.durable_index, 2)
        log.mark_durable(3, 1)
        self.assertEqual(log.durable_index, 3)

    def test_writes_end_in_order(self) -> None:
        """hazard R11: one that is reported out of turn, twice, or without having been given out, is an error."""
        log = RaftLog()
        log.append(entries_of(1))
        log.take_unsaved()
        log.append(entries_of(1, 1)[1:])
        with self.assertRaises(InvariantViolated):
            log.mark_durable(2, 1)
        log.mark_durable(1, 1)
        with self.assertRaises(InvariantViolated):
            log.mark_durable(1, 1)
        self.assertEqual(log.durable_index, 1)

    def test_a_write_of_what_was_truncated_meanwhile(self) -> None:
        """hazard R11: it says nothing of the entry that now has its index."""
        log = RaftLog()
        log.append(entries_of(1, 1, 1))
        log.take_unsaved()
        log.truncate_from(2)
        log.append(entries_of(1, 2, 2)[1:])
        log.take_unsaved()
        log.mark_durable(3, 1)
        self.assertLess(log.durable_index, 2)
        log.mark_durable(3, 2)
        self.assertEqual(log.durable_index, 3)

    def test_a_write_of_what_was_truncated_and_came_back(self) -> None:
        """hazard R11: entry (2, 1) is written, replaced by (2, 2), and comes back as it was, while nothing is durable
        yet. The first write's end does not make it durable: the second write is to remove it from the disk again.
        """
        log = RaftLog()
        log.append(entries_of(1, 1))
        log.take_unsaved()
        log.truncate_from(2)
        log.append(entries_of(1, 2)[1:])
        log.take_unsaved()
        log.truncate_from(2)
        log.append(entries_of(1, 1)[1:])
        log.take_unsaved()
        log.mark_durable(2, 1)
        self.assertLess(log.durable_index, 2)
        log.mark_durable(2, 2)
        self.assertLess(log.durable_index, 2)
        log.mark_durable(2, 1)
        self.assertEqual(log.durable_index, 2)


class Twin:
    """A `RaftLog` beside a list that never forgets and a list for the disk, both driven alike and compared."""

    def __init__(self) -> None:
        self.log = RaftLog()
        self.entries: list[Entry] = []
        self.disk: list[Entry] = []
        self.writing: list[tuple[tuple[Entry, ...] | None, tuple[Entry, ...]]] = []
        """What takes the place of the whole log first, if anything does; then entries."""
        self.restored = False
        self.snapshot = 0
        self.term = 1

    def append(self, number: int) -> None:
        self.term += number % 2
        new = [
            Entry(index, self.term, EntryKind.COMMAND, bytes(self.term + index % 7))
            for index in range(len(self.entries) + 1, len(self.entries) + 1 + number % 4)
        ]
        self.entries += new
        self.log.append(new)

    def truncate(self, number: int) -> None:
        if kept := len(self.entries) - self.snapshot:
            index = self.snapshot + 1 + number % kept
            del self.entries[index - 1 :]
            self.log.truncate_from(index)
            self.term = self.term_at(index - 1) + number % 3  # so that the same entries may come back

    def compact(self, number: int) -> None:
        """What is applied is durable, so it never is truncated."""
        if self.log.durable_index >= self.snapshot:
            self.snapshot += number % (self.log.durable_index - self.snapshot + 1)
            self.log.compact(self.snapshot)

    def restore(self, number: int) -> None:
        """The snapshot's last entry is not in the log, whose own may be of any other term, or not be there."""
        self.snapshot += 1 + number % (len(self.entries) - self.snapshot + 3)
        self.term += 1
        self.entries = [Entry(index, self.term, EntryKind.COMMAND, b"") for index in range(1, self.snapshot + 1)]
        self.log.restore(Snapshot(self.snapshot, self.term, Configuration(voters={1})))
        self.restored = True

    def save(self, _: int) -> None:
        unsaved = self.log.take_unsaved()
        if unsaved or self.restored:
            self.writing.append((tuple(self.entries[: self.snapshot]) if self.restored else None, unsaved))
            self.restored = False

    def write(self, _: int) -> None:
        if self.writing:
            whole, written = self.writing.pop(0)
            if whole is not None:
                self.disk[:] = whole
            if written:
                self.disk[written[0].index - 1 :] = written
            last = (written or whole or ())[-1]
            self.log.mark_durable(last.index, last.term)

    def term_at(self, index: int) -> int:
        return self.entries[index - 1].term if index else 0

    def hint(self, index: int, term: int) -> int:
        for at in range(min(index, len(self.entries)), self.snapshot - 1, -1):
            if self.term_at(at) <= term:
                return at
        return min(index, self.snapshot - 1)

    def compare(self, case: SynchronousTestCase) -> None:
        log, last = self.log, len(self.entries)
        case.assertEqual((log.first_index, log.last_index), (self.snapshot + 1, last))
        case.assertEqual(log.last_term, self.term_at(last))
        case.assertEqual(log.between(self.snapshot + 1, last), tuple(self.entries[self.snapshot :]))
        case.assertEqual(self.disk[: log.durable_index], self.entries[: log.durable_index])
        for index in range(last + 2):
            for term in range(self.term + 2):
                held = self.snapshot <= index <= last and self.term_at(index) == term
                case.assertEqual(log.has(index, term), held)
                case.assertEqual(log.match_hint(index, term), self.hint(index, term))

    def compare_bytes(self, case: SynchronousTestCase, max_bytes: int) -> None:
        expected: list[Entry] = []
        for entry in self.entries[self.snapshot :]:
            if expected and sum(map(size_of, [*expected, entry])) > max_bytes:
                break
            expected.append(entry)
        if expected:
            case.assertEqual(
                self.log.batch(self.snapshot + 1, max_bytes), (tuple(expected), sum(map(size_of, expected)))
            )


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "save", "save", "write", "write", "truncate", "compact", "restore"]),
        st.integers(0, 60),
    ),
    min_size=15,
    max_size=40,
)


class TwinTests(SynchronousTestCase):
    """`RaftLog` does what a plain list does."""

    @settings(derandomize=True, database=None, deadline=None, max_examples=150)
    @given(STEPS, st.integers(0, 400))
    def test_twin(self, steps: list[tuple[str, int]], max_bytes: int) -> None:
        """Any sequence of changes and writes: the same entries, terms and hints, and durable is what the disk has
        (hazards R11 to R14); when all is written, everything is durable."""
        twin = Twin()
        for name, number in steps:
            getattr(twin, name)(number)
            twin.compare(self)
        twin.compare_bytes(self, max_bytes)
        twin.save(0)
        while twin.writing:
            twin.write(0)
        twin.compare(self)
        self.assertEqual(twin.log.durable_index, twin.log.last_index)
