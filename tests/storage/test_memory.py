from twisted.trial.unittest import SynchronousTestCase

from tests.storage import contract
from tests.storage.contract import FOUNDERS, entry, save_of
from txraft.interfaces import IStorage
from txraft.storage.memory import MemoryDisk, MemoryStorage


class MemoryStorageTests(contract.StorageContract):
    """The twin, under the contract."""

    def new_disk(self) -> None:
        self.disk = MemoryDisk()

    def open(self) -> IStorage:
        return MemoryStorage(self.disk, FOUNDERS)


class DiskTests(SynchronousTestCase):
    """Where what is saved is kept."""

    def test_a_disk_of_its_own(self) -> None:
        """Storages that were given no disk do not share one."""
        first, second = MemoryStorage(), MemoryStorage()
        self.successResultOf(first.save([save_of(entry(1))]))
        self.assertEqual(second.load().entries, ())
        self.assertEqual(first.load().entries, (entry(1),))
