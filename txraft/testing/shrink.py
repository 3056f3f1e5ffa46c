"""A failing run made smaller: fewer faults, fewer clients, a calmer network, while the same rule stays broken."""

from collections.abc import Callable, Iterator, Sequence

from attrs import evolve

from txraft.testing.network import Noise
from txraft.testing.plan import Fault, Plan
from txraft.testing.simulation import Report, run_of


def shrink(report: Report, runs: int = 400, run: Callable[[Plan], Report] = run_of) -> Report:
    """The report of the smallest plan found, in as many runs at most, that breaks the same rule."""
    assert report.violation is not None
    rule, improved = report.violation.rule, True
    while improved and runs > 0:
        improved = False
        for plan in _smaller(report.plan):
            if runs == 0:
                break
            runs -= 1
            found = run(plan)
            if found.violation is not None and found.violation.rule == rule:
                report, improved = found, True
                break
    return report


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with a little less in them, the boldest first."""
    for faults in _fewer(plan.faults):
        yield evolve(plan, faults=faults)
    for lasting in _fewer(plan.lasting):
        yield evolve(plan, lasting=lasting)
    for clients in range(1, plan.clients):
        yield evolve(plan, clients=clients)
    if plan.noise != Noise():
        yield evolve(plan, noise=Noise())
    if plan.streams:
        yield evolve(plan, streams=False)
    if plan.files:
        yield evolve(plan, files=False)
    if plan.without_pre_vote:
        yield evolve(plan, without_pre_vote=frozenset())
    if plan.tight:
        yield evolve(plan, tight=False)


def _fewer(faults: Sequence[Fault]) -> Iterator[tuple[Fault, ...]]:
    """Without any, without one half, one quarter, and so on, down to without one."""
    size = len(faults)
    while size:
        for start in range(0, len(faults), size):
            yield (*faults[:start], *faults[start + size :])
        size //= 2
