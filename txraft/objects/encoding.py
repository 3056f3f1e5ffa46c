"""How values travel and are kept, in msgpack, and how they are read: as their annotations say, by cattrs. Nothing is
made of anything else: a text is no number, and no class is ever named in the bytes."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import chain
from types import NoneType
from typing import Any, Final, TypeVar
from uuid import UUID

import msgpack  # type: ignore[import-untyped]  # msgpack has no annotations
from cattrs import Converter
from cattrs.strategies import configure_union_passthrough

T = TypeVar("T")


LONG: Final = 1
"""The type, among those that msgpack leaves to its users, of a whole number that needs more than 64 bits."""
DEEPEST: Final = 100
"""How deep a value of a command may be nested, in lists and dicts as msgpack has them: an attrs class is a dict. Python
refuses what is too deep for its stack, of which not every caller has as much left, and what one server takes into the
log, all must be able to read (hazard C10)."""
LEAST: Final = -(2**63)
MOST: Final = 2**64 - 1
"""What msgpack has of whole numbers."""


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


def require_flat(values: Any) -> None:
    """Raises ValueError where what `unpack` gave is nested deeper than DEEPEST."""
    level: list[Any] = [(values,)]
    for _ in range(DEEPEST + 1):
        inside = chain.from_iterable(chain(each, each.values()) if type(each) is dict else each for each in level)
        level = [each for each in inside if type(each) in (tuple, dict)]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


def _long_or_nothing(kind: int, data: bytes) -> int:
    if kind != LONG:
        raise ValueError(f"msgpack's type {kind} is not used here")
    return int.from_bytes(data, "big", signed=True)


def whole(number: int) -> Any:
    """Python counts on beyond 64 bits, and so must what is kept: what a command has made is not taken back."""
    if LEAST <= number <= MOST:
        return number
    return msgpack.ExtType(LONG, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=False)
    for kind in (int, str, bytes, bool, NoneType):
        converter.register_structure_hook(kind, _exactly)
    for moment in (datetime, date, time):  # as text, so that one without a time zone stays without
        converter.register_structure_hook(moment, _a_moment)
    for written in (UUID, Decimal):
        converter.register_structure_hook(written, _of_text)
    converter.register_structure_hook(timedelta, lambda value, _: timedelta(microseconds=_exactly(value, int)))
    converter.register_structure_hook(float, _a_number)
    configure_union_passthrough(int | float | str | bytes | bool | None, converter)
    return converter


def _exactly(value: Any, kind: type[T]) -> T:
    if issubclass(kind, Enum):  # of numbers or texts, as an IntEnum is
        return kind(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value


def _a_number(value: Any, kind: type[float]) -> float:
    if issubclass(kind, Enum):
        return kind(value)
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is not float")
    return float(value)


def _a_moment(value: Any, kind: type[date]) -> date:
    return kind.fromisoformat(value)


def _of_text(value: Any, kind: type[T]) -> T:
    return kind(_exactly(value, str))  # type: ignore[call-arg]  # each class that this is registered for takes a text


CONVERTER: Final = _converter()
