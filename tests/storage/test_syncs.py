"""What is synced, and in which order: a power cut may lose any name that was not (hazard S3)."""

import os
import sqlite3
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import snapshot
from tests.storage.disk import storage_in
from tests.storage.snapshot_contract import DATA, file_of
from tests.storage.worker import InlineWorker
from txraft import snapshot_writing
from txraft.storage.directory import make_directory
from txraft.storage.snapshot_files import SnapshotFiles

events: list[tuple[str, ...]] = []
"""What was done to which path."""


class RecordingConnection(sqlite3.Connection):
    """Tells of each commit, and whether it is synced."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == "COMMIT" or sql.startswith("UPDATE"):  # one statement is a transaction by itself
            ((_, _, path),) = super().execute("PRAGMA database_list")
            ((synchronous,),) = super().execute("PRAGMA synchronous")
            events.append(("sync" if synchronous == 2 else "write", path))
        return super().execute(sql, parameters)


class SyncTests(SynchronousTestCase):
    def setUp(self) -> None:
        events.clear()
        fsync, rename, connect = os.fsync, os.rename, sqlite3.connect

        def recording_fsync(descriptor: int) -> None:
            events.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
            fsync(descriptor)

        def recording_rename(old: Path, new: Path) -> None:
            events.append(("rename", str(old), str(new)))
            rename(old, new)

        self.patch(os, "fsync", recording_fsync)
        self.patch(os, "rename", recording_rename)
        self.patch(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=RecordingConnection, **kwargs))

    def test_parents(self) -> None:
        """Each directory that is made is a name in its parent, and the parent is synced; not those that were there."""
        top = Path(self.mktemp()).absolute()
        top.mkdir()
        make_directory(top / "data" / "0")
        self.assertEqual(set(events), {("sync", str(top)), ("sync", str(top / "data"))})
        events.clear()
        make_directory(top / "data" / "0")
        self.assertEqual(events, [])

    def test_first_start(self) -> None:
        """A file has its name once it is whole and synced, and the name is synced after that: a vote in a file that
        nobody finds is a forgotten vote (hazard E1). What says what was durable is there before."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        storage_in(directory).load()
        record, new, file = (
            str(directory / name) for name in ("raft.sqlite-durable", "raft.sqlite.new", "raft.sqlite")
        )
        self.assertEqual(
            events,
            [
                ("sync", record),
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
        events.clear()
        for start in range(0, len(DATA), 1000):
            self.successResultOf(files.received(file, start, DATA[start : start + 1000]))
        self.assertEqual(events, [("sync", receiving)] * 2)
        events.clear()
        self.successResultOf(files.finished(file))
        self.assertEqual(
            events, [("sync", receiving), ("rename", receiving, whole), ("sync", str(directory / "snapshots"))]
        )
        events.clear()
        self.successResultOf(files.discard(file.snapshot))
        self.assertEqual(events, [])

    def test_made_snapshot(self) -> None:
        """Synced as it grows, for the log's sake. It need not outlast anything."""
        self.patch(snapshot_writing, "SYNC_SIZE", 2000)
        directory = Path(self.mktemp()).absolute()
        files = SnapshotFiles(directory, InlineWorker())
        files.open()
        events.clear()
        self.successResultOf(files.make(snapshot(5), [DATA[:1000]] * 5))
        new, made = (str(directory / "snapshots" / name) for name in ("made.new", "made"))
        self.assertEqual(events, [("sync", new), ("sync", new), ("rename", new, made)])
