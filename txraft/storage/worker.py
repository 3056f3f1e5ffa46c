"""Where blocking calls run, so that the reactor never waits for a disk."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.errors import WorkerStopped
from txraft.interfaces import IWorker
from txraft.values import value_class


@value_class
class _Job:
    result: Deferred[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]


@implementer(IWorker)
class ThreadWorker:
    """One thread, first in first out. It starts at the first `run`, because no thread lives through a fork.

    It is a daemon thread: a call that hangs on a dead disk does not keep a process that gave up waiting from ending.
    """

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._stopping = False
        self._ended: Deferred[None] = Deferred()

    def run(self, function: Callable[..., Any], *args: Any) -> "Deferred[Any]":
        """Call `function(*args)` on the thread; fires on the reactor's with what it gives back or raises.

        Fails with WorkerStopped after `stop`."""
        if self._stopping:
            return fail(WorkerStopped(f"{self._name} has been stopped and takes no more work"))
        if self._thread is None:
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        job = _Job(Deferred(), function, args)
        self._jobs.put(job)
        return job.result

    def stop(self) -> "Deferred[None]":
        """Finish what was handed in and end the thread; fires when it has ended. To be called once."""
        self._stopping = True
        thread = self._thread
        if thread is None:
            return succeed(None)
        self._jobs.put(None)
        # The join waits for the last instruction of a thread that has done everything else.
        return self._ended.addCallback(lambda _: thread.join())

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                outcome = job.function(*job.args)
            except BaseException:
                self._reactor.callFromThread(job.result.errback, Failure())
            else:
                self._reactor.callFromThread(job.result.callback, outcome)
        self._reactor.callFromThread(self._ended.callback, None)
