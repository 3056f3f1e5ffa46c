"""How much clients may have of one turn of the reactor, all together, so that the node's own heartbeats come between.

Most requests are short, and are served when they come. Two kinds wait for a turn instead (hazards N1 and N2):

- What takes long: to read a form takes up to 40 ms a MiB, and to hand an answer to its socket 3 ms. A few dozen of
  either, in one turn, would depose a leader.
- What a client has sent behind another request of its own.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall

LONG = 4 * 1024
"""What costs as much as to read so many bytes of a form may wait. 700 clients at once, as many as there are by default,
stay below 0.2 s with what does not."""
LONG_A_TURN = 1024 * 1024
"""So much of that in a turn, and in any case one."""
REQUESTS_A_TURN = 50
"""How many requests that came behind others are read in a turn: a few milliseconds."""
BYTES_A_TURN = 4 * 1024
"""How long they are, all but the last of them. A request may take 1 µs a byte, and a 404 is 30 bytes and 60 µs."""


class Pipeline(Protocol):
    """A client that has sent more than one request."""

    def take_turn(self) -> int:
        """Read the next of them. Gives its length, in bytes."""
        ...


class Turns:
    """Shares them out. `call_later` is the reactor's."""

    def __init__(self, call_later: Callable[..., IDelayedCall]) -> None:
        self._call_later = call_later
        self._long: deque[tuple[int, Callable[..., None], tuple[Any, ...]]] = deque()
        self._spent = 0
        """Of LONG_A_TURN, in this turn."""
        self._pipelines: deque[Pipeline] = deque()
        """The one that has just had a turn goes to the end."""
        self._next: IDelayedCall | None = None

    def run(self, cost: int, job: Callable[..., None], *arguments: Any) -> None:
        """Do a job, now or in its turn. `cost` is how many bytes of a form could be read meanwhile."""
        if cost <= LONG:
            job(*arguments)
            return
        if self._long or not self._has_room(cost):
            self._long.append((cost, job, arguments))
        else:
            self._spent += cost
            job(*arguments)
        self._come_again()

    def wait(self, pipeline: Pipeline) -> None:
        """Let a client read its next request when others, and the reactor, have had their turns."""
        self._pipelines.append(pipeline)
        self._come_again()

    def _has_room(self, cost: int) -> bool:
        return not self._spent or self._spent + cost <= LONG_A_TURN

    def _come_again(self) -> None:
        if self._next is None:
            self._next = self._call_later(0, self._give)

    def _give(self) -> None:
        """A turn has come."""
        self._next = None
        self._spent = 0
        while self._long and self._has_room(self._long[0][0]):
            cost, job, arguments = self._long.popleft()
            self._spent += cost
            job(*arguments)
        length = 0
        for _ in range(min(REQUESTS_A_TURN, len(self._pipelines))):
            length += self._pipelines.popleft().take_turn()
            if length >= BYTES_A_TURN:
                break
        if self._long or self._spent or self._pipelines:
            self._come_again()
