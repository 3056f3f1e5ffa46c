from tests.storage import snapshot_contract
from txraft.interfaces import ISnapshotFiles
from txraft.storage.memory_snapshots import MemorySnapshotDisk, MemorySnapshotFiles


class MemorySnapshotFilesTests(snapshot_contract.SnapshotContract):
    """The twin, under the contract."""

    def new_disk(self) -> None:
        self.disk = MemorySnapshotDisk()

    def open(self) -> ISnapshotFiles:
        return MemorySnapshotFiles(self.disk)
