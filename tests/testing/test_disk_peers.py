"""What a simulated node remembers of the others' directories."""

from random import Random

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txraft.errors import WriteFailed
from txraft.interfaces import Incarnation, IPeerMemory
from txraft.testing.disk import Disk
from txraft.testing.disk_peers import DiskPeers
from txraft.testing.schedule import Process, Schedule
from txraft.testing.work import SimulatedWorker

MET = Incarnation(b"original", 1, b"thestart")


class DiskPeersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schedule = Schedule()
        self.disk = Disk(Random(1), delay=(1.0, 1.0))
        self.failures: list[WriteFailed] = []

    def start(self) -> DiskPeers:
        """A process starts."""
        process = Process(self.schedule, Random(1), lambda: None)
        self.disk.count_start(Random(2))
        worker = SimulatedWorker(self.disk, process, lambda: process.alive)
        return DiskPeers(self.disk, worker, self.failures.append)

    def test_durable_in_time(self) -> None:
        """The process knows it at once, and the next one when it was written; what is there need not be written."""
        memory = self.start()
        verifyObject(IPeerMemory, memory)
        met = memory.meet(2, MET)
        self.assertEqual(memory.known(2), MET)
        self.assertIsNone(self.start().known(2))
        self.assertNoResult(met)
        self.schedule.run(1.1, lambda: False)
        self.successResultOf(met)
        again = self.start()
        self.assertEqual(again.known(2), MET)
        self.successResultOf(again.meet(2, MET))
        self.assertEqual((memory.own.starts, again.own.starts), (1, 3))
        self.assertEqual((again.drawn_at(1), again.drawn_at(3)), (memory.own.start, again.own.start))

    def test_full_disk(self) -> None:
        """Where it cannot be written, the process is to end."""
        self.disk.full = True
        met = self.start().meet(2, MET)
        self.schedule.run(1.1, lambda: False)
        self.failureResultOf(met, WriteFailed)
        self.assertEqual(len(self.failures), 1)
        self.assertEqual(self.disk.synced.peers, {})
