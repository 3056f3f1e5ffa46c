"""The questions of a peer that wait for their answers: how many there may be, and for how long (hazard C9)."""

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime


@define(eq=False)
class Answering:
    """Answers that are still to come."""

    _clock: IReactorTime
    _most: int
    _patience: float
    """Seconds after which nobody waits for one any more."""
    _answers: dict[Deferred[Any], float] = field(init=False, factory=dict)
    """The oldest first, and when each was asked for."""
    _letting_go: IDelayedCall | None = field(init=False, default=None)
    """Set while there are any."""
    _none_left: Deferred[None] | None = field(init=False, default=None)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._answers)

    @property
    def is_full(self) -> bool:
        """Whether there may not be another one."""
        return len(self._answers) >= self._most

    def add(self, answer: Deferred[Any]) -> None:
        """Cancel this one when its time is over."""
        self._answers[answer] = self._clock.seconds()
        if self._letting_go is None:
            self._letting_go = self._clock.callLater(self._patience, self._let_go)

    def remove(self, answer: Deferred[Any]) -> None:
        """It has come."""
        self._answers.pop(answer, None)
        if not self._answers and self._none_left is not None:
            none_left, self._none_left = self._none_left, None
            none_left.callback(None)

    def none_left(self) -> Deferred[None]:
        """Fires when all have come. To be asked for once."""
        if not self._answers:
            return succeed(None)
        self._none_left = Deferred()
        return self._none_left

    def stop(self) -> None:
        """Cancel all: nobody waits for them."""
        if self._letting_go is not None:
            self._letting_go.cancel()
            self._letting_go = None
        for answer in tuple(self._answers):
            answer.cancel()

    def _let_go(self) -> None:
        """Cancel those whose time is over, and come again when that of the next one is."""
        self._letting_go = None
        for answer, asked_at in tuple(self._answers.items()):
            left = asked_at + self._patience - self._clock.seconds()
            if left > 0:
                self._letting_go = self._clock.callLater(left, self._let_go)
                break
            answer.cancel()
