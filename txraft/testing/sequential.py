"""Whether what clients saw of an object can be explained by an object that does one call after the other.

This is the search of Wing and Gong (1993) with the memory of Lowe (2017), as in `txraft.testing.search`, which knows a
register only and is short for that. Here a state is an object, copied before each call. A call of unknown outcome may
come at any time since it was invoked, or never; it is tried only where no known one goes on. The search gives up after
`STEP_LIMIT` calls of the model: nothing is proven then, and nothing said.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from copy import deepcopy
from typing import Any, Final

from attrs import define

from txraft.objects.encoding import CONVERTER, pack
from txraft.testing.history import Operation, Outcome

STEP_LIMIT: Final = 20_000


@define(eq=False, init=False)
class Call:
    """What a client calls next: `Call(Counter.add, "apples", 2)`, a command or a query. Arguments are positional."""

    method: Callable[..., Any]
    args: tuple[Any, ...]
    command: bytes | None = None
    """As the log has it; None where it is a query."""

    def __init__(self, method: Callable[..., Any], *args: Any, command: bytes | None = None) -> None:
        self.method, self.args, self.command = method, args, command

    def __str__(self) -> str:
        return f"{self.method.__name__}({', '.join(map(repr, self.args))})"

    def on(self, target: Any) -> Any:
        """What the method of that name of `target` returns, copied; or `RAISED`."""
        try:
            return deepcopy(getattr(target, self.method.__name__)(*self.args))
        except Exception:  # what it raises is its result
            return RAISED


RAISED: Final = ("raised",)
"""The answer of a call that raised, whatever it raised."""


def unexplained(operations: Sequence[Operation], model: Callable[[], Any], limit: int = STEP_LIMIT) -> Operation | None:
    """The first answer up to which no order of the calls explains the answers, judged by a `model` of an attrs class;
    None where all are explained, or the search was given up."""
    known = [each for each in operations if each.outcome is Outcome.OK]
    known.sort(key=lambda each: each.completed or 0.0)
    unknown = [each for each in operations if each.outcome is Outcome.UNKNOWN and each.action.command is not None]
    best, steps, seen = 0, 0, set[Hashable]()
    trail = [_steps(known, unknown, frozenset(), model())]
    while trail:
        step = next(trail[-1], None)
        if step is None:
            trail.pop()
            continue
        steps += 1
        done, state = step
        if steps > limit:
            return None
        first = next((number for number in range(len(known)) if number not in done), len(known))
        best = max(best, first)
        if first == len(known):
            return None
        position = (done, pack(CONVERTER.unstructure(state)))
        if position not in seen:
            seen.add(position)
            trail.append(_steps(known, unknown, done, state))
    return known[best] if best < len(known) else None


def _steps(
    known: Sequence[Operation], unknown: Sequence[Operation], done: frozenset[int], state: Any
) -> Iterator[tuple[frozenset[int], Any]]:
    """What may come next: what is done then, and the state. An unknown one has a number below 0."""
    left = [number for number in range(len(known)) if number not in done]
    if not left:
        return
    deadline = known[left[0]].completed or 0.0
    for number in left:
        each = known[number]
        if each.invoked <= deadline:
            after = deepcopy(state)
            if each.action.on(after) == each.answer:
                yield done | {number}, after
    for number, each in enumerate(unknown, -len(unknown)):
        if number not in done and each.invoked <= deadline:
            after = deepcopy(state)
            each.action.on(after)
            if after != state:
                yield done | {number}, after
