"""A snapshot is installed in steps, and the process is killed, or the power cut, between any two of them."""

import os
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import compaction, entries, entry, install, save_of, snapshot
from tests.storage.disk import storage_in
from tests.storage.names import Names, watch
from tests.storage.snapshot_contract import DATA, file_of
from tests.storage.steps import is_killed
from tests.storage.worker import InlineWorker
from tests.test_flips import done
from txraft.interfaces import Stored
from txraft.storage.snapshot_files import SnapshotFiles
from txraft.testing.quick_disk import quick_directory
from txraft.wal import sync_directory


class Machine:
    """A state machine that is a file: where it is, and the data."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "machine"

    @property
    def state(self) -> tuple[int, bytes]:
        index, _, data = self.path.read_bytes().partition(b"\n")
        return int(index), data

    def restore(self, index: int, chunks: Iterable[bytes]) -> None:
        new = self.path.with_name("machine.new")
        with new.open("wb", buffering=0) as file:
            os.write(file.fileno(), b"%d\n" % index + b"".join(chunks))
            os.fsync(file.fileno())
        new.rename(self.path)
        sync_directory(self.path.parent)


class KilledTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        storage = storage_in(self.directory)
        storage.load()
        done(storage.save([save_of(*entries(1, 12))]))
        done(storage.save([compaction(3)]))
        done(storage.close())
        Machine(self.directory).restore(5, [b"old"])

    def install(self) -> None:
        """As the driver of a node does it."""
        storage = storage_in(self.directory)
        storage.load()
        files = SnapshotFiles(self.directory, InlineWorker())
        files.open()
        file = file_of(snapshot(9))
        done(files.offered(file))
        for start in range(0, len(DATA), 2000):
            done(files.received(file, start, DATA[start : start + 2000]))
        done(files.finished(file))
        done(storage.save([install(file.snapshot, *entries(10, 12)), save_of(entry(13))]))
        Machine(self.directory).restore(9, files.chunks(file.snapshot))
        done(files.discard(file.snapshot))
        done(storage.close())

    def start(self) -> tuple[Stored, tuple[int, bytes]]:
        """As the driver of a node does it. What there is then."""
        storage = storage_in(self.directory)
        stored = storage.load()
        files, machine = SnapshotFiles(self.directory, InlineWorker()), Machine(self.directory)
        received = files.open()
        if stored.log_start and machine.state[0] < stored.log_start.index:
            self.assertIn(stored.log_start, received)
            machine.restore(stored.log_start.index, files.chunks(stored.log_start))
        for each in received:
            done(files.discard(each))
        self.assertEqual(list((self.directory / "snapshots").iterdir()), [])
        done(storage.close())
        return stored, machine.state

    def test_killed(self) -> None:
        """hazard S10: log and data are those before, or those after; nothing is left over, and the start is never one
        with a hole (hazard S18)."""
        found = []
        for steps in count():
            killed = is_killed(self, steps, self.install)
            stored, state = self.start()
            self.assertEqual(stored.log_start, snapshot(9) if state[0] == 9 else snapshot(3))
            self.assertEqual(stored.entries, entries(10, 13) if state[0] == 9 else entries(4, 12))
            self.assertEqual(state, (9, DATA) if state[0] == 9 else (5, b"old"))
            found.append(state[0])
            if not killed:
                break
            self.setUp()
        self.assertEqual(found, sorted(found))
        self.assertGreater(min(found.count(5), found.count(9)), 5)


class PowerTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = quick_directory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name) / "node"
        self.random = Random(1)
        self.files = SnapshotFiles(self.directory, InlineWorker())
        self.files.open()
        self.disk = Names(self.directory / "snapshots", self.random)
        self.finished = False
        self.images = count()
        self.found: list[bool] = []
        watch(self, self.disk, self.look)

    def look(self) -> None:
        """Start on what some cuts leave."""
        for _ in range(5):
            directory = self.directory.parent / str(next(self.images))
            (directory / "snapshots").mkdir(parents=True)
            for name, content in self.disk.image().items():
                (directory / "snapshots" / name).write_bytes(content)
            whole = [each.name for each in (directory / "snapshots").glob("received-*")]
            self.found.append(bool(whole))
            self.assertTrue(whole or not self.finished)
            for name in whole:
                content = (directory / "snapshots" / name).read_bytes()
                self.assertTrue(content.endswith(b"}\n" + DATA), "a half one has the name of a whole one")

    def test_cut(self) -> None:
        """hazards S3, S10: one that has the name of a whole one is whole, and one that was finished is there."""
        file = file_of(snapshot(9))
        for start in range(0, len(DATA), 2000):
            done(self.files.offered(file))
            done(self.files.received(file, start, DATA[start : start + 2000]))
        done(self.files.finished(file))
        self.finished = True
        self.look()
        done(self.files.make(snapshot(12), [DATA]))
        self.finished = False
        done(self.files.discard(file.snapshot))
        self.assertGreater(min(self.found.count(True), self.found.count(False)), 5)
