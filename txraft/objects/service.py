"""One server of a cluster that replicates a Python object."""

from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

from txraft.core.messages import NodeId
from txraft.errors import BadCommand, SettingsError, UnknownCommand, in_a_line
from txraft.objects.commands import is_command
from txraft.objects.copying import copied
from txraft.objects.machine import ObjectMachine
from txraft.raft_service import RaftService
from txraft.storage.identity import Bootstrap
from txraft.texts import brief

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


class ObjectService(RaftService[ObjectMachine[T]], Generic[T]):
    """A `RaftService` whose state machine is an object, as `txraft.objects` says."""

    def __init__(
        self,
        reactor: Any,
        members: Mapping[NodeId, str] | Bootstrap,
        node_id: NodeId,
        directory: str | PathLike[str],
        kind: Callable[[], T],
        **more: Any,
    ) -> None:
        """`kind` makes the object as it is at first, on each server: an attrs class whose fields have defaults. All
        else is as with RaftService. Raises TypeError where the class is not written as it has to be."""
        if not callable(kind):
            raise SettingsError(f"kind: is the class of the object, not {brief(kind)}")
        super().__init__(reactor, members, node_id, directory, partial(ObjectMachine, kind), **more)

    def call(self, method: Callable[Concatenate[T, P], R], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[R]":
        """Call a command of the object, on every server. Fires with what it returns, when that is on a majority of
        disks and applied on the server that leads.

        Fails with CommandFailed, which says what it raised; and as `RaftService.propose`, with NotApplied or
        OutcomeUnknown. Raises BadCommand, with nothing done, where it is no command or takes other arguments."""
        found = self.machine.commands.of(method)
        return super().propose(found.encode(args, kwargs)).addCallback(found.result_of)

    def propose(self, command: bytes) -> "Deferred[bytes]":
        """As RaftService, of a command as `call` writes it. Raises BadCommand for any other: in the log, each server
        would end on it."""
        try:
            self.machine.check(command)
        except UnknownCommand as error:
            raise BadCommand(f"this object does not know a command of {error.what}; use `call`") from error
        return super().propose(command)

    def query(self, method: Callable[Concatenate[T, P], R], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[R]":
        """Call what only reads the object, or any function of it, once this server has everything that was acknowledged
        anywhere before. Fires with a copy of what it returns, which later commands do not change. The copy is made on
        the reactor's thread: of 10,000 objects it takes 60 milliseconds, so let it return what is needed.

        Fails with NotApplied, with what it raises, and with BadCommand where no copy can be made: of a generator, say,
        which would read the object later. Raises BadCommand for a command, which would change the object on this server
        alone."""
        if is_command(method):
            raise BadCommand(f"{method.__qualname__} is a command, which is not to be done on one server: use `call`")
        return self.read(lambda machine: _copy_of(method, method(machine.object, *args, **kwargs)))

    @property
    def object(self) -> T:
        """What this server has, at once: it may be behind, and is not to be changed or kept."""
        return self.machine.object


def _copy_of(method: Callable[..., Any], result: R) -> R:
    try:
        return copied(result)
    except Exception as error:  # they are somebody else's classes
        name = getattr(method, "__qualname__", brief(method))
        line = f"{name} returned {brief(result)}, which cannot be copied: {in_a_line(error)}"
        raise BadCommand(line) from error
