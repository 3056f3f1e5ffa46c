"""What AMP's arguments are made of here: numbers, and values longer than a value of a box can be."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # msgpack has no annotations
from twisted.protocols import amp

from txraft.core.messages import MAX_BATCH_SIZE
from txraft.errors import MalformedMessage

MAX_VALUE: Final = 0xFFFF
"""Bytes in one value of an AMP box."""
MAX_INTEGER: Final = 2**63 - 1
"""Indexes and the other numbers are this large at most, since storage keeps them so."""
MAX_TERM: Final = 2**62
"""What claims a higher term is noise. It leaves room below MAX_INTEGER, and no cluster comes near it: neither by
counting elections nor by what others send, since a message raises the term by a step only (`txraft.core.terms`; hazard
N8)."""
LONGEST_BATCH: Final = MAX_BATCH_SIZE + 1024
"""Bytes of the longest message with more than one entry."""


class Number(amp.Integer):
    """A whole number from 0 to MAX_INTEGER."""

    def __init__(self, optional: bool = False) -> None:
        """An `optional` one may be None, and is left out then."""
        super().__init__(optional)  # type: ignore[no-untyped-call]  # twisted.protocols.amp has no annotations

    def fromString(self, inString: bytes) -> int:  # type: ignore[override]  # AMP has `int` itself here
        """Raises MalformedMessage, or ValueError."""
        number = int(inString)
        if not 0 <= number <= MAX_INTEGER:
            raise MalformedMessage("a number is out of range")
        return number


class LongBytes(amp.Argument):
    """Bytes of any length, under the keys `name`, `name-2`, `name-3` and so on of one box (hazard R20)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same

    def toBox(self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, Any], proto: object) -> None:  # noqa: ARG002  AMP's signature
        """Put the object into a box."""
        self.cut(name, self.to_bytes(objects[name.decode()]), strings)

    def fromBox(self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, Any], proto: object) -> None:  # noqa: ARG002  AMP's signature
        """Take the object out of a box. Raises MalformedMessage."""
        objects[name.decode()] = self.from_bytes(self.join(name, strings))

    def cut(self, name: bytes, value: bytes, box: dict[bytes, bytes]) -> None:
        """Put `value` into a box, in as many parts as it takes."""
        box[name] = value[:MAX_VALUE]
        for part, start in enumerate(range(MAX_VALUE, len(value), MAX_VALUE), start=2):
            box[b"%s-%d" % (name, part)] = value[start : start + MAX_VALUE]

    def join(self, name: bytes, box: Mapping[bytes, bytes]) -> bytes:
        """Put the parts of a value together again. Raises MalformedMessage."""
        value = box.get(name)
        if value is None:
            raise MalformedMessage(f"{name!r} is missing")
        if len(value) == MAX_VALUE:
            parts = [value]
            while (part := box.get(b"%s-%d" % (name, len(parts) + 1))) is not None:
                parts.append(part)
            value = b"".join(parts)
        return value

    def to_bytes(self, value: Any) -> bytes:
        """What goes on the wire for `value`."""
        return bytes(value)

    def from_bytes(self, value: bytes) -> Any:
        """The value that these bytes stand for. Raises MalformedMessage."""
        return value


_FIELDS: Final = 6
"""Of AppendEntries, which has the most."""


def unpack(value: bytes) -> Any:
    """What `value` stands for. It is as hostile as can be: a byte may become an object of 50. So what is longer than a
    batch of entries may have no more arrays in it than a message of one entry has.

    Raises MalformedMessage."""
    more = {"list_hook": _at_most_arrays(3), "max_array_len": _FIELDS} if len(value) > LONGEST_BATCH else {}
    try:
        return msgpack.unpackb(value, use_list=False, max_map_len=0, max_ext_len=0, **more)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise MalformedMessage(f"it is not msgpack ({str(error) or type(error).__name__})") from error


def _at_most_arrays(most: int) -> Callable[[object], object]:
    arrays = itertools.count(1)

    def count(array: object) -> object:
        if next(arrays) > most:
            raise ValueError("too many arrays")
        return array

    return count
