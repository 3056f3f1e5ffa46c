"""A snapshot takes the place of the data: whole, or not at all."""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from tests.kv.applying import apply_command, delta, index_and_records
from tests.storage.worker import HandWorker, InlineWorker
from txraft import wal
from txraft.errors import CorruptLog, SnapshotFailed, StorageError, WorkerStopped, WriteFailed, WrongDirectory
from txraft.interfaces import IWorker
from txraft.kv import KeyValueStore, Set, WriteBehind, encode, write_behind
from txraft.kv.contents import Contents, Delta
from txraft.kv.data_file import DataFile
from txraft.kv.data_snapshot import DataSnapshot, SnapshotMaker
from txraft.kv.records import record_of
from txraft.kv.write_behind import FLUSH_SECONDS
from txraft.snapshot_writing import RESERVE

Values = dict[bytes, bytes]

OLD: Values = {b"old-%d" % number: record_of(b"v" * number, 2, None) for number in range(300)}
NEW: Values = {b"new-%d" % number: record_of(b"w" * number, 9, None) for number in range(400)}


class RestoreTestCase(SynchronousTestCase):
    """A follower that has OLD, up to entry 2, and a snapshot of NEW, up to entry 9."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "kv.sqlite"
        self.path.parent.mkdir()
        self.errors: list[StorageError] = []
        self.clock = Clock()
        file = DataFile(self.path, "ours")
        file.load()
        file.prepare()
        file.open()
        file.write(delta(2, OLD))
        file.close()
        self.chunks = self.snapshot_of(9, NEW)

    def snapshot_of(self, index: int, values: Values, cluster: str = "ours") -> list[bytes]:
        """Of another node."""
        path = Path(self.mktemp())
        file = DataFile(path, cluster)
        file.load()
        file.prepare()
        file.open()
        file.write(Delta(index, dict(values), 7))
        target, found, size = SnapshotMaker(path).make(0)
        file.close()
        self.assertEqual(found, index)
        chunks = list(DataSnapshot(target, found, size, InlineWorker()).chunks())
        self.assertEqual(sum(map(len, chunks)), size)
        return chunks

    def start(self, worker: IWorker | None = None, snapshot_worker: IWorker | None = None) -> WriteBehind:
        self.disk = WriteBehind(
            self.path,
            "ours",
            worker or InlineWorker(),
            snapshot_worker or InlineWorker(),
            self.clock,
            self.errors.append,
        )
        self.store = KeyValueStore(self.disk)
        self.store.load()
        self.disk.prepare()
        self.disk.start()
        return self.disk

    def on_disk(self, path: Path | None = None) -> tuple[int, Values]:
        """What the next start finds."""
        disk = WriteBehind(path or self.path, "ours", InlineWorker(), InlineWorker(), self.clock, self.errors.append)
        return index_and_records(disk.load())

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.parent.iterdir())


class RestoreTests(RestoreTestCase):
    def test_restored(self) -> None:
        """The store has the new data and their index, also after a start; what follows is applied to them."""
        self.start()
        self.successResultOf(self.store.restore(9, self.chunks))
        self.assertEqual((self.store.last_applied, self.store.revision), (9, 7))
        self.assertEqual([self.store.get(b"old-1"), self.store.get(b"new-1")], [None, b"w"])
        self.assertEqual(self.on_disk(), (9, NEW))
        apply_command(self.store, 10, encode(Set(b"k", b"v")))
        self.assertEqual(self.successResultOf(self.store.persist()), 10)
        self.successResultOf(self.disk.stop())
        self.assertEqual(self.names(), ["kv.sqlite"])
        self.assertEqual(self.on_disk(), (10, {**NEW, b"k": record_of(b"v", 8, None)}))
        self.assertEqual(self.errors, [])

    def test_queued_batches(self) -> None:
        """What was on its way into the file is written to the old one, or dropped (hazard S17)."""
        worker, snapshot_worker = HandWorker(), HandWorker()
        self.start(worker, snapshot_worker)
        worker.work()
        apply_command(self.store, 3, encode(Set(b"third", b"v")))
        self.clock.advance(FLUSH_SECONDS)
        apply_command(self.store, 4, encode(Set(b"fourth", b"v")))
        restored = self.store.restore(9, self.chunks)
        snapshot_worker.work()
        self.assertEqual(len(worker.waiting), 1)  # the flush that had begun
        self.assertEqual(self.store.get(b"third"), b"v")
        worker.work()
        self.successResultOf(restored)
        self.clock.advance(10 * FLUSH_SECONDS)
        worker.work()
        self.assertEqual(self.on_disk(), (9, NEW))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full_batches(self) -> None:
        """Batches that wait for one that is being written are written to neither file, and no later batch has what was
        not written before (hazard S17)."""
        for most in (1, 100):
            with self.subTest(most), mock.patch.object(write_behind, "FLUSH_KEYS", most):
                self.setUp()
                worker, snapshot_worker = HandWorker(), HandWorker()
                self.start(worker, snapshot_worker)
                worker.work()
                apply_command(self.store, 3, encode(Set(b"third", b"v")))
                self.clock.advance(FLUSH_SECONDS)
                apply_command(self.store, 4, encode(Set(b"fourth", b"v")))
                apply_command(self.store, 5, encode(Set(b"fifth", b"v")))
                restored = self.store.restore(9, self.chunks)
                snapshot_worker.work()
                worker.work()
                self.successResultOf(restored)
                self.assertEqual(self.successResultOf(self.store.persist()), 9)  # there is nothing to write
                apply_command(self.store, 10, encode(Set(b"k", b"v")))
                persisted = self.store.persist()
                worker.work()
                self.assertEqual(self.successResultOf(persisted), 10)
                stopped = self.disk.stop()
                snapshot_worker.work()
                worker.work()
                self.successResultOf(stopped)
                self.assertEqual(self.on_disk(), (10, {**NEW, b"k": record_of(b"v", 8, None)}))

    def test_no_snapshot_first(self) -> None:
        """A snapshot that is asked for, and not begun yet, is not made, so that a restore need not wait for it. One
        that is asked for later is."""
        snapshot_worker = HandWorker()
        self.start(InlineWorker(), snapshot_worker)
        made, restored = self.store.snapshot(), self.store.restore(9, self.chunks)
        later = self.store.snapshot()
        snapshot_worker.work_once()
        self.failureResultOf(made, SnapshotFailed)
        self.assertNotIn("kv.sqlite-snapshot-1", self.names())
        snapshot_worker.work()
        self.successResultOf(restored)
        self.assertEqual(self.successResultOf(later).index, 9)

    def test_on_workers(self) -> None:
        """All that blocks is done by workers, and reading the snapshot holds up no flush (hazard S11)."""
        worker, snapshot_worker = HandWorker(), HandWorker()
        self.start(worker, snapshot_worker)
        worker.work()
        chunks = iter(self.chunks)
        restored = self.store.restore(9, chunks)
        apply_command(self.store, 3, encode(Set(b"third", b"v")))
        self.clock.advance(FLUSH_SECONDS)
        worker.work()
        self.assertEqual(self.on_disk_now()[0], 3)
        self.assertEqual(len(list(chunks)), len(self.chunks))  # and nothing has read them
        snapshot_worker.waiting.clear()
        self.assertNoResult(restored)

    def on_disk_now(self) -> tuple[int, Values]:
        """What a start would find, without what it removes."""
        return index_and_records(DataFile(self.path, "ours").load())

    def test_not_usable(self) -> None:
        """One line each, and the old data go on (hazard S4): damaged, cut off, nothing at all, none of SQLite's, of
        another cluster, of another entry, and one that cannot be read."""
        content = b"".join(self.chunks)
        at = content.index(b"w" * 300)

        def fail() -> Iterator[bytes]:
            yield content[:5000]
            raise CorruptLog("the snapshot is damaged; it is sent again")

        for chunks, error, reason in (
            ([content[:at], b"x", content[at + 1 :]], CorruptLog, "does not match its checksum"),
            ([content[: len(content) // 2]], CorruptLog, "is damaged"),
            ([], CorruptLog, "is a snapshot of entry 0, and not of 9"),
            ([b"x" * 10_000], CorruptLog, "not a database"),
            (self.snapshot_of(9, NEW, "theirs"), WrongDirectory, 'data of the cluster "theirs"'),
            (self.snapshot_of(8, NEW), CorruptLog, "is a snapshot of entry 8, and not of 9"),
            (fail(), CorruptLog, "it is sent again"),
        ):
            with self.subTest(reason):
                self.start()
                apply_command(self.store, self.store.last_applied + 1, encode(Set(b"k", b"v")))
                failure = self.failureResultOf(self.store.restore(9, chunks), error)
                line = failure.getErrorMessage()
                self.assertIn(reason, line)
                self.assertNotIn("\n", line)
                self.assertEqual(self.store.get(b"old-1"), b"v")
                last = self.store.last_applied
                self.assertEqual(self.successResultOf(self.disk.persist()), last)
                self.successResultOf(self.disk.stop())
                self.assertEqual(self.names(), ["kv.sqlite"])
                self.assertEqual(self.on_disk(), (last, {**OLD, b"k": self.store.record(b"k")}))
        self.assertEqual(self.errors, [])

    def test_flipped_bits(self) -> None:
        """A bit that flips anywhere in a snapshot is found, or was of no use (hazards S4, S14)."""
        content = b"".join(self.chunks)
        chance = random.Random(1)
        self.start()
        refused = 0
        for _ in range(60):
            flipped = bytearray(content)
            byte, bit = chance.randrange(len(content)), chance.randrange(8)
            flipped[byte] ^= 1 << bit
            with self.subTest(byte=byte, bit=bit):
                restored = self.disk.restore(9, [bytes(flipped)])
                found: list[Any] = []
                restored.addBoth(found.append)
                if isinstance(found[0], Contents):
                    self.assertEqual(found[0].records, NEW)
                    continue
                refused += 1
                self.assertIsInstance(found[0].value, StorageError)
                self.assertNotIn("\n", found[0].getErrorMessage())
        self.assertGreater(refused, 20)

    def test_no_room(self) -> None:
        """A disk that is full while the snapshot is written aside says so, and the old data go on."""
        self.start()
        self.patch(os, "fsync", self.fail)
        line = self.failureResultOf(self.store.restore(9, self.chunks), StorageError).getErrorMessage()
        self.assertIn(f"cannot write {self.path}-restored: No space left on device; make room", line)
        self.assertEqual(self.store.get(b"old-1"), b"v")
        self.assertEqual(self.names(), ["kv.sqlite", "kv.sqlite-shm", "kv.sqlite-wal"])

    def test_room_is_left(self) -> None:
        """What the log and the data need of the disk is left to them: none is written aside without it, and what grows
        beyond it stops there (hazard S2)."""
        self.start()
        free = iter([RESERVE - 1, RESERVE + (3 << 20), RESERVE + (3 << 20)])
        self.patch(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
        taken: list[int] = []

        def chunks() -> Iterator[bytes]:
            for number in range(20):
                taken.append(number)
                yield bytes(1 << 20)

        for most in (0, 9):
            line = self.failureResultOf(self.store.restore(9, chunks()), StorageError).getErrorMessage()
            self.assertIn("have to stay free; the disk has ", line)
            self.assertEqual(len(taken), most)
            self.assertEqual(self.names(), ["kv.sqlite", "kv.sqlite-shm", "kv.sqlite-wal"])

    def fail(self, *_: object) -> Any:
        raise OSError(28, "No space left on device")

    def test_another_program(self) -> None:
        """Where another program has the old file open, its `-wal` cannot go, and SQLite would take that for the new
        file's: the node ends, and the old data are whole."""
        self.start()
        with sqlite3.connect(self.path) as other:
            other.execute("SELECT * FROM applied").fetchall()
            line = self.failureResultOf(self.store.restore(9, self.chunks), StorageError).getErrorMessage()
            self.assertIn(f"another program has {self.path} open: end it, and start the node again", line)
        other.close()
        self.assertEqual([str(error) for error in self.errors], [line])
        self.successResultOf(self.disk.stop())
        self.assertEqual(self.on_disk(), (2, OLD))

    def test_replacing_fails(self) -> None:
        """A disk that fails in the last steps ends the node (hazard S1)."""
        self.start()
        self.patch(Path, "replace", self.fail)
        self.failureResultOf(self.store.restore(9, self.chunks), WriteFailed)
        self.assertEqual(len(self.errors), 1)
        self.failureResultOf(self.disk.persist(), WriteFailed)
        self.failureResultOf(self.disk.restore(9, self.chunks), WriteFailed)
        self.successResultOf(self.disk.stop())
        self.assertEqual(self.on_disk(), (2, OLD))

    def test_after_stop(self) -> None:
        """Nothing is done any more."""
        self.start()
        self.successResultOf(self.disk.stop())
        for begin in (self.disk.persist, self.disk.snapshot, lambda: self.disk.restore(9, self.chunks)):
            self.failureResultOf(begin(), WorkerStopped)
        self.assertEqual(self.on_disk(), (2, OLD))


