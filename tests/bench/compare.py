"""Systems side by side, loaded in turn, A B, B A and so on, so that what the machine does besides meets all of them."""

import json
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import attrs

from tests.bench.fill import fill
from tests.bench.load import STOPPED, Run, Work, load
from tests.bench.systems import SYSTEMS, System, running

Runs = dict[str, list[Run]]
"""Of each system."""

FIGURES = ("a second", "p50 ms", "p99 ms", "p99.9 ms", "leader µs", "follower µs", "bytes between nodes")
"""What `figures` gives."""
LEGEND: Final = """\
leader µs, follower µs: CPU time per request, of the leader, and of one follower on average
bytes between nodes: per request, what all nodes together send each other"""
BATCH: Final = "batch: each request sets 100 keys, whichever the system"
"""What else is to be known where it was measured."""

What = TypeVar("What")


@attrs.define
class Measured(Generic[What]):
    """What a command has found, also where it could not go on."""

    wanted: Sequence[What]
    results: dict[What, Runs] = attrs.Factory(dict)
    refused: str = ""
    """Why it could not go on."""

    @property
    def missing(self) -> list[What]:
        """What of `wanted` has no results."""
        return [each for each in self.wanted if each not in self.results]

    @property
    def complaint(self) -> str | None:
        """What is missing and why, in one line; None if nothing is."""
        return f"{self.refused}; not measured: {'; '.join(map(str, self.missing))}" if self.missing else None


async def compare(
    reactor: Any, names: list[str], works: Sequence[Work], rounds: int, seconds: int, nodes: int, follower: bool
) -> Measured[Work]:
    """Load each system in turn with each of `works`: its leader, or, with `follower`, one of the others. For another
    size of values there are new clusters."""
    measured = Measured(works)
    try:
        for (keys, size), of_size in groupby(works, key=lambda work: (work.keys, work.size)):
            with running(reactor, [SYSTEMS[name] for name in names], nodes) as systems:
                for system in systems:
                    await fill(reactor, system, keys, size)
                for work in of_size:
                    runs = measured.results[work] = await _in_turn(reactor, systems, work, rounds, seconds, follower)
                    print(line(work, runs) + ratio(runs), flush=True)
    except STOPPED as error:
        measured.refused = str(error) or "interrupted"
    return measured


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
    notes = [BATCH] if any(work.what == "batch" for work in results) else []
    return tabulated(("work", "system"), rows, [*notes, disturbance(results)])


def disturbance(results: Mapping[Any, Runs]) -> str:
    """How quiet the machine was."""
    worst = max(run.disturbed for runs in results.values() for each in runs.values() for run in each)
    return f"others had at most {worst:.0%} of the machine during a run"


def tabulated(heads: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str]) -> str:
    """`heads` are those of the columns that come before FIGURES, `notes` lines to stand below it with LEGEND."""
    from tabulate import tabulate  # noqa: PLC0415 - only measurements need it

    alignment = [*["left"] * len(heads), *["right"] * len(FIGURES)]
    text = tabulate(rows, [*heads, *FIGURES], colalign=alignment, disable_numparse=True)
    return "\n".join([text, "", LEGEND, *notes])


def write(path: Path, measured: Measured[Any]) -> None:
    """All of it, for programs. It is of `Work`, or of other classes of attrs."""
    found = {"results": list(_plain(measured.results)), "missing": [attrs.asdict(each) for each in measured.missing]}
    _write(path, found)


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """What another command has found, which is of classes of attrs."""
    _write(path, {"results": [attrs.asdict(each) for each in rows]})


def _write(path: Path, found: Mapping[str, Any]) -> None:
    head = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": os.getloadavg(),
        "arguments": sys.argv[1:],
    }
    path.write_text(json.dumps({**head, **found}, indent=1))


def _plain(results: Mapping[Any, Runs]) -> Iterator[dict[str, Any]]:
    for what, runs in results.items():
        yield {**attrs.asdict(what), "runs": {name: [attrs.asdict(run) for run in of] for name, of in runs.items()}}
