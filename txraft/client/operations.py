"""What a batch is made of. A text is taken as UTF-8 wherever a key or a value is expected."""

from collections.abc import Iterable
from typing import TypeAlias

from attrs import astuple, field, frozen

from txraft.kv.commands_in_json import text_or_base64

Bytes: TypeAlias = bytes | str
"""A key or a value."""


def as_bytes(given: Bytes) -> bytes:
    """A key or a value as it is sent. Raises TypeError for a number, say."""
    if isinstance(given, str):
        return given.encode()
    if not isinstance(given, bytes):
        raise TypeError(f"a key or a value is bytes or str, not {type(given).__name__}")
    return given


@frozen
class Set:
    """Give `key` the value `value`, whether or not it had one. Its result is True."""

    key: bytes = field(converter=as_bytes)
    value: bytes = field(converter=as_bytes)


@frozen
class Get:
    """Read the value of `key`, as the operations before left it. Its result is that, or None where there is none."""

    key: bytes = field(converter=as_bytes)


@frozen
class Delete:
    """Remove `key`. Its result is whether there was such a key."""

    key: bytes = field(converter=as_bytes)


@frozen
class Cas:
    """Give `key` the value `value` if its value is `old`; where it is not, nothing of the batch is done. Its result is
    True."""

    key: bytes = field(converter=as_bytes)
    old: bytes = field(converter=as_bytes)
    value: bytes = field(converter=as_bytes)


Operation: TypeAlias = Set | Get | Delete | Cas
OperationResult: TypeAlias = bytes | bool | None

_IN_JSON: dict[type[Operation], tuple[str, tuple[str, ...]]] = {
    Set: ("set", ("key", "val")),
    Get: ("get", ("key",)),
    Delete: ("delete", ("key",)),
    Cas: ("cas", ("key", "old", "val")),
}
"""What `/batch` calls each, and its fields in their order."""


def in_json(operations: Iterable[Operation]) -> list[dict[str, dict[str, object]]]:
    """The list that `/batch` takes."""
    return [_operation_in_json(each) for each in operations]


def _operation_in_json(operation: Operation) -> dict[str, dict[str, object]]:
    name, fields = _IN_JSON[type(operation)]
    return {name: dict(zip(fields, map(text_or_base64, astuple(operation)), strict=True))}
