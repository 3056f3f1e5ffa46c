"""What a client can ask of the store, what comes of it, and how both are written as bytes.

A command is a msgpack array: the version of this format, the kind of the command, then its fields. A field is never
added to a kind: a node that does not know it would apply the rest and its data would differ from the others'. What is
new is a new kind or a new version, and a node that does not know it changes nothing and says so.
"""

import enum
from typing import TypeAlias

import msgpack  # type: ignore[import-untyped]  # msgpack ships no type information

from txraft.errors import OutcomeUnknown
from txraft.values import value_class

VERSION = 1


@value_class
class Set:
    """Give `key` the value `value`, whether or not it had one."""

    key: bytes
    value: bytes


@value_class
class Delete:
    """Remove `key`."""

    key: bytes


@value_class
class CompareAndSet:
    """Give `key` the value `value` if its value is `old`."""

    key: bytes
    old: bytes
    value: bytes


Command: TypeAlias = Set | Delete | CompareAndSet


class Result(enum.Enum):
    """What came of a command: the one byte that is sent back."""

    DONE = b"\x00"
    NOT_FOUND = b"\x01"
    """There is no such key; nothing changed."""
    MISMATCH = b"\x02"
    """The key's value is not the one that was expected; nothing changed."""
    INVALID = b"\x03"
    """The command could not be understood; nothing changed."""


class _Kind(enum.IntEnum):
    SET = 1
    DELETE = 2
    COMPARE_AND_SET = 3


def encode(command: Command) -> bytes:
    """The bytes of a command, as it stands in the log."""
    match command:
        case Set(key, value):
            fields: tuple[int | bytes, ...] = (VERSION, _Kind.SET, key, value)
        case Delete(key):
            fields = (VERSION, _Kind.DELETE, key)
        case CompareAndSet(key, old, value):
            fields = (VERSION, _Kind.COMPARE_AND_SET, key, old, value)
    return bytes(msgpack.packb(fields))


def decode(data: bytes) -> Command | None:
    """The command that `data` stands for; None where there is none, which is the same on every node."""
    try:
        fields = msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    match fields:
        case [1, _Kind.SET, bytes() as key, bytes() as value]:
            return Set(key, value)
        case [1, _Kind.DELETE, bytes() as key]:
            return Delete(key)
        case [1, _Kind.COMPARE_AND_SET, bytes() as key, bytes() as old, bytes() as value]:
            return CompareAndSet(key, old, value)
    return None


def decode_result(data: bytes) -> Result:
    """The result that a state machine sent back.

    Raises OutcomeUnknown where it is none that this version knows: something came of the command, and what it was
    cannot be told."""
    try:
        return Result(data)
    except ValueError:
        raise OutcomeUnknown("the leader gave a result that this node does not know: is it a newer version?") from None
