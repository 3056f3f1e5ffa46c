"""How values are written: as their annotations say, and nothing else. cattrs, which reads them (`encoding`), would
write a value of any class; here a value is of just the class that its annotation names, and so is all that is in it.

A writer is made of an annotation, so what does not travel is found out when a class is read, before anything is
called."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Final, Literal, NewType, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs

from txraft.errors import in_a_line
from txraft.objects.encoding import CONVERTER, LEAST, MOST, pack, whole
from txraft.texts import brief

Write = Callable[[Any], Any]
"""Makes of a value what msgpack has. Raises TypeError, ValueError or OverflowError where the value is not as its
annotation says."""


class SharedPart(TypeError):
    """Something that can be changed is at two places of one object. A snapshot would make two of it, on the servers
    that are given that and on no others; then a command that changes one of them changes less there."""


_SEEN: ContextVar[set[int] | None] = ContextVar("_SEEN", default=None)
"""The ids of what was written so far, where each part may be there once."""


@contextmanager
def each_part_once() -> Iterator[None]:
    """What is written in here may have each list, set, dict and object that is not frozen at one place only: a writer
    raises SharedPart for a second."""
    token = _SEEN.set(set())
    try:
        yield
    finally:
        _SEEN.reset(token)


def _require_first(value: object) -> None:
    seen = _SEEN.get()
    if seen is None:
        return
    if id(value) in seen:
        raise SharedPart(f"{brief(value)} is at two places of the object: let one of them name the other, by a key say")
    seen.add(id(value))


def _moment(value: datetime | time) -> str:
    """The rules of a place for summer time do not travel: what is kept of it would go by other ones."""
    if type(value.tzinfo) not in (NoneType, timezone):
        raise TypeError(f"{value!r} is of a place: use a time in UTC, of `.astimezone(UTC)` say")
    return value.isoformat()


_PLAIN: Final[dict[type, Write]] = {
    **dict.fromkeys((str, bytes, bool, NoneType), lambda value: value),
    int: whole,
    date: date.isoformat,
    **dict.fromkeys((datetime, time), _moment),
    **dict.fromkeys((UUID, Decimal), str),
    timedelta: lambda value: whole(value // timedelta(microseconds=1)),
}
_TEXTS: Final = (date, datetime, time, UUID, Decimal)
_AS_THEY_ARE: Final = (str, bytes, bool, int, float, NoneType)
_IN_ROWS: Final = (list, tuple, set, frozenset)
_OTHERWISE: Final[dict[Any, str]] = {
    Any: "say what it is, int | str for instance",
    object: "say what it is, int | str for instance",
    dict: "say of what, dict[str, int] for instance",
    **{each: f"say of what, {each.__name__}[int] for instance" for each in (list, set, frozenset)},
    tuple: "say of what, tuple[int, ...] for instance",
}
_USE: Final = (
    "use numbers, texts, bytes, None, lists, tuples, dicts, sets, enumerations, dates, times, UUID, Decimal, timedelta,"
    " and attrs classes of such"
)


def writer(kind: Any) -> Write:
    """For values that are annotated as `kind`. Raises TypeError where such do not travel, with a line that says what
    to use instead."""
    kind = _meant(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return _exactly(kind, _PLAIN[kind])
    if origin in _IN_ROWS and (len(arguments) == 1 or (origin is tuple and arguments)):
        return _exactly(origin, _of_row(origin, arguments))
    for found, make in (
        (kind is float, lambda _: _float),
        (origin is dict and len(arguments) == 2, _of_dict),
        (origin in (Union, UnionType), _of_union),
        (origin is Literal, _of_literal),
        (_is_enum(kind), _of_enum),
        (isinstance(kind, type) and attrs.has(kind), _of_class),
    ):
        if found:
            return make(kind)
    raise TypeError(f"{named(kind)} does not travel: {_OTHERWISE.get(kind, _OTHERWISE.get(origin, _USE))}")


def fields_of(kind: type) -> Mapping[str, Any]:
    """The fields of an attrs class, and how they are annotated. Raises TypeError where one has no annotation."""
    try:
        hints = get_type_hints(kind)
    except Exception as error:  # it may say anything
        raise TypeError(f"{kind.__name__}: an annotation cannot be read: {in_a_line(error)}") from error
    # One of a generic class, or of `field(type=...)`, has its type in its attribute alone.
    found = {each.name: hints.get(each.name, each.type) for each in attrs.fields(kind)}
    missing = [name for name, its in found.items() if its is None and name not in hints]
    if missing:
        raise TypeError(f"{kind.__name__} has no annotation for {', '.join(missing)}: say what is in it")
    return found


def named(kind: Any) -> str:
    """For a line."""
    return kind.__qualname__ if isinstance(kind, type) and not get_args(kind) else str(kind).removeprefix("typing.")


def _meant(kind: Any) -> Any:
    """Without what only gives a type another name."""
    while True:
        if kind is None:
            return NoneType
        if isinstance(kind, NewType):
            kind = kind.__supertype__
        elif type(kind).__name__ == "TypeAliasType":  # of Python 3.12
            kind = kind.__value__
        else:
            return kind


def _not_of(value: object, name: str) -> TypeError:
    return TypeError(f"{brief(value)} is of the class {type(value).__name__}, not {name}")


def _exactly(kind: type, write: Write) -> Write:
    def checked(value: Any) -> Any:
        if type(value) is not kind:
            raise _not_of(value, kind.__name__)
        if may_change:
            _require_first(value)
        return write(value)

    may_change = kind in (list, set, dict) or (attrs.has(kind) and not _is_frozen(kind))
    return checked


def _is_frozen(kind: type) -> bool:
    return kind.__setattr__.__name__ == "_frozen_setattrs"  # attrs has no public way to ask


def _float(value: Any) -> float:
    if type(value) not in (int, float):
        raise _not_of(value, "float")
    return float(value)


def _of_row(origin: type, arguments: tuple[Any, ...]) -> Write:
    if origin is tuple and arguments[1:] != (...,):
        writers = [writer(each) for each in arguments]

        def write_each(values: tuple[Any, ...]) -> tuple[Any, ...]:
            if len(values) != len(writers):
                raise TypeError(f"{brief(values)} has {len(values)} parts, not {len(writers)}")
            return tuple(write(value) for write, value in zip(writers, values, strict=True))

        return write_each
    write_all = _writer_of_many(arguments[0])
    if origin in (set, frozenset):
        if (unhashable := _unhashable_in(arguments[0])) is not None:
            raise TypeError(f"{named(unhashable)} cannot be in a set: use a tuple, a frozenset or a @frozen class")
        # The order of a set differs from process to process, and results are to be the same everywhere.
        return lambda values: sorted(write_all(values), key=pack)
    return lambda values: tuple(write_all(values))


def _of_dict(kind: Any) -> Write:
    key, value = get_args(kind)
    _require_key(key)
    write_keys, write_values = _writer_of_many(key), _writer_of_many(value)
    return _exactly(dict, lambda values: dict(zip(write_keys(values), write_values(values.values()), strict=True)))


def _require_key(kind: Any) -> None:
    """What is written of a key has to be one, too."""
    kind = _meant(kind)
    if get_origin(kind) is tuple:
        for each in get_args(kind):
            if each is not ...:
                _require_key(each)
    elif _shapes(kind) & {tuple, dict}:
        raise TypeError(f"{named(kind)} does not travel as the key of a dict: use texts, numbers, and tuples of such")


def _unhashable_in(kind: Any) -> Any:
    """What cannot be hashed of it, so that it cannot be in a set; None where all can."""
    kind = _meant(kind)
    origin = get_origin(kind) or kind
    if isinstance(origin, type) and origin.__hash__ is None:
        return kind
    parts = get_args(kind) if origin in (tuple, frozenset, Union, UnionType) else ()
    return next((found for each in parts if (found := _unhashable_in(each)) is not None), None)


def _writer_of_many(kind: Any) -> Callable[[Collection[Any]], Iterable[Any]]:
    """100,000 texts or numbers are copied within a heartbeat, so it is not one after the other that they are checked,
    where they are written as they are."""
    write, kind = writer(kind), _meant(kind)

    def write_all(values: Collection[Any]) -> Iterable[Any]:
        as_they_are = kind in (str, bytes, bool, int) and {*map(type, values)} == {kind}
        if as_they_are and (kind is not int or (min(values) >= LEAST and max(values) <= MOST)):
            return values
        return map(write, values)

    return write_all


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _of_enum(kind: type[Enum]) -> Write:
    kinds = {type(each.value) for each in kind.__members__.values()}
    if not kinds <= {int, float, str, bytes, bool}:
        raise TypeError(f"{kind.__name__} does not travel: make its values numbers or texts")
    writers = {each: writer(each) for each in kinds}
    return _exactly(kind, lambda value: writers[type(value.value)](value.value))


def _of_literal(kind: Any) -> Write:
    writers = {(type(each), each): writer(type(each)) for each in get_args(kind)}
    if len({each.value if isinstance(each, Enum) else each for _, each in writers}) < len(writers):
        raise TypeError(f"{named(kind)} does not travel, for two of it look the same")

    def write(value: Any) -> Any:
        try:
            found = writers[type(value), value]
        except KeyError:
            raise _not_of(value, named(kind)) from None
        return found(value)

    return write


def _of_union(kind: Any) -> Write:
    """What is written has to tell which of them it is."""
    members = [_meant(each) for each in get_args(kind)]
    writers = [writer(each) for each in sorted(members, key=lambda each: each is float)]  # which takes an int, too
    seen: dict[type, Any] = {}
    for each in members:
        for shape in _shapes(each):
            other = seen.setdefault(shape, each)
            if other is not each and not (attrs.has(each) and attrs.has(other)) and {each, other} != {int, float}:
                raise TypeError(f"{named(kind)} does not travel, for {named(other)} and {named(each)} look the same")
    others = [each for each in members if each not in _AS_THEY_ARE and get_origin(each) is not Literal]
    if len(others) > 1 and not all(map(attrs.has, others)):
        line = "beside numbers, texts, bytes and None, use one other, or attrs classes alone"
        raise TypeError(f"{named(kind)} does not travel: {line}")
    try:
        for each in (kind, Union[tuple(others)] if others else None):  # noqa: UP007 - of what is not known before
            CONVERTER.get_structure_hook(each)
    except Exception as error:  # whatever cattrs cannot tell apart
        raise TypeError(f"{named(kind)} does not travel: {in_a_line(error)}") from error

    def write(value: Any) -> Any:
        for each in writers:
            try:
                return each(value)
            except TypeError:
                continue
        raise _not_of(value, named(kind))

    return write


def _shapes(kind: Any) -> set[type]:
    """What is written of it, as msgpack has it."""
    kind = _meant(kind)
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return set().union(*map(_shapes, get_args(kind)))
    if origin is Literal:
        return set().union(*(_shapes(type(each)) for each in get_args(kind)))
    if _is_enum(kind):
        return {type(each.value) for each in kind.__members__.values()}
    if kind in _TEXTS:
        return {str}
    if kind in (timedelta, float):  # a float may be a whole number
        return {int, kind} - {timedelta}
    return {tuple if origin in _IN_ROWS else dict if origin is dict or attrs.has(kind) else kind}


_CLASSES: Final[dict[type, Write]] = {}
"""Those that are being looked at: a class may have itself in a field."""


def _of_class(kind: type) -> Write:
    if kind in _CLASSES:
        return _CLASSES[kind]
    writers: dict[str, Write] = {}
    _CLASSES[kind] = _exactly(
        kind, lambda value: {name: write(getattr(value, name)) for name, write in writers.items()}
    )
    made = _CLASSES[kind]
    try:
        for name, annotated in fields_of(kind).items():
            writers[name] = writer_of_field(kind, name, annotated)
            if not getattr(attrs.fields(kind), name).init:
                raise TypeError(f"{kind.__name__}.{name} is no argument of its class, and would be lost: make it one")
    finally:
        del _CLASSES[kind]
    return made


def writer_of_field(kind: type, name: str, annotated: Any) -> Write:
    """As `writer`, where the line says of which field."""
    try:
        return writer(annotated)
    except TypeError as error:
        raise TypeError(f"{kind.__name__}.{name}: {error}") from error
