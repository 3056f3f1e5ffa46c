"""The commands of a class: which there are, what they take, and how one is written into the log.

A command is an array: its name, its version, and its arguments by their names, all of them, so that a default which
changes later changes nothing that is in a log."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar, get_type_hints, overload

import attrs
from attrs import frozen

from txraft.errors import BadCommand, UnknownCommand, in_a_line
from txraft.objects.encoding import CONVERTER, pack, require_flat, unpack
from txraft.objects.writing import Write, fields_of, writer, writer_of_field
from txraft.texts import brief

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])

_MARK: Final = "__txraft_command__"


@overload
def command(method: Method, /) -> Method: ...


@overload
def command(*, name: str | None = None, version: int = 1) -> Callable[[Method], Method]: ...


def command(method: Method | None = None, /, *, name: str | None = None, version: int = 1) -> Any:
    """Mark a method as one that changes the object, and is replicated. `name` is what the log calls it, by default the
    method's own, and `version`, from 1 on, tells it from what the same name did before. Raises TypeError for anything
    else."""
    if not (name is None or (isinstance(name, str) and name)) or type(version) is not int or version < 1:
        raise TypeError(
            f"@command takes a text as name and a number from 1 on as version, not {name!r} and {version!r}"
        )

    def mark(method: Method) -> Method:
        if not callable(method) or isinstance(method, staticmethod | classmethod | type):
            raise TypeError(f"@command stands right above the `def` of a method, and takes names: not {brief(method)}")
        setattr(method, _MARK, (name or method.__name__, version))
        return method

    return mark if method is None else mark(method)


def is_command(method: Callable[..., Any]) -> bool:
    """Whether it is marked as one."""
    return hasattr(method, _MARK)


@frozen
class Command:
    """One of them."""

    method: Callable[..., Any]
    name: str
    version: int
    parameters: inspect.Signature
    """Without `self`."""
    types: Mapping[str, Any]
    """Of its arguments, and of its result as "return"."""
    writers: Mapping[str, Write]
    """The same."""

    @property
    def shown(self) -> str:
        """For a line."""
        return f"{self.method.__qualname__}" + (f" (version {self.version})" if self.version > 1 else "")

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """One call of it. Raises BadCommand where it is called with anything else than what it takes."""
        try:
            given = self.parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise BadCommand(f"{self.shown}: {error}") from None
        given.apply_defaults()
        values = {}
        for name, value in given.arguments.items():
            try:
                values[name] = self.writers[name](value)
                packed = pack(values[name])
                require_flat(unpack(packed))
                self._require_same(name, packed)
            except Exception as error:  # they are somebody else's classes
                raise BadCommand(f"{self.shown}: {name} cannot be {brief(value)}: {in_a_line(error)}") from error
        return pack([self.name, self.version, values])

    def _require_same(self, name: str, packed: bytes) -> None:
        """Raises TypeError where it would arrive as something else: where a class of theirs changes what it is given,
        in a converter say."""
        come = CONVERTER.structure(unpack(packed), self.types[name])
        if pack(self.writers[name](come)) != packed:
            raise TypeError(f"it would arrive as {brief(come)}")

    def check(self, values: Mapping[str, Any]) -> None:
        """Raises UnknownCommand where that is nothing that `encode` writes."""
        try:
            for value in values.values():
                require_flat(value)
        except ValueError as error:
            raise _unknown(f"{self.shown} with other arguments: {in_a_line(error)}") from error
        self.arguments(values)

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments, as `encode` wrote them. Raises UnknownCommand for others."""
        if values.keys() != self.parameters.parameters.keys():
            raise _unknown(f"{self.shown} with the arguments {', '.join(map(str, values)) or 'none'}")
        try:
            return {name: CONVERTER.structure(value, self.types[name]) for name, value in values.items()}
        except Exception as error:
            raise _unknown(f"{self.shown} with other arguments: {in_a_line(error)}") from error

    def apply(self, target: object, values: Mapping[str, Any]) -> bytes:
        """Do it, with arguments as `encode` wrote them. Gives the result. Raises UnknownCommand for other arguments,
        TypeError for a result that is not as it is annotated, and what the method raises."""
        return self.encode_result(self.method(target, **self.arguments(values)))

    def encode_result(self, result: Any) -> bytes:
        """What the method has returned, as it travels. Raises TypeError where that is not as it is annotated."""
        try:
            return pack(self.writers["return"](result))
        except Exception as error:  # as in `encode`
            raise TypeError(f"{self.shown} cannot return {brief(result)}: {in_a_line(error)}") from error

    def result_of(self, result: bytes) -> Any:
        """What the method returned, of what `encode_result` gave."""
        return CONVERTER.structure(unpack(result), self.types["return"])


