"""What a client can ask of the store, what comes of it, and how both are written as bytes.

A command is a msgpack array: the version of this format, the kind of the command, then its fields. What a command is
made of (the operations of a batch, above all) are arrays of a kind and its fields. A field is never added to a kind:
what is new is a new kind or a new version. A node that does not know it must not go on, since its data would differ
from the others' (`UnknownCommand`). What no version writes is no command, on all nodes alike.
"""

import enum
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

import msgpack  # type: ignore[import-untyped]  # msgpack ships no type information

from txraft.errors import OutcomeUnknown, UnknownCommand
from txraft.kv.answers import DIGEST_SIZE
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


Change: TypeAlias = Set | Delete | CompareAndSet
"""What can be done to one key."""
Operation: TypeAlias = Change | Get


@value_class
class Condition:
    """Whether a key's `mod_revision`, which is 0 where there is no such key, is one of `revisions`, or is none of
    them."""

    revisions: tuple[int, ...]
    is_one: bool

    def holds(self, mod_revision: int) -> bool:
        """Whether it is so."""
        return (mod_revision in self.revisions) is self.is_one


@value_class
class Conditional:
    """Do this if all the conditions hold of its key."""

    change: Change
    conditions: tuple[Condition, ...]


@value_class
class Batch:
    """Do all of this, in this order, each seeing what the ones before it did; or nothing, where one of the
    compare-and-sets does not compare, or the values that are read have more than `max_answer` bytes together. That it
    is part of the command makes every node decide alike, whatever is set there."""

    operations: tuple[Operation, ...]
    max_answer: int


Request: TypeAlias = Change | Conditional | Batch


@value_class
class Once:
    """Do this, unless a request with this key was done before: then the result is what came of that one."""

    key: bytes
    digest: bytes
    """Of the request. Another one with the same key is refused."""
    request: Request

    @classmethod
    def of(cls, key: bytes, request: Request) -> "Once":
        """A request with its Idempotency-Key."""
        return cls(key, blake2b(encode(request), digest_size=DIGEST_SIZE).digest(), request)


Command: TypeAlias = Request | Once


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
    PRECONDITION = b"\x05"
    """A condition does not hold; nothing changed."""
    OTHER_REQUEST = b"\x06"
    """The Idempotency-Key came with another request before; nothing changed."""


OperationResult: TypeAlias = bytes | bool | None
"""Of a get the value, or None; of a delete whether there was such a key; of the others True."""


@value_class
class Refused:
    """What came of a batch of which nothing was done."""

    number: int
    """The operation that it ended at, counted from 0."""
    reason: Result


class _Kind:
    """Numbers, and no enum, whose members take longer to find than all of the rest takes."""

    SET = 1
    DELETE = 2
    COMPARE_AND_SET = 3
    BATCH = 4
    GET = 5
    CONDITIONAL = 6
    ONCE = 7


_KINDS = range(_Kind.SET, _Kind.ONCE + 1)


def encode(command: Command) -> bytes:
    """The bytes of a command, as it stands in the log."""
    return bytes(_packer.pack((VERSION, *_fields_of(command))))


def _fields_of(command: Command | Get) -> tuple[object, ...]:
    match command:
        case Set(key, value):
            fields: tuple[object, ...] = _Kind.SET, key, value
        case Delete(key):
            fields = _Kind.DELETE, key
        case CompareAndSet(key, old, value):
            fields = _Kind.COMPARE_AND_SET, key, old, value
        case Get(key):
            fields = _Kind.GET, key
        case Batch(operations, max_answer):
            fields = _Kind.BATCH, max_answer, [_fields_of(each) for each in operations]
        case Conditional(change, conditions):
            fields = _Kind.CONDITIONAL, [(each.is_one, *each.revisions) for each in conditions], _fields_of(change)
        case Once(key, digest, request):
            fields = _Kind.ONCE, key, digest, _fields_of(request)
    return fields


def decode(data: bytes) -> Command | None:
    """The command that `data` stands for; None where there is none, which is the same on every node.

    Raises UnknownCommand where another version may know what it is."""
    try:
        fields = msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    match fields:
        case [1, _Kind.SET, bytes() as key, bytes() as value]:
            return Set(key, value)  # what most are
        case [1, _Kind.ONCE, bytes() as key, bytes() as digest, list() as rest] if len(digest) == DIGEST_SIZE:
            request = _request_of(rest)
            return None if request is None else Once(key, digest, request)
        case [1, *rest]:
            return _request_of(rest)
        case [int() as version, *_]:
            raise UnknownCommand(f"version {version}")
    return None


def _request_of(fields: object) -> Request | None:
    match fields:
        case [_Kind.BATCH, int() as max_answer, list() as items]:
            operations = [each for each in map(_operation_of, items) if each is not None]
            return Batch(tuple(operations), max_answer) if len(operations) == len(items) else None
        case [_Kind.CONDITIONAL, list() as items, rest]:
            conditions = [each for each in map(_condition_of, items) if each is not None]
            change = _change_of(rest)
            return None if change is None or len(conditions) < len(items) else Conditional(change, tuple(conditions))
    return _change_of(fields)


def _change_of(fields: object) -> Change | None:
    operation = _operation_of(fields)
    return None if isinstance(operation, Get) else operation


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
        case [int() as kind, *_] if kind not in _KINDS:
            raise UnknownCommand(f"kind {kind}")
    return None


def _condition_of(fields: object) -> Condition | None:
    match fields:
        case [bool() as is_one, *items]:
            revisions = tuple(each for each in items if isinstance(each, int))
            return Condition(revisions, is_one) if len(revisions) == len(items) else None
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
