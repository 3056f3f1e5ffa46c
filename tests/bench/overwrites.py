"""Many overwrites of a few keys: whether memory and disk are bounded, and how long a restart takes afterwards."""

from typing import Any, Final

from attrs import define, field, frozen

from tests.bench.fill import Progress, numbers_in_order, send, setting
from tests.bench.load import Disturbed
from tests.bench.restart import Restart, restart, resting
from tests.bench.systems import SYSTEMS, running
from tests.bench.watch import SIZES, Roles, mib, roles, slope, verdict

SAMPLES: Final = 40
"""Looks at the nodes, over all overwrites."""

HEADS: Final = ("overwrites", *SIZES)
NOTES: Final = """\
MiB; of followers the greater. Growth: bytes an overwrite, by least squares, without the first quarter of the samples.
bounded: less than a twentieth of what an overwrite writes; a size that goes up and down is seen so only where it has
  done so some times, so that a small run is "not bounded" more often than a long one"""


@frozen
class Sample:
    """What the nodes take after so many writes."""

    count: int
    taken: Roles


@define(eq=False)
class Overwrites:
    """All that is found of one system, and of one way to write; also where it was interrupted."""

    system: str
    how: str
    size: int
    """Bytes that an overwrite writes."""
    samples: list[Sample] = field(factory=list)
    seconds: float = 0.0
    restarted: Restart | None = None


async def overwrites(reactor: Any, found: Overwrites, count: int, keys: int) -> None:
    """Write, look, restart, and fill in `found`. Raises Disturbed."""
    single = found.how == "single"
    with running(reactor, [SYSTEMS[found.system]], 3) as (system,):
        leader = await system.leader()
        progress = Progress(reactor, f"{found.system}, {found.how}", count)
        done, step = 0, max(1, count // SAMPLES)

        def written(more: int) -> None:
            nonlocal done
            done += more
            progress(more)
            if done // step > (done - more) // step:
                found.samples.append(Sample(done, roles(system, leader)))

        found.samples.append(Sample(0, roles(system, leader)))
        began = reactor.seconds()
        chunks = numbers_in_order(count, keys, found.size, system, single)
        await send(reactor, system, setting(system, chunks, found.size), single, written)
        found.seconds = reactor.seconds() - began
        found.samples.append(Sample(done, await resting(reactor, system)))
        if await system.leader() is not leader:
            raise Disturbed(f"another node of {found.system} leads now, so these figures are of no one role")
        found.restarted = await restart(reactor, system, min(count, keys), found.size)


def table(found: Overwrites) -> str:
    """All of it, for people."""
    from tabulate import tabulate  # noqa: PLC0415 - only measurements need it

    rows = [[f"{each.count:,}", *(mib(size) for size in each.taken.sizes())] for each in found.samples]
    columns = list(zip(*(each.taken.sizes() for each in found.samples), strict=True))
    counts = [each.count for each in found.samples]
    growth = [slope(counts, column) for column in columns]
    rows.append(["most", *(mib(max(column)) for column in columns)])
    rows.append(["growth", *("-" if each is None else f"{each:.1f}" for each in growth)])
    rows.append(["", *(verdict(each, found.size) for each in growth)])
    text = tabulate(rows, HEADS, colalign=["right"] * len(HEADS), disable_numparse=True)
    title = f"{found.system}, {'one at a time' if found.how == 'single' else 'by many in a request'}"
    lines = [f"{title}: {counts[-1]:,} overwrites in {found.seconds:.0f} s", text]
    if found.restarted is not None:
        again = found.restarted
        lines.append(f"restart: the first node served after {again.first:.2f} s, all after {again.all:.2f} s")
    return "\n".join(lines)
