"""Pictures: throughput and latency of systems against connections, and how cost grows."""

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator

from tests.bench.compare import Runs, median
from tests.bench.grow import Point, measured_points
from tests.bench.load import Run, Work

UNITS = {"keys": "keys", "values": "bytes in a value", "nodes": "nodes", "clients": "connections"}


def draw(path: Path, results: Mapping[Work, Runs], nodes: int) -> None:
    """What `compare` gives: a column for each kind of work, a colour for each system."""
    kinds = list(dict.fromkeys((work.what, work.size) for work in results))
    figure, axes = _panels(2, len(kinds))
    for column, kind in enumerate(kinds):
        of_kind = {work.connections: runs for work, runs in results.items() if (work.what, work.size) == kind}
        for number, name in enumerate(next(iter(of_kind.values()))):
            middles = [median(runs[name]) for runs in of_kind.values()]
            _draw_line(axes[:, column], name, f"C{number}", list(of_kind), middles)
        title = kind[0] if kind[1] == Work("", 1).size else f"{kind[0]}, {kind[1]} bytes"
        _finish(axes[:, column], title, list(of_kind), "connections")
    _save(figure, axes, path, f"{nodes} nodes on one machine")


def draw_growth(path: Path, whats: Sequence[str], results: Mapping[Point, Runs]) -> None:
    """What `grow` gives: a column for each thing that grows, a colour for writes and one for reads."""
    found = measured_points(whats, results)
    figure, axes = _panels(3, len(found))
    for column, (what, those) in enumerate(found.items()):
        at = [getattr(point, what) for point in those]
        for number, kind in enumerate(("set", "get")):
            middles = [median(results[point][kind]) for point in those]
            _draw_line(axes[:, column], kind, f"C{number}", at, middles)
        _finish(axes[:, column], what, at, UNITS[what])
    _save(figure, axes, path, f"txraft; what does not grow: {Point()}")


def _panels(rows: int, columns: int) -> tuple[Any, Any]:
    return plt.subplots(rows, columns, sharex="col", squeeze=False, figsize=(4.5 * columns, 3 * rows))


def _draw_line(column: Sequence[Any], label: str, colour: str, at: list[int], runs: list[Run]) -> None:
    """Rates in the first panel, latencies in the second, CPU time in the third where there is one."""

    def draw_figure(axis: Any, name: str, style: str, value: Callable[[Run], float]) -> None:
        values = [value(run) or math.nan for run in runs]  # a node alone has no followers
        axis.plot(at, values, marker=".", linestyle=style, color=colour, label=f"{label}{name}")

    draw_figure(column[0], "", "-", lambda run: run.rate)
    draw_figure(column[1], ", p99", "-", lambda run: run.p99)
    draw_figure(column[1], ", median", ":", lambda run: run.p50)
    for axis in column[2:]:
        draw_figure(axis, ", leader", "-", lambda run: run.leader_cpu)
        draw_figure(axis, ", follower", ":", lambda run: run.follower_cpu)


def _finish(column: Sequence[Any], title: str, at: list[int], unit: str) -> None:
    column[0].set(title=title, ylim=0)
    column[-1].set(xlabel=unit)
    for axis in column[1:]:
        axis.set(yscale="log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
    for axis in column:
        axis.set(xscale="log")
        axis.set_xticks(at, [_short(each) for each in at], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)


def _short(number: int) -> str:
    """1000000 is 1M, 65536 is 64Ki, for below an axis."""
    for factor, suffix in ((1024**2, "Mi"), (10**6, "M"), (1024, "Ki"), (1000, "k")):
        if number >= factor and number % factor == 0:
            return f"{number // factor}{suffix}"
    return str(number)


def _save(figure: Any, axes: Any, path: Path, title: str) -> None:
    for axis, unit in zip(axes[:, 0], ("requests a second", "ms", "µs of CPU a request"), strict=False):
        axis.set(ylabel=unit)
        axis.legend()
    when = datetime.now(UTC).date().isoformat()
    figure.suptitle(f"{title}; {platform.machine()}, Python {platform.python_version()}, {when}")
    figure.tight_layout()
    figure.savefig(path, format="svg")
