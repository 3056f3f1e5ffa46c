"""The data: a dict of bytes to bytes, changed by commands alone."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed
from txraft.interfaces import IStateMachine
from txraft.kv.commands import (
    Batch,
    CompareAndSet,
    Delete,
    Get,
    Operation,
    OperationResult,
    Refused,
    Result,
    Set,
    decode,
    encode_batch_result,
)
from txraft.kv.write_behind import WriteBehind

Changes: TypeAlias = Mapping[bytes, bytes | None]
"""The new values of keys; None where a key is removed."""


@implementer(IStateMachine)
class KeyValueStore:
    """The state machine. `disk`, where given, is told of every entry; without it the data live in memory alone."""

    log = Logger()

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

    def apply(self, entries: Sequence[Entry]) -> "Deferred[list[bytes | CommandFailed]]":
        """As IStateMachine. Answers at once."""
        return succeed([self._result_of(entry) for entry in entries])

    def _result_of(self, entry: Entry) -> bytes | CommandFailed:
        """The value of a `Result`, or what came of a batch."""
        result: bytes | CommandFailed = b""
        changes: Changes = {}
        if entry.kind is EntryKind.COMMAND:
            try:
                match decode(entry.data):
                    case Batch() as batch:
                        result, changes = self._outcome_of(batch)
                    case None:
                        result = Result.INVALID.value
                    case operation:
                        outcome, value = _outcome(operation, self._values.get(operation.key))
                        result, changes = outcome.value, {operation.key: value} if outcome is Result.DONE else {}
            except Exception as error:
                self.log.failure("the key-value store has a bug, which entry {index} shows", index=entry.index)
                result, changes = CommandFailed.of(error), {}
        self._applied(entry.index, changes)
        return result

    def _outcome_of(self, batch: Batch) -> tuple[bytes, Changes]:
        """What comes of a batch, encoded, and what it changes: all of it or nothing."""
        changes: dict[bytes, bytes | None] = {}
        results: list[OperationResult] = []
        size = 0
        for number, operation in enumerate(batch.operations):
            key = operation.key
            current = changes[key] if key in changes else self._values.get(key)
            outcome, value = _outcome(operation, current)
            if isinstance(operation, Get):
                results.append(value)
                size += len(value or b"")
                if size > batch.max_answer:
                    return encode_batch_result(Refused(number, Result.TOO_MUCH)), {}
            elif outcome is Result.DONE:
                results.append(True)
                changes[key] = value
            elif isinstance(operation, Delete):
                results.append(False)
            else:
                return encode_batch_result(Refused(number, outcome)), {}
        return encode_batch_result(results), changes

    def _applied(self, index: int, changes: Changes) -> None:
        """Entry `index` changes this and nothing else."""
        self.last_applied = index
        for key, value in changes.items():
            if value is None:
                self._values.pop(key, None)  # a batch may have made it, too
            else:
                self._values[key] = value
        if self._disk is not None:
            self._disk.applied(index, changes)


def _outcome(operation: Operation, current: bytes | None) -> tuple[Result, bytes | None]:
    """What comes of an operation where its key has the value `current`, and what value the key has then; None for no
    such key."""
    match operation:
        case Set(_, value):
            return Result.DONE, value
        case Delete():
            return (Result.NOT_FOUND if current is None else Result.DONE), None
        case CompareAndSet(_, old, value):
            if current is None:
                return Result.NOT_FOUND, None
            return (Result.DONE, value) if current == old else (Result.MISMATCH, current)
        case Get():
            return Result.DONE, current
