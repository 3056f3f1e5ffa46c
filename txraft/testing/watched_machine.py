"""Between a node and its state machine: what the one asks for and the other answers, for the judges to see."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import implementer

from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed
from txraft.interfaces import ISnapshot, IStateMachine
from txraft.testing.data import without_number


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
    state: Hashable


@frozen
class Persisted:
    """The machine says that everything up to here is on its disk."""

    index: int


@frozen
class Taken:
    """A snapshot has been taken."""

    index: int


MachineEvent: TypeAlias = Applied | Restored | Persisted | Taken


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

    @property
    def last_applied(self) -> int:
        """As IStateMachine."""
        return int(self.inner.last_applied)

    def state(self) -> Hashable:
        """All that it holds."""
        return self._state_of(self.inner)

    def apply(self, entries: Sequence[Entry]) -> "Deferred[list[bytes | CommandFailed]]":
        """As IStateMachine."""
        bare = [_bare(entry) for entry in entries]
        applied: Deferred[list[bytes | CommandFailed]] = self.inner.apply(bare)
        return applied.addCallback(self._applied, entries)

    def _applied(self, results: list[bytes | CommandFailed], entries: Sequence[Entry]) -> list[bytes | CommandFailed]:
        said = [str(result) if isinstance(result, CommandFailed) else result for result in results]
        self._on_event(Applied(entries, said, self.state()))
        return results

    def persist(self) -> "Deferred[int]":
        """As IStateMachine."""
        persisted: Deferred[int] = self.inner.persist()
        return persisted.addCallback(self._persisted)

    def _persisted(self, index: int) -> int:
        self._on_event(Persisted(index))
        return index

    def snapshot(self) -> "Deferred[ISnapshot]":
        """As IStateMachine."""
        taken: Deferred[ISnapshot] = self.inner.snapshot()
        return taken.addCallback(self._taken)

    def _taken(self, snapshot: ISnapshot) -> ISnapshot:
        self._on_event(Taken(snapshot.index))
        return WatchedSnapshot(snapshot, self._watched)

    def restore(self, index: int, chunks: Iterable[bytes]) -> "Deferred[None]":
        """As IStateMachine."""
        restored: Deferred[None] = self.inner.restore(index, chunks)
        return restored.addCallback(self._restored, index)

    def _restored(self, _: object, index: int) -> None:
        self._on_event(Restored(index, self.state()))


def _bare(entry: Entry) -> Entry:
    if entry.kind is not EntryKind.COMMAND:
        return entry
    return Entry(entry.index, entry.term, entry.kind, without_number(entry.data))
