"""The simulated worker: work takes time, comes in order, and is done by a crash or not."""

from collections.abc import Iterator
from random import Random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txraft.testing.disk import Disk
from txraft.testing.schedule import Process, Schedule
from txraft.testing.violation import Violation
from txraft.testing.work import SimulatedWorker, read_at_work


class WorkerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schedule = Schedule()
        self.disk = Disk(Random(1), delay=(1.0, 1.0))
        self.process = Process(self.schedule, Random(1), lambda: None)
        self.worker = SimulatedWorker(self.disk, self.process, lambda: self.process.alive)
        self.done: list[str] = []

    def work(self, name: str) -> "Deferred[str]":
        """A job that leaves its name."""

        def job() -> str:
            self.done.append(name)
            return name

        return self.worker.run(job)

    def run_until(self, time: float) -> None:
        self.schedule.run(time, lambda: False)

    def test_one_after_the_other(self) -> None:
        """Each takes its time, and is done at the end of it."""
        one, two = self.work("one"), self.work("two")
        self.run_until(0.9)
        self.assertEqual(self.done, [])
        self.run_until(1.1)
        self.assertEqual(self.successResultOf(one), "one")
        self.assertNoResult(two)
        self.run_until(2.1)
        self.assertEqual(self.successResultOf(two), "two")
        self.assertEqual(self.disk.at_work, [])

    def test_slow_work(self) -> None:
        """Work may be slower than saves are."""
        self.disk.work_delay = (3.0, 3.0)
        done = self.work("one")
        self.run_until(2.9)
        self.assertNoResult(done)
        self.run_until(3.1)
        self.successResultOf(done)

    def test_failure(self) -> None:
        """What a job raises, its Deferred fails with; the next one comes all the same."""
        failing, two = self.worker.run(int, "no"), self.work("two")
        self.run_until(2.1)
        self.failureResultOf(failing, ValueError)
        self.successResultOf(two)

    def test_crash(self) -> None:
        """Of what is under way all is done or nothing, by chance. What was to come is not, and nobody is told."""
        left = set()
        for seed in range(20):
            self.setUp()
            self.disk.random.seed(seed)
            one, two = self.work("one"), self.work("two")
            self.run_until(0.5)
            self.process.kill()
            self.disk.lose_power()
            self.run_until(9)
            self.assertNoResult(one)
            self.assertNoResult(two)
            left.add(tuple(self.done))
        self.assertEqual(left, {(), ("one",)})

    def test_dead_process(self) -> None:
        """What a dead process wants done never is."""
        self.process.kill()
        self.assertNoResult(self.work("one"))
        self.disk.lose_power()
        self.run_until(9)
        self.assertEqual(self.done, [])

    def test_hanging_disk(self) -> None:
        """Work waits for a disk that hangs, as saves do."""
        self.disk.hangs = True
        done = self.work("one")
        self.run_until(5)
        self.assertNoResult(done)
        self.disk.go_on()
        self.successResultOf(done)

    def test_where_a_snapshot_is_read(self) -> None:
        """In a job, also in one that a crash comes after; anywhere else heartbeats would wait (hazard S11)."""
        seen: list[Violation] = []

        def chunks() -> Iterator[bytes]:
            return read_at_work(self.process, seen.append, [b"one", b"two"])

        done = self.worker.run(list, chunks())
        self.run_until(1.1)
        self.assertEqual(self.successResultOf(done), [b"one", b"two"])
        self.worker.run(b"".join, chunks())
        self.disk.random.seed(1)
        self.disk.lose_power()
        self.assertEqual(seen, [])
        done.addCallback(lambda _: next(chunks()))
        self.assertEqual([each.rule for each in seen], ["Reactor"])
