"""Waiting for what can only be seen by looking."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

T = TypeVar("T")

PAUSE = 0.03
"""Seconds between two looks."""


async def until(reactor: IReactorTime, what: str, look: Callable[[], Awaitable[T | None]], timeout: float = 120.0) -> T:
    """Look again and again until there is something to see. Fails with AssertionError after `timeout` seconds, which
    are many: they are for what never happens, and not for what is slow."""
    deadline = reactor.seconds() + timeout
    while True:
        seen = await look()
        if seen is not None:
            return seen
        assert reactor.seconds() < deadline, f"waited {timeout:g} s in vain: {what}"
        await deferLater(reactor, PAUSE)
