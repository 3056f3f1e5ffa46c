"""The data: a dict of bytes to bytes, changed by commands alone."""

from collections.abc import Mapping
from typing import TypeAlias

from zope.interface import implementer

from txraft.interfaces import IStateMachine
from txraft.kv.commands import Command, CompareAndSet, Delete, Result, Set, decode
from txraft.kv.write_behind import WriteBehind

Changes: TypeAlias = Mapping[bytes, bytes | None]
"""The new values of keys; None where a key is removed."""


@implementer(IStateMachine)
class KeyValueStore:
    """The state machine. `disk`, where given, is told of every entry; without it the data live in memory alone."""

    def __init__(self, disk: WriteBehind | None = None) -> None:
        self.last_applied = 0
        self._values: dict[bytes, bytes] = {}
        self._disk = disk

    def load(self) -> None:
        """Take up what the disk holds. Called once, before the first `apply`; blocks.

        Raises StorageError where the file cannot be used."""
        if self._disk is not None:
            self.last_applied, self._values = self._disk.load()

    def get(self, key: bytes) -> bytes | None:
        """The value of `key` as of `last_applied`; None where there is none."""
        return self._values.get(key)

    def apply(self, index: int, command: bytes) -> bytes:
        """Apply the command of entry `index`; gives the value of a `Result`."""
        result, changes = self._outcome(decode(command))
        self._applied(index, changes)
        return result.value

    def skip(self, index: int) -> None:
        """Entry `index` is Raft's own."""
        self._applied(index, {})

    def _outcome(self, command: Command | None) -> tuple[Result, Changes]:
        """What comes of a command, and what it changes."""
        match command:
            case Set(key, value):
                return Result.DONE, {key: value}
            case Delete(key):
                return (Result.DONE, {key: None}) if key in self._values else (Result.NOT_FOUND, {})
            case CompareAndSet(key, old, value):
                current = self._values.get(key)
                if current is None:
                    return Result.NOT_FOUND, {}
                return (Result.DONE, {key: value}) if current == old else (Result.MISMATCH, {})
            case None:
                return Result.INVALID, {}

    def _applied(self, index: int, changes: Changes) -> None:
        """Entry `index` changes this and nothing else."""
        self.last_applied = index
        for key, value in changes.items():
            if value is None:
                del self._values[key]
            else:
                self._values[key] = value
        if self._disk is not None:
            self._disk.applied(index, changes)
