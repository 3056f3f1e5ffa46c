"""A node's two timers, on the reactor: for elections where it does not lead, for heartbeats where it does.

What has arrived in a socket counts before a timer (hazard E13). So a timer that fires is not acted upon at once: the
reactor reads its sockets first, and calls on its next turn.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall


class Timers:
    """One of the two runs at a time, once `set` has been called."""

    def __init__(
        self,
        clock: IReactorTime,
        heartbeat_interval: float,
        election_is_due: Callable[[], None],
        heartbeat_is_due: Callable[[], None],
    ) -> None:
        """`heartbeat_interval` in seconds. The two callbacks are called when the reactor has read its sockets."""
        self._clock = clock
        self._heartbeat_interval = heartbeat_interval
        self._election_is_due = election_is_due
        self._heartbeat_is_due = heartbeat_is_due
        self.election_call: IDelayedCall | None = None
        self.due_call: IDelayedCall | None = None
        """Set once a timer has fired: until it is called, the reactor reads."""
        self.heartbeats = LoopingCall(self.heartbeat_timer)
        self.heartbeats.clock = clock

    def set(self, election_deadline: float | None) -> None:
        """Have the election timer fire at the deadline, in seconds of the clock; None for heartbeats in its place.

        It may fire earlier, where it was set so: a leader that is heard puts the deadline off with every message. Who
        is called then sees that the deadline is still to come, and sets the timer anew.
        """
        if election_deadline is None:
            if not self.heartbeats.running:
                self._stop_elections()
                self.heartbeats.start(self._heartbeat_interval, now=False)
            return
        if self.heartbeats.running:
            self.heartbeats.stop()
        if self.election_call is None or not self.election_call.active():
            self.election_call = self._clock.callLater(self._left(election_deadline), self.election_timer)
        elif self.election_call.getTime() > election_deadline:
            self.election_call.reset(self._left(election_deadline))

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._clock.seconds())

    def stop(self) -> None:
        """Fire no more."""
        self._stop_elections()
        if self.due_call is not None and self.due_call.active():
            self.due_call.cancel()
        if self.heartbeats.running:
            self.heartbeats.stop()

    def election_timer(self) -> None:
        """The election timer has fired."""
        self._after_reading(self._election_is_due)

    def heartbeat_timer(self) -> None:
        """The heartbeat timer has fired."""
        self._after_reading(self._heartbeat_is_due)

    def _stop_elections(self) -> None:
        if self.election_call is not None and self.election_call.active():
            self.election_call.cancel()

    def _after_reading(self, act: Callable[[], None]) -> None:
        self.due_call = self._clock.callLater(0, act)
