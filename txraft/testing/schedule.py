"""Time: one queue of events for the whole simulation, and the clock of each process in it.

Events are ordered by time and, at one time, by when they were scheduled: nothing else decides what comes first, so a
run can be repeated. A `Process` is what the driver takes for its reactor's clock. Its clock may run fast or slow, and
jump, also back, as a real reactor's does when somebody sets the time. It can be paused (SIGSTOP) and killed (SIGKILL):
paused, what happens to it waits; dead, nothing happens to it any more.

(`task.Clock`, which tests of single nodes use, is one clock for all: it cannot run fast, jump, or stand still for one.)
"""

import heapq
import math
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

TURN = 0.0005
"""Seconds that a turn of a busy reactor takes, at most: until then what was scheduled for at once may have to wait."""

STARTS_AT = 1e9
"""What the clock of a process says when the process starts, in seconds. At 0, `deadline - now` and `deadline + now`
are the same, and a run would not see which one is meant."""

LATE = 1e-6
"""Seconds by which every timer is late, as it is in real life; `LoopingCall` relies on never being early."""


class Schedule:
    """The queue of events, and the time, in seconds, which the clocks of the processes follow each in its own way."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        """Protocol steps so far: messages that arrived, timers that fired, writes that ended, operations of clients."""
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0

    def after(self, delay: float, function: Callable[..., None], *args: Any) -> None:
        """Call `function(*args)` in `delay` seconds, 0 or more."""
        self._order += 1
        heapq.heappush(self._queue, (self.now + delay, self._order, function, args))

    def run(self, until: float, stop: Callable[[], bool]) -> None:
        """Let everything happen that is due up to the time `until`, or until `stop()` after one of the events."""
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= until:
            self.now, _, function, args = pop(queue)
            function(*args)
            if stop():
                return
        self.now = max(self.now, until)


@implementer(IReactorTime)
class Process:
    """One process: its clock, its timers, and whether it runs."""

    def __init__(self, schedule: Schedule, random: Random, after_step: Callable[[], None]) -> None:
        """`after_step` is called after everything that happens to the process."""
        self.schedule = schedule
        self.alive = True
        self.paused = False
        self.at_work = False
        """Whether what runs now is a thread of its own, and not the reactor's."""
        self.rate = 1.0
        self.disturbed = schedule.now
        """Since when its time runs as all time does."""
        self._random = random
        self._after_step = after_step
        self._held: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.unread = 0
        """How much of what came while it was paused it has not looked at yet, timers aside."""
        self._timers: dict[Timer, None] = {}
        self._set_at = schedule.now
        self._set_to = STARTS_AT

    # IReactorTime

    def seconds(self) -> float:
        """The time by this process's clock."""
        return self._set_to + (self.schedule.now - self._set_at) * self.rate

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> IDelayedCall:
        """As IReactorTime.callLater: `delay` is 0 or more."""
        if delay < 0:
            raise AssertionError(f"{callable} is to be called in {delay:g} s, which is in the past")
        timer = Timer(self, delay, callable, args, kw)
        self.start(timer, delay)
        return timer

    def getDelayedCalls(self) -> "list[Timer]":
        """As IReactorTime."""
        return list(self._timers)

    # What happens to it

    def enter(self, function: Callable[..., None], *args: Any) -> None:
        """Something happens to the process, if it lives, now or when it is resumed."""
        if self.paused:
            self._held.append((function, args))
        elif self.alive:
            function(*args)
            self._after_step()

    def pause(self) -> None:
        """Let nothing happen to it. Its clock goes on."""
        self.paused = True
        self._disturb()

    def resume(self) -> None:
        """Let what has waited happen. The reactor looks at its timers first, or at its sockets; in either case at its
        sockets before a call that a timer makes for the next turn.
        """
        if not self.paused:
            return
        self.paused = False
        self._disturb()
        held, self._held = self._held, []
        timers_first = self._random.random() < 0.5
        held.sort(key=lambda event: _rank(_timer_of(event[0]), timers_first))
        for function, args in held:
            if _timer_of(function) is None:
                self.unread += 1
                self.schedule.after(0, self._read, function, *args)
            else:
                self.schedule.after(0, self.enter, function, *args)

    def _read(self, function: Callable[..., None], *args: Any) -> None:
        self.unread -= 1
        self.enter(function, *args)

    def kill(self) -> None:
        """Let nothing happen to it ever again."""
        self.alive = self.paused = False
        self._held.clear()
        self._timers.clear()

    def set_clock(self, jump: float = 0.0, rate: float | None = None) -> None:
        """Let the clock jump by `jump` seconds, and run at `rate` seconds a second from now on."""
        self._set_to, self._set_at = self.seconds() + jump, self.schedule.now
        self.rate = self.rate if rate is None else rate
        self._disturb()
        for timer in list(self._timers):
            self.start(timer, timer.time - self.seconds())

    def _disturb(self) -> None:
        self.disturbed = self.schedule.now if self.rate == 1.0 and not self.paused else math.inf

    # For the timers

    def start(self, timer: "Timer", delay: float) -> None:
        """Let `timer` ring in `delay` seconds of this clock."""
        wait = delay / self.rate + LATE if delay > 0 else self._random.random() * TURN
        timer.due = self.schedule.now + wait
        timer.event += 1
        self.schedule.after(wait, self.enter, timer.ring, timer.event)
        self._timers[timer] = None

    def forget(self, timer: "Timer") -> None:
        """The timer has rung, or has been cancelled."""
        self._timers.pop(timer, None)


