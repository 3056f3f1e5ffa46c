"""What is synced, and in which order: a power cut may lose any name that was not (hazard S3)."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import snapshot
from tests.storage.disk import storage_in
from tests.storage.recording import record
from tests.storage.snapshot_contract import DATA, file_of
from tests.storage.worker import InlineWorker
from txraft import snapshot_writing
from txraft.storage.directory import make_directory
from txraft.storage.snapshot_files import SnapshotFiles


class SyncTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events = record(self)

    def test_parents(self) -> None:
        """Each directory that is made is a name in its parent, and the parent is synced; not those that were there."""
        top = Path(self.mktemp()).absolute()
        top.mkdir()
        make_directory(top / "data" / "0")
        self.assertEqual(set(self.events), {("sync", str(top)), ("sync", str(top / "data"))})
        self.events.clear()
        make_directory(top / "data" / "0")
        self.assertEqual(self.events, [])

    def test_first_start(self) -> None:
        """A file has its name once it is whole and synced, and the name is synced after that: a vote in a file that
        nobody finds is a forgotten vote (hazard E1). What says what was durable is there before."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        storage = storage_in(directory)
        storage.load()
        storage.count_start()
        durable, new, file = (
            str(directory / name) for name in ("raft.sqlite-durable", "raft.sqlite.new", "raft.sqlite")
        )
        self.assertEqual(
            self.events,
            [
                ("sync", durable),
                ("sync", str(directory)),
                ("sync", new),
                ("rename", new, file),
                ("sync", str(directory)),
                ("sync", file),  # the start is counted (hazard S6)
            ],
        )

    def test_received_snapshot(self) -> None:
        """Synced every few MiB, so that the log never waits for much (hazard S11); whole before it has its name, and
        the name is synced before anybody is told (hazard S10)."""
        self.patch(snapshot_writing, "SYNC_SIZE", 2000)
        directory = Path(self.mktemp()).absolute()
        files = SnapshotFiles(directory, InlineWorker())
        files.open()
        receiving, whole = (str(directory / "snapshots" / name) for name in ("receiving", "received-5-1"))
        file = file_of(snapshot(5))
        self.successResultOf(files.offered(file))
        self.events.clear()
        for start in range(0, len(DATA), 1000):
            self.successResultOf(files.received(file, start, DATA[start : start + 1000]))
        self.assertEqual(self.events, [("sync", receiving)] * 2)
        self.events.clear()
        self.successResultOf(files.finished(file))
        self.assertEqual(
            self.events, [("sync", receiving), ("rename", receiving, whole), ("sync", str(directory / "snapshots"))]
        )
        self.events.clear()
        self.successResultOf(files.discard(file.snapshot))
        self.assertEqual(self.events, [("unlink", whole)])

    def test_made_snapshot(self) -> None:
        """Synced as it grows, for the log's sake. It need not outlast anything."""
        self.patch(snapshot_writing, "SYNC_SIZE", 2000)
        directory = Path(self.mktemp()).absolute()
        files = SnapshotFiles(directory, InlineWorker())
        files.open()
        self.events.clear()
        self.successResultOf(files.make(snapshot(5), [DATA[:1000]] * 5))
        new, made = (str(directory / "snapshots" / name) for name in ("made.new", "made"))
        self.assertEqual(self.events, [("sync", new), ("sync", new), ("rename", new, made)])
