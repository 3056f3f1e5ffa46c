"""Work off the reactor: what a thread does takes time, and a crash comes before it, after it, or instead of it. What
would block a thread must not be done elsewhere."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from txraft.interfaces import IWorker
from txraft.testing.disk import Disk
from txraft.testing.schedule import Process
from txraft.testing.violation import Violation


@define(eq=False)
class _Job:
    work: Callable[[], Any]
    done: "Deferred[Any]" = field(factory=Deferred)


@implementer(IWorker)
@define(eq=False)
class SimulatedWorker:
    """The `IWorker` of one process. What it does goes to a disk and takes its time. A job is atomic: of what is under
    way when the process dies, all is done or nothing."""

    disk: Disk
    process: Process
    may_act: Callable[[], bool]
    """Whether the process still lives, now that the thread begins with something."""
    _jobs: deque[_Job] = field(init=False, factory=deque)

    def run(self, function: Callable[..., Any], *args: Any) -> "Deferred[Any]":
        """As IWorker. What gives back a Deferred must have fired that."""
        job = _Job(partial(function, *args))
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._begin()
        return job.done

    def stop(self) -> "Deferred[None]":
        """As IWorker."""
        return self.run(lambda: None)

    def _begin(self) -> None:
        if self.may_act():
            self.disk.at_work.append(self)
            delay = self.disk.random.uniform(*max(self.disk.delay, self.disk.work_delay))
            self.process.schedule.after(delay, self.disk.finish, partial(self.process.enter, self._end))

    def _end(self) -> None:
        self.process.schedule.steps += 1
        self.disk.at_work.remove(self)
        job = self._jobs[0]
        result = self._do(job)
        self._jobs.popleft()
        if self._jobs:
            self._begin()
        result.chainDeferred(job.done)

    def die(self) -> None:
        """The process stops in the middle of it. Nobody is told."""
        if self.disk.random.random() < 0.5:
            self._do(self._jobs[0]).addErrback(lambda _: None)
        self._jobs.clear()

    def _do(self, job: _Job) -> "Deferred[Any]":
        self.process.at_work = True
        try:
            return maybeDeferred(job.work)
        finally:
            self.process.at_work = False


def read_at_work(
    process: Process, on_violation: Callable[[Violation], None], chunks: Iterable[bytes]
) -> Iterator[bytes]:
    """`chunks`, which are many and on a disk: where the reactor's thread reads them, heartbeats wait (hazard S11)."""
    for chunk in chunks:
        if not process.at_work:
            on_violation(Violation("Reactor", "the data of a snapshot are read on the reactor's thread"))
        yield chunk
