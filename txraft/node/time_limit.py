"""How long each of many may take, by one timer for all of them.

The limit is the same for all, so they are over in the order in which they began: a queue. The one that is first in it
sets the timer, and where nobody is in it there is none.
"""

from collections.abc import Callable, Hashable
from itertools import takewhile
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T", bound=Hashable)


class TimeLimit(Generic[T]):
    """Watches what has begun and has not ended."""

    def __init__(self, seconds: float, clock: IReactorTime, too_late: Callable[[T], object]) -> None:
        """`too_late` is called with what has not ended `seconds` after it began. Then it is not watched any more."""
        self._seconds = seconds
        self._clock = clock
        self._too_late = too_late
        self._until: dict[T, float] = {}
        """A queue, for a dict keeps its order: what is at its end began last."""
        self._timer: IDelayedCall | None = None

    def begin(self, each: T) -> None:
        """Watch this one. It is not watched yet."""
        self._until[each] = self._clock.seconds() + self._seconds
        if self._timer is None:
            self._set_timer()

    def end(self, each: T) -> None:
        """It has ended. Nothing happens where it was too late already."""
        self._until.pop(each, None)
        if not self._until and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        first = next(iter(self._until.values()))
        self._timer = self._clock.callLater(max(0.0, first - self._clock.seconds()), self._fired)

    def _fired(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for each in list(takewhile(lambda each: self._until[each] <= now, self._until)):
            if self._until.pop(each, None) is not None:  # what was told before it may have ended it
                self._too_late(each)
        if self._until and self._timer is None:
            self._set_timer()
