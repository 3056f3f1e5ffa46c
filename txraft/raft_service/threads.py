"""A service belongs to the reactor's thread, as all of Twisted does: on others, two requests at a time would be two at
a time in the core, which then finds its log other than it left it."""

from threading import get_ident
from typing import Any

from twisted.python import threadable

from txraft.errors import WrongThread


def require_thread(reactor: Any) -> None:
    """Raises WrongThread where the reactor runs, and this is another thread than its own."""
    # The name is looked up each time: it is None until a reactor runs, which may be long after this is imported.
    if threadable.ioThread != get_ident() and getattr(reactor, "running", False):
        raise WrongThread(
            "a service is asked on the reactor's thread, and this is another: ask by `BlockingService.run`, or by"
            " `blockingCallFromThread` of twisted.internet.threads"
        )
