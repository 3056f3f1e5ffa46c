"""Whether what clients saw of an object can be explained by an object that does one call after the other.

This is the search of Wing and Gong (1993) with the memory of Lowe (2017), as in `txraft.testing.search`, which knows
registers only and is quick for that. Here a state is an object, copied before each call. A call of unknown outcome may
come at any time since it was invoked, or never; it is tried only where no known one goes on.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, Final

import attrs
from attrs import define, frozen

from txraft.errors import CommandFailed, in_a_line
from txraft.objects.commands import Command, is_command
from txraft.objects.copying import copied
from txraft.objects.encoding import pack, unpack
from txraft.objects.writing import fields_of, writer_of_field
from txraft.testing.counterexample import shrink
from txraft.testing.history import Operation, Outcome
from txraft.testing.linearizability import Verdict
from txraft.testing.search import Finding

STEP_LIMIT: Final = 50_000
"""Calls of the model that a search may try, some seconds. Most runs need no more than they have calls."""


@frozen(repr=False)
class Raised:
    """The answer of a call that raised."""

    line: str
    """The class and the text of what it raised, as a caller gets them."""

    def __repr__(self) -> str:
        return self.line


@define(eq=False, init=False)
class Call:
    """What a client calls next: `Call(Counter.add, "apples", more=2)`, a command or a query."""

    method: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __init__(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        self.method, self.args, self.kwargs = method, args, kwargs

    def __str__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.method.__name__}({', '.join(given)})"

    def on(self, target: Any) -> Any:
        """What a caller gets of the method of that name of `target`: what it returns, copied, or `Raised`."""
        try:
            return copied(self._returned_by(target))
        except Exception as error:  # what it raises is its answer
            return Raised(in_a_line(error))

    def _returned_by(self, target: Any) -> Any:
        args, kwargs = deepcopy((self.args, self.kwargs))  # `target` may keep and change them
        return getattr(target, self.method.__name__)(*args, **kwargs)


class CommandCall(Call):
    """A call of a command: its arguments and its answer are as they arrive. `data` is how it is proposed."""

    __slots__ = ("command", "data")

    def __init__(self, command: Command, call: Call) -> None:
        """Raises BadCommand where it is called with anything else than what it takes."""
        self.command, self.data = command, command.encode(call.args, call.kwargs)
        given = command.parameters.bind(*call.args, **call.kwargs)
        arrived = command.arguments(unpack(self.data)[2])
        given.arguments = {name: arrived[name] for name in given.arguments}
        super().__init__(call.method, *given.args, **given.kwargs)

    def on(self, target: Any) -> Any:
        """As Call."""
        try:
            return self.command.result_of(self.command.encode_result(self._returned_by(target)))
        except Exception as error:
            return Raised(str(CommandFailed.of(error)))


def in_full(value: Any) -> Any:
    """The same for values that are of the same classes and equal, as is all that is in them: 1 is not True."""
    kind = type(value)
    if kind in (list, tuple):
        return kind, tuple(map(in_full, value))
    if kind in (set, frozenset):
        return kind, frozenset(map(in_full, value))
    if isinstance(value, dict):
        return kind, {in_full(key): in_full(each) for key, each in value.items()}
    if attrs.has(kind):
        return kind, tuple(in_full(getattr(value, each.name)) for each in attrs.fields(kind) if each.eq)
    return kind, repr(value) if kind is float else value


def digest_of(kind: type) -> Callable[[Any], bytes]:
    """Makes bytes of an object of this attrs class: the same where its fields are. Raises TypeError where a field is
    annotated as what does not travel."""
    writers = {name: writer_of_field(kind, name, annotated) for name, annotated in fields_of(kind).items()}
    return lambda target: pack([write(getattr(target, name)) for name, write in writers.items()])


def check(operations: Iterable[Operation], model: Callable[[], Any], step_limit: int = STEP_LIMIT) -> Verdict:
    """Judge a history of `Call`s by what `model` makes: an object of an attrs class, as it is in the beginning. It has
    the methods that are called, and gives what each is to be answered with. Raises TypeError, as `digest_of`."""
    applied = [each for each in operations if each.outcome is not Outcome.NOT_APPLIED]
    finding, steps = _search(applied, model(), step_limit)
    if finding is not Finding.NOT_LINEARIZABLE:
        return Verdict(finding, steps)
    trial = partial(_search, state=model(), step_limit=2 * steps + 1_000)
    smallest = shrink(applied, lambda fewer: trial(fewer)[0] is Finding.NOT_LINEARIZABLE)
    shown = tuple(each for each in smallest if each.completed is not None or is_command(each.action.method))
    return Verdict(finding, steps, counterexample=shown)


def _search(operations: Sequence[Operation], state: Any, step_limit: int) -> tuple[Finding, int]:
    """What is found, and in how many steps."""
    known = sorted((each for each in operations if each.completed is not None), key=lambda each: each.completed or 0)
    unknown = [each for each in operations if each.completed is None]
    answers = [in_full(each.answer) for each in known]
    seen, steps, digest = set[Hashable](), 0, digest_of(type(state))
    next_of = partial(_next, known, answers, unknown, digest)
    trail = [next_of(frozenset(), state)]
    while trail:
        step = next(trail[-1], None)
        if step is None:
            trail.pop()
            continue
        if steps == step_limit:
            return Finding.UNDECIDED, steps
        steps += 1
        done, state = step
        position = (done, digest(state))
        if position not in seen:
            seen.add(position)
            trail.append(next_of(done, state))
        if all(number in done for number in range(len(known))):
            return Finding.LINEARIZABLE, steps
    return Finding.NOT_LINEARIZABLE if known else Finding.LINEARIZABLE, steps


def _next(
    known: Sequence[Operation],
    answers: Sequence[Any],
    unknown: Sequence[Operation],
    digest: Callable[[Any], bytes],
    done: frozenset[int],
    state: Any,
) -> Iterator[tuple[frozenset[int], Any]]:
    """What may come next: what is done then, and the state. Those of unknown outcome have numbers below 0."""
    left = [number for number in range(len(known)) if number not in done]
    if not left:
        return
    deadline = known[left[0]].completed or 0
    for number in left:
        each = known[number]
        if each.invoked <= deadline:
            after = deepcopy(state)
            if in_full(each.action.on(after)) == answers[number]:
                yield done | {number}, after
    for number, each in enumerate(unknown, -len(unknown)):
        if number not in done and each.invoked <= deadline:
            after = deepcopy(state)
            each.action.on(after)
            if digest(after) != digest(state):
                yield done | {number}, after