@implementer(IDelayedCall)
class Timer:
    """A call that is due at a time. Cancelled or reset, it leaves its event in the queue, which then does nothing."""

    __slots__ = ("_args", "_function", "_kw", "_process", "delayed", "due", "event", "state", "time")

    def __init__(
        self,
        process: Process,
        delay: float,
        function: Callable[..., Any],
        args: tuple[object, ...],
        kw: dict[str, object],
    ) -> None:
        self._process = process
        self._function, self._args, self._kw = function, args, kw
        self.time = process.seconds() + delay
        """When it is due, by the process's clock."""
        self.delayed = delay > 0
        self.state = "active"
        self.due = 0.0
        """When it is due, by the schedule's."""
        self.event = 0
        """Which of its events in the queue counts, the latest: the others are left from before a reset."""

    def getTime(self) -> float:
        """As IDelayedCall."""
        return self.time

    def active(self) -> bool:
        """As IDelayedCall."""
        return self.state == "active"

    def cancel(self) -> None:
        """As IDelayedCall."""
        self._require_active()
        self.state = "cancelled"
        self._process.forget(self)

    def reset(self, secondsFromNow: float) -> None:
        """As IDelayedCall. Later is cheap: the event finds out when it comes."""
        self._require_active()
        process = self._process
        self.time = process.seconds() + secondsFromNow
        due = process.schedule.now + max(0.0, secondsFromNow) / process.rate + LATE
        if due >= self.due:
            self.due = due
        else:
            process.start(self, secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        """As IDelayedCall."""
        self.reset(self.time + secondsLater - self._process.seconds())

    def ring(self, event: int) -> None:
        """An event of it is due."""
        if event != self.event or self.state != "active":
            return
        process = self._process
        if self.due > process.schedule.now + LATE:
            process.start(self, (self.due - process.schedule.now) * process.rate)
            return
        process.forget(self)
        self.state = "called"
        process.schedule.steps += self.delayed
        self._function(*self._args, **self._kw)

    def _require_active(self) -> None:
        if self.state == "called":
            raise AlreadyCalled
        if self.state == "cancelled":
            raise AlreadyCancelled


def _timer_of(function: Callable[..., None]) -> Timer | None:
    owner = getattr(function, "__self__", None)
    return owner if isinstance(owner, Timer) else None


def _rank(timer: Timer | None, timers_first: bool) -> int:
    """When a process that goes on looks at something: the lower, the sooner."""
    if timer is None:
        return 1
    if not timer.delayed:
        return 2
    return 0 if timers_first else 1
