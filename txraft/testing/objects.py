"""Your own replicated object in simulated clusters, under faults, and judged.

    def operations(random):
        if random.random() < 0.5:
            return Call(Counter.add, "apples", random.randrange(3))
        return Call(Counter.count, "apples")

    assert (found := simulate(Counter, operations)) is None, found

What clients saw must be linearizable: some order of their calls, in keeping with time, gives the same answers where a
model does them one after the other. By default the model is the object itself, which finds whatever replication makes
of it: answers that are stale, or that depend on the server. Give a simpler class as `model`, with the same methods, to
test what the object does as well. Object and model are of attrs classes, and their fields are annotated with what
travels (`txraft.objects`).

An answer is compared as a caller gets it, by value and by class, so that True is not 1. A command's arguments and what
it returns are as they arrive; an exception is its class and its text, which a model raises, too. Each `Call` is checked
when `operations` gives it: one of a method that the object or the model does not have, or with other arguments than it
takes, is a BadCommand, with a line that says so, and no violation. Of a query's arguments that is their number and
their names; what they are annotated with is checked of commands, as `ObjectService.call` does.

`operations` is a function of `random` alone, and so is the object of its commands, so that a seed gives the same run
again. What else is checked, and what cannot be found, is in `txraft.testing.application`.
"""

from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Any

from attrs import frozen
from tqdm import tqdm

from txraft.testing.object_application import ObjectApplication
from txraft.testing.report import Report
from txraft.testing.seeds import first_failure
from txraft.testing.sequential import Call
from txraft.texts import brief


@frozen
class Found:
    """A run that breaks a rule. `str()` of it says which, and how to have just that run again."""

    report: Report
    again: str
    """Python, for where `simulate` was called."""

    def __str__(self) -> str:
        return f"{self.report.violation}\nagain: {self.again}"


def simulate(
    kind: Callable[[], Any],
    operations: Callable[[Random], Call],
    seeds: Iterable[int] = range(1, 101),
    *,
    invariant: Callable[[Any], bool | None] | None = None,
    model: Callable[[], Any] | None = None,
    shrinking: int = 100,
    progress: bool = False,
) -> Found | None:
    """Run clusters of the object that `kind` makes, one for each seed, until one breaks a rule. Gives the smallest run
    found, in `shrinking` runs more, that breaks the same; None where all is well.

    `operations` draws what a client calls next. `invariant` is called with the object of each server after each of its
    steps: to raise, or to give False, is a violation. `progress` shows on stderr how many seeds are done. A seed takes
    a quarter of a second or so.

    Raises TypeError, before anything runs, where an argument, the class or the model is not as it has to be, and
    BadCommand where `operations` gives what cannot be called."""
    for name, function in (("operations", operations), ("invariant", invariant or bool), ("model", model or kind)):
        if not callable(function):
            raise TypeError(f"{name}: is a function, not {brief(function)}")
    if not isinstance(seeds, Iterable):
        raise TypeError(f"seeds: are numbers, range(1, 101) say, not {brief(seeds)}")
    application = partial(ObjectApplication, kind, operations, model or kind, invariant or (lambda _: True))
    for seed in tqdm(seeds, desc="seeds", disable=not progress):
        report = first_failure(application, [seed], shrinking=shrinking)
        if report is not None:
            given = {"seeds": [seed], "invariant": invariant, "model": model, "shrinking": shrinking}
            words = [_name(kind), _name(operations), *(f"{name}={_name(each)}" for name, each in given.items() if each)]
            return Found(report, f"simulate({', '.join(words)})")
    return None


def _name(each: Any) -> str:
    return getattr(each, "__qualname__", repr(each))
