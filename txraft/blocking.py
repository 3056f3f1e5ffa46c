"""A service in a program that blocks, and runs no reactor: a Flask or Django application, a script, a notebook.

    from twisted.internet import reactor

    counter = BlockingService(reactor, lambda reactor: ObjectService(reactor, MEMBERS, 0, "data", Counter))
    counter.start()
    counter.run(lambda service: service.call(Counter.add, "apples", 1))     # on any thread; gives the result, or raises

The reactor runs in a thread of its own, the same for all services of the process, from the first `start` on. It is a
daemon thread, and services that still run when the interpreter ends are stopped then. Threads do not live through a
fork: a server that forks its workers (gunicorn, uwsgi) starts a service in each of them, and not before, and each of
them is a member with a directory of its own. That is seldom what one wants: one process that is a member, and workers
that ask it, over HTTP say, is simpler.
"""

import atexit
import os
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from queue import Queue
from threading import Event, Lock, Thread, get_ident
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, overload

from twisted.application import service
from twisted.application.service import IService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRestartable
from twisted.internet.interfaces import IReactorCore
from twisted.internet.threads import blockingCallFromThread
from twisted.python import threadable
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread

from txraft.errors import OutcomeUnknown, SettingsError, StartedBefore, WrongThread

Service = TypeVar("Service", bound=service.Service)
T = TypeVar("T")

_STARTING: Final = Lock()
"""Of the reactor's thread."""
_STOPPED: Final = "the reactor of this process was stopped, and none runs twice: start another process"
_LEFT: Final = Event()
"""The reactor's thread is one of the process that forked this one."""


def _forked() -> None:
    if threadable.ioThread not in (None, get_ident()):
        _LEFT.set()


os.register_at_fork(after_in_child=_forked)


class BlockingService(AbstractContextManager["BlockingService[Service]"], Generic[Service]):
    """Asks a service, and waits for the answer."""

    def __init__(self, reactor: Any, make: Callable[[Any], Service]) -> None:
        """`make` makes the service, with the reactor, where this is started. In a `with` statement it is started, and
        stopped in the end. Raises SettingsError for anything else."""
        if not IReactorCore.providedBy(reactor):
            raise SettingsError("reactor: is Twisted's reactor, of `from twisted.internet import reactor`")
        if not callable(make):
            what = f"not a {type(make).__name__} that was made before"
            raise SettingsError(f"make: is a function that makes the service, `lambda reactor: ...`, {what}")
        self._reactor: Any = reactor
        self._make = make
        self._service: Service | None = None
        self._one_at_a_time = Lock()
        """Of `start` and `stop`, whichever threads call them."""
        self._waiting: set[Queue[Any]] = set()
        """Of those who wait for an answer."""

    def start(self) -> None:
        """Start it, and the reactor where that does not run. Raises what making and starting it raise, SettingsError
        where it is no service, and StartedBefore where it runs."""
        self._require_other_thread()
        with self._one_at_a_time:
            if self._service is not None:
                raise StartedBefore("this service runs: stop it first, or make another one")
            _run_in_thread(self._reactor)
            service = self._make(self._reactor)
            if not IService.providedBy(service):
                raise SettingsError(f"make: has to return a service, not a {type(service).__name__}")
            blockingCallFromThread(self._reactor, _before_its_end, self._reactor, self._ended)
            try:
                blockingCallFromThread(self._reactor, service.startService)
            except BaseException:
                blockingCallFromThread(self._reactor, service.stopService)
                raise
            self._service = service
            atexit.register(self.stop)

    @overload
    def run(self, ask: "Callable[[Service], Deferred[T]]") -> T: ...

    @overload
    def run(self, ask: "Callable[[Service], Coroutine[Deferred[Any], Any, T]]") -> T: ...

    @overload
    def run(self, ask: Callable[[Service], T]) -> T: ...

    def run(self, ask: Callable[[Service], Any]) -> Any:
        """What `ask` gives of the service, when it is there: `ask`, which may be an async function, is called on the
        reactor's thread, and this waits. Raises what that fails with, and OutcomeUnknown where somebody stops the
        reactor meanwhile. How long it takes the service's own time limits say."""
        service = self._require_started()
        return self._wait(ask, service)

    def stop(self) -> None:
        """Stop it, and wait until it has stopped. Where it does not run, or the reactor has ended, nothing is done."""
        if _LEFT.is_set() or not self._reactor.running:
            return
        self._require_other_thread()
        with self._one_at_a_time:
            service, self._service = self._service, None
            if service is not None:
                atexit.unregister(self.stop)
                self._wait(lambda its: maybeDeferred(its.stopService), service)

    def _wait(self, ask: Callable[[Service], Any], service: Service) -> Any:
        """As `blockingCallFromThread`, which waits forever where the reactor ends."""
        answer: Queue[Any] = Queue()
        self._waiting.add(answer)
        try:
            self._reactor.callFromThread(lambda: maybeDeferred(ask, service).addBoth(answer.put))
            if not self._reactor.running:  # it may have ended before it could see who waits
                self._ended()
            result = answer.get()
        finally:
            self._waiting.discard(answer)
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def _ended(self) -> None:
        for answer in list(self._waiting):
            answer.put(Failure(OutcomeUnknown(f"this may be done, or not: {_STOPPED}")))

    def __enter__(self) -> "BlockingService[Service]":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _require_started(self) -> Service:
        self._require_other_thread()
        if self._service is None:
            raise WrongThread("the service does not run: call start() first")
        if not self._reactor.running:
            raise WrongThread(_STOPPED)
        return self._service

    def _require_other_thread(self) -> None:
        if not self._reactor.running:
            return
        if _LEFT.is_set():  # first, since a thread here may be told by the same number as the reactor's there
            raise WrongThread("the reactor ran before this process was forked: fork first, and start a service then")
        if isInIOThread():
            raise WrongThread("this is the reactor's own thread, which would wait for itself: ask the service directly")


def _before_its_end(reactor: Any, function: Callable[[], None]) -> None:
    """Have it called when the reactor has stopped: nothing is answered from then on."""
    reactor.addSystemEventTrigger("after", "shutdown", function)


def _run_in_thread(reactor: Any) -> None:
    """Run the reactor, unless it runs. When this returns, it does. Raises WrongThread where it has ended."""

    def run() -> None:
        try:
            reactor.run(False)
        except ReactorNotRestartable:
            decided.set()

    with _STARTING:
        if not reactor.running:
            decided = Event()
            reactor.callWhenRunning(decided.set)
            Thread(target=run, name="txraft-reactor", daemon=True).start()
            decided.wait()
            if not reactor.running:
                raise WrongThread(_STOPPED)
