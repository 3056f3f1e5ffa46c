"""A node with an empty directory that starts for the first time, while writes go on at a steady pace: how long it takes
until it has what the leader has, and what that costs those who write.

Two nodes of three are filled, the third is first started then. Writes are measured before, meanwhile and after, since
a third node costs something by itself.
"""

from collections.abc import Sequence
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.task import LoopingCall, deferLater

from tests.bench.connections import Pool, ask, connect
from tests.bench.fill import fill
from tests.bench.load import Disturbed
from tests.bench.pace import Pace, Period
from tests.bench.restart import LIMIT, look, resting
from tests.bench.systems import SYSTEMS, Position, System, running
from tests.bench.watch import Others, Pause, Pauses, Taken, mib
from tests.integration.waiting import until

SAMPLE: Final = 0.1
"""Seconds between two looks at the leader's memory, and at how far the newcomer is."""
PATIENCE: Final = 2.0
"""Seconds in which a node says how far it is."""
SETTLING: Final = 2.0
"""Seconds of writes before anything counts."""

HEADS: Final = ("system", "when", "s", "written", "failed", "p50 ms", "p99 ms", "longest", "pause", ">50", "blind ms")
NOTES: Final = """\
p50, p99, longest: ms from when a write was due until it was acknowledged, so one that waits behind a pause counts too
pause: the longest time that the leader took for a stale read, which it answers at once, asked every 10 ms: how long
  its main thread ran, waited for a processor, and did neither (slept: the GIL, a lock, a disk, nothing to do).
  etcd has many threads, so these are not told of it, and its pause is the longest answer
>50: reads that took 50 ms or more, of all. blind: the longest time for which this process itself was held up;
  pauses of less cannot be told from it
seconds to catch up: until the newcomer had applied what the leader had 0.1 s before; it has to start, too"""


@frozen
class Phase:
    """What was seen while the newcomer was away, caught up, or was there."""

    when: str
    period: Period
    pause: Pause
    long: int
    """Pauses of 50 ms and more, as `Pauses` counts them."""
    asked: int
    blind: float
    """Seconds by which this process was late at most."""
    leader: Taken
    """The greatest of all samples."""
    others: float
    """The share of the machine that others had."""


@frozen
class Catchup:
    """All that is measured of one system."""

    system: str
    took: float
    """Seconds from the start of the newcomer until it had what the leader had."""
    terms: int
    """That passed meanwhile: 0 where there was no election that somebody won or stood in."""
    led_on: bool
    """Whether the leader is the same afterwards."""
    first: int | None
    """The first entry in the newcomer's log, where the system tells: beyond 1 it had a snapshot."""
    newcomer: Taken
    phases: Sequence[Phase]

    @property
    def slower(self) -> float:
        """How many times the p99 before the p99 meanwhile is."""
        before, meanwhile = self.phases[0].period.p99, self.phases[1].period.p99
        return meanwhile / before if before else 0.0


@define(eq=False)
class _Watched:
    """A leader, and the writes to it."""

    reactor: Any
    system: System
    leader: Any
    pace: Pace
    pauses: Pauses
    _most: Taken = field(factory=lambda: Taken.most([]), init=False)
    _others: Others = field(init=False)

    def begin(self) -> None:
        """A phase, from now on."""
        self.pace.period()
        self.pauses.again()
        self._most = Taken.most([])
        self._others = Others([node.pid for node in self.system.nodes if self.system.is_running(node)])

    def end(self, when: str) -> Phase:
        """The phase."""
        blind = max(self.pauses.lateness, self.pace.lateness)
        seen = self.pauses
        phase = Phase(
            when, self.pace.period(), seen.longest, seen.long, seen.count, blind, self._most, self._others.share()
        )
        print(f"{self.system.name}, {when}: {said(phase)}", flush=True)
        return phase

    def sample(self) -> None:
        """Look at the leader's memory."""
        self._most = Taken.most([self._most, Taken.of(self.leader.pid, self.system.data(self.leader))])


