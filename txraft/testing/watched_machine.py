"""Between a node and its state machine: what the one asks for and the other answers, for the judges to see."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeAlias

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed, ResultNotBytes, SnapshotFailed
from txraft.interfaces import ISnapshot, IStateMachine
from txraft.memory_machine import MemoryMachine
from txraft.node.contract import deferred_of, index_of, lacking, require_results, snapshot_of
from txraft.testing.application import Application, SimulatedHome
from txraft.testing.data import without_number
from txraft.testing.transcript import QUIET, traceback_of
from txraft.testing.violation import Violation


@frozen
class Applied:
    """Entries were applied."""

    entries: Sequence[Entry]
    results: Sequence[Hashable]
    state: Hashable
    """What the machine held then."""


@frozen
class Restored:
    """A snapshot took the place of everything."""

    index: int
    last_applied: int
    """As the machine has it by then."""
    state: Hashable


@frozen
class Persisted:
    """The machine says that everything up to here is on its disk."""

    index: int


@frozen
class Taken:
    """A snapshot has been taken."""

    index: int


@frozen
class NotKept:
    """`persist` or `snapshot` has failed with SnapshotFailed, which it may."""

    call: str
    traceback: str


MachineEvent: TypeAlias = Applied | Restored | Persisted | Taken | NotKept


def made_by(application: Application, home: SimulatedHome) -> Any:
    """The state machine of a process that starts. Raises Violation where it is none."""
    machine = application.machine(home)
    if lacks := lacking(IStateMachine, machine):
        is_plain = all(hasattr(machine, name) for name in ("apply", "dump", "load"))
        advice = "; wrap it in `txraft.memory_machine.MemoryMachine`" if is_plain else ""
        what = f"gives {type(machine).__name__}, not an IStateMachine: it has no {lacks}{advice}"
        raise Violation("State machine", f"`Application.machine` {what}")
    if isinstance(machine, MemoryMachine):
        machine.log = QUIET
    return machine


@implementer(ISnapshot)
@frozen(eq=False)
class WatchedSnapshot:
    """Any snapshot."""

    inner: Any
    _watched: Callable[[Iterable[bytes]], Iterable[bytes]]

    @property
    def index(self) -> int:
        """As ISnapshot."""
        return int(self.inner.index)

    @property
    def size(self) -> int | None:
        """As ISnapshot."""
        size: int | None = self.inner.size
        return size

    def chunks(self) -> Iterable[bytes]:
        """As ISnapshot."""
        return self._watched(self.inner.chunks())

    def close(self) -> "Deferred[None]":
        """As ISnapshot."""
        closed: Deferred[None] = self.inner.close()
        return closed


@implementer(IStateMachine)
@frozen(eq=False)
class WatchedMachine:
    """Any state machine. Its commands come without the numbers of their operations."""

    inner: Any
    _state_of: Callable[[Any], Hashable]
    _on_event: Callable[[MachineEvent], None]
    _watched: Callable[[Iterable[bytes]], Iterable[bytes]]
    """Sees to it where the data of a snapshot are read."""
    under_way: set[str] = field(init=False, factory=set)
    """Which of its calls have not been answered."""

    @property
    def last_applied(self) -> int:
        """As IStateMachine."""
        return int(self.inner.last_applied)

    def state(self) -> Hashable:
        """All that it holds. Raises Violation where that may yet change: it is compared with what others hold later."""
        state = self._state_of(self.inner)
        try:
            hash(state)
        except TypeError as error:
            what = (
                f"`Application.state` gives a {type(state).__name__}, of which Python says: {error}; give a tuple, say"
            )
            raise Violation("State", what) from error
        return state

    def start(self) -> None:
        """As IStateMachine."""
        self.inner.start()

    def close(self) -> "Deferred[None]":
        """As IStateMachine."""
        closed: Deferred[None] = self.inner.close()
        return closed

    def check(self, command: bytes) -> None:
        """As IStateMachine."""
        self.inner.check(without_number(command))

    def apply(self, entries: Sequence[Entry]) -> "Deferred[list[bytes | CommandFailed]]":
        """As IStateMachine."""
        bare = [_bare(entry) for entry in entries]
        return self._call("apply", bare).addCallback(self._applied, entries)

    def _applied(self, results: list[bytes | CommandFailed], entries: Sequence[Entry]) -> list[bytes | CommandFailed]:
        require_results(results, entries)
        for entry, result in zip(entries, results, strict=True):
            if isinstance(result, ResultNotBytes):
                raise Violation("Commands", f"{_bare(entry).data!r} comes to {str(result)!r}; `apply` is wrong there")
        said = [str(result) if isinstance(result, CommandFailed) else result for result in results]
        self._on_event(Applied(entries, said, self.state()))
        return results

    def persist(self) -> "Deferred[int]":
        """As IStateMachine."""
        return self._call("persist").addCallbacks(self._persisted, self._not_kept, errbackArgs=("persist",))

    def _persisted(self, index: int) -> int:
        self._on_event(Persisted(index_of(index)))
        return index

    def snapshot(self) -> "Deferred[ISnapshot]":
        """As IStateMachine."""
        return self._call("snapshot").addCallbacks(self._taken, self._not_kept, errbackArgs=("snapshot",))

    def _taken(self, snapshot: ISnapshot) -> ISnapshot:
        self._on_event(Taken(snapshot_of(snapshot).index))
        return WatchedSnapshot(snapshot, self._watched)

    def restore(self, index: int, chunks: Iterable[bytes]) -> "Deferred[None]":
        """As IStateMachine."""
        return self._call("restore", index, chunks).addCallback(self._restored, index)

    def _restored(self, _: object, index: int) -> None:
        self._on_event(Restored(index, self.last_applied, self.state()))

    def _call(self, name: str, *args: object) -> "Deferred[Any]":
        answer = deferred_of(name, getattr(self.inner, name)(*args))
        self.under_way.add(name)
        return answer.addBoth(self._answered, name)

    def _answered(self, result: object, name: str) -> object:
        self.under_way.discard(name)
        return result

    def _not_kept(self, failure: Failure, call: str) -> Failure:
        if failure.check(SnapshotFailed):
            self._on_event(NotKept(call, traceback_of(failure)))
        return failure


def _bare(entry: Entry) -> Entry:
    if entry.kind is not EntryKind.COMMAND:
        return entry
    return Entry(entry.index, entry.term, entry.kind, without_number(entry.data))
