"""Systems side by side, loaded in turn, A B, B A and so on, so that what the machine does besides meets all of them."""

import json
import os
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
from tabulate import tabulate

from tests.bench.load import Disturbed, Run, Work, fill, run
from tests.bench.systems import System, running

MAY_BE_DISTURBED = 0.15
"""The share of the machine that others may have in a run that counts."""
TRIES = 3

Runs = dict[str, list[Run]]
"""Of each system."""


async def compare(
    reactor: Any, names: list[str], works: Sequence[Work], rounds: int, seconds: int, size: int, follower: bool
) -> dict[Work, Runs]:
    """Load each system in turn with each of `works`: its leader, or, with `follower`, one of the others."""
    results: dict[Work, Runs] = {}
    with running(reactor, names, size) as systems:
        for system in systems:
            await fill(system.url(await system.leader()), system.script, works[0].size)
        for work in works:
            runs: Runs = {system.name: [] for system in systems}
            for number in range(rounds):
                for system in systems if number % 2 == 0 else systems[::-1]:
                    runs[system.name].append(await _run(system, work, seconds, follower))
            results[work] = runs
            print(line(work, runs), flush=True)
    return results


async def _run(system: System, work: Work, seconds: int, follower: bool) -> Run:
    for _ in range(TRIES):
        leader = await system.leader()
        others = [node for node in system.nodes if node is not leader]
        url = system.url(others[0] if follower and others else leader)
        done = await run(url, system.script, work, seconds, leader.pid, [node.pid for node in others])
        if done.disturbed <= MAY_BE_DISTURBED:
            return done
        print(f"{system.name} {work}: others had {done.disturbed:.0%} of the machine; once more", file=sys.stderr)
    if "BENCH_ANYWAY" in os.environ:
        return done
    raise Disturbed(f"the machine is not quiet enough to measure {work}; BENCH_ANYWAY=1 measures all the same")


def median(runs: Sequence[Run]) -> Run:
    """Of each figure by itself."""
    return Run(*(statistics.median(getattr(each, field.name) for each in runs) for field in attrs.fields(Run)))


def line(work: Work, runs: Runs) -> str:
    """Progress, and the ratio to the second system where there is one."""
    parts = [f"{name} {median(each).rate:.0f}/s" for name, each in runs.items()]
    if len(runs) == 2:
        ours, theirs = (median(each).rate for each in runs.values())
        parts.append(f"ratio {ours / theirs:.2f}")
    return f"{work}: " + ", ".join(parts)


def table(results: dict[Work, Runs]) -> str:
    """All of it, for people."""
    rows = []
    for work, runs in results.items():
        for name, each in runs.items():
            m = median(each)
            figures = [f"{m.rate:.0f}", f"{m.p50:.2f}", f"{m.p99:.2f}", f"{m.p999:.2f}"]
            rows.append([work, name, *figures, f"{m.leader_cpu:.0f}", f"{m.follower_cpu:.0f}"])
    heads = ["work", "system", "a second", "p50 ms", "p99 ms", "p99.9 ms", "leader µs", "follower µs"]
    return str(tabulate(rows, heads, colalign=("left", "left", *["right"] * 6)))


def write(path: Path, results: dict[Work, Runs]) -> None:
    """All of it, for programs."""
    found = [
        {**attrs.asdict(work), "runs": {name: [attrs.asdict(run) for run in of] for name, of in runs.items()}}
        for work, runs in results.items()
    ]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps({"date": when, "load": os.getloadavg(), "results": found}, indent=1))
