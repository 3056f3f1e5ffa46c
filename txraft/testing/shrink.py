"""A failing run made smaller: fewer faults, changes and clients, a calmer network, while the same rule stays broken."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from attrs import evolve, frozen

from txraft.testing.links import Noise
from txraft.testing.plan import ALL, Plan
from txraft.testing.report import Report
from txraft.testing.simulation import run_of

_T = TypeVar("_T")


@frozen
class Simplification:
    """What makes a plan simpler, beside fewer faults and clients."""

    name: str
    what: str
    change: Mapping[str, Any]

    def of(self, plan: Plan) -> Plan:
        """The plan, made simpler if it is not already."""
        return evolve(plan, **self.change)


SIMPLIFICATIONS: Final = (
    Simplification("no-strays", "no spare machine has other founders", {"strays": False}),
    Simplification("calm", "no noise but that of a fault", {"noise": Noise()}),
    Simplification("datagrams", "messages pass as they are, not as AMP over TCP", {"streams": False}),
    Simplification("memory", "no log files beside the simulated disks", {"files": False}),
    Simplification("whole-logs", "no log is compacted", {"keeps": ALL}),
    Simplification("pre-vote", "every node asks before it campaigns", {"without_pre_vote": frozenset()}),
    Simplification("roomy", "messages and what is in flight as large as usual", {"tight": False}),
)


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
    for orders in _fewer(plan.orders):
        yield evolve(plan, orders=orders)
    for lasting in _fewer(plan.lasting):
        yield evolve(plan, lasting=lasting)
    for clients in range(1, plan.clients):
        yield evolve(plan, clients=clients)
    for simplification in SIMPLIFICATIONS:
        if (simpler := simplification.of(plan)) != plan:
            yield simpler


def _fewer(these: Sequence[_T]) -> Iterator[tuple[_T, ...]]:
    """Without any, without one half, one quarter, and so on, down to without one."""
    size = len(these)
    while size:
        for start in range(0, len(these), size):
            yield (*these[:start], *these[start + size :])
        size //= 2
