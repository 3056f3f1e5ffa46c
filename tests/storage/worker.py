"""A worker without a thread."""

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
