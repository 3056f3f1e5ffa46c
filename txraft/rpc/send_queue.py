"""What is written to a peer and not sent yet.

What is written goes to the socket at once, as long as that takes it. A transport's own `write` would send it in the
next turn of the reactor: an epoll_ctl and a poll later, for every message. Only what the socket does not take is handed
to the transport, in pieces, whenever the transport has sent what it had: this is its pull producer for as long as
anything waits. So a transport never has more than a piece, `size` is what waits, and each time that the transport asks
for more the peer has taken in the piece before. A transport that is told to close does so when everything has gone.
Transports without a socket of their own, as under TLS, are handed everything.

Memory toward a peer is bounded, whatever it does and whichever side dialled. One that takes nothing in (it is stopped,
or cut off) makes things wait once the socket's buffers are full; `stuck_after` seconds later the link is given up, and
with it what waits. The same happens to one that takes in less than a piece in that time (by default, about 7 kB/s). One
that is merely slow is left in peace, also over a message that takes minutes. Toward that one, whatever is large stops
at `limit`: entries, which Raft sends again, are dropped, and proposals are refused (`Link`). The message that passes
the limit still goes, however large (hazard R20). The rest is small, and no more than one for each heartbeat interval
and for each message or question that came in. A peer that goes on asking without reading the answers makes as much wait
again, and is given up too.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from attrs import Factory, define
from twisted.internet.interfaces import IDelayedCall, IPullProducer, IReactorTime
from zope.interface import implementer

from txraft.transports import sends_at_once

PIECE: Final = 64 * 1024
"""Bytes that are handed to a transport at once."""
PIECE_OVERHEAD: Final = 64
"""Bytes that a piece takes beside its own, about: many small ones are not to take more memory than they count for."""


@implementer(IPullProducer)
@define(eq=False)
class SendQueue:
    """The only one that writes to its transport."""

    _transport: Any
    """An IConsumer. One that is a `FileDescriptor`, as those of sockets are, has the `writeSomeData` of that."""
    _clock: IReactorTime
    _limit: int
    _stuck_after: float
    _on_stuck: Callable[[], None]
    size: int = 0
    """Bytes that wait here, with `PIECE_OVERHEAD` for each piece."""
    _beyond_limit: int = 0
    """Bytes that were written since it is full."""
    _pieces: deque[bytes] = Factory(deque)
    _end_of_turn: IDelayedCall | None = None
    """Set while something waits for the end of the turn."""
    _deadline: IDelayedCall | None = None
    """Set while the transport has something to send that came from here."""
    _is_producer: bool = False
    """Whether the transport has this for its producer. A TLS one asks for the first piece only in a later turn."""
    _write_some: Callable[[bytes], int | Exception] | None = None

    def __attrs_post_init__(self) -> None:
        if sends_at_once(self._transport):
            self._write_some = self._transport.writeSomeData

    @property
    def full(self) -> bool:
        """Whether entries are to be dropped, and proposals refused."""
        return self.size >= self._limit

    def write(self, data: bytes) -> None:
        """Send `data` after all that was written before it: at once, where that has gone."""
        if not self._pieces and not self._is_producer:
            sent = self._send(data)
            if sent == len(data):
                return
            data = data[sent:]
        self._put(data)
        self.flush()

    def write_soon(self, data: bytes) -> None:
        """Send `data` in one with what else is written in this turn of the reactor."""
        self._put(data)
        if self._pieces and self._end_of_turn is None:
            self._end_of_turn = self._clock.callLater(0, self.flush)

    def flush(self) -> None:
        """Wait for the end of the turn no more."""
        self._cancel_end_of_turn()
        if not self._is_producer and self._pieces:
            piece = self._take()
            sent = self._send(piece)
            if sent < len(piece):
                self._pieces.appendleft(piece[sent:])
                self.size += len(piece) - sent + PIECE_OVERHEAD
            if self._pieces:
                self._is_producer = True
                self._transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """The transport has sent everything that it had, or takes more."""
        self._cancel_deadline()
        if self._pieces:
            self._deadline = self._clock.callLater(self._stuck_after, self._stuck)
            self._transport.write(self._take())
        else:
            self._unregister()

    def stopProducing(self) -> None:
        """The connection is over. What waits is dropped, and nothing refers to this any more."""
        self._cancel_end_of_turn()
        self._cancel_deadline()
        self._unregister()
        self._pieces.clear()
        self.size = self._beyond_limit = 0

    def _put(self, data: bytes) -> None:
        self._beyond_limit = self._beyond_limit + len(data) + PIECE_OVERHEAD if self.full else 0
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self._pieces.append(piece)
            self.size += len(piece) + PIECE_OVERHEAD
        if self._beyond_limit > self._limit:
            self._stuck()

    def _take(self) -> bytes:
        """Take from what waits as much as a piece may have."""
        taken = [self._pieces.popleft()]
        length = len(taken[0])
        while self._pieces and length + len(self._pieces[0]) <= PIECE:
            length += len(self._pieces[0])
            taken.append(self._pieces.popleft())
        self.size -= length + len(taken) * PIECE_OVERHEAD
        return b"".join(taken)

    def _send(self, data: bytes) -> int:
        """Send what the socket takes now; how much that is. Where the connection is lost that is nothing, and the
        transport finds it out."""
        sent = 0 if self._write_some is None else self._write_some(data)
        return 0 if isinstance(sent, Exception) else sent

    def _unregister(self) -> None:
        if self._is_producer:
            self._is_producer = False
            self._transport.unregisterProducer()

    def _stuck(self) -> None:
        self.stopProducing()
        self._on_stuck()

    def _cancel_end_of_turn(self) -> None:
        if self._end_of_turn is not None and self._end_of_turn.active():
            self._end_of_turn.cancel()
        self._end_of_turn = None

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
