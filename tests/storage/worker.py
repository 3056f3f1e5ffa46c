"""Workers without a thread."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from txraft.interfaces import IWorker


@implementer(IWorker)
class InlineWorker:
    """Runs everything at once, on the caller's thread; every Deferred has already fired."""

    def run(self, function: Callable[..., Any], *args: Any) -> "Deferred[Any]":
        """As IWorker."""
        return execute(function, *args)

    def stop(self) -> "Deferred[None]":
        """As IWorker."""
        return succeed(None)


@implementer(IWorker)
class HandWorker:
    """Runs what it was handed when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def run(self, function: Callable[..., Any], *args: Any) -> "Deferred[Any]":
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, function, args))
        return done

    def work(self) -> None:
        """Run everything, and what comes of it."""
        while self.waiting:
            self.work_once()

    def work_once(self) -> None:
        """Run what has waited longest, and what comes of it."""
        done, function, args = self.waiting.pop(0)
        execute(function, *args).chainDeferred(done)

    def stop(self) -> "Deferred[None]":
        return succeed(None)
