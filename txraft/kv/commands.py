"""What a client can ask of the store, what comes of it, and how both are written as bytes.

A command is a msgpack array: the version of this format, the kind of the command, then its fields. The operations of a
batch are arrays of a kind and its fields. A field is never
added to a kind: a node that does not know it would apply the rest and its data would differ from the others'. What is
new is a new kind or a new version, and a node that does not know it changes nothing and says so.
"""

import enum
from collections.abc import Sequence
from typing import TypeAlias

import msgpack  # type: ignore[import-untyped]  # msgpack ships no type information

from txraft.errors import OutcomeUnknown
from txraft.values import value_class

VERSION = 1

_packer = msgpack.Packer()
"""One for all: to make it takes as long as to pack a command."""


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


@value_class
class Get:
    """Read the value of `key`: an operation of a batch. Alone, a read is no command, and takes no entry."""

    key: bytes


Operation: TypeAlias = Set | Delete | CompareAndSet | Get


@value_class
class Batch:
    """Do all of this, in this order, each seeing what the ones before it did; or nothing, where one of the
    compare-and-sets does not compare, or the values that are read have more than `max_answer` bytes together. That it
    is part of the command makes every node decide alike, whatever is set there."""

    operations: tuple[Operation, ...]
    max_answer: int


Command: TypeAlias = Set | Delete | CompareAndSet | Batch


class Result(enum.Enum):
    """What came of a command: the one byte that is sent back."""

    DONE = b"\x00"
    NOT_FOUND = b"\x01"
    """There is no such key; nothing changed."""
    MISMATCH = b"\x02"
    """The key's value is not the one that was expected; nothing changed."""
    INVALID = b"\x03"
    """The command could not be understood; nothing changed."""
    TOO_MUCH = b"\x04"
    """A batch reads more than its caller takes; nothing changed."""


OperationResult: TypeAlias = bytes | bool | None
"""Of a get the value, or None; of a delete whether there was such a key; of the others True."""


@value_class
class Refused:
    """What came of a batch of which nothing was done."""

    number: int
    """The operation that it ended at, counted from 0."""
    reason: Result


class _Kind(enum.IntEnum):
    SET = 1
    DELETE = 2
    COMPARE_AND_SET = 3
    BATCH = 4
    GET = 5


def encode(command: Command) -> bytes:
    """The bytes of a command, as it stands in the log."""
    match command:
        case Batch(operations, max_answer):
            fields: tuple[object, ...] = (_Kind.BATCH, max_answer, [_fields_of(each) for each in operations])
        case _:
            fields = _fields_of(command)
    return bytes(_packer.pack((VERSION, *fields)))


def _fields_of(operation: Operation) -> tuple[int | bytes, ...]:
    match operation:
        case Set(key, value):
            return _Kind.SET, key, value
        case Delete(key):
            return _Kind.DELETE, key
        case CompareAndSet(key, old, value):
            return _Kind.COMPARE_AND_SET, key, old, value
        case Get(key):
            return _Kind.GET, key


def decode(data: bytes) -> Command | None:
    """The command that `data` stands for; None where there is none, which is the same on every node."""
    try:
        fields = msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    match fields:
        case [1, _Kind.BATCH, int() as max_answer, list() as items]:
            operations = tuple(each for each in map(_operation_of, items) if each is not None)
            return Batch(operations, max_answer) if len(operations) == len(items) else None
        case [1, *rest] if not isinstance(operation := _operation_of(rest), Get):
            return operation
    return None


def _operation_of(fields: object) -> Operation | None:
    match fields:
        case [_Kind.SET, bytes() as key, bytes() as value]:
            return Set(key, value)
        case [_Kind.DELETE, bytes() as key]:
            return Delete(key)
        case [_Kind.COMPARE_AND_SET, bytes() as key, bytes() as old, bytes() as value]:
            return CompareAndSet(key, old, value)
        case [_Kind.GET, bytes() as key]:
            return Get(key)
    return None


def decode_result(data: bytes) -> Result:
    """The result that a state machine sent back.

    Raises OutcomeUnknown where it is none that this version knows: something came of the command, and what it was
    cannot be told."""
    try:
        return Result(data)
    except ValueError:
        raise OutcomeUnknown("the leader gave a result that this node does not know: is it a newer version?") from None


def encode_batch_result(result: Sequence[OperationResult] | Refused) -> bytes:
    """The bytes of what came of a batch, as they are sent back: an array, which no `Result` begins like."""
    if isinstance(result, Refused):
        return bytes(_packer.pack((result.reason.value, result.number)))
    return bytes(_packer.pack((Result.DONE.value, result)))


def decode_batch_result(data: bytes) -> tuple[OperationResult, ...] | Refused:
    """What came of a batch. Raises OutcomeUnknown, as `decode_result`."""
    try:
        match msgpack.unpackb(data):
            case [Result.DONE.value, list() as results]:
                return tuple(results)
            case [bytes() as reason, int() as number]:
                return Refused(number, Result(reason))
    except (ValueError, msgpack.UnpackException):
        pass
    raise OutcomeUnknown("the leader did not understand the batch; do all nodes run the same version?")