async def catchup(reactor: Any, name: str, keys: int, size: int, rate: int, seconds: int, single: bool) -> Catchup:
    """Of one system; `seconds` before and after. Raises Disturbed."""
    with running(reactor, [SYSTEMS[name]], 3, first=2) as (system,):
        leader = await system.leader()
        newcomer = system.nodes[2]
        await fill(reactor, system, keys, size, single, told=True)
        await resting(reactor, system)
        pool = Pool(reactor, system.url(leader))
        pace = Pace(reactor, lambda number: pool.ask(system.set_one(number % keys + 1, size)), rate)
        question = await connect(reactor, system.url(leader))
        thread = leader.pid if name == "txraft" else None
        pauses = Pauses(reactor, question, system.get_one(1, stale=True), thread)
        watched = _Watched(reactor, system, leader, pace, pauses)
        sampling = LoopingCall(watched.sample)
        sampling.clock = reactor
        pace.start()
        pauses.start()
        sampling.start(SAMPLE)
        try:
            await deferLater(reactor, SETTLING)
            watched.begin()
            await deferLater(reactor, seconds)
            phases = [watched.end("before")]
            term = (await _position(reactor, system, leader)).term
            began = reactor.seconds()
            newcomer.start()
            watched.begin()
            await caught_up(reactor, system, leader, newcomer)
            took = reactor.seconds() - began
            phases.append(watched.end("meanwhile"))
            watched.begin()
            await deferLater(reactor, seconds)
            phases.append(watched.end("after"))
        finally:
            sampling.stop()
            pauses.stop()
            await pace.stop()
            pool.close()
        terms = (await _position(reactor, system, leader)).term - term
        led_on = await system.leader() is leader
        first = (await _position(reactor, system, newcomer)).first
        await look(reactor, system, newcomer, keys, size, stale=True)
        taken = Taken.of(newcomer.pid, system.data(newcomer))
    return Catchup(name, took, terms, led_on, first, taken, phases)


async def _position(reactor: Any, system: System, node: Any) -> Position:
    answer = await ask(reactor, system.url(node), system.position_request, PATIENCE)
    if answer is None or answer.code != 200:
        raise Disturbed(f"a node of {system.name} does not say how far it is")
    return system.position(answer)


async def caught_up(reactor: Any, system: System, leader: Any, newcomer: Any) -> None:
    """Wait until the newcomer has applied what the leader had applied a look before."""
    goal = (await _position(reactor, system, leader)).applied
    told = reactor.seconds()

    async def looked() -> bool | None:
        nonlocal goal, told
        await deferLater(reactor, SAMPLE)
        if not system.is_running(newcomer):
            raise Disturbed(f"the new node of {system.name} has ended")
        answer = await ask(reactor, system.url(newcomer), system.position_request, PATIENCE)
        applied = system.position(answer).applied if answer is not None and answer.code == 200 else 0
        if applied >= goal:
            return True
        if reactor.seconds() - told > 10:
            told = reactor.seconds()
            print(f"{system.name}: the new node has applied {applied:,} of {goal:,}", flush=True)
        goal = (await _position(reactor, system, leader)).applied
        return None

    try:
        await until(reactor, f"the new node of {system.name} catches up", looked, LIMIT)
    except AssertionError as error:
        raise Disturbed(str(error)) from None


def said(phase: Phase) -> str:
    """A line."""
    period = phase.period
    return f"p50 {period.p50:.1f} ms, p99 {period.p99:.1f} ms, {period.failed} failed, longest pause {phase.pause}"


def table(found: Sequence[Catchup]) -> str:
    """All of it, for people."""
    from tabulate import tabulate  # noqa: PLC0415 - only measurements need it

    rows = [_row(each.system, phase) for each in found for phase in each.phases]
    text = tabulate(rows, HEADS, colalign=["left", "left", *["right"] * (len(HEADS) - 2)], disable_numparse=True)
    lines = [text, "", NOTES, *(summary(each) for each in found)]
    if len(found) == 2:
        lines.append(f"seconds to catch up, ratio: {found[0].took / found[1].took:.2f}")
    return "\n".join(lines)


def _row(name: str, phase: Phase) -> list[str]:
    period = phase.period
    times = (f"{each:.1f}" for each in (period.p50, period.p99, period.longest))
    long = f"{phase.long} of {phase.asked}"
    counts = (f"{period.seconds:.1f}", str(period.written), str(period.failed))
    return [name, phase.when, *counts, *times, str(phase.pause), long, f"{phase.blind * 1000:.0f}"]


def summary(found: Catchup) -> str:
    """A line of what matters."""
    source = {None: "", 1: ", by entries alone"}.get(found.first, f", by a snapshot and entries from {found.first}")
    most = [phase.leader for phase in found.phases]
    others = max(phase.others for phase in found.phases)
    return (
        f"{found.system}: caught up in {found.took:.1f} s{source}; {found.terms} terms passed, "
        f"{'the same' if found.led_on else 'another'} leader; p99 meanwhile {found.slower:.1f} times that before; "
        f"leader's memory {mib(most[0].rss)}, then at most {mib(most[1].rss)} MiB, its data {mib(most[0].data)}, then "
        f"{mib(most[1].data)} MiB; newcomer's {mib(found.newcomer.rss)} and {mib(found.newcomer.data)} MiB; "
        f"others had at most {others:.0%} of the machine"
    )
