"""The JSON of nodes, as values."""

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any, TypeVar

import cattrs
from cattrs.gen import make_dict_structure_fn

from txraft.kv.member_addresses import member_from_json
from txraft.settings import MAX_ID
from txraft.statuses import MemberDetails, MemberStatus

T = TypeVar("T")
M = TypeVar("M", bound=MemberStatus)


def _whole_number(value: object, _: type) -> int:
    """Everything that nodes count is one, and fits into what a disk has."""
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise ValueError(f"{value!r} is no such number")
    return value


def bytes_in_json(value: object) -> bytes:
    """A key or a value, as `/keys` and `/batch` write it. Raises ValueError."""
    match value:
        case str():
            return value.encode()
        case {"base64": str() as text}:
            return b64decode(text, validate=True)
    raise ValueError(f"{value!r} is neither a text nor base64")


def _member(kind: type[M]) -> Callable[[Any, object], M]:
    """Reads one, whose addresses have names in JSON."""
    read = make_dict_structure_fn(kind, _converter)
    return lambda value, _: read(member_from_json(value), kind)


_converter = cattrs.Converter(detailed_validation=False)
_converter.register_structure_hook(int, _whole_number)
_converter.register_structure_hook(bool, lambda value, _: bool(value))  # for cattrs, it is an int
_converter.register_structure_hook(bytes, lambda value, _: bytes_in_json(value))

for kind in (MemberStatus, MemberDetails):
    _converter.register_structure_hook(kind, _member(kind))


def read_json(body: bytes, kind: type[T]) -> T:
    """The value of this class, or this type, that JSON describes. Raises ValueError."""
    try:
        return _converter.structure(json.loads(body), kind)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise ValueError(f"this is no {kind.__name__}: {error}") from error
