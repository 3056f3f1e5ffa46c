"""Systems side by side, loaded in turn, A B, B A and so on, so that what the machine does besides meets all of them."""

import json
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs
from tabulate import tabulate

from tests.bench.fill import fill
from tests.bench.load import Run, Work, load
from tests.bench.systems import SYSTEMS, System, running

Runs = dict[str, list[Run]]
"""Of each system."""

FIGURES = ("a second", "p50 ms", "p99 ms", "p99.9 ms", "leader µs", "follower µs", "bytes between nodes")
"""What `figures` gives; the last three are of a request."""


async def compare(
    reactor: Any, names: list[str], works: Sequence[Work], rounds: int, seconds: int, nodes: int, follower: bool
) -> dict[Work, Runs]:
    """Load each system in turn with each of `works`: its leader, or, with `follower`, one of the others. For another
    size of values there are new clusters."""
    results: dict[Work, Runs] = {}
    for (keys, size), of_size in groupby(works, key=lambda work: (work.keys, work.size)):
        with running(reactor, [SYSTEMS[name] for name in names], nodes) as systems:
            for system in systems:
                await fill(reactor, system, keys, size)
            for work in of_size:
                results[work] = await _in_turn(reactor, systems, work, rounds, seconds, follower)
                print(line(work, results[work]) + ratio(results[work]), flush=True)
    return results


async def _in_turn(reactor: Any, systems: list[System], work: Work, rounds: int, seconds: int, follower: bool) -> Runs:
    runs: Runs = {system.name: [] for system in systems}
    for number in range(rounds):
        for system in systems if number % 2 == 0 else systems[::-1]:
            runs[system.name].append(await load(reactor, system, work, seconds, follower))
    return runs


def median(runs: Sequence[Run]) -> Run:
    """Of each figure by itself."""
    return Run(*(statistics.median(getattr(each, field.name) for each in runs) for field in attrs.fields(Run)))


def line(work: object, runs: Runs) -> str:
    """Progress."""
    return f"{work}: " + ", ".join(f"{name} {median(each).rate:.0f}/s" for name, each in runs.items())


def ratio(runs: Runs) -> str:
    """The first system's rate to the second's, where there are two."""
    if len(runs) != 2:
        return ""
    ours, theirs = (median(each).rate for each in runs.values())
    return f", ratio {ours / theirs:.2f}"


def figures(runs: Sequence[Run]) -> list[str]:
    """The medians, for a table."""
    m = median(runs)
    latencies = [f"{each:.2f}" for each in (m.p50, m.p99, m.p999)]
    return [f"{m.rate:.0f}", *latencies, *(f"{each:.0f}" for each in (m.leader_cpu, m.follower_cpu, m.wire))]


def table(results: Mapping[Work, Runs]) -> str:
    """All of it, for people."""
    rows = [[work, name, *figures(each)] for work, runs in results.items() for name, each in runs.items()]
    return tabulated(("work", "system"), rows)


def tabulated(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """`heads` are those of the columns that come before FIGURES."""
    alignment = [*["left"] * len(heads), *["right"] * len(FIGURES)]
    return str(tabulate(rows, [*heads, *FIGURES], colalign=alignment, disable_numparse=True))


def write(path: Path, results: Mapping[Any, Runs]) -> None:
    """All of it, for programs. `results` are of `Work`, or of other classes of attrs."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    found = {"date": when, "load": os.getloadavg(), "arguments": sys.argv[1:], "results": list(_plain(results))}
    path.write_text(json.dumps(found, indent=1))


def _plain(results: Mapping[Any, Runs]) -> Iterator[dict[str, Any]]:
    for what, runs in results.items():
        yield {**attrs.asdict(what), "runs": {name: [attrs.asdict(run) for run in of] for name, of in runs.items()}}
