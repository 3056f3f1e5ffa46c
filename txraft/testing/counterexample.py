"""What to show of a history that is not linearizable: few operations, which fail by themselves.

To forget how an operation ended only allows more: a history that cannot be explained without knowing it cannot be
explained with it either. So what can be forgotten is, as long as the history still fails. So is everything after the
first answer at which it fails.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from attrs import evolve

from txraft.kv import CompareAndSet, Delete, Result, Set
from txraft.testing.history import Answer, Get, Operation, Outcome

Fails: TypeAlias = Callable[[Sequence[Operation]], bool]
"""Whether a history, of one key and without operations that were not applied, is shown not to be linearizable."""

WIDTH = 40
"""The operations shown at most."""


def shrink(operations: Sequence[Operation], fails: Fails) -> list[Operation]:
    """A history that fails as `operations` do, of which fewer outcomes are known.

    The last to complete of those is the one that cannot be explained once the others are."""
    ends = sorted(each.completed for each in operations if each.completed is not None)
    first = bisect_left(ends, True, key=lambda end: fails(list(_until(operations, end))))
    kept = list(_until(operations, ends[first])) if first < len(ends) else list(operations)
    size = len(kept) // 2
    while size:
        start = 0
        while start < len(kept):
            part = kept[start : start + size]
            less = list(_forget(part))
            if less != part and fails([*kept[:start], *less, *kept[start + size :]]):
                kept[start : start + size] = less
                start += len(less)
            else:
                start += size
        size //= 2
    return kept


def relevant(shrunk: Iterable[Operation], operations: Iterable[Operation]) -> list[Operation]:
    """What to show: of a shrunk history, what is known, and of `operations` those that may be behind what it saw."""
    known = [each for each in shrunk if each.outcome is Outcome.OK]
    last = last_answer(known).completed or 0
    seen = {each.answer for each in known if isinstance(each.action, Get)}
    seen |= {each.action.old for each in known if isinstance(each.action, CompareAndSet)}
    seen |= {None for each in known if each.answer is Result.NOT_FOUND}
    shown = {(each.client, each.invoked) for each in known}
    return sorted(
        known
        + [
            each
            for each in operations
            if each.invoked <= last and (each.client, each.invoked) not in shown and _may_explain(each, seen)
        ],
        key=lambda each: each.invoked,
    )


def _may_explain(operation: Operation, seen: AbstractSet[Answer]) -> bool:
    """Whether it wrote one of the values, or, with some doubt, removed one: acknowledged deletes are too many."""
    match operation.action:
        case Set(_, value) | CompareAndSet(_, _, value):
            return value in seen
        case Delete():
            return None in seen and operation.outcome is not Outcome.OK
    return False


def last_answer(operations: Iterable[Operation]) -> Operation:
    """The one of some operations that was answered last."""
    return max((each for each in operations if each.outcome is Outcome.OK), key=lambda each: each.completed or 0)


def draw(operations: Sequence[Operation]) -> str:
    """A line for each operation, beside each other as they were in time: from call to answer, or open to the right."""
    shown = operations[-WIDTH:]
    texts = [f"{each.invoked:.6f} s  {each}" for each in shown]
    times = {each.invoked for each in shown} | {each.completed for each in shown if each.completed is not None}
    column = {time: place for place, time in enumerate(sorted(times))}
    lines = [f"  ({len(operations) - len(shown)} before these)"] if len(operations) > len(shown) else []
    for text, each in zip(texts, shown, strict=True):
        start = column[each.invoked]
        end = len(times) if each.completed is None else column[each.completed]
        span = " " * start + "|" + "-" * (end - start - 1) + ("" if end == start else "." if end == len(times) else "|")
        lines.append(f"  {text.ljust(max(map(len, texts)))}  {span}".rstrip())
    return "\n".join(lines)


def _until(operations: Iterable[Operation], end: float) -> Iterator[Operation]:
    """The history as it was at the time `end`."""
    for each in operations:
        if each.invoked <= end:
            yield from [each] if each.completed is None or each.completed <= end else _forget([each])


def _forget(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Without their outcomes. A get without one means nothing."""
    for each in operations:
        if not isinstance(each.action, Get):
            yield evolve(each, completed=None, outcome=Outcome.UNKNOWN, answer=None)
