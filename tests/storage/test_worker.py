"""The worker, on the real reactor: a thread cannot be advanced by hand."""

import sys
import threading
from collections.abc import Generator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from txraft.errors import WorkerStopped
from txraft.interfaces import IWorker
from txraft.storage.worker import ThreadWorker


class ThreadWorkerTests(TestCase):
    """One thread, first in first out."""

    def setUp(self) -> None:
        self.worker = ThreadWorker(reactor, "worker-under-test")  # type: ignore[arg-type]  # typed as a module

    def threads(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "worker-under-test"]

    def test_no_thread_before_the_first_job(self) -> Deferred[None]:
        """None starts before it is needed, since the process may fork; stopping a worker without one is nothing."""
        verifyObject(IWorker, self.worker)
        self.assertEqual(self.threads(), [])
        return self.worker.stop()

    @inlineCallbacks
    def test_results(self) -> Generator[Deferred[Any], Any, None]:
        """A job runs on the thread, its result arrives on the reactor's."""
        here, gate = threading.current_thread(), threading.Event()
        self.worker.run(gate.wait, 5)  # so that the callback is there before the result
        result = self.worker.run(lambda a, b: (a + b, threading.current_thread().name), 1, 2)
        result.addCallback(lambda value: (*value, threading.current_thread()))
        gate.set()
        self.assertEqual((yield result), (3, "worker-under-test", here))
        yield self.worker.stop()

    @inlineCallbacks
    def test_failure(self) -> Generator[Deferred[Any], Any, None]:
        """What a job raises fails its Deferred, and the thread goes on."""
        yield self.assertFailure(self.worker.run(int, "x"), ValueError)
        yield self.assertFailure(self.worker.run(sys.exit), SystemExit)
        self.assertEqual((yield self.worker.run(int, "7")), 7)
        yield self.worker.stop()

    @inlineCallbacks
    def test_order(self) -> Generator[Deferred[Any], Any, None]:
        """One after the other, in the order in which they came."""
        ran: list[int] = []
        yield gatherResults([self.worker.run(ran.append, number) for number in range(200)])
        self.assertEqual(ran, list(range(200)))
        (thread,) = self.threads()
        self.assertTrue(thread.daemon, "one that hangs in a call to the disk would keep the process from ending")
        yield self.worker.stop()

    @inlineCallbacks
    def test_stop(self) -> Generator[Deferred[Any], Any, None]:
        """What was handed in is finished, while the reactor runs on; then there is no thread, and no more work."""
        gate = threading.Event()
        results = [self.worker.run(gate.wait, 5), self.worker.run(int, "7")]
        stopped = self.worker.stop()
        late = self.worker.run(int, "8")
        self.failureResultOf(late, WorkerStopped)
        self.assertNoResult(stopped)
        gate.set()
        yield stopped
        self.assertEqual([self.successResultOf(result) for result in results], [True, 7])
        self.assertEqual(self.threads(), [])
