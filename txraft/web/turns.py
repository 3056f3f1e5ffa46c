"""How much clients may have of the reactor's time, all together, so that the node's own heartbeats come between.

Most requests are short, and are served when they come. Two kinds wait for a turn instead (hazards N1 and N2):

- `LongJobs`: to read a form takes up to 40 ms a MiB, and to hand an answer to its socket 3 ms. A few dozen of either at
  once would depose a leader.
- `Pipelines`: what a client has sent behind another request of its own.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

LONG = 4 * 1024
"""What costs as much as to read so many bytes of a form may wait. 700 clients at once, as many as there are by default,
stay below 0.2 s with what does not."""
AT_ONCE = 1024 * 1024
"""So much of that without a pause, and in any case one."""
REQUESTS_A_TURN = 50
"""How many requests that came behind others are read in a turn: a few milliseconds."""
BYTES_A_TURN = 4 * 1024
"""How long they are, all but the last of them. A request may take 1 µs a byte, and a 404 is 30 bytes and 60 µs."""


class Pipeline(Protocol):
    """A client that has sent more than one request."""

    def take_turn(self) -> int:
        """Read the next of them. Gives its length, in bytes."""
        ...


class LongJobs:
    """Does some of them at once, then pauses for as long as these took. What the node has to do is several steps, of a
    turn of the reactor each: with no more than a turn between two jobs, a heartbeat would wait for all of them."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: deque[tuple[int, Callable[..., None], tuple[Any, ...]]] = deque()
        self._spent = 0
        """Of AT_ONCE, since the last pause."""
        self._took = 0.0
        """Seconds, likewise."""
        self._pause: IDelayedCall | None = None

    def run(self, cost: int, job: Callable[..., None], *arguments: Any) -> None:
        """Do a job, now or later. `cost` is how many bytes of a form could be read meanwhile."""
        if cost <= LONG:
            job(*arguments)
        elif self._waiting or not self._has_room(cost):
            self._waiting.append((cost, job, arguments))
        else:
            self._do(cost, job, arguments)

    def stop(self) -> None:
        """Do nothing any more: nobody is left whom it is for."""
        if self._pause is not None:
            self._pause.cancel()

    def _has_room(self, cost: int) -> bool:
        return not self._spent or self._spent + cost <= AT_ONCE

    def _do(self, cost: int, job: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        began = self._reactor.seconds()
        self._spent += cost
        if self._pause is None:
            self._pause = self._reactor.callLater(0, self._rest)
        job(*arguments)
        self._took += self._reactor.seconds() - began

    def _rest(self) -> None:
        """This turn is over."""
        self._pause = self._reactor.callLater(self._took, self._go_on)

    def _go_on(self) -> None:
        """The pause is over."""
        self._pause = None
        self._spent, self._took = 0, 0.0
        while self._waiting and self._has_room(self._waiting[0][0]):
            self._do(*self._waiting.popleft())


class Pipelines:
    """Gives each client that has sent more than one request its turn. `call_later` is the reactor's."""

    def __init__(self, call_later: Callable[..., IDelayedCall]) -> None:
        self._call_later = call_later
        self._waiting: deque[Pipeline] = deque()
        """The one that has just had a turn goes to the end."""
        self._turn: IDelayedCall | None = None

    def wait(self, pipeline: Pipeline) -> None:
        """Let a client read its next request when others, and the reactor, have had their turns."""
        self._waiting.append(pipeline)
        if self._turn is None:
            self._turn = self._call_later(0, self._give)

    def stop(self) -> None:
        """Give none any more: all clients are gone."""
        if self._turn is not None:
            self._turn.cancel()

    def _give(self) -> None:
        """Let some of them read a request each."""
        self._turn = None
        length = 0
        for _ in range(min(REQUESTS_A_TURN, len(self._waiting))):
            length += self._waiting.popleft().take_turn()
            if length >= BYTES_A_TURN:
                break
        if self._waiting and self._turn is None:
            self._turn = self._call_later(0, self._give)
