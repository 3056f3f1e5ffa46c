"""When the data are written, and what becomes of a write that fails."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from tests.kv.applying import apply_command
from tests.storage.contract import entry
from tests.storage.worker import HandWorker, InlineWorker
from txraft.core.messages import Entry, EntryKind
from txraft.errors import StorageError, WriteFailed
from txraft.kv import Command, CompareAndSet, Delete, KeyValueStore, Result, Set, WriteBehind, encode, write_behind
from txraft.kv.data_file import DataFile
from txraft.kv.records import record_of, value_of
from txraft.kv.write_behind import FLUSH_SECONDS, FLUSH_SIZE, WAITING_BATCHES

FLUSH_KEYS = 500
"""Fewer than there are, to save time."""


class WriteBehindTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(write_behind, "FLUSH_KEYS", FLUSH_KEYS)
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "kv.sqlite"
        self.clock = Clock()
        self.worker = HandWorker()
        self.snapshot_worker = InlineWorker()
        self.errors: list[StorageError] = []
        self.disk = WriteBehind(self.path, "ours", self.worker, self.snapshot_worker, self.clock, self.errors.append)
        self.store = KeyValueStore(self.disk)
        self.store.load()
        self.disk.prepare()
        self.disk.start()
        self.worker.work()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop, with the worker at work."""
        stopped = self.disk.stop()
        self.worker.work()
        self.successResultOf(stopped)

    def another(self) -> WriteBehind:
        """One more for the same file, as the next start makes it."""
        return WriteBehind(self.path, "ours", self.worker, self.snapshot_worker, self.clock, self.errors.append)

    def on_disk(self) -> tuple[int, dict[bytes, bytes]]:
        """What a start now would find."""
        contents = DataFile(self.path, "ours").load()
        return contents.last_applied, {key: value_of(record) for key, record in contents.records.items()}

    def set_many(self, number: int, start: int = 1) -> None:
        """Apply `number` entries, each of a key of its own."""
        for index in range(start, start + number):
            apply_command(self.store, index, encode(Set(b"%d" % index, b"v")))

    def test_after_a_while(self) -> None:
        """A single change is handed over FLUSH_SECONDS after it was made, not sooner."""
        self.set_many(1)
        self.clock.advance(FLUSH_SECONDS - 0.01)
        self.assertEqual(len(self.worker.waiting), 0)
        self.clock.advance(0.01)
        self.worker.work()
        self.assertEqual(self.on_disk(), (1, {b"1": b"v"}))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_when_there_are_many(self) -> None:
        """FLUSH_KEYS changed keys are handed over at once; changing one key again and again is not many."""
        for index in range(1, 2 * FLUSH_KEYS):
            apply_command(self.store, index, encode(Set(b"same", b"%d" % index)))
        self.assertEqual(len(self.worker.waiting), 0)
        self.set_many(FLUSH_KEYS - 1, 2 * FLUSH_KEYS)
        self.assertEqual(len(self.worker.waiting), 1)

    def test_one_at_a_time(self) -> None:
        """What changes during a flush waits for its end, and goes in flushes no larger, each with its own index (hazard
        S5)."""
        self.set_many(FLUSH_KEYS)
        self.set_many(2 * FLUSH_KEYS, FLUSH_KEYS + 1)
        self.clock.advance(10 * FLUSH_SECONDS)
        for flush in (1, 2, 3):
            self.assertEqual(len(self.worker.waiting), 1)
            self.worker.work_once()
            index, values = self.on_disk()
            self.assertEqual((index, len(values)), (flush * FLUSH_KEYS, flush * FLUSH_KEYS))
        self.assertEqual(self.worker.waiting, [])

    def test_when_they_are_large(self) -> None:
        """FLUSH_SIZE bytes are handed over at once, and no flush is much larger."""
        large = bytes(FLUSH_SIZE // 4)
        for index in range(1, 10):
            apply_command(self.store, index, encode(Set(b"%d" % index, large)))
            self.assertEqual(len(self.worker.waiting), index >= 4)
        for index in (4, 8):
            self.worker.work_once()
            self.assertEqual(self.on_disk()[0], index)
        self.assertEqual(self.worker.waiting, [])

    def test_whole_entries(self) -> None:
        """An entry that changes several keys is in the file whole, or not at all (hazard S17)."""
        for index in range(1, FLUSH_KEYS + 1):
            self.disk.applied(index, index, {b"%d %d" % (index, key): record_of(b"v", index, None) for key in range(7)})
        flushes = 0
        while self.worker.waiting:
            self.worker.work_once()
            index, values = self.on_disk()
            self.assertEqual(len(values), 7 * index)
            flushes += 1
        self.assertGreater(flushes, 5)

    def test_entries_that_change_nothing(self) -> None:
        """The index of the file moves with the log: a cas that is refused, what cannot be understood, Raft's own."""
        for index, apply in enumerate(
            (
                lambda index: apply_command(self.store, index, encode(CompareAndSet(b"k", b"old", b"new"))),
                lambda index: apply_command(self.store, index, encode(Delete(b"k"))),
                lambda index: apply_command(self.store, index, b"nonsense"),
                lambda index: self.store.apply([Entry(index, 1, EntryKind.NOOP, b"")]),
            ),
            1,
        ):
            apply(index)
            self.clock.advance(FLUSH_SECONDS)
            self.worker.work()
            self.assertEqual(self.on_disk(), (index, {}))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_few_during_a_flush(self) -> None:
        """A few changes during a flush are written FLUSH_SECONDS after its end."""
        self.set_many(FLUSH_KEYS)
        self.set_many(1, FLUSH_KEYS + 1)
        self.worker.work()
        self.assertEqual(self.on_disk()[0], FLUSH_KEYS)
        self.clock.advance(FLUSH_SECONDS)
        self.worker.work()
        self.assertEqual(self.on_disk()[0], FLUSH_KEYS + 1)

    def test_every_index_is_a_state(self) -> None:
        """The file holds what the entries up to its index make, and nothing of later ones (hazard S5)."""
        history: list[Command] = [
            Set(b"a", b"1"),
            Set(b"b", b"1"),
            Delete(b"a"),
            CompareAndSet(b"b", b"1", b"2"),
            Set(b"a", b"2"),
        ]
        states: list[dict[bytes, bytes]] = [{}]
        for index, command in enumerate(history, 1):
            apply_command(self.store, index, encode(command))
            states.append({key: value for key in (b"a", b"b") if (value := self.store.get(key)) is not None})
            self.clock.advance(FLUSH_SECONDS)
            if index % 2:
                self.worker.work()
            found, values = self.on_disk()
            self.assertEqual(values, states[found])
        self.stop()
        self.assertEqual(self.on_disk(), (len(history), states[-1]))

    def test_stop_writes_the_rest(self) -> None:
        """After stop has fired everything is in the file, however many batches waited, and no timer is left."""
        self.set_many(3 * FLUSH_KEYS + 3)
        stopped = self.disk.stop()
        self.assertNoResult(stopped)
        self.worker.work()
        self.successResultOf(stopped)
        self.assertEqual(self.on_disk()[0], 3 * FLUSH_KEYS + 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_persist(self) -> None:
        """Everything that came in before is written and durable then; what came in later need not be. Where there is
        nothing new, nothing is written."""
        self.set_many(2 * FLUSH_KEYS + 2)
        persisted = self.store.persist()
        self.worker.work_once()
        self.set_many(2, 2 * FLUSH_KEYS + 3)
        self.worker.work()
        self.assertEqual(self.successResultOf(persisted), 2 * FLUSH_KEYS + 4)  # it shares its batch with them
        self.assertEqual(self.on_disk()[0], 2 * FLUSH_KEYS + 4)
        self.assertEqual(self.successResultOf(self.store.persist()), 2 * FLUSH_KEYS + 4)
        self.assertEqual(self.worker.waiting, [])
        self.clock.advance(FLUSH_SECONDS)
        self.worker.work()

    def test_persist_fails(self) -> None:
        """What fails is told as any write that fails is, and nothing is durable (hazard S1)."""
        self.set_many(1)
        persisted = self.store.persist()
        self.worker.work_once()
        self.path.rename(self.mktemp())
        self.worker.work()
        line = self.failureResultOf(persisted, WriteFailed).getErrorMessage()
        self.assertIn("kv.sqlite is not where it was opened any more", line)
        self.assertEqual([str(error) for error in self.errors], [line])
        self.failureResultOf(self.store.persist(), WriteFailed)

    def test_in_memory(self) -> None:
        """Data without a disk are never durable."""
        store = KeyValueStore()
        apply_command(store, 1, encode(Set(b"k", b"v")))
        self.assertEqual(self.successResultOf(store.persist()), 0)

    def test_disk_hangs(self) -> None:
        """A store whose disk hangs takes so many batches, and waits then; it goes on when one has been written."""
        self.set_many((2 + WAITING_BATCHES) * FLUSH_KEYS)
        applied = self.store.apply([entry(self.store.last_applied + 1)])
        self.assertNoResult(applied)
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.store.last_applied, (2 + WAITING_BATCHES) * FLUSH_KEYS)
        self.worker.work_once()
        self.assertEqual(self.successResultOf(applied), [Result.INVALID.value])
        self.assertEqual(self.store.last_applied, (2 + WAITING_BATCHES) * FLUSH_KEYS + 1)

    def test_disk_fails_at_last(self) -> None:
        """What waits for a disk that hangs fails with it, and what comes later does at once."""
        self.set_many((2 + WAITING_BATCHES) * FLUSH_KEYS)
        applied = self.store.apply([entry(self.store.last_applied + 1)])
        self.worker.waiting[0] = (self.worker.waiting[0][0], self.fail_to_write, ())
        self.worker.work()
        self.failureResultOf(applied, WriteFailed)
        self.failureResultOf(self.store.apply([entry(self.store.last_applied + 1)]), WriteFailed)

    def test_load(self) -> None:
        """A store that starts has what the last one wrote, and goes on from its index."""
        self.set_many(2)
        self.stop()
        store = KeyValueStore(
            WriteBehind(self.path, "ours", self.worker, self.snapshot_worker, self.clock, self.errors.append)
        )
        store.load()
        self.assertEqual(store.last_applied, 2)
        self.assertEqual(store.get(b"2"), b"v")

    def test_failure(self) -> None:
        """A write that fails is told once and never tried again (hazards S1, S2); stop still fires."""
        self.set_many(1)
        self.clock.advance(FLUSH_SECONDS)
        self.worker.waiting[0] = (self.worker.waiting[0][0], self.fail_to_write, ())
        self.worker.work()
        self.set_many(2 * FLUSH_KEYS, 2)
        self.clock.advance(10 * FLUSH_SECONDS)
        self.assertEqual(self.worker.waiting, [])
        self.stop()
        self.assertEqual([str(error) for error in self.errors], ["cannot write kv.sqlite: disk full"])
        self.assertEqual(self.on_disk(), (0, {}))

    def test_cannot_be_opened(self) -> None:
        """A file that cannot be opened after the start is told at once, and never written (hazard S19)."""
        self.stop()
        self.path.unlink()
        self.path.mkdir()
        disk = self.another()
        disk.start()
        self.worker.work()
        self.assertIn(f"cannot open {self.path}: unable to open database file; see that ", str(self.errors[0]))
        disk.applied(1, 2, {b"k": record_of(b"v", 2, None)})
        self.assertEqual(self.clock.getDelayedCalls(), [])
        stopped = disk.stop()
        self.worker.work()
        self.successResultOf(stopped)
        self.assertEqual(len(self.errors), 1)

    def fail_to_write(self) -> None:
        """What a full disk does."""
        raise WriteFailed("cannot write kv.sqlite: disk full")

    def test_worker_fails(self) -> None:
        """Whatever else fails on the thread ends the writing in the same way."""
        self.set_many(1)
        self.clock.advance(FLUSH_SECONDS)
        self.worker.waiting[0] = (self.worker.waiting[0][0], int, ("x",))
        self.worker.work()
        self.assertEqual(len(self.errors), 1)
        self.assertIsInstance(self.errors[0], WriteFailed)
