"""How much may wait in a transport that does not get rid of what is written to it.

A transport pauses its producer when more than 64 KiB wait, and resumes it when nothing does. A burst pauses it as well
as a dead peer, so pausing alone is no reason to drop anything. Counted is what is written while it is paused; from
`limit` bytes on the backlog is full, and entries, which Raft sends again, are dropped until the transport has caught
up. What else there is, is small or, as proposals are, bounded by who sends it. A transport that has not caught up for
`stuck_after` seconds leads to a peer that is gone or hopelessly slow, and is given up, and with it what waits.
"""

from collections.abc import Callable

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer


@implementer(IPushProducer)
@define(eq=False)
class Backlog:
    """Registered with a transport as its streaming producer."""

    _clock: IReactorTime
    _limit: int
    _stuck_after: float
    _on_stuck: Callable[[], None]
    _waiting: int = 0
    _deadline: IDelayedCall | None = None

    @property
    def full(self) -> bool:
        """Whether what can be dropped is to be dropped."""
        return self._waiting >= self._limit

    def wrote(self, size: int) -> None:
        """`size` bytes went to the transport."""
        if self._deadline is not None:
            self._waiting += size

    def pauseProducing(self) -> None:
        """The transport has more than it wants."""
        if self._deadline is None:
            self._deadline = self._clock.callLater(self._stuck_after, self._stuck)

    def resumeProducing(self) -> None:
        """The transport has written everything."""
        self._waiting = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def stopProducing(self) -> None:
        """The connection is over."""
        self.resumeProducing()

    def _stuck(self) -> None:
        self._deadline = None
        self._on_stuck()
