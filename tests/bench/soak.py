"""Writes at a steady pace for as long as is asked for: whether memory stays flat, and writes stay quick."""

from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.task import deferLater

from tests.bench.connections import Pool
from tests.bench.load import Disturbed
from tests.bench.pace import Pace, Period
from tests.bench.systems import SYSTEMS, running
from tests.bench.watch import MIB, SIZES, Others, Roles, mib, roles, room, slope, verdict

GOAL: Final = 86_400_000
"""Writes: a day of a thousand a second."""
SPARED: Final = 4 * 1024 * MIB
"""Bytes of the disk; where less is free it ends."""


@frozen
class Look:
    """What there was after some time."""

    at: float
    """Seconds since the start."""
    written: int
    """Acknowledged since the start."""
    period: Period
    """Since the look before."""
    taken: Roles
    others: float
    """The share of the machine that others had since the look before."""

    def __str__(self) -> str:
        leader, follower, period = self.taken.leader, self.taken.follower, self.period
        return (
            f"{self.at:.0f} s: {self.written:,} written, {period.rate:.0f} a second, {period.failed} failed, "
            f"p50 {period.p50:.1f} ms, p99 {period.p99:.1f} ms, memory {mib(leader.rss)} / {mib(follower.rss)} MiB, "
            f"data {mib(leader.data)} / {mib(follower.data)} MiB, others {self.others:.0%}"
        )


@define(eq=False)
class Soak:
    """All that is found; also where it was interrupted."""

    system: str
    rate: int
    size: int
    looks: list[Look] = field(factory=list)


async def soak(reactor: Any, found: Soak, keys: int, seconds: int, every: int) -> None:
    """Write, look every so many seconds, and fill in `found`. Raises Disturbed: where nothing was written for that
    long, or where the disk gets full."""
    with running(reactor, [SYSTEMS[found.system]], 3) as (system,):
        leader = await system.leader()
        pool = Pool(reactor, system.url(leader))
        pace = Pace(reactor, lambda number: pool.ask(system.set_one(number % keys + 1, found.size)), found.rate)
        began = reactor.seconds()
        pace.start()
        try:
            while (left := began + seconds - reactor.seconds()) > 0:
                others = Others([node.pid for node in system.nodes])
                await deferLater(reactor, min(every, left))
                taken = roles(system, leader)
                at = reactor.seconds() - began
                found.looks.append(Look(at, pace.written, pace.period(), taken, others.share()))
                print(found.looks[-1], flush=True)
                if not found.looks[-1].period.written:
                    raise Disturbed(f"{found.system} takes no writes any more")
                if (free := room(system.data(leader))) < SPARED:
                    raise Disturbed(f"the disk has {mib(free)} MiB left")
        finally:
            await pace.stop()
            pool.close()


def summary(found: Soak) -> str:
    """How far it got, and how much stays of each write."""
    last = found.looks[-1]
    lines = [
        f"{found.system}: {last.written:,} writes of {found.size} bytes in {last.at:.0f} s, which is"
        f" {last.written / GOAL:.2%} of the {GOAL:,} of a day at 1,000 a second;"
        f" {sum(each.period.failed for each in found.looks)} failed"
    ]
    counts = [each.written for each in found.looks]
    for name, sizes in zip(SIZES, zip(*(each.taken.sizes() for each in found.looks), strict=True), strict=True):
        growth = slope(counts, sizes)
        if growth is None:
            lines.append(f"{name}: at most {mib(max(sizes))} MiB; too few looks to tell how it grows")
        else:
            lines.append(
                f"{name}: at most {mib(max(sizes))} MiB; {growth:+.2f} bytes a write, {mib(growth * GOAL)} MiB a day of"
                f" 1,000 a second: {verdict(growth, found.size)}"
            )
    return "\n".join(lines)
