"""Snapshots of the data: what is in them, and what becomes of one that cannot be made."""

import resource
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from tests.descriptors import open_files
from tests.kv.applying import delta, index_and_records
from tests.storage.worker import HandWorker
from txraft import snapshot_writing, wal
from txraft.errors import SnapshotFailed, StorageError
from txraft.kv import WriteBehind, data_snapshot
from txraft.kv.data_file import DataFile
from txraft.kv.data_snapshot import SnapshotMaker


class SnapshotTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "kv.sqlite"
        self.path.parent.mkdir()
        self.clock = Clock()
        self.errors: list[StorageError] = []
        self.worker, self.snapshot_worker = HandWorker(), HandWorker()
        self.disk = WriteBehind(self.path, "ours", self.worker, self.snapshot_worker, self.clock, self.errors.append)
        self.disk.load()
        self.disk.prepare()
        self.disk.start()
        self.worker.work()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        stopped = self.disk.stop()
        self.work()
        self.successResultOf(stopped)
        self.assertEqual(self.errors, [])

    def work(self) -> None:
        while self.worker.waiting or self.snapshot_worker.waiting:
            self.worker.work()
            self.snapshot_worker.work()

    def names(self) -> set[str]:
        return {path.name for path in self.path.parent.iterdir()}

    def values_of(self, chunks: list[bytes]) -> tuple[int, dict[bytes, bytes]]:
        path = Path(self.mktemp())
        path.write_bytes(b"".join(chunks))
        return index_and_records(DataFile(path, "ours").load())

    def test_content(self) -> None:
        """Everything that came in before, with its index, in a file that is a database of its own; entries are in it
        whole (hazards S5, S17). When it is let go of, it is gone."""
        large = {b"%d" % number: bytes(1000) for number in range(1000)}
        self.disk.applied(1, 2, {b"k": b"old", **large})
        self.disk.applied(2, 3, {b"k": None, b"l": b"new"})
        made = self.disk.snapshot()
        self.work()
        snapshot = self.successResultOf(made)
        self.assertEqual(snapshot.index, 2)
        chunks = list(snapshot.chunks())
        self.assertGreater(len(chunks), 3)
        self.assertLessEqual({len(chunk) for chunk in chunks[:-1]}, {data_snapshot.CHUNK_SIZE})
        self.assertEqual(self.values_of(chunks), (2, {**large, b"l": b"new"}))
        self.assertIn("kv.sqlite-snapshot-1", self.names())
        closed = snapshot.close()
        self.work()
        self.successResultOf(closed)
        self.assertEqual(self.names(), {"kv.sqlite", "kv.sqlite-shm", "kv.sqlite-wal"})

    def test_two_at_a_time(self) -> None:
        """One for a backup and one for a peer: each has all that came in before it was asked for."""
        self.disk.applied(1, 2, {b"k": b"old"})
        first = self.disk.snapshot()
        self.disk.applied(2, 3, {b"k": b"new"})
        second = self.disk.snapshot()
        self.work()
        snapshots = [self.successResultOf(first), self.successResultOf(second)]
        self.assertEqual(len({snapshot.path for snapshot in snapshots}), 2)
        self.assertEqual(self.values_of(list(snapshots[1].chunks())), (2, {b"k": b"new"}))

    def test_is_not_synced(self) -> None:
        """SQLite would sync all of it at once, and a save of the log would wait (hazard S11)."""
        seen: list[tuple[str, int]] = []

        class Recording(sqlite3.Connection):
            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                ((synchronous,),) = super().execute("PRAGMA synchronous")
                seen.append((sql, synchronous))
                return super().execute(sql, parameters)

        self.patch(sqlite3, "connect", partial(sqlite3.connect, factory=Recording))
        SnapshotMaker(self.path).make(0)
        self.assertIn(("VACUUM INTO ?", 0), seen)

    def test_flushes_go_on(self) -> None:
        """What comes in meanwhile is written meanwhile, and not in the snapshot (hazard S11)."""
        self.disk.applied(1, 2, {b"k": b"v"})
        made = self.disk.snapshot()
        self.worker.work()
        self.assertEqual(len(self.snapshot_worker.waiting), 1)
        make = SnapshotMaker.make

        def slowly(maker: SnapshotMaker, interrupts: int) -> Any:
            result = make(maker, interrupts)
            self.disk.applied(2, 3, {b"k": b"w"})
            self.clock.advance(10)
            self.worker.work()
            self.assertEqual(DataFile(self.path, "ours").load().last_applied, 2)
            return result

        self.patch(SnapshotMaker, "make", slowly)
        made_again = self.disk.snapshot()
        self.work()
        self.assertEqual(self.values_of(list(self.successResultOf(made).chunks())), (1, {b"k": b"v"}))
        self.successResultOf(made_again)

    def test_made_durable_meanwhile(self) -> None:
        """While one is made, which may take minutes, what comes in is made durable all the same: the log can be cut."""
        self.disk.applied(1, 2, {b"k": b"v"})
        made = self.disk.snapshot()
        self.worker.work()
        self.disk.applied(2, 3, {b"k": b"w"})
        persisted = self.disk.persist()
        self.worker.work()
        self.assertEqual(self.successResultOf(persisted), 2)
        self.assertNoResult(made)
        self.work()
        self.successResultOf(made)

    def test_stopped_before_it_is_made(self) -> None:
        """A stop does not wait for one that is asked for and not begun, be it behind the disk or another snapshot; it
        does for the file to be let go of."""
        self.disk.applied(1, 2, {b"k": b"v"})
        persisted, made = self.disk.persist(), self.disk.snapshot()
        self.worker.work()
        self.successResultOf(persisted)
        stopped = self.disk.stop()
        self.worker.work()
        self.assertNoResult(stopped)
        self.work()
        self.successResultOf(stopped)
        self.failureResultOf(made, SnapshotFailed)
        self.assertEqual(self.names(), {"kv.sqlite"})

    def test_a_reader_that_fails(self) -> None:
        """A reader that failed in the middle, and that its error still refers to, keeps no room of the disk: the file
        is removed and closed."""
        self.disk.applied(1, 2, {b"k": bytes(1 << 20)})
        made = self.disk.snapshot()
        self.work()
        snapshot = self.successResultOf(made)
        chunks = snapshot.chunks()
        next(iter(chunks))
        closed = snapshot.close()
        self.work()
        self.successResultOf(closed)
        self.assertEqual([name for name in open_files(self.path.parent) if "-snapshot-" in name], [])

    def test_full_disk(self) -> None:
        """Where the disk has no room for one, or is full in the middle of it, there is none; all goes on."""
        self.patch(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, snapshot_writing.RESERVE))
        self.assert_fails("have to stay free; the disk has 33,554,432; make room on the disk")
        size = sum(Path(f"{self.path}{end}").stat().st_size for end in ("", "-wal"))
        self.patch(
            shutil,
            "disk_usage",
            lambda _: shutil._ntuple_diskusage(10**9, 10**9, snapshot_writing.RESERVE + 2 * size - 1),
        )
        line = self.assert_fails("; make room on the disk")
        self.assertIn(f": it takes {2 * size:,} bytes more", line)  # it is copied once more to be sent
        self.patch(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**9, 10**12))
        self.disk.applied(1, 2, {b"k": bytes(1 << 20)})
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        make = SnapshotMaker.make

        def make_in_little_room(maker: SnapshotMaker, interrupts: int) -> Any:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, hard))
            try:
                return make(maker, interrupts)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        with mock.patch.object(SnapshotMaker, "make", make_in_little_room):
            self.assert_fails("disk I/O error")
        made = self.disk.snapshot()
        self.work()
        self.assertEqual(self.successResultOf(made).index, 1)

    def assert_fails(self, reason: str) -> str:
        made = self.disk.snapshot()
        self.work()
        line = self.failureResultOf(made, SnapshotFailed).getErrorMessage()
        self.assertIn(f"cannot make a snapshot of {self.path}: ", line)
        self.assertTrue(line.endswith(reason), line)
        self.assertNotIn("\n", line)
        self.assertEqual(self.names(), {"kv.sqlite", "kv.sqlite-shm", "kv.sqlite-wal"})
        return line

    def test_interrupted(self) -> None:
        """A stop does not wait for one that is being made."""
        maker = SnapshotMaker(self.path)
        connect = sqlite3.connect

        def interrupt() -> int:
            maker.interrupt()
            return 0

        def interrupted(*args: Any, **arguments: Any) -> sqlite3.Connection:
            connection = connect(*args, **arguments)
            connection.set_progress_handler(interrupt, 1)
            return connection

        self.patch(sqlite3, "connect", interrupted)
        self.assertIn("interrupted", str(self.assertRaises(SnapshotFailed, maker.make, 0)))
        maker.interrupt()
        self.assertEqual(self.names(), {"kv.sqlite", "kv.sqlite-shm", "kv.sqlite-wal"})

    def test_leftovers(self) -> None:
        """What a crash left is removed by the next start, with what SQLite keeps beside it; nothing else is."""
        ours = {"kv.sqlite", "raft.sqlite", "kv.sqlite-wal", "kv.sqlite-shm"}
        left = {"kv.sqlite-snapshot-1", "kv.sqlite-snapshot-7-journal", "kv.sqlite-restored", "kv.sqlite-restored-wal"}
        for name in left | {"raft.sqlite"}:
            (self.path.parent / name).touch()
        data_snapshot.remove_leftovers(self.path)
        self.assertEqual(self.names(), ours)
        (self.path.parent / "kv.sqlite-restored").mkdir()
        line = str(self.assertRaises(StorageError, data_snapshot.remove_leftovers, self.path))
        self.assertIn(f"{self.path}-restored", line)
        (self.path.parent / "kv.sqlite-restored").rmdir()

    def test_removed_behind_its_back(self) -> None:
        """One that cannot be read says so; to let go of it is no error."""
        made = self.disk.snapshot()
        self.work()
        snapshot = self.successResultOf(made)
        closed = snapshot.close()
        self.work()
        self.successResultOf(closed)
        self.assertIn("cannot read", str(self.assertRaises(SnapshotFailed, list, snapshot.chunks())))
        closed = snapshot.close()
        self.work()
        self.successResultOf(closed)

    def test_the_wal_shrinks(self) -> None:
        """It grows while the file is read, and is cut back when it is begun again."""
        self.patch(wal, "CHECKPOINT_SIZE", 1 << 18)
        self.patch(wal, "KEPT_SIZE", 1 << 20)
        path = self.path.with_name("other.sqlite")
        file = DataFile(path, "ours")
        file.load()
        file.prepare()
        file.open()
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM applied").fetchall()
            for index in range(1, 40):
                file.write(delta(index, {b"%d" % index: bytes(1 << 16)}))
            self.assertGreater(path.with_name("other.sqlite-wal").stat().st_size, 2 << 20)
        for index in range(40, 50):
            file.write(delta(index, {b"%d" % index: bytes(1 << 16)}))
        self.assertLessEqual(path.with_name("other.sqlite-wal").stat().st_size, 1 << 20)
        file.close()
