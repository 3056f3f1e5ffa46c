"""What waits for a peer that does not take it in as fast as it is written.

A transport takes whatever is written to it, without a bound. It asks its producer to pause when more than 64 KiB wait
in it, and to resume when nothing does; what goes on writing all the same learns neither how much waits, nor, under
steady load, whether any of it goes. So what is to be written waits here, and is handed to the transport in pieces, when
it wants them. Then `size` is what waits, to within two pieces, and each time that it resumes the peer has taken in at
least that much.

Memory toward a peer is bounded, whatever it does and whichever side dialled. One that takes nothing in (it is stopped,
or cut off) makes the transport pause once the socket's buffers are full; `stuck_after` seconds later the link is given
up, and with it what waits. The same happens to one that takes in less than a piece or two in that time (by default,
about 10 kB/s). One that is merely slow is left in peace, also over a message that takes minutes. Toward that one,
whatever is large stops at `limit`: entries, which Raft sends again, are dropped, and proposals are refused (`Link`).
The message that passes the limit still goes, however large (hazard R20). The rest is small, and no more than one for
each heartbeat interval and for each message or question that came in. A peer that goes on asking without reading the
answers makes as much wait again, and is given up too.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import Factory, define
from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

PIECE: Final = 64 * 1024
"""Bytes that are handed to a transport at once."""
PIECE_OVERHEAD: Final = 64
"""Bytes that a piece takes beside its own, about: many small ones are not to take more memory than they count for."""


@implementer(IPushProducer)
@define(eq=False)
class SendQueue:
    """The producer of one transport, with which it registers itself."""

    _transport: IConsumer
    _clock: IReactorTime
    _limit: int
    _stuck_after: float
    _on_stuck: Callable[[], None]
    size: int = 0
    """Bytes that wait here, with `PIECE_OVERHEAD` for each piece."""
    _beyond_limit: int = 0
    """Bytes that were written since it is full."""
    _pieces: deque[bytes] = Factory(deque)
    _deadline: IDelayedCall | None = None
    """Set while the transport is paused."""

    def __attrs_post_init__(self) -> None:
        self._transport.registerProducer(self, True)

    @property
    def full(self) -> bool:
        """Whether entries are to be dropped, and proposals refused."""
        return self.size >= self._limit

    def write(self, data: bytes) -> None:
        """Write `data` when all that was written before it has gone."""
        if not self._pieces and self._deadline is None and len(data) <= PIECE:
            self._transport.write(data)
            return
        self._beyond_limit = self._beyond_limit + len(data) + PIECE_OVERHEAD if self.full else 0
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self._pieces.append(piece)
            self.size += len(piece) + PIECE_OVERHEAD
        self._hand_over()
        if self._beyond_limit > self._limit:
            self._stuck()

    def release(self) -> None:
        """Let the transport have everything: it is to close when it has sent that, and would wait for a producer."""
        self._transport.unregisterProducer()
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """The transport has more than it wants."""
        if self._deadline is None:
            self._deadline = self._clock.callLater(self._stuck_after, self._stuck)

    def resumeProducing(self) -> None:
        """The transport has sent everything that it had."""
        self._no_deadline()
        self._hand_over()

    def stopProducing(self) -> None:
        """The connection is over. What waits is dropped, and nothing refers to this any more."""
        self._no_deadline()
        self._transport.unregisterProducer()
        self._pieces.clear()
        self.size = self._beyond_limit = 0

    def _hand_over(self) -> None:
        while self._pieces and self._deadline is None:
            piece = self._pieces.popleft()
            self.size -= len(piece) + PIECE_OVERHEAD
            self._transport.write(piece)

    def _no_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _stuck(self) -> None:
        self.stopProducing()
        self._on_stuck()
