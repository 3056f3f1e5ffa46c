"""Writes at a steady pace, whatever becomes of those before: each counts from the moment at which it was due, so that
a pause costs every write that fell into it.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.task import LoopingCall

from tests.bench.connections import Answer

TICK: Final = 0.002
"""Seconds between two looks at what is due, or the time between two writes where that is longer."""
MOST_UNDER_WAY: Final = 10_000
"""Writes. What is due beyond them is skipped, and counted."""

PATIENCE: Final = 10.0
"""Seconds."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that at least `percent` of them do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)] if ordered else 0.0


@frozen
class Period:
    """What became of the writes that ended in a period."""

    seconds: float
    written: int
    """Acknowledged."""
    failed: int
    """Refused, or not answered; or skipped, since too many others waited."""
    p50: float
    """Milliseconds from the moment at which a write was due until it was acknowledged."""
    p99: float
    longest: float
    gap: float = 0.0
    """The longest time in which no write was acknowledged, in milliseconds."""

    @property
    def rate(self) -> float:
        """Acknowledged a second."""
        return self.written / self.seconds if self.seconds else 0.0


@define(eq=False)
class Pace:
    """`rate` writes a second, until it is stopped. `ask` sends the write of that number."""

    clock: Any
    ask: Callable[[int], Awaitable[Answer]]
    rate: float
    written: int = field(default=0, init=False)
    """Acknowledged, since it was started."""
    failed: int = field(default=0, init=False)
    lateness: float = field(default=0.0, init=False)
    """The longest, in seconds, by which this process itself was late to send, in the period."""
    _due: int = field(default=0, init=False)
    _under_way: int = field(default=0, init=False)
    _began: float = field(default=0.0, init=False)
    _latencies: list[float] = field(factory=list, init=False)
    _gap: float = field(default=0.0, init=False)
    _acknowledged: float = field(default=0.0, init=False)
    """When the last one was; the beginning of the period, where none was since."""
    _since: float = field(default=0.0, init=False)
    _failed_before: int = field(default=0, init=False)
    _idle: "Deferred[None] | None" = field(default=None, init=False)
    _loop: LoopingCall = field(init=False)

    def start(self) -> None:
        """The first write is due now."""
        self._began = self._since = self._acknowledged = self.clock.seconds()
        self._loop = LoopingCall(self._send_what_is_due)
        self._loop.clock = self.clock
        self._loop.start(max(TICK, 1 / self.rate))

    async def stop(self) -> None:
        """Send no more, and wait for the answers to what was sent, at most PATIENCE seconds."""
        self._loop.stop()
        if self._under_way:
            self._idle = Deferred()
            with suppress(TimeoutError):
                await self._idle.addTimeout(PATIENCE, self.clock)
            self._idle = None

    def period(self) -> Period:
        """What happened since this was asked last, or since the start."""
        now, latencies = self.clock.seconds(), self._latencies
        p50, p99 = (percentile(latencies, percent) * 1000 for percent in (50, 99))
        period = Period(
            seconds=now - self._since,
            written=len(latencies),
            failed=self.failed - self._failed_before,
            p50=p50,
            p99=p99,
            longest=max(latencies, default=0.0) * 1000,
            gap=max(self._gap, now - self._acknowledged) * 1000,
        )
        self._latencies, self._since, self._failed_before, self.lateness = [], now, self.failed, 0.0
        self._gap, self._acknowledged = 0.0, now
        return period

    def _send_what_is_due(self) -> None:
        now = self.clock.seconds()
        while (due := self._began + self._due / self.rate) <= now:
            self.lateness = max(self.lateness, now - due)
            if self._under_way < MOST_UNDER_WAY:
                self._under_way += 1
                ensureDeferred(self._write(self._due, due))
            else:
                self.failed += 1
            self._due += 1

    async def _write(self, number: int, due: float) -> None:
        try:
            acknowledged = (await self.ask(number)).code == 200
        except Exception:  # the connection broke, say: what is counted is that it was not acknowledged
            acknowledged = False
        self._under_way -= 1
        if acknowledged:
            self.written += 1
            now = self.clock.seconds()
            self._latencies.append(now - due)
            self._gap, self._acknowledged = max(self._gap, now - self._acknowledged), now
        else:
            self.failed += 1
        if self._idle is not None and not self._under_way:
            self._idle.callback(None)
