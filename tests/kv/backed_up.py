"""Backups of small data, without a thread."""

from itertools import count
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from tests.kv.applying import delta
from tests.storage.worker import InlineWorker
from txraft.interfaces import IWorker
from txraft.kv.backup import Origin
from txraft.kv.backups import Backups
from txraft.kv.data_file import DataFile
from txraft.kv.data_snapshot import DataSnapshot
from txraft.kv.records import record_of

ORIGIN = Origin(1, 7, '[{"id": 1, "address": "a:1", "kvaddr": "a:2", "voter": true}]', "2026-11-26T12:00:00", "0.1.0")
INDEX = 5


def data_file(path: Path, size: int = 10, cluster_id: str = "ours") -> None:
    """What entry INDEX left, with a value of `size` bytes."""
    file = DataFile(path, cluster_id)
    file.load()
    file.prepare()
    file.open()
    file.write(delta(INDEX, {b"k": record_of(bytes(size), 2, None)}))
    file.close()


class Snapshots:
    """Makes them in `directory`, where the data's file is too."""

    def __init__(self, directory: Path, size: int = 10) -> None:
        self.directory = directory
        self.path = directory / "kv.sqlite"
        self.path.touch()
        Path(f"{self.path}-wal").touch()
        self.size = size
        self.failure: Exception | None = None
        self.worker: IWorker = InlineWorker()
        self._numbers = count(1)

    def make(self) -> "Deferred[DataSnapshot]":
        """One more."""
        if self.failure is not None:
            raise self.failure
        path = self.directory / f"snapshot-{next(self._numbers)}"
        data_file(path, self.size)
        return succeed(DataSnapshot(path, INDEX, path.stat().st_size, self.worker))

    def names(self) -> set[str]:
        """Of those that are there."""
        return {path.name for path in self.directory.glob("snapshot-*")}


def backups_of(snapshots: Snapshots, clock: IReactorTime, worker: IWorker | None = None) -> Backups:
    """Of node 1, in term 7."""
    return Backups(snapshots.path, snapshots.make, lambda: ORIGIN, worker or InlineWorker(), clock)
