"""Timers that fire late (hazard E13).

A process may stand still: somebody stops it, its machine stops, or a callback or a garbage collection takes long. When
it goes on its timers are due at once, and they say nothing of the others: a leader has not asked them meanwhile, and
what a follower has been told is not read yet. So such a timer is passed over. The next one is not, however late it is,
or a process that is always slow would never act; unless it has heard meanwhile what it waited for.
"""

from txraft.core.state import RaftOptions

LATE_INTERVALS = 2
"""Heartbeat intervals after which a timer is late."""


class Lateness:
    """Of one timer, each time that it fires."""

    def __init__(self, options: RaftOptions) -> None:
        self.allowance = LATE_INTERVALS * options.heartbeat_interval
        """Seconds after which the timer is late."""
        self._passed_over = False

    def passes_over(self, late: float) -> bool:
        """Whether the timer, which fires `late` seconds after it was due, is to be passed over this time."""
        self._passed_over = late >= self.allowance and not self._passed_over
        return self._passed_over

    def reset(self) -> None:
        """What the timer waits for has come."""
        self._passed_over = False
