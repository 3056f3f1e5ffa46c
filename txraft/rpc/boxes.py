"""AMP's boxes, with a bound on what one may hold before anybody has looked at it (hazard N3).

A box is a list of keys, each with a value of 65,535 bytes at most, and AMP lets it go on for as long as it likes. Here
the number of keys is bounded, and thereby the bytes. Until the handshake both bounds are those of a greeting: a
stranger makes a node hold `GREETING_KEYS * GREETING_VALUE` bytes, and what one read of the socket gives. A value that
is too long is refused when its length arrives, and a box with too many keys when a read has been looked through.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.protocols import amp
from twisted.python.failure import Failure

from txraft.core.messages import MAX_COMMAND_SIZE
from txraft.errors import MalformedMessage
from txraft.rpc.encoding import MAX_VALUE

GREETING_KEYS: Final = 12
GREETING_VALUE: Final = 4096
"""For the ids of a hundred voters, of 19 digits each."""
MAX_KEYS: Final = GREETING_KEYS + -(-MAX_COMMAND_SIZE // MAX_VALUE)
"""For the longest command, and what else belongs to a box."""

MALFORMED: Final = (MalformedMessage, ValueError, KeyError, amp.AmpError)
"""What decoding raises for a box that makes no sense."""


class _Itself:
    """An attribute whose value is the object that has it, and which is not stored: it would be a cycle, and keep what
    the object holds until the next collection, which comes rarely (`txraft.cli`)."""

    def __get__(self, instance: Any, owner: object) -> Any:
        return instance

    def __set__(self, instance: object, value: object) -> None:
        pass


class BoxProtocol(amp.BinaryBoxProtocol, amp.BoxDispatcher):
    """It is `amp.AMP` without its table of responders and its logging. Nothing of it outlives its connection."""

    locator = boxReceiver = boxSender = _Itself()
    closed = False
    """What comes in is not looked at any more."""
    _max_keys = GREETING_KEYS
    _MAX_VALUE_LENGTH = GREETING_VALUE
    """As Twisted calls it."""

    def __init__(self) -> None:
        amp.BoxDispatcher.__init__(self, self)
        amp.BinaryBoxProtocol.__init__(self, self)

    def trust(self) -> None:
        """From the next box on, take what a peer may send."""
        self._max_keys, self._MAX_VALUE_LENGTH = MAX_KEYS, MAX_VALUE

    @abstractmethod
    def malformed(self, error: Exception) -> None:
        """What came cannot be read: end the connection."""

    def call(self, command: type[amp.Command], /, **arguments: Any) -> Deferred[Any]:
        """Send a command. Fires with its answer; None comes back where it has none."""
        asked: Deferred[Any] = self.callRemote(command, **arguments)  # type: ignore[no-untyped-call]  # AMP has no annotations
        return asked

    @property
    def unanswered(self) -> int:
        """How many commands wait for their answers."""
        return len(self._outstandingRequests or ())

    def ask(self, command: type[amp.Command], /, **arguments: Any) -> tuple[Deferred[Any], Callable[[object], None]]:
        """Send a command that has an answer. Gives back what fires with that, and what to call when nobody waits for it
        any more: then nothing is kept of the question, which AMP would do until the answer comes (hazard C9).
        """
        asked, tag = self.call(command, **arguments), b"%x" % self._counter

        def let_go(_asker: object) -> None:
            if self._outstandingRequests is not None:
                self._outstandingRequests.pop(tag, None)

        return asked, let_go

    def _answerReceived(self, box: amp.AmpBox) -> None:
        if not self._is_let_go(box[amp.ANSWER]):
            super()._answerReceived(box)  # type: ignore[no-untyped-call]  # as above

    def _errorReceived(self, box: amp.AmpBox) -> None:
        if not self._is_let_go(box[amp.ERROR]):
            super()._errorReceived(box)  # type: ignore[no-untyped-call]  # as above

    def _is_let_go(self, tag: bytes) -> bool:
        """Whether a question of this tag was asked, and nobody waits for its answer."""
        return tag not in self._outstandingRequests and 0 < int(tag, 16) <= self._counter

    def dataReceived(self, data: bytes) -> None:
        """Something came."""
        if self.closed:
            return
        super().dataReceived(data)  # type: ignore[no-untyped-call]  # the same
        if self._currentBox is not None and len(self._currentBox) > self._max_keys:
            self.malformed(MalformedMessage(f"a box of more than {self._max_keys} keys"))

    def lengthLimitExceeded(self, length: int) -> None:
        """A key or a value is too long."""
        self.malformed(MalformedMessage(f"a key or value of {length} bytes"))

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """A whole box arrived. One that makes no sense ends the connection."""
        if self.closed:
            return
        try:
            super().ampBoxReceived(box)  # type: ignore[no-untyped-call]  # the same
        except amp.NoEmptyBoxes:  # its text is the whole box
            self.malformed(MalformedMessage("a box that asks and answers nothing"))
        except MALFORMED as error:
            self.malformed(error)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default is for nobody
        """The transport is gone."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # the same
        self.transport = None
