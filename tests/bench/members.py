"""Changes of the membership while clients write at a steady pace: how long each takes, and for how long meanwhile no
write is acknowledged; above all, how long it takes until a new node has the vote of one that is dead.

A new node votes, in either system, from when the leader has it as a voter and it has applied what the leader had
applied 0.1 s before. The time counts from the operator's first command to then. The dead node is killed (kill -9)
SILENT seconds before, so that everybody knows. The commands are those that an operator of each system gives:

- txraft: POST /members/replace, and the new node is started with --join at the same time. It joins without a vote, and
  takes the place of the dead one when it has caught up.
- etcd: member remove, member add, and the new node is started, as its documentation has it. It is a voter from `add`
  on, so that until it has caught up one more failure stops the cluster. Where etcd refuses (it wants its members
  connected for a while before it adds one), the command is given again every 50 ms.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import deferLater

from tests.bench.catchup import caught_up
from tests.bench.changing import Changing, Roving, changing
from tests.bench.fill import fill
from tests.bench.pace import Pace, Period
from tests.bench.restart import resting
from tests.bench.systems import SYSTEMS, System, running
from tests.bench.watch import Others

SILENT: Final = 2.0
"""Seconds that a dead node is dead before it is replaced: longer than any election timeout."""
SETTLING: Final = 2.0
"""Seconds of writes before and after each change; those after it count."""
PATIENCE: Final = 1.0
"""Seconds after which a write that is not answered is sent to the next node."""
CHANGED_WITHIN: Final = 60.0
"""Seconds after which a change that is not answered is asked for again."""
LOOK: Final = 0.02
"""Seconds between two looks at the membership."""

HEADS: Final = ("system", "change", "took s", "joined s", "caught up s", "votes s", "gap ms", "p99 ms", "failed")
NOTES: Final = f"""\
took: seconds from the command until it was answered; of those that bring a new node, the next three from the command,
  too: until it was a member, had what the leader had 0.1 s before, and was a voter that had
