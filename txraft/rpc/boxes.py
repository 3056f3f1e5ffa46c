"""AMP's boxes, with a bound on what one may hold before anybody has looked at it (hazard N3).

A box is a list of keys, each with a value of 65,535 bytes at most, and AMP lets it go on for as long as it likes. Here
the number of keys is bounded, and thereby the bytes. Until the handshake both bounds are those of a greeting: a
stranger makes a node hold `GREETING_KEYS * GREETING_VALUE` bytes, and what one read of the socket gives. A value that
is too long is refused when its length arrives, and so is the first key that is too many, or comes again: by that, a
stranger could go on until the handshake's time is over. (AMP would take the last of its values, and sends none such.)

`BoxParser` takes the place of AMP's parser, which looks at a string again whenever a part of it comes, and takes a call
for each. What the boxes say is AMP's to find out, except for Raft's messages (`message_boxes`).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.protocols import amp
from twisted.python.failure import Failure

from txraft.core.messages import MAX_COMMAND_SIZE, Message
from txraft.errors import MalformedMessage, TxraftError
from txraft.rpc.arguments import MAX_VALUE
from txraft.rpc.message_boxes import MESSAGE_BOXES, MessageBoxes

MAX_KEY: Final = 255
"""Bytes of a key: the first byte of its length is 0."""
GREETING_KEYS: Final = 14
GREETING_VALUE: Final = 4096
"""For the ids of a hundred voters, of 19 digits each."""
MAX_KEYS: Final = GREETING_KEYS + -(-MAX_COMMAND_SIZE // MAX_VALUE)
"""For the longest command, and what else belongs to a box."""

MALFORMED: Final = (MalformedMessage, ValueError, KeyError, amp.AmpError)
"""What decoding raises for a box that makes no sense."""


def in_words(failure: Failure) -> str:
    """Why a question has no answer, for a user: of the end of a connection, Twisted says what it is called inside."""
    if failure.check(*MALFORMED):
        return "what it sent makes no sense"
    return failure.getErrorMessage() if failure.check(TxraftError) else "the connection to it was lost"


class BoxParser:
    """Cuts bytes into boxes. The work is linear in the bytes, however they are cut."""

    def __init__(self) -> None:
        """Take a greeting's boxes only, until `trust`."""
        self._max_keys, self._max_value = GREETING_KEYS, GREETING_VALUE
        self._box: dict[bytes, bytes] = {}
        self._key: bytes | None = None
        """Of the value that comes next; None where a key comes next, or the end of the box."""
        self._rest = bytearray()
        """The beginning of a string with its length."""
        self._wanted = 0
        """Bytes that `_rest` is to have before it is worth looking at."""

    @property
    def size(self) -> int:
        """Bytes that are held."""
        strings = sum(len(key) + len(value) for key, value in self._box.items())
        return len(self._rest) + len(self._key or b"") + strings

    def trust(self) -> None:
        """From the next box on, take what a peer may send."""
        self._max_keys, self._max_value = MAX_KEYS, MAX_VALUE

    def clear(self) -> None:
        """Hold nothing."""
        self._box, self._key, self._rest, self._wanted = {}, None, bytearray(), 0

    def feed(self, data: bytes) -> Iterator[dict[bytes, bytes]]:
        """The boxes that `data` completes, each when it is asked for. Raises MalformedMessage, after which it is not to
        be used any more."""
        if self._rest:
            if len(self._rest) + len(data) < self._wanted:
                self._rest += data
                return
            data = b"".join((self._rest, data))
        box, key, start, end = self._box, self._key, 0, len(data)
        while True:
            begin = start + 2
            if begin > end:
                self._wanted = 2
                break
            length = data[start] << 8 | data[start + 1]
            if length > (MAX_KEY if key is None else self._max_value):
                raise MalformedMessage(f"a key or value of {length} bytes")
            if begin + length > end:
                self._wanted = 2 + length
                break
            start = begin + length
            if key is not None:
                box[key] = data[begin:start]
                key = None
            elif length:
                key = data[begin:start]
                if key in box:
                    raise MalformedMessage("a box with a key that comes twice")
                if len(box) >= self._max_keys:
                    raise MalformedMessage(f"a box of more than {self._max_keys} keys")
            else:
                yield box
                box = {}
        self._box, self._key, self._rest = box, key, bytearray(data[start:])


class _Itself:
    """An attribute whose value is the object that has it, and which is not stored: it would be a cycle, and keep what
    the object holds until the next collection, which comes rarely (`txraft.cli`)."""

    def __get__(self, instance: Any, owner: object) -> Any:
        return instance

    def __set__(self, instance: object, value: object) -> None:
        pass


class BoxProtocol(Protocol, amp.BoxDispatcher):
    """It is `amp.AMP` with another parser, and without its table of responders and its logging. Nothing of it outlives
    its connection."""

    locator = boxSender = _Itself()
    closed = False
    """What comes in is not looked at any more."""
    message_boxes: MessageBoxes
    """How messages are written and read, once the connection is trusted."""
    trusted = False

    def __init__(self) -> None:
        super().__init__(self)  # type: ignore[no-untyped-call]  # AMP has no annotations
        self._parser = BoxParser()

    def trust(self, version: int) -> None:
        """From the next box on, take what a peer may send, and Raft's messages by the short way, as `version` has
        them."""
        self.message_boxes = MESSAGE_BOXES[version]
        self.trusted = True
        self._parser.trust()

    @abstractmethod
    def message_received(self, message: Message) -> None:
        """A peer sent a message."""

    @abstractmethod
    def malformed(self, error: Exception) -> None:
        """What came cannot be read: end the connection."""

    def call(self, command: type[amp.Command], /, **arguments: Any) -> Deferred[Any]:
        """Send a command. Fires with its answer; None comes back where it has none."""
        asked: Deferred[Any] = self.callRemote(command, **arguments)  # type: ignore[no-untyped-call]  # as above
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
        try:
            for box in self._parser.feed(data):
                self._box_received(box)
                if self.closed:
                    break
        except amp.NoEmptyBoxes:  # its text is the whole box
            self.malformed(MalformedMessage("a box that asks and answers nothing"))
        except MALFORMED as error:
            self.malformed(error)
        if self.closed:
            self._parser.clear()

    def _box_received(self, box: dict[bytes, bytes]) -> None:
        message = self.message_boxes.read(box) if self.trusted else None
        if message is not None:
            self.message_received(message)
        else:
            self.ampBoxReceived(amp.AmpBox(box))  # type: ignore[no-untyped-call]  # as above

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default is for nobody
        """The transport is gone."""
        self.stopReceivingBoxes(reason)  # type: ignore[no-untyped-call]  # as above
        self.transport = None