class Commands(Generic[T]):
    """All those of a class. Raises TypeError where one is not written as it has to be, or a field or an argument is
    annotated with what does not travel (`txraft.objects.writing`)."""

    def __init__(self, kind: type[T]) -> None:
        if not attrs.has(kind):
            raise TypeError(f"{kind.__name__} is no attrs class: mark it with @define, so that its fields are known")
        self.fields = fields_of(kind)
        """And how they are annotated."""
        self.writers = {name: writer_of_field(kind, name, annotated) for name, annotated in self.fields.items()}
        self._by_name: dict[tuple[str, int], Command] = {}
        for method in _methods_of(kind):
            each = _command_of(method)
            if (other := self._by_name.setdefault((each.name, each.version), each)) is not each:
                raise TypeError(f"{each.shown} and {other.shown} are one command: give one another name or version")

    def of(self, method: Callable[..., Any]) -> Command:
        """The one that this method is. Raises BadCommand where it is none."""
        if inspect.ismethod(method):
            raise BadCommand(f"{method.__qualname__} is given of one object: give that of the class")
        mark = getattr(method, _MARK, None)
        found = None if mark is None else self._by_name.get(mark)
        if found is None or found.method is not method:
            name = getattr(method, "__qualname__", repr(method))
            raise BadCommand(f"{name} is no command of this object: mark it with @command, or use `query` to read")
        return found

    def decode(self, data: bytes) -> tuple[Command, Mapping[str, Any]]:
        """One that was written into the log, and its arguments. Raises UnknownCommand."""
        try:
            name, version, values = unpack(data)
            found, arguments = self._by_name.get((name, version)), {**values}
        except (ValueError, TypeError) as error:
            raise _unknown(f"another kind of program ({in_a_line(error)})") from error
        if found is None:
            raise _unknown(f"the name {name!r} and version {version!r}")
        return found, arguments


def _methods_of(kind: type) -> list[Callable[..., Any]]:
    methods = [getattr(kind, name) for name in dir(kind)]
    for method in methods:
        name = getattr(method, "__name__", "")
        if not hasattr(method, _MARK) and any(hasattr(getattr(base, name, None), _MARK) for base in kind.__mro__):
            raise TypeError(f"{method.__qualname__} takes the place of a command, so mark it with @command, too")
    found = {name: getattr(kind, name) for name in dir(kind) if hasattr(getattr(kind, name), _MARK)}
    for name, method in found.items():
        if isinstance(inspect.getattr_static(kind, name), staticmethod | classmethod):
            raise TypeError(f"{method.__qualname__} is a command, which is a method of the object: it takes `self`")
    return [*found.values()]


def _command_of(method: Callable[..., Any]) -> Command:
    name, version = getattr(method, _MARK)
    qualified = method.__qualname__
    if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method):
        raise TypeError(f"{qualified} is a command, which is done when it returns: it cannot be async, or yield")
    _, *parameters = inspect.signature(method).parameters.values()
    try:
        types = get_type_hints(method)
    except Exception as error:  # it may say anything
        raise TypeError(f"{qualified}: an annotation cannot be read: {in_a_line(error)}") from error
    for each in parameters:
        if each.kind not in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
            raise TypeError(f"{qualified} is a command: its arguments have names, and {each} has none")
    missing = [each for each in (*(parameter.name for parameter in parameters), "return") if each not in types]
    if missing:
        raise TypeError(f"{qualified} is a command, and has no annotation for {', '.join(missing)}")
    writers = {each: _writer_of(qualified, each, annotated) for each, annotated in types.items()}
    return Command(method, name, version, inspect.Signature(parameters), types, writers)


def _writer_of(qualified: str, argument: str, annotated: Any) -> Write:
    try:
        return writer(annotated)
    except TypeError as error:
        which = "its result" if argument == "return" else argument
        raise TypeError(f"{qualified} is a command, and {which} cannot be so annotated: {error}") from error


def _unknown(what: str) -> UnknownCommand:
    more = "; where the method was changed, put the earlier one back beside it, and give the new one a version"
    return UnknownCommand(what, "program", more)
