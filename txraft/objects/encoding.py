"""How values travel and are kept: as their annotations say, by cattrs, in msgpack. Nothing is made of anything else: a
text is no number, and no class is ever named in the bytes."""

from collections.abc import Set
from datetime import date, datetime
from enum import Enum
from typing import Any, Final, TypeVar, get_origin

import msgpack  # type: ignore[import-untyped]  # msgpack has no annotations
from cattrs import Converter
from cattrs.preconf.msgpack import make_converter
from cattrs.strategies import configure_union_passthrough

T = TypeVar("T")


LONG: Final = 1
"""The type, among those that msgpack leaves to its users, of a whole number that needs more than 64 bits."""


def pack(value: Any) -> bytes:
    """As bytes. Raises TypeError, ValueError or OverflowError for what msgpack has not."""
    packed: bytes = msgpack.packb(value)
    return packed


def unpack(data: bytes) -> Any:
    """What `pack` made bytes of, with a tuple for each list, so that it may be a key. Raises ValueError."""
    try:
        return msgpack.unpackb(data, strict_map_key=False, use_list=False, ext_hook=_long_or_nothing)
    except (TypeError, msgpack.UnpackException) as error:
        raise ValueError(str(error)) from error


def _long_or_nothing(kind: int, data: bytes) -> int:
    if kind != LONG:
        raise ValueError(f"msgpack's type {kind} is not used here")
    return int.from_bytes(data, "big", signed=True)


def _whole(number: int) -> Any:
    """Python counts on beyond 64 bits, and so must what is kept: what a command has made is not taken back."""
    if type(number) is not int or -(2**63) <= number < 2**64:
        return number  # where it is none, who reads it says so
    return msgpack.ExtType(LONG, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def _converter() -> Converter:
    converter = make_converter(forbid_extra_keys=True, detailed_validation=False)
    for kind in (int, str, bytes, bool, type(None)):
        converter.register_structure_hook(kind, _exactly)
    converter.register_unstructure_hook(int, _whole)
    converter.register_unstructure_hook(bool, lambda value: value)  # for cattrs, it is an int
    for moment in (datetime, date):  # as text, so that one without a time zone stays without
        converter.register_unstructure_hook(moment, moment.isoformat)
        converter.register_structure_hook(moment, _a_moment)
    converter.register_structure_hook(float, _a_number)
    configure_union_passthrough(int | float | str | bytes | bool | None, converter)
    converter.register_unstructure_hook_factory(_is_set, lambda _: lambda values: _in_order(converter, values))
    return converter


def _exactly(value: Any, kind: type[T]) -> T:
    if issubclass(kind, Enum):  # of numbers or texts, as an IntEnum is
        return kind(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value


def _a_number(value: Any, _: type[float]) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is not float")
    return float(value)


def _a_moment(value: Any, kind: type[date]) -> date:
    return kind.fromisoformat(value)


def _is_set(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Set)


def _in_order(converter: Converter, values: Set[Any]) -> list[Any]:
    """The order of a set differs from process to process, and results are to be the same everywhere."""
    return sorted(map(converter.unstructure, values), key=pack)


CONVERTER: Final = _converter()
