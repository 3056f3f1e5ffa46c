"""Many seeds, on several processes."""

import multiprocessing
import signal
import time
from collections import Counter
from contextlib import suppress

from attrs import define, field

from txraft.testing.plan import plan_of
from txraft.testing.report import Report
from txraft.testing.simulation import run_of


@define
class Totals:
    """What has been done so far."""

    seeds: int = 0
    steps: int = 0
    operations: int = 0
    done: int = 0
    faults: "Counter[str]" = field(factory=Counter)
    changes: "Counter[str]" = field(factory=Counter)
    failed: list[int] = field(factory=list)
    began: float = field(factory=time.monotonic)

    def add(self, report: Report) -> None:
        """One more."""
        self.seeds += 1
        self.steps += report.steps
        self.operations += report.operations
        self.done += report.done
        self.faults += report.faults
        self.changes += report.changes
        if report.violation is not None:
            self.failed.append(report.plan.seed)

    def line(self) -> str:
        """Progress, on a line."""
        seconds = max(time.monotonic() - self.began, 0.001)
        faults, changes = map(_listed, (self.faults, self.changes))
        return (
            f"{self.seeds} seeds, {self.steps} steps ({60 * self.steps / seconds:,.0f} a minute),"
            f" {self.operations} operations checked ({self.done} done), {len(self.failed)} failed;"
            f" {self.faults.total()} faults ({faults}); {self.changes.total()} changes of the membership ({changes})"
        )


def _listed(counts: "Counter[str]") -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))


def run_seed(seed: int) -> Report:
    """Run what a seed stands for."""
    return run_of(plan_of(seed))


def simulate(first: int, seeds: int, jobs: int, every: float = 10.0) -> Totals:
    """Run the seeds; a line every `every` seconds, and one at the end. Stops at the first failure, and at Ctrl-C."""
    totals, said = Totals(), time.monotonic()
    context = multiprocessing.get_context("forkserver")
    with suppress(KeyboardInterrupt), context.Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        for report in pool.imap_unordered(run_seed, range(first, first + seeds), chunksize=10):
            totals.add(report)
            if time.monotonic() - said >= every:
                said = time.monotonic()
                print(totals.line(), flush=True)
            if totals.failed:
                break
    print(totals.line(), flush=True)
    return totals
