"""How the cost of a request grows with the keys, with the values, with the nodes and with the clients.

Every point is a cluster of its own, which is filled, and then loaded with writes and with linearizable reads. What
does not grow is as in `Point`. Where values are large, and a run has few requests, the CPU time for those that are
under way at its end weighs in the figures of the others.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import evolve, frozen

from tests.bench.compare import Measured, Runs, disturbance, figures, line, tabulated
from tests.bench.fill import fill
from tests.bench.load import STOPPED, Work, keys_for, load
from tests.bench.systems import Txraft, running


@frozen
class Point:
    """Where it is measured."""

    keys: int = 10_000
    values: int = 255
    """Bytes in each. Where they are large, there are fewer keys (`keys_for`)."""
    nodes: int = 3
    clients: int = 16

    def __str__(self) -> str:
        return f"{self.keys} keys, values of {self.values} bytes, {self.nodes} nodes, {self.clients} clients"


GROWTH: Final[Mapping[str, tuple[int, ...]]] = {
    "keys": (1_000, 10_000, 100_000, 1_000_000),
    "values": (16, 255, 4 * 1024, 64 * 1024, 1024 * 1024),
    "nodes": (1, 3, 5, 7),
    "clients": (1, 16, 64, 256, 1_000),
}
"""What grows (the fields of Point), and how."""


def points(what: str) -> list[Point]:
    """Those at which `what` has grown, in order."""
    return [evolve(Point(), **{what: each}) for each in GROWTH[what]]


def measured_points(whats: Iterable[str], results: Mapping[Point, Runs]) -> dict[str, list[Point]]:
    """The points of `results` at which each of `whats` has grown; without those of which there are none."""
    found = {what: [point for point in points(what) if point in results] for what in whats}
    return {what: those for what, those in found.items() if those}


async def grow(reactor: Any, whats: Iterable[str], rounds: int, seconds: int) -> Measured[Point]:
    """Measure each point once, also one that belongs to several. The runs are of set and get, not of systems."""
    measured = Measured(list(dict.fromkeys(point for what in whats for point in points(what))))
    try:
        for point in measured.wanted:
            runs = measured.results[point] = await _measure(reactor, point, rounds, seconds)
            print(f"{len(measured.results)}. {line(point, runs)}", flush=True)
    except STOPPED as error:
        measured.refused = str(error) or "interrupted"
    return measured


async def _measure(reactor: Any, point: Point, rounds: int, seconds: int) -> Runs:
    keys = point.keys if point.values <= Point().values else keys_for(point.values)
    runs: Runs = {"set": [], "get": []}
    with running(reactor, [Txraft], point.nodes) as (system,):
        await fill(reactor, system, keys, point.values)
        for _ in range(rounds):
            for kind, of_kind in runs.items():
                of_kind.append(await load(reactor, system, Work(kind, point.clients, point.values, keys), seconds))
    return runs


def table(whats: Iterable[str], results: Mapping[Point, Runs]) -> str:
    """All of it, for people."""
    rows = [
        [what, getattr(point, what), kind, *figures(runs)]
        for what, those in measured_points(whats, results).items()
        for point in those
        for kind, runs in results[point].items()
    ]
    return tabulated(("what grows", "to", "work"), rows, [disturbance(results)])
