"""Your own replicated object in simulated clusters, under faults, and judged.

    def operations(random):
        if random.random() < 0.5:
            return Call(Counter.add, "apples", random.randrange(3))
        return Call(Counter.count, "apples")

    failed = simulate(Counter, operations, seeds=range(1, 101))
    assert failed is None, told(failed)

What clients saw must be linearizable: some order of their calls, in keeping with time, gives the same answers where a
`model` does them one after the other. By default the model is the object itself; give a simpler class, with the same
methods, to test what the object does as well. Model and object are attrs classes, and have `==`. `operations` is a
function of `random` alone, so that a seed gives the same run again.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from txraft.testing.object_application import ObjectApplication
from txraft.testing.report import Report
from txraft.testing.seeds import first_failure
from txraft.testing.sequential import Call


def simulate(
    kind: Callable[[], Any],
    operations: Callable[[Random], Call],
    seeds: Iterable[int] = range(1, 101),
    *,
    invariant: Callable[[Any], bool | None] = lambda _: None,
    model: Callable[[], Any] | None = None,
    shrinking: int = 100,
) -> Report | None:
    """Run these seeds, until one fails. Gives the smallest run found that breaks the same rule, in `shrinking` runs
    more; None where all is well. `invariant` is called with the object of each node after each of its steps: to raise,
    or to give False, is a violation."""
    return first_failure(
        lambda: ObjectApplication(kind, operations, model or kind, invariant), seeds, shrinking=shrinking
    )


def told(failed: Report) -> str:
    """What to show of a failure: the rule, and how to have just that again."""
    return f"{failed.violation}\nagain: simulate(..., seeds=[{failed.plan.seed}])"
