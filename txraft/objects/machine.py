"""An object as a state machine in memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

from txraft.errors import in_a_line
from txraft.home import Home
from txraft.memory_machine import MemoryMachine
from txraft.objects.commands import Commands
from txraft.objects.encoding import CONVERTER, pack, unpack
from txraft.objects.writing import SharedPart, each_part_once

T = TypeVar("T")

CHUNK_SIZE: Final = 64 * 1024
"""Bytes."""


class _Plain(Generic[T]):
    """As `PlainMachine`."""

    def __init__(self, kind: Callable[[], T]) -> None:
        self._kind = kind
        name = getattr(kind, "__qualname__", repr(kind))
        try:
            self.object, another = kind(), kind()
        except Exception as error:
            line = f"{name} cannot be made without arguments, give its fields defaults: {in_a_line(error)}"
            raise TypeError(line) from error
        self.commands: Commands[T] = Commands(type(self.object))
        self._fields = self.commands.fields
        try:
            begun = self._packed(self._written(self.object))
        except Exception as error:
            raise TypeError(f"{name} begins with what cannot be kept: {in_a_line(error)}") from error
        if self._packed(self._written(another)) != begun:
            raise TypeError(f"{name} is not the same each time that it is made, and is to be on all servers")

    def apply(self, command: bytes) -> bytes:
        found, arguments = self.commands.decode(command)
        return found.apply(self.object, arguments)

    def dump(self) -> Iterator[bytes]:
        """What is taken apart before the first chunk is a copy, which later commands do not change. Raises TypeError
        where it could not be loaded as it is: the log that has it otherwise is kept then."""
        with each_part_once():
            values = self._written(self.object)
        yield b""
        packed = self._packed(values)
        for start in range(0, len(packed), CHUNK_SIZE):
            yield packed[start : start + CHUNK_SIZE]

    def load(self, chunks: Iterable[bytes]) -> None:
        """It is made aside, and put in place by one assignment: this may be on another thread than who reads."""
        values: dict[str, Any] = unpack(b"".join(chunks))
        if unknown := values.keys() - self._fields.keys():
            raise ValueError(f"{type(self.object).__name__} has no field {', '.join(sorted(unknown))} any more")
        new = self._kind()
        for name, value in self._fields_of(values).items():
            object.__setattr__(new, name, value)
        self.object = new

    def _written(self, its: T) -> dict[str, Any]:
        values = {}
        for name, write in self.commands.writers.items():
            try:
                values[name] = write(getattr(its, name))
            except SharedPart as error:
                raise TypeError(f"{name}: {error}") from error
            except Exception as error:
                raise TypeError(f"{name} is not as it is annotated: {in_a_line(error)}") from error
        return values

    def _packed(self, values: dict[str, Any]) -> bytes:
        """Raises TypeError where something else would be loaded: a class of theirs may change what it is given."""
        packed = pack(values)
        come = {name: self.commands.writers[name](value) for name, value in self._fields_of(unpack(packed)).items()}
        if pack(come) != packed:
            changed = ", ".join(name for name, value in values.items() if pack(value) != pack(come[name]))
            raise TypeError(f"{changed} would not be loaded as it is: a class in it changes what it is given")
        return packed

    def _fields_of(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: CONVERTER.structure(value, self._fields[name]) for name, value in values.items()}


class ObjectMachine(MemoryMachine, Generic[T]):
    """Replicates what `kind` makes, without arguments: an object of an attrs class."""

    def __init__(self, kind: Callable[[], T], home: Home) -> None:
        self._plain = _Plain(kind)
        super().__init__(self._plain, home.directory, home.cluster_id, home.worker)

    @property
    def object(self) -> T:
        """As it is now. It is another one after a snapshot was restored."""
        return self._plain.object

    @property
    def commands(self) -> Commands[T]:
        """What may change it."""
        return self._plain.commands

    def check(self, command: bytes) -> None:
        """As IStateMachine."""
        found, values = self.commands.decode(command)
        found.check(values)
