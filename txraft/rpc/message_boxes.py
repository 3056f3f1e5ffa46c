"""Raft's messages as AMP's boxes, written and read without AMP's machinery.

A node sends and takes a few boxes of Raft's messages for every turn in which clients write, and that is most of what it
does for its peers. AMP's own way makes a command object, a dict, a sorted list, a Deferred and three closures for each;
here the part of the box that is the same for every message of a kind is made once. The wire is AMP's to the byte:
`amp_commands` still declares the commands, which any AMP peer of the newest version can send and take by them.
Everything that asks for an answer, or is one, goes AMP's way.
"""

from collections.abc import Mapping
from typing import Final

from twisted.protocols import amp

from txraft.core.messages import Message
from txraft.rpc.amp_commands import COMMAND_OF
from txraft.rpc.arguments import MAX_VALUE
from txraft.rpc.encoding import PackedMessage
from txraft.rpc.versions import NEWEST_VERSION, OLDEST_VERSION

_ARGUMENT: Final = b"message"


def _string(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


_HEADS: Final = {
    message_class: _string(amp.COMMAND) + _string(command.commandName) + _string(_ARGUMENT)
    for message_class, command in COMMAND_OF.items()
}
"""What comes before the packed message."""
_END: Final = b"\0\0"


class MessageBoxes:
    """Writes and reads messages as one version of the protocol has them."""

    def __init__(self, version: int) -> None:
        self._codecs = {message_class: PackedMessage(message_class, version) for message_class in COMMAND_OF}
        self._by_name = {COMMAND_OF[each].commandName: codec for each, codec in self._codecs.items()}

    def write(self, message: Message) -> bytes:
        """The box of a message."""
        message_class = type(message)
        codec = self._codecs[message_class]
        packed = codec.to_bytes(message)
        if len(packed) <= MAX_VALUE:
            return b"".join((_HEADS[message_class], len(packed).to_bytes(2, "big"), packed, _END))
        box = amp.AmpBox({amp.COMMAND: COMMAND_OF[message_class].commandName})
        codec.cut(_ARGUMENT, packed, box)
        serialized: bytes = box.serialize()
        return serialized

    def read(self, box: Mapping[bytes, bytes]) -> Message | None:
        """The message in a box. None where it has none: it is a question, an answer, or nonsense, as AMP finds out.

        Raises MalformedMessage."""
        codec = self._by_name.get(box.get(amp.COMMAND, b""))
        if codec is None or amp.ASK in box or amp.ANSWER in box or amp.ERROR in box:
            return None
        return codec.from_bytes(codec.join(_ARGUMENT, box))


MESSAGE_BOXES: Final = {version: MessageBoxes(version) for version in range(OLDEST_VERSION, NEWEST_VERSION + 1)}
"""By the version of the protocol."""
