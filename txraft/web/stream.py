"""An answer that is longer than a node holds: a piece of its body is read when the client has taken the one before.

A client has `receive_seconds` for each piece, as for every answer; one that takes longer, or goes, ends the reading
(hazards N2, N6). So does a piece that cannot be read: the connection is cut then, which is all that can still be said
behind a head that promised more.
"""

from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.web.outcomes import StreamedAnswer, head_on_the_wire

if TYPE_CHECKING:
    from txraft.web.channel import ApiChannel

COST_OF_PIECES = 8
"""To send so many bytes takes as long as to read one of a form."""

_log = Logger()


class Stream:
    """Of one connection, and one answer."""

    def __init__(self, channel: "ApiChannel", answer: StreamedAnswer) -> None:
        self._channel = channel
        self._answer = answer
        self._left = answer.size
        """Bytes that are still to be sent."""
        self._is_reading = False

    def begin(self) -> None:
        """Send the head, and go on."""
        channel = self._channel
        if channel.refused:
            self.end()
        else:
            date = channel.site.date(channel.site.now())
            channel.write(head_on_the_wire(self._answer, date, closing=channel.is_closing))
            self.go_on()

    def go_on(self) -> None:
        """Read the next piece, unless one is being read or sent, or there is none."""
        if self._is_reading or self._channel.is_full or self._channel.refused:
            return
        if self._left:
            self._is_reading = True
            self._answer.body.read().addCallbacks(self._has_read, self._failed).addErrback(self._failed)
        else:
            self.end()
            self._channel.streamed()

    def end(self) -> None:
        """Nobody waits for the rest, or there is none."""
        self._answer.body.close()

    def _has_read(self, piece: bytes) -> None:
        if self._channel.refused:  # also where the site has stopped, and does no long jobs any more
            return
        if not piece:
            raise EOFError(f"{self._left} bytes are missing")
        self._channel.site.long_jobs.run(len(piece) // COST_OF_PIECES, self._send, piece)

    def _send(self, piece: bytes) -> None:
        self._is_reading = False
        if not self._channel.refused:
            self._left -= len(piece)
            self._channel.write(piece)
            self.go_on()

    def _failed(self, failure: Failure) -> None:
        if not self._channel.refused:
            _log.warn("an answer was cut off: {reason}", reason=failure.getErrorMessage())
            self._channel.abort()