class CrashTests(RestoreTestCase):
    """Ended by a crash before or after any step, the next start finds the old data or the new, each with its index
    (hazard S5): where it is the old, the log's start says that they are behind (hazard S18)."""

    def setUp(self) -> None:
        super().setUp()
        self.crashed: list[tuple[str, Path]] = []

    def watch(self, owner: Any, name: str) -> None:
        """Keep what is on the disk before and after each call."""
        function: Callable[..., Any] = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.keep(f"before {name}")
            try:
                return function(*args, **kwargs)
            finally:
                self.keep(f"after {name}")

        self.patch(owner, name, watched)

    def keep(self, step: str) -> None:
        copy = Path(self.mktemp())
        shutil.copytree(self.path.parent, copy)
        self.crashed.append((step, copy))

    def test_any_step(self) -> None:
        self.start()
        apply_command(self.store, 3, encode(Set(b"third", b"v")))
        self.clock.advance(FLUSH_SECONDS)  # something is left in the `-wal`
        for owner, name in (
            (wal, "connect"),
            (wal, "checkpoint"),
            (wal, "close"),
            (wal, "sync_directory"),
            (os, "fsync"),
            (Path, "replace"),
        ):
            self.watch(owner, name)
        self.successResultOf(self.store.restore(9, [self.chunks[0][:5000], self.chunks[0][5000:], *self.chunks[1:]]))
        steps, crashed = list(zip(*self.crashed, strict=True)), self.crashed
        found = [self.on_disk(copy / "kv.sqlite") for _, copy in list(crashed)]
        replaced = steps[0].index("after replace")
        self.assertGreater(replaced, 10)
        self.assertEqual(found[:replaced], [(3, {**OLD, b"third": record_of(b"v", 2, None)})] * replaced)
        self.assertEqual(found[replaced:], [(9, NEW)] * (len(found) - replaced))

    def test_synced_before_it_is_renamed(self) -> None:
        """A power cut never leaves the new file with the old one's `-wal` (hazard S3): that is gone, and the directory
        synced, before the new file gets its name; and that is synced before anybody hears of it."""
        self.start()
        apply_command(self.store, 3, encode(Set(b"third", b"v")))
        self.clock.advance(FLUSH_SECONDS)
        self.watch(wal, "sync_directory")
        self.watch(Path, "replace")
        self.successResultOf(self.disk.restore(9, self.chunks))
        self.assertEqual(
            [step for step, _ in self.crashed],
            [
                f"{when} {step}"
                for step in ("sync_directory", "replace", "sync_directory")
                for when in ("before", "after")
            ],
        )
        for _, copy in self.crashed[:4]:
            self.assertFalse((copy / "kv.sqlite-wal").exists())
