"""An `Application` of a replicated object, whose clients' calls are recorded and judged."""

import inspect
import reprlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from random import Random
from typing import Any

from attrs import define, field

from txraft.errors import BadCommand
from txraft.objects.commands import Commands, is_command
from txraft.objects.machine import ObjectMachine
from txraft.testing.application import SimulatedHome
from txraft.testing.history import Operation
from txraft.testing.requests import Look, Propose
from txraft.testing.sequential import Call, CommandCall, check, digest_of
from txraft.testing.violation import Violation


@define(eq=False)
class ObjectApplication:
    """An `Application` of an object."""

    kind: Callable[[], Any]
    operations: Callable[[Random], Call]
    model: Callable[[], Any]
    invariant: Callable[[Any], bool | None] = lambda _: None
    _targets: Sequence[Any] = field(init=False)
    """An object and, where that is of another class, a model, to see whether they take a call."""
    _commands: Commands[Any] = field(init=False)
    _digest: Callable[[Any], bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        made, model = self.kind(), self.model()
        self._targets = [made] if type(model) is type(made) else [made, model]
        self._commands = Commands(type(made))
        self._digest = digest_of(type(made))
        digest_of(type(model))  # what cannot be is said before anything runs

    def machine(self, home: SimulatedHome) -> ObjectMachine[Any]:
        """As Application."""
        return ObjectMachine(self.kind, home)

    def command(self, random: Random) -> Propose | Look:
        """As Application: a call of a command, or of a query. Raises BadCommand where `operations` gives no call that
        the object and the model take."""
        call = self.operations(random)
        if not isinstance(call, Call):
            raise BadCommand(f"operations: gives {reprlib.repr(call)}, not a Call; write Call(Counter.add, 'apples')")
        for target in self._targets:
            _require_taken(call, target)
        method = getattr(type(self._targets[0]), call.method.__name__)
        if not is_command(method):
            return Look(call)
        command = self._commands.of(method)
        sent = CommandCall(command, call)
        return Propose(sent.data, sent, command.result_of)

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
        """As Application: what clients saw is linearizable."""
        if not (verdict := check(operations, self.model)).ok:
            raise Violation("Linearizability", str(verdict))


def _require_taken(call: Call, target: Any) -> None:
    """Raise BadCommand where `target` has no such method, or its method takes other arguments."""
    kind, name = type(target).__name__, getattr(call.method, "__name__", repr(call.method))
    method = getattr(target, name, None)
    if not callable(method):
        raise BadCommand(f"operations: gives a Call of {name}, and {kind} has no method of that name")
    try:
        inspect.signature(method).bind(*call.args, **call.kwargs)
    except TypeError as error:
        raise BadCommand(f"operations: gives {call}, and {kind}.{name}: {error}") from None
