"""The clock that tests run on."""

from collections.abc import Callable
from typing import Any, Final

from twisted.internet import task
from twisted.internet.interfaces import IDelayedCall

STARTS_AT: Final = 1e9
"""Seconds. At 0, `deadline - now` and `deadline + now` are the same, and a test would not see which one is meant."""


class Clock(task.Clock):
    """Twisted's, as strict as a reactor is."""

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = STARTS_AT

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> IDelayedCall:
        """As IReactorTime.callLater: `delay` is 0 or more, in seconds."""
        if delay < 0:
            raise AssertionError(f"{callable} is to be called in {delay:g} s, which is in the past")
        return super().callLater(delay, callable, *args, **kw)

    def turn(self) -> None:
        """One turn of a reactor: what is due runs, and what it wants to run at once waits for the next turn."""
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)
