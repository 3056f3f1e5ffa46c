"""A reactor's clock that nobody can set. It is the process's own: `twistd txraft` runs on it, and a program of your own
should, before it schedules anything:

    run_on_monotonic_time(reactor)
"""

import time
from typing import Any


def run_on_monotonic_time(reactor: Any) -> None:
    """Make the reactor's clock one that nobody can set. What is scheduled already stays as far away as it is.

    Twisted's is `time.time`, on all of its reactors, asyncio's included. Where that is set back by a minute, every
    timer is a minute late: a dead leader has no successor and no request times out. Where it is set forward, all of
    them are due at once. The new clock goes on from where the old one is, at the pace of `time.monotonic`, so it still
    counts from the epoch, as IReactorTime has it; it just does not hear of it when the wall clock is set. Nothing that
    is shown comes from it: log lines and HTTP's Date ask `time.time` themselves.

    Its limit: it stands still while the machine is suspended (on Linux), and so does the waiting in epoll. A node that
    wakes up waits for what was left of its timeouts; until then one that led believes that it leads, and one that
    followed keeps its vote from others. That costs as much time and nothing else: no answer relies on a clock.
    """
    ahead: float = reactor.seconds() - time.monotonic()

    def seconds() -> float:
        return ahead + time.monotonic()

    reactor.seconds = seconds
    for call in reactor.getDelayedCalls():
        call.seconds = seconds  # by which it is put off
