"""An `Application` of a replicated object, whose clients' calls are recorded and judged."""

from collections.abc import Callable, Hashable, Iterable
from random import Random
from typing import Any

from attrs import define, field

from txraft.objects.commands import Commands, is_command
from txraft.objects.machine import ObjectMachine
from txraft.testing.application import SimulatedHome
from txraft.testing.history import Operation
from txraft.testing.requests import Look, Propose
from txraft.testing.sequential import Call, check, digest_of
from txraft.testing.violation import Violation


@define(eq=False)
class ObjectApplication:
    """An `Application` of an object."""

    kind: Callable[[], Any]
    operations: Callable[[Random], Call]
    model: Callable[[], Any]
    invariant: Callable[[Any], bool | None] = lambda _: None
    _class: type = field(init=False)
    _commands: Commands[Any] = field(init=False)
    _digest: Callable[[Any], bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._class = type(self.kind())
        self._commands = Commands(self._class)
        self._digest = digest_of(self._class)
        digest_of(type(self.model()))  # what cannot be is said before anything runs

    def machine(self, home: SimulatedHome) -> ObjectMachine[Any]:
        """As Application."""
        return ObjectMachine(self.kind, home)

    def command(self, random: Random) -> Propose | Look:
        """As Application: a call of a command, or of a query."""
        call = self.operations(random)
        method = getattr(self._class, call.method.__name__)
        if not is_command(method):
            return Look(call)
        command = self._commands.of(method)
        return Propose(command.encode(call.args, call.kwargs), call, command.result_of)

    def state(self, machine: ObjectMachine[Any]) -> Hashable:
        """As Application, and where the invariant is looked after."""
        try:
            holds = self.invariant(machine.object) is not False
        except Exception as error:  # theirs, of any kind
            raise Violation("Invariant", f"{type(error).__name__}: {error}, of {machine.object!r}") from error
        if not holds:
            raise Violation("Invariant", f"it does not hold of {machine.object!r}")
        return self._digest(machine.object)

    def judge(self, operations: Iterable[Operation]) -> None:
        """Raises Violation where the calls cannot be explained, or it is not known whether they can."""
        if not (verdict := check(operations, self.model)).ok:
            raise Violation("Linearizability", str(verdict))
