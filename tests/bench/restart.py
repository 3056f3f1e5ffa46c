"""How long a cluster takes to serve again after kill -9 of all of its nodes, and what they take before and after.

The files are in the system's page cache, as after a kill, and not as after a power cut.
"""

import statistics
from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from tests.bench.connections import ask
from tests.bench.fill import fill
from tests.bench.load import Disturbed, at_rest
from tests.bench.systems import SYSTEMS, System, running
from tests.bench.watch import Others, Roles, Taken, mib, roles
from tests.integration.waiting import until

PATIENCE: Final = 1.0
"""Seconds after which a request that is not answered is sent again."""
LIMIT: Final = 3600.0
"""Seconds after which a cluster that does not serve never will."""
LOOKED_AT: Final = 100
"""Keys that are read afterwards."""

NOTES: Final = """\
filled: with a client that takes some of the same machine, so it is no measure of throughput
seconds: until a write and then a linearizable read through the first node were answered, from the start of the nodes
MiB: leader / follower (the greater of two); mapped files count in memory, without them it is "anonymous"
peak: the most memory of the process since it was started, just after it has served"""


@frozen
class Restart:
    """One of them."""

    first: float
    """Seconds until the first node served a write and a linearizable read."""
    all: float
    """Seconds until every node did so."""
    peak: Roles
    """What the nodes took then."""
    others: float
    """The share of the machine that others had meanwhile."""


@frozen
class Restarts:
    """All that is measured of one system."""

    system: str
    filled: float
    """Seconds that filling took."""
    before: Roles
    after: Roles
    """What the nodes take at rest, after the last restart."""
    restarts: Sequence[Restart]

    @property
    def first(self) -> float:
        """The median."""
        return statistics.median(each.first for each in self.restarts)

    @property
    def all(self) -> float:
        """The median."""
        return statistics.median(each.all for each in self.restarts)

    @property
    def worst(self) -> float:
        """Of `first`."""
        return max(each.first for each in self.restarts)

    @property
    def peak(self) -> Roles:
        """The greatest."""
        peaks = [each.peak for each in self.restarts]
        return Roles(Taken.most(each.leader for each in peaks), Taken.most(each.follower for each in peaks))


async def restarts(reactor: Any, name: str, keys: int, size: int, times: int, single: bool) -> Restarts:
    """Of one system. Raises Disturbed, also where a key is lost."""
    with running(reactor, [SYSTEMS[name]], 3) as (system,):
        await system.leader()
        began = reactor.seconds()
        await fill(reactor, system, keys, size, single, told=True)
        filled = reactor.seconds() - began
        before = await resting(reactor, system)
        print(f"{name}: {keys:,} keys in {filled:.0f} s", flush=True)
        found = []
        for _ in range(times):
            found.append(await restart(reactor, system, keys, size))
            print(f"{name}: served after {found[-1].first:.2f} s, all nodes {found[-1].all:.2f} s", flush=True)
        after = await resting(reactor, system)
    return Restarts(name, filled, before, after, found)


async def restart(reactor: Any, system: System, keys: int, size: int) -> Restart:
    """kill -9 of all, then start all. Raises Disturbed where a key is lost, as far as some of them tell."""
    for node in system.nodes:
        node.kill()
    began = reactor.seconds()
    system.start(system.nodes)
    others = Others([node.pid for node in system.nodes])
    took = []
    for node in system.nodes:
        await _serves(reactor, system, node, size)
        took.append(reactor.seconds() - began)
    share = others.share()
    peak = roles(system, await system.leader())
    await look(reactor, system, system.nodes[0], keys, size)
    return Restart(took[0], took[-1], peak, share)


async def _serves(reactor: Any, system: System, node: Any, size: int) -> None:
    """Wait until it takes a write, and then a linearizable read."""

    async def written() -> bool | None:
        answer = await ask(reactor, system.url(node), system.set_one(1, size), PATIENCE)
        return (answer is not None and answer.code == 200) or None

    async def read() -> bool | None:
        answer = await ask(reactor, system.url(node), system.get_one(1), PATIENCE)
        return (answer is not None and system.is_value(answer, size)) or None

    for what, served in (("write", written), ("read", read)):
        try:
            await until(reactor, f"{system.name} takes a {what}", served, LIMIT)
        except AssertionError as error:
            raise Disturbed(str(error)) from None


async def look(reactor: Any, system: System, node: Any, keys: int, size: int, stale: bool = False) -> None:
    """Read some of the keys through a node. Raises Disturbed where one does not have its value."""
    for number in range(1, keys + 1, max(1, keys // LOOKED_AT)):
        answer = await ask(reactor, system.url(node), system.get_one(number, stale), 10 * PATIENCE)
        if answer is None or not system.is_value(answer, size):
            raise Disturbed(f"{system.name}: key {number} is lost, or not answered: {answer}")


async def resting(reactor: Any, system: System) -> Roles:
    """What the nodes take once they have done what they were asked."""
    leader = await system.leader()
    await at_rest(reactor, [node.pid for node in system.nodes if system.is_running(node)])
    return roles(system, leader)


def table(found: Sequence[Restarts]) -> str:
    """All of it, for people: a column for each system, and the ratio of the first to the second."""
    from tabulate import tabulate  # noqa: PLC0415 - only measurements need it

    rows: list[list[str]] = []

    def seconds(what: str, values: Sequence[float]) -> None:
        rows.append([what, *(f"{each:.2f}" for each in values), *ratio(values)])

    def sizes(what: str, field: str, values: Sequence[Roles]) -> None:
        leaders = [getattr(each.leader, field) for each in values]
        followers = [getattr(each.follower, field) for each in values]
        texts = [f"{mib(one)} / {mib(other)}" for one, other in zip(leaders, followers, strict=True)]
        both = [f"{one} / {other}" for one, other in zip(ratio(leaders), ratio(followers), strict=True)]
        rows.append([what, *texts, *both])

    seconds("filled, s", [each.filled for each in found])
    seconds("first node serves, s", [each.first for each in found])
    seconds("worst of them, s", [each.worst for each in found])
    seconds("all nodes serve, s", [each.all for each in found])
    for when in ("before", "after"):
        for what, field in (("memory", "rss"), ("anonymous", "anonymous"), ("data", "data")):
            sizes(f"{what} {when}, MiB", field, [getattr(each, when) for each in found])
    sizes("peak after, MiB", "peak", [each.peak for each in found])
    heads = ["", *(each.system for each in found), *(["ratio"] if len(found) == 2 else [])]
    text = tabulate(rows, heads, colalign=["left", *["right"] * (len(heads) - 1)], disable_numparse=True)
    worst = max(each.others for of in found for each in of.restarts)
    times = len(found[0].restarts)
    return f"{text}\n\n{NOTES}\nmedians of {times}; others had at most {worst:.0%} of the machine during a restart"


def ratio(values: Sequence[float]) -> list[str]:
    """The first to the second, where there are two."""
    if len(values) != 2:
        return []
    return [f"{values[0] / values[1]:.2f}" if values[1] else "-"]
