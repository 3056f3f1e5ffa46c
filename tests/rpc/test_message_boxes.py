"""The short way of Raft's messages is AMP's way, byte for byte."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.test_encoding import batch, messages_of
from txraft.core.messages import Message
from txraft.errors import MalformedMessage
from txraft.rpc.amp_commands import COMMAND_OF, COMMANDS
from txraft.rpc.arguments import MAX_VALUE
from txraft.rpc.encoding import PackedMessage
from txraft.rpc.message_boxes import MESSAGE_BOXES
from txraft.rpc.versions import NEWEST_VERSION

BOXES = MESSAGE_BOXES[NEWEST_VERSION]
any_message = st.one_of(*map(messages_of, COMMAND_OF))
HEAD = len(PackedMessage(type(batch(1, 0))).to_bytes(batch(1, 1 << 16))) - (1 << 16)
"""Bytes of a message with one long entry, without that."""


class Sent(list[amp.AmpBox]):
    """The boxes that AMP sends."""

    sendBox = list.append


def by_amp(message: Message) -> bytes:
    """What AMP makes of a message."""
    sent, dispatcher = Sent(), amp.BoxDispatcher(None)
    dispatcher.startReceivingBoxes(sent)
    dispatcher.callRemote(COMMAND_OF[type(message)], message=message)
    (box,) = sent
    serialized: bytes = box.serialize()
    return serialized


def what_amp_reads(box: amp.AmpBox) -> Any:
    """The message that AMP finds in a box, or the error."""
    try:
        return COMMANDS[box[amp.COMMAND]].parseArguments(box, None)["message"]
    except MalformedMessage as error:
        return str(error)


def what_is_read(box: amp.AmpBox) -> Any:
    """The same, by the short way."""
    try:
        return BOXES.read(box)
    except MalformedMessage as error:
        return str(error)


class MessageBoxesTests(SynchronousTestCase):
    def same(self, message: Message) -> None:
        """A message is written and read as AMP does it."""
        written = BOXES.write(message)
        self.assertTrue(written == by_amp(message), type(message))
        (box,) = amp.parseString(written)
        self.assertTrue(BOXES.read(box) == message == what_amp_reads(box), type(message))

    @given(any_message)
    def test_same(self, message: Message) -> None:
        """Messages of all kinds."""
        self.same(message)

    @given(st.integers(1, 12), st.integers(-3, 3))
    def test_lengths(self, values: int, beside: int) -> None:
        """Messages that take several values of a box, also where they just fill them (hazard R20)."""
        message = batch(1, values * MAX_VALUE + beside - HEAD)
        if values > 1:  # below, the length is written in fewer bytes
            self.assertEqual(len(PackedMessage(type(message)).to_bytes(message)), values * MAX_VALUE + beside)
        self.same(message)

    @given(
        st.sampled_from(tuple(COMMAND_OF.values())),
        st.one_of(st.binary(), any_message.map(lambda message: PackedMessage(type(message)).to_bytes(message))),
        st.dictionaries(st.sampled_from((b"message-2", b"message-3", b"x", b"")), st.binary()),
        st.booleans(),
    )
    def test_nonsense(self, command: Any, value: bytes, others: dict[bytes, bytes], is_there: bool) -> None:
        """What cannot be read, is missing, or does not belong, is judged as AMP does it, with the same words."""
        box = amp.AmpBox(others | {amp.COMMAND: command.commandName} | ({b"message": value} if is_there else {}))
        self.assertEqual(what_is_read(box), what_amp_reads(box))

    def test_others(self) -> None:
        """Questions, answers, and what says nothing, are left to AMP: also where they look like messages."""
        (box,) = amp.parseString(BOXES.write(batch(1, 1)))
        for key in (amp.ASK, amp.ANSWER, amp.ERROR):
            self.assertIsNone(BOXES.read({**box, key: b"1"}))
        for command in set(COMMANDS.values()) - set(COMMAND_OF.values()):
            self.assertIsNone(BOXES.read({**box, amp.COMMAND: command.commandName}))
        self.assertIsNone(BOXES.read({}))
