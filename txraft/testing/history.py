"""What clients did and what they were told: the evidence that `txraft.testing.linearizability` judges.

One operation is what one client asked for once. A request that was sent again under the same `Idempotency-Key` is still
that one operation, from the first time it was sent to the last answer. Reads with `consistency=stale` promise nothing
and do not belong here.

Values that no two writes share tell most: a read of one says which write it saw.
"""

import enum
import math
from collections.abc import Callable
from typing import Any, NewType, TypeAlias

from attrs import evolve, frozen

from txraft.kv import CompareAndSet, Delete, Result, Set


@frozen
class Get:
    """Read the value of `key`."""

    key: bytes


Change: TypeAlias = Set | Delete | CompareAndSet
Action: TypeAlias = Get | Change

Answer: TypeAlias = bytes | Result | None
"""Of a get, the value, None where there was none; of any other action, the result. A compare-and-set that changed
nothing may say MISMATCH or NOT_FOUND: the HTTP API answers both alike, so they are taken as the same."""


class Outcome(enum.Enum):
    """What the client knows of its operation."""

    OK = "ok"
    NOT_APPLIED = "not applied"
    """It had no effect and never will: a promise, which is held to."""
    UNKNOWN = "unknown"
    """It may have taken effect at any time since it was invoked, or may yet, or never."""


@frozen
class Operation:
    """One operation of one client on one key."""

    client: int
    action: Any
    """An `Action`; or of an object of one's own, a `Call` of `txraft.testing.sequential`."""
    invoked: float
    """Seconds. What is invoked in the same instant as another operation completes counts as concurrent with it."""
    completed: float | None = None
    """When the answer came; None where the outcome is unknown."""
    outcome: Outcome = Outcome.UNKNOWN
    answer: Any = None
    """Where the outcome is OK: an `Answer`, or what the call returned."""

    def __str__(self) -> str:
        match self.action:
            case Get():
                asked = "get"
            case Set(_, value):
                asked = f"set {_short(value)}"
            case Delete():
                asked = "delete"
            case CompareAndSet(_, old, value):
                asked = f"cas {_short(old)} to {_short(value)}"
            case _:
                asked = str(self.action)
        if self.outcome is not Outcome.OK:
            told = self.outcome.value
        elif isinstance(self.answer, Result):
            told = self.answer.name.lower().replace("_", " ")
        elif isinstance(self.answer, bytes):
            told = _short(self.answer)
        else:
            told = "none" if self.answer is None else repr(self.answer)
        return f"client {self.client}: {asked} -> {told}"


Token = NewType("Token", int)
"""Names an operation that was begun."""


class History:
    """Records operations as they begin and end; `now` gives the time in seconds.

    What was recorded in order stays in order: where the clock stands still, or goes back, an event is put the least
    bit after the one before it. An operation ends once; one that never does is unknown. Raises KeyError for a token
    whose operation has ended.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._latest = -math.inf
        self._operations: dict[Token, Operation] = {}
        self._under_way: set[Token] = set()

    def begin(self, client: int, action: Any) -> Token:
        """A client is about to send a request."""
        token = Token(len(self._operations))
        self._operations[token] = Operation(client, action, self._tick())
        self._under_way.add(token)
        return token

    def ok(self, token: Token, answer: Any) -> None:
        """It was answered."""
        self._end(token, Outcome.OK, self._tick(), answer)

    def not_applied(self, token: Token) -> None:
        """It was refused, with the promise that it has no effect."""
        self._end(token, Outcome.NOT_APPLIED, self._tick())

    def unknown(self, token: Token) -> None:
        """The client gave up, or was told that the outcome is unknown."""
        self._end(token, Outcome.UNKNOWN, None)

    def operations(self) -> tuple[Operation, ...]:
        """Everything so far, in the order in which it was invoked."""
        return tuple(self._operations.values())

    def _end(self, token: Token, outcome: Outcome, completed: float | None, answer: Any = None) -> None:
        self._under_way.remove(token)
        begun = self._operations[token]
        self._operations[token] = evolve(begun, outcome=outcome, completed=completed, answer=answer)

    def _tick(self) -> float:
        self._latest = max(self._now(), math.nextafter(self._latest, math.inf))
        return self._latest


def _short(value: bytes) -> str:
    return repr(value if len(value) <= 40 else value[:37] + b"...")[1:]
