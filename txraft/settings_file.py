"""Settings from a configuration file: TOML in, `txraft.settings` out.

Whatever is wrong in a file is told in one line, with the file, each wrong key and what to do, as a `SettingsError`.
"""

import difflib
import math
import os
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

import attrs
import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)

from txraft.addresses import Address, Place, parse_place
from txraft.errors import SettingsError
from txraft.settings import Member, Settings
from txraft.texts import one_line, shown

MAX_FILE_SIZE: Final = 1024 * 1024
"""Bytes of a configuration file."""
ABOVE_TABLES: Final = ("name", "allowed_hosts")
"""The keys of the file as a whole. TOML takes what is below [[cluster]] for a key of that table."""


def load(path: str | os.PathLike[str]) -> Settings:
    """Read a configuration file. Raises SettingsError with one line that names the file and each wrong key."""
    path = os.fspath(path)
    name = one_line(path)
    try:
        table = tomllib.loads(_read(path).decode("utf-8-sig"))  # editors on Windows begin files with a BOM
    except OSError as error:
        raise SettingsError(f"{name}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name}: is not TOML: {one_line(str(error))}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{name}: has an absurdly long number, or tables nested absurdly deep") from error
    try:
        return parse(table)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error


def parse(table: Mapping[str, Any]) -> Settings:
    """Settings from what TOML made of a file. Raises SettingsError with one line that names each wrong key."""
    try:
        return _converter.structure(table, Settings)
    except ClassValidationError as error:
        raise SettingsError(one_line("; ".join(_problems(error, "")))) from error


def _read(path: str) -> bytes:
    """What is in a file that an operator wrote; nothing else is waited for, or read to its end."""
    if "\0" in path:
        raise SettingsError(f"{one_line(path)}: cannot be read: no file has a NUL in its name")
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise SettingsError(f"{one_line(path)}: is not a file; a pipe or a device cannot be a configuration")
        content = file.read(MAX_FILE_SIZE + 1)
    if len(content) > MAX_FILE_SIZE:
        raise SettingsError(f"{one_line(path)}: is larger than {MAX_FILE_SIZE} bytes, so it is no configuration")
    return content


# From TOML's types to ours: no conversions that TOML does not make, so that `port = "8080"` and `id = true` are errors


def _integer(value: Any, _: type) -> int:
    if type(value) is not int:
        raise SettingsError(f"must be a whole number, not {shown(value)}")
    return value


def _number(value: Any, _: type) -> float:
    if type(value) not in (int, float):
        raise SettingsError(f"must be a number, not {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _text(value: Any, _: type) -> str:
    if type(value) is not str:
        raise SettingsError(f'must be text in quotes ("..."), not {shown(value)}')
    return value


def _address(value: Any, _: type) -> Address:
    return Address.parse(_text(value, str))


def _place(value: Any, _: type) -> Place:
    return parse_place(_text(value, str))


def _members(value: Any, _: type) -> tuple[Member, ...]:
    if type(value) is not list:
        raise SettingsError("must be a list of tables, each under [[cluster]]")
    return tuple(_converter.structure(value, list[Member]))


def _texts(value: Any, _: type) -> tuple[str, ...]:
    if type(value) is not list:
        raise SettingsError(f'must be a list of texts in quotes (["..."]), not {shown(value)}')
    return tuple(_text(each, str) for each in value)


def _table_hook(cls: type) -> Callable[[Any, type], Any]:
    structure = cast(Any, cattrs.gen.make_dict_structure_fn(cls, _converter, _cattrs_forbid_extra_keys=True))

    def hook(value: Any, type_: type) -> Any:
        if not isinstance(value, Mapping):
            raise SettingsError(f"must be a table, not {shown(value)}")
        return structure(value, type_)

    return hook


_converter = cattrs.Converter(detailed_validation=True)
_converter.register_structure_hook_factory(attrs.has, _table_hook)
_converter.register_structure_hook(int, _integer)
_converter.register_structure_hook(float, _number)
_converter.register_structure_hook(str, _text)
_converter.register_structure_hook(Address, _address)
_converter.register_structure_hook_func(lambda type_: type_ in (Place, Place | None), _place)
_converter.register_structure_hook_func(lambda type_: type_ == tuple[Member, ...], _members)
_converter.register_structure_hook_func(lambda type_: type_ == tuple[str, ...], _texts)


def _problems(error: ClassValidationError | IterableValidationError, path: str) -> Iterator[str]:
    """Flatten cattrs' tree of errors into lines, each `key: what is wrong`, outermost key first.

    An error that cattrs ties to a field or an index is about that value; one that it does not comes from the checks of
    the class, and begins with the key that it is about.
    """
    tied, untied = error.group_exceptions()
    for inner, note in tied:
        step = f".{note.name}" if isinstance(note, AttributeValidationNote) else f"[{note.index}]"
        key = f"{path}{step}".lstrip(".")
        if isinstance(inner, ClassValidationError | IterableValidationError):
            yield from _problems(inner, key)
        else:
            yield f"{key}: is missing; add it" if isinstance(inner, KeyError) else f"{key}: {inner}"
    for inner in untied:
        for problem in _unknown_keys(inner) if isinstance(inner, ForbiddenExtraKeysError) else [str(inner)]:
            yield f"{path}.{problem}".lstrip(".")


def _unknown_keys(error: ForbiddenExtraKeysError) -> Iterator[str]:
    known = [attribute.name for attribute in attrs.fields(error.cl)]
    for key in sorted(error.extra_fields):
        close = difflib.get_close_matches(key, known, n=1)
        if error.cl is not Settings and key in ABOVE_TABLES:
            advice = "it belongs above the first [[cluster]], and above every other table"
        else:
            advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        yield f"{key}: unknown key; {advice}"