gap: the longest time without any acknowledged write, from the command until {SETTLING:g} s after the change
p99: ms from when a write was due until it was acknowledged, be it by another node than the first that was asked
failed: writes that no node acknowledged
Not in the API, so not measured: to demote a voter, and joint changes of several members but by replacing one."""


@frozen
class Changed:
    """One change."""

    system: str
    what: str
    took: float
    """Seconds until it was answered."""
    period: Period
    joined: float | None = None
    """The next three, of a new node, in seconds from the command."""
    caught_up: float | None = None
    votes: float | None = None
    others: float = 0.0
    """The share of the machine that others had meanwhile."""


@define(eq=False)
class _Measured:
    """A system, the writes to it, and what was found."""

    reactor: Any
    system: System
    changing: Changing
    pace: Pace
    found: list[Changed] = field(factory=list, init=False)

    async def change(self, what: str, make: Callable[[], Awaitable[None]], newcomer: Any = None) -> None:
        """Make one, and wait until the `newcomer` votes, where it is to."""
        await deferLater(self.reactor, SETTLING)
        leader = await self.system.leader()
        others = Others([node.pid for node in self.system.nodes if self.system.is_running(node)])
        self.pace.period()
        began = self.reactor.seconds()
        await make()
        took = self.reactor.seconds() - began
        joined = caught = votes = None
        if newcomer is not None:
            joined, caught, votes = await self._votes(leader, newcomer, began)
        await deferLater(self.reactor, SETTLING)
        await self._written()
        changed = Changed(self.system.name, what, took, self.pace.period(), joined, caught, votes, others.share())
        print(said(changed), flush=True)
        self.found.append(changed)

    async def _written(self) -> None:
        """Wait for one more acknowledged write, so that a gap is measured to its end."""
        before = self.pace.written
        while self.pace.written == before:
            await deferLater(self.reactor, LOOK)

    async def _votes(self, leader: Any, newcomer: Any, began: float) -> tuple[float, float, float]:
        """Seconds until it was a member, had caught up, and was a voter that has."""
        changing, now = self.changing, self.reactor.seconds

        async def seen(look: Callable[[Any], Awaitable[bool]]) -> float:
            while not await look(newcomer):
                await deferLater(self.reactor, LOOK)
            return float(now() - began)

        async def caught() -> float:
            await caught_up(self.reactor, self.system, leader, newcomer)
            return float(now() - began)

        joined, caught_at, voter = await gatherResults(
            [ensureDeferred(each) for each in (seen(changing.is_member), caught(), seen(changing.is_voter))]
        )
        return joined, caught_at, max(caught_at, voter)


async def members(reactor: Any, name: str, keys: int, size: int, rate: int, times: int) -> Sequence[Changed]:
    """Of one system: every kind of change once, and a dead node replaced so many `times`. Raises Disturbed."""
    with running(reactor, [SYSTEMS[name]], 3) as (system,), ExitStack() as stack:
        leader = await system.leader()
        await fill(reactor, system, keys, size, told=True)
        await resting(reactor, system)
        roving = Roving(reactor, system, leader, PATIENCE)
        pace = Pace(reactor, lambda number: roving.ask(system.set_one(number % keys + 1, size)), rate)
        operator = Roving(reactor, system, leader, CHANGED_WITHIN)
        measured = _Measured(reactor, system, changing(system, operator, stack), pace)
        pace.start()
        try:
            await _each_kind(measured)
            for _ in range(times):
                await _replace(measured)
        finally:
            await pace.stop()
            roving.close()
            operator.close()
        return measured.found


async def _each_kind(measured: _Measured) -> None:
    system, changing = measured.system, measured.changing

    async def nothing() -> None:
        await deferLater(measured.reactor, SETTLING)

    await measured.change("none", nothing)
    fourth, fifth = changing.new(), changing.new()
    await measured.change("add a voter", lambda: changing.add(fourth), fourth)
    await measured.change("add a learner", lambda: changing.add(fifth, learner=True))
    await measured.change("promote it", lambda: changing.promote(fifth), fifth)
    await measured.change("change its address", lambda: changing.move(fifth))
    follower = await _a_follower(system)
    await measured.change("remove a follower", lambda: changing.remove(follower))
    leader = await system.leader()
    await measured.change("remove the leader", lambda: changing.remove(leader))


async def _replace(measured: _Measured) -> None:
    dead = await _a_follower(measured.system)
    dead.kill()
    await deferLater(measured.reactor, SILENT)
    newcomer = measured.changing.new()
    await measured.change("replace a dead voter", lambda: measured.changing.replace(dead, newcomer), newcomer)


async def _a_follower(system: System) -> Any:
    leader = await system.leader()
    return next(node for node in system.nodes if node is not leader)


def said(changed: Changed) -> str:
    """A line."""
    period = changed.period
    line = f"{changed.system}: {changed.what}: {changed.took:.2f} s, gap {period.gap:.0f} ms, p99 {period.p99:.0f} ms"
    if changed.votes is not None:
        line += (
            f", joined after {changed.joined:.2f} s, caught up {changed.caught_up:.2f} s, votes {changed.votes:.2f} s"
        )
    return line


def table(found: Sequence[Sequence[Changed]]) -> str:
    """All of it, for people."""
    from tabulate import tabulate  # noqa: PLC0415 - only measurements need it

    rows = [_row(each) for of in found for each in of]
    text = tabulate(rows, HEADS, colalign=["left", "left", *["right"] * (len(HEADS) - 2)], disable_numparse=True)
    others = max(each.others for of in found for each in of)
    return f"{text}\n\n{NOTES}\nothers had at most {others:.0%} of the machine, new nodes among them"


def _row(changed: Changed) -> list[str]:
    times = ["" if each is None else f"{each:.2f}" for each in (changed.joined, changed.caught_up, changed.votes)]
    period = changed.period
    return [
        changed.system,
        changed.what,
        f"{changed.took:.2f}",
        *times,
        f"{period.gap:.0f}",
        f"{period.p99:.0f}",
        str(period.failed),
    ]
