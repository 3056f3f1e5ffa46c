"""Many runs of a state machine of your own, in one call.

failed = first_failure(Counters, range(1, 201))
assert failed is None, f"seed {failed.plan.seed}: {failed.violation}"
"""

from collections.abc import Callable, Iterable
from functools import partial

from attrs import evolve

from txraft.testing.application import Application
from txraft.testing.plan import plan_of
from txraft.testing.report import Report
from txraft.testing.shrink import shrink
from txraft.testing.simulation import run_of

LITTLE = 2
"""Entries that logs keep: so in each run they are compacted, and snapshots are restored."""


def first_failure(
    application: Callable[[], Application], seeds: Iterable[int], keeps: int = LITTLE, shrinking: int = 100
) -> Report | None:
    """Run these seeds until a rule is broken. Gives the report of the smallest run found that breaks the same, in
    `shrinking` runs more, with its transcript in `lines`; None where every rule holds in all of them."""
    run = partial(run_of, application=application)
    for seed in seeds:
        report = run(evolve(plan_of(seed), keeps=keeps))
        if report.violation is not None:
            return run(shrink(report, shrinking, run).plan, transcript=True)
    return None
