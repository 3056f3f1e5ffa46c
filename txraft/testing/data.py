"""The state machine of a simulated node: the real key-value store, over a copy on disk that lags behind the log."""

import struct
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from random import Random
from typing import ClassVar, cast

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed, SnapshotFailed
from txraft.interfaces import ISnapshot, IStateMachine
from txraft.kv import Command, KeyValueStore, WriteBehind, encode
from txraft.kv.answers import KeptAnswer
from txraft.kv.contents import Changes, Contents, Delta

_NUMBER = struct.Struct(">Q")


def command_of(number: int, command: Command) -> bytes:
    """A command with the number of the operation that it belongs to, so that no two are the same."""
    return _NUMBER.pack(number) + encode(command)


def number_of(command: bytes) -> int:
    """The operation that a command belongs to."""
    return int(_NUMBER.unpack_from(command)[0])


@define(eq=False)
class Copy:
    """The data on a node's disk, as `WriteBehind` keeps them: data and index change together, now and then (S5)."""

    is_behind: ClassVar[bool] = False
    random: Random
    _written: Contents = field(factory=Contents)
    _delta: Delta = field(factory=Delta)

    @property
    def last_applied(self) -> int:
        """The last entry that is on the disk."""
        return self._written.last_applied

    def load(self) -> Contents:
        """As WriteBehind. What was not written is lost; the log has it."""
        self._delta = Delta()
        return deepcopy(self._written)

    def applied(self, index: int, revision: int, changes: Changes, kept: KeptAnswer | None = None) -> None:
        """As WriteBehind."""
        self._delta.add(index, revision, changes, kept)
        if self.random.random() < 0.05:
            self._written.take(self._delta)
            self._delta = Delta()


@implementer(IStateMachine)
class Data:
    """The state machine of one process."""

    def __init__(self, copy: Copy, on_apply: Callable[[int, bytes], None]) -> None:
        """`on_apply` is called with the index and the command of everything that is applied."""
        self.store = KeyValueStore(cast(WriteBehind, copy))
        self.store.load()
        self.last_applied = self.store.last_applied
        self._copy = copy
        self._on_apply = on_apply

    def apply(self, entries: Sequence[Entry]) -> "Deferred[list[bytes | CommandFailed]]":
        """As IStateMachine."""
        for entry in entries:
            if entry.kind is EntryKind.COMMAND:
                self._on_apply(entry.index, entry.data)
        self.last_applied = entries[-1].index
        return self.store.apply([evolve(entry, data=entry.data[_NUMBER.size :]) for entry in entries])

    def persist(self) -> "Deferred[int]":
        """As IStateMachine."""
        return succeed(self._copy.last_applied)

    def snapshot(self) -> "Deferred[ISnapshot]":
        """No simulated node compacts its log yet."""
        return fail(SnapshotFailed("a simulated node has no snapshots"))

    def restore(self, index: int, chunks: Iterable[bytes]) -> "Deferred[None]":
        """No simulated node is sent a snapshot yet."""
        raise NotImplementedError(index, chunks)

    def fingerprint(self, keys: int) -> tuple[int | bytes | None, ...]:
        """The store's revision and the records of the first `keys` keys, to compare states by."""
        return self.store.revision, *(self.store.record(key_of(number)) for number in range(keys))


def key_of(number: int) -> bytes:
    """The name of a key."""
    return b"k%d" % number
