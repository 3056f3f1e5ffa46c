"""A rolling restart: each node in turn is told to end, is started again and catches up, while clients write.

Each client has one connection and one write under way. The clients are spread over the nodes; a client whose write was
not acknowledged, or whose connection broke, goes to the next node, and returns to its own once that is back.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater

from tests.bench.catchup import caught_up
from tests.bench.connections import Connection, connect
from tests.bench.load import Disturbed
from tests.bench.systems import SYSTEMS, System, running
from tests.bench.watch import Others
from tests.integration.waiting import until

SETTLING: Final = 1.0
"""Seconds of writes before anything counts, and between two restarts."""
SETBACK: Final = 0.02
"""Seconds that a client waits before it goes to the next node."""
ENDS_WITHIN: Final = 60.0
"""Seconds after which a node that was told to end never will."""

HEADS: Final = ("system", "stopped", "gap ms", "timeout ms", "errors there", "errors elsewhere", "back s", "rate")
NOTES: Final = """\
stopped: what the node was when it was told to end (SIGTERM)
gap: the longest time without any acknowledged write, from then until the node has caught up; of several, the longest
timeout: the shortest time after which followers of a leader that says nothing elect another
errors there: writes under way on that node, refused or not answered; elsewhere: on the others, which is to be 0
back: seconds from the SIGTERM until it has caught up, the median; rate: acknowledged writes a second meanwhile"""


@frozen
class Restarted:
    """One node, once."""

    led: bool
    gap: float
    """Seconds."""
    there: int
    """Writes under way on the node that failed."""
    elsewhere: int
    took: float
    """Seconds."""
    written: int
    said: Sequence[str]
    """What the clients were told whose writes failed."""


@frozen
class Rolling:
    """All that is measured of one system."""

    system: str
    election_timeout: float
    """Seconds."""
    restarts: Sequence[Restarted]
    others: float
    """The share of the machine that others had."""


@define(eq=False)
class Writers:
    """`count` clients of a system, until they are stopped."""

    reactor: Any
    system: System
    count: int
    size: int
    gap: float = field(default=0.0, init=False)
    """The longest between two acknowledged writes, in seconds, since `again`."""
    written: int = field(default=0, init=False)
    failed: Counter[int] = field(factory=Counter, init=False)
    """By the number of the node."""
    said: "Counter[tuple[int, str]]" = field(factory=Counter, init=False)
    """By that and what the client was told."""
    _last: float = field(default=0.0, init=False)
    _home: int = field(default=0, init=False)
    """Counts how often all were called home."""
    _stopping: bool = field(default=False, init=False)
    _running: "Deferred[Any] | None" = field(default=None, init=False)

    def start(self) -> None:
        """Begin."""
        self.again()
        self._running = gatherResults([ensureDeferred(self._write(each)) for each in range(self.count)])

    async def stop(self) -> None:
        """Wait until each has its answer."""
        self._stopping = True
        assert self._running is not None
        await self._running

    def again(self) -> None:
        """Forget what was seen, and call all home."""
        self.gap, self.written, self._last = 0.0, 0, self.reactor.seconds()
        self.failed.clear()
        self.said.clear()
        self._home += 1

    def look(self) -> None:
        """The time since the last acknowledged write is a gap, too."""
        self.gap = max(self.gap, self.reactor.seconds() - self._last)

    async def _write(self, client: int) -> None:
        nodes = self.system.nodes
        connection: Connection | None = None
        home = 0
        while not self._stopping:
            if home != self._home:
                at, home = client % len(nodes), self._home
                if connection is not None:
                    connection.close()
                connection = None
            try:
                if connection is None or connection.lost:
                    connection = await connect(self.reactor, self.system.url(nodes[at]))
                answer = await connection.ask(self.system.set_one(client + 1, self.size))
                told = None if answer.code == 200 else f"{answer.code} {answer.body.decode(errors='replace')}"
            except ConnectError:  # nobody listens, so nothing was sent
                connection, told = None, ""
            except Exception as error:  # the connection broke
                connection, told = None, repr(error)
            if told is None:
                self.look()
                self.written += 1
                self._last = self.reactor.seconds()
                continue
            if told:
                self.failed[at] += 1
                self.said[at, told] += 1
            if connection is not None:
                connection.close()
                connection = None
            at = (at + 1) % len(nodes)
            await deferLater(self.reactor, SETBACK)
        if connection is not None:
            connection.close()


async def rolling(reactor: Any, name: str, clients: int, size: int, rounds: int) -> Rolling:
    """Of one system. Raises Disturbed."""
    with running(reactor, [SYSTEMS[name]], 3) as (system,):
        await system.leader()
        others = Others([node.pid for node in system.nodes])
        writers = Writers(reactor, system, clients, size)
        writers.start()
        restarts = []
        try:
            for _ in range(rounds):
                for number in range(len(system.nodes)):
                    await deferLater(reactor, SETTLING)
                    restarts.append(await _restarted(reactor, system, writers, number))
                    print(f"{name}: {said(restarts[-1])}", flush=True)
        finally:
            await writers.stop()
        return Rolling(name, system.election_timeout, restarts, others.share())


async def _restarted(reactor: Any, system: System, writers: Writers, number: int) -> Restarted:
    node = system.nodes[number]
    led = await system.leader() is node
    writers.again()
    await deferLater(reactor, SETTLING)
    writers.again()
    began = reactor.seconds()
    node.terminate()

    async def ended() -> bool | None:
        return not system.is_running(node) or None

    try:
        await until(reactor, f"a node of {system.name} ends", ended, ENDS_WITHIN)
    except AssertionError as error:
        raise Disturbed(str(error)) from None
    node.start()
    await caught_up(reactor, system, await system.leader(), node)
    writers.look()
    told = [
        f"{'there' if at == number else 'elsewhere'}, {times} times: {what}"
        for (at, what), times in writers.said.items()
    ]
    failed = writers.failed
    return Restarted(
        led,
        writers.gap,
        failed[number],
        sum(failed.values()) - failed[number],
        reactor.seconds() - began,
        writers.written,
        told,
    )


def said(restarted: Restarted) -> str:
    """A line."""
    what = "the leader" if restarted.led else "a follower"
    line = (
        f"{what} restarted in {restarted.took:.1f} s, gap {restarted.gap * 1000:.0f} ms,"
        f" {restarted.there} errors there, {restarted.elsewhere} elsewhere"
    )
    return "; ".join([line, *restarted.said])


def table(found: Sequence[Rolling]) -> str:
    """All of it, for people."""

    from tabulate import tabulate  # noqa: PLC0415 - only measurements need it

    rows = []
    for each in found:
        for led in (True, False):
            of = [restarted for restarted in each.restarts if restarted.led is led]
            if not of:
                continue
            rows.append(
                [
                    each.system,
                    f"{'leader' if led else 'follower'}, {len(of)} times",
                    f"{max(one.gap for one in of) * 1000:.0f}",
                    f"{each.election_timeout * 1000:.0f}",
                    str(sum(one.there for one in of)),
                    str(sum(one.elsewhere for one in of)),
                    f"{statistics.median(one.took for one in of):.1f}",
                    f"{sum(one.written for one in of) / sum(one.took for one in of):.0f}",
                ]
            )
    text = tabulate(rows, HEADS, colalign=["left", "left", *["right"] * (len(HEADS) - 2)], disable_numparse=True)
    others = max(each.others for each in found)
    return f"{text}\n\n{NOTES}\nothers had {others:.0%} of the machine, the nodes' ends and starts among them"
