"""One picture: throughput and latency against connections, a line a system and a kind of request."""

import platform
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

from tests.bench.compare import Runs, median
from tests.bench.load import Work


def draw(path: Path, results: dict[Work, Runs]) -> None:
    """Draw `results` into an SVG file."""
    kinds = list(dict.fromkeys(work.what for work in results))
    figure, axes = plt.subplots(2, len(kinds), sharex=True, squeeze=False, figsize=(4.5 * len(kinds), 6))
    for column, what in enumerate(kinds):
        of_kind = {work.connections: runs for work, runs in results.items() if work.what == what}
        for name in next(iter(of_kind.values())):
            middles = [median(runs[name]) for runs in of_kind.values()]
            axes[0][column].plot(list(of_kind), [each.rate for each in middles], marker="o", label=name)
            axes[1][column].plot(list(of_kind), [each.p99 for each in middles], marker="o", label=f"{name}, p99")
            axes[1][column].plot(
                list(of_kind), [each.p50 for each in middles], marker=".", linestyle=":", label=f"{name}, median"
            )
        axes[0][column].set(title=what, xscale="log", ylabel="requests a second", ylim=0)
        axes[1][column].set(xlabel="connections", xscale="log", yscale="log", ylabel="ms")
        for axis in axes[:, column]:
            axis.set_xticks(list(of_kind), [str(each) for each in of_kind], minor=False)
            axis.minorticks_off()
            axis.grid(alpha=0.3)
            axis.legend()
    when = datetime.now(UTC).date().isoformat()
    figure.suptitle(f"three nodes on one machine, {platform.machine()}, Python {platform.python_version()}, {when}")
    figure.tight_layout()
    figure.savefig(path)
