"""The state machine: commands change the data, and nothing else does."""

from collections.abc import Iterable, Sequence
from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed, UnknownCommand
from txraft.interfaces import ISnapshot, IStateMachine
from txraft.kv.answers import DIGEST_SIZE, KeptAnswer
from txraft.kv.commands import (
    Batch,
    Change,
    CompareAndSet,
    Conditional,
    Delete,
    Get,
    Once,
    OperationResult,
    Refused,
    Request,
    Result,
    Set,
    decode,
    encode_batch_result,
)
from txraft.kv.contents import Changes, Contents, Listing
from txraft.kv.data_snapshot import DataSnapshot
from txraft.kv.records import mod_revision_of, record_of, value_of
from txraft.kv.write_behind import WriteBehind

_COMMAND = EntryKind.COMMAND
_DONE = Result.DONE
_DONE_ENCODED = Result.DONE.value  # once: to look it up takes longer than to find a key


@implementer(IStateMachine)
class KeyValueStore:
    """The state machine. `disk`, where given, is told of every entry; without it the data live in memory alone."""

    log = Logger()

    def __init__(self, disk: WriteBehind | None = None) -> None:
        self._contents = Contents()
        self._disk = disk

    def load(self) -> None:
        """Take up what the disk holds. Called once, before the first `apply`; blocks.

        Raises StorageError where the file cannot be used."""
        if self._disk is not None:
            self._contents = self._disk.load()

    def prepare(self) -> None:
        """As `WriteBehind.prepare`. Blocks."""
        if self._disk is not None:
            self._disk.prepare()

    def start(self) -> None:
        """As IStateMachine."""
        if self._disk is not None:
            self._disk.start()

    def close(self) -> "Deferred[None]":
        """As IStateMachine."""
        return succeed(None) if self._disk is None else self._disk.stop()

    def persist(self) -> "Deferred[int]":
        """As IStateMachine. Data in memory alone are never durable."""
        return succeed(0) if self._disk is None else self._disk.persist()

    def snapshot(self) -> "Deferred[ISnapshot]":
        """As IStateMachine. For data on a disk."""
        assert self._disk is not None
        return cast("Deferred[ISnapshot]", self._disk.snapshot())

    def snapshot_file(self) -> "Deferred[DataSnapshot]":
        """As `WriteBehind.snapshot`, also while another is under way. For data on a disk."""
        assert self._disk is not None
        return self._disk.snapshot()

    def restore(self, index: int, chunks: Iterable[bytes]) -> "Deferred[None]":
        """As IStateMachine. For data on a disk. Reads see the old data until all of the new are there."""
        assert self._disk is not None
        return self._disk.restore(index, chunks).addCallback(self._restored)

    def _restored(self, contents: Contents) -> None:
        assert self._disk is not None
        self._disk.release(self._contents)
        self._contents = contents

    # Reading, as of `last_applied`

    @property
    def last_applied(self) -> int:
        """As IStateMachine, and of the last entry since."""
        return self._contents.last_applied

    @property
    def revision(self) -> int:
        """Of the store: 1 while nothing was ever changed, and one more for each request that changed something."""
        return self._contents.revision

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`; None where there is none."""
        record = self._contents.records.get(key)
        return None if record is None else value_of(record)

    def record(self, key: bytes) -> bytes | None:
        """The record of `key` (`txraft.kv.records`); None where there is none."""
        return self._contents.records.get(key)

    def list_keys(self, prefix: bytes, after: bytes | None, limit: int, max_size: int) -> Listing:
        """As `Contents.list_keys`."""
        return self._contents.list_keys(prefix, after, limit, max_size)

    # Applying

    def check(self, command: bytes) -> None:
        """As IStateMachine."""
        decode(command)

    def apply(self, entries: Sequence[Entry]) -> "Deferred[list[bytes | CommandFailed]]":
        """As IStateMachine. Answers at once, unless the disk is far behind.

        Raises UnknownCommand."""
        if self._disk is not None and self._disk.is_behind:
            return self._disk.caught_up().addCallback(lambda _: self._results_of(entries))
        return succeed(self._results_of(entries))

    def _results_of(self, entries: Sequence[Entry]) -> list[bytes | CommandFailed]:
        return [self._result_of(entry) for entry in entries]

    def _result_of(self, entry: Entry) -> bytes | CommandFailed:
        """The value of a `Result`, or what came of a batch."""
        result: bytes | CommandFailed = b""
        changes: Changes = {}
        kept: KeptAnswer | None = None
        if entry.kind is _COMMAND:
            try:
                command = decode(entry.data)
                if isinstance(command, Once):
                    result, changes, kept = self._outcome_of_once(command)
                else:
                    result, changes = self._outcome_of(command)
            except (UnknownCommand, MemoryError):  # of which another node may have done otherwise
                raise
            except Exception as error:
                self.log.failure("the key-value store has a bug, which entry {index} shows", index=entry.index)
                result = CommandFailed.of(error)
        contents = self._contents
        contents.last_applied = entry.index
        if changes:
            contents.revision += 1
            contents.change(changes)
        if self._disk is not None:
            self._disk.applied(entry.index, contents.revision, changes, kept)
        return result

    def _outcome_of_once(self, once: Once) -> tuple[bytes, Changes, KeptAnswer | None]:
        """What came of the first request with this key, or what comes of this one, if it is the first: then it is kept,
        whatever it is."""
        answers = self._contents.answers
        answer = answers.get(once.key)
        if answer is None:
            result, changes = self._outcome_of(once.request)
            return result, changes, answers.keep(once.key, once.digest + result)
        if answer.startswith(once.digest):
            return answer[DIGEST_SIZE:], {}, None
        return Result.OTHER_REQUEST.value, {}, None

    def _outcome_of(self, request: Request | None) -> tuple[bytes, Changes]:
        """What comes of a request, encoded, and what it changes."""
        match request:
            case Conditional(change, conditions):
                mod_revision = mod_revision_of(self._contents.records.get(change.key))
                if not all(condition.holds(mod_revision) for condition in conditions):
                    return Result.PRECONDITION.value, {}
            case Batch() as batch:
                return self._outcome_of_batch(batch)
            case None:
                return Result.INVALID.value, {}
            case change:
                pass
        contents = self._contents
        outcome, record = _outcome(change, contents.records.get(change.key), contents.revision + 1)
        if outcome is _DONE:
            return _DONE_ENCODED, {change.key: record}
        return outcome.value, {}

    def _outcome_of_batch(self, batch: Batch) -> tuple[bytes, Changes]:
        """All of it or nothing."""
        changes: dict[bytes, bytes | None] = {}
        results: list[OperationResult] = []
        size, records, revision = 0, self._contents.records, self._contents.revision + 1
        for number, operation in enumerate(batch.operations):
            key = operation.key
            current = changes[key] if key in changes else records.get(key)
            if isinstance(operation, Get):
                value = None if current is None else value_of(current)
                results.append(value)
                size += len(value or b"")
                if size > batch.max_answer:
                    return encode_batch_result(Refused(number, Result.TOO_MUCH)), {}
                continue
            outcome, record = _outcome(operation, current, revision)
            if outcome is _DONE:
                results.append(True)
                changes[key] = record
            elif isinstance(operation, Delete):
                results.append(False)
            else:
                return encode_batch_result(Refused(number, outcome)), {}
        # What the batch itself has made and removed again was never there.
        lasting = {key: record for key, record in changes.items() if record is not None or key in records}
        return encode_batch_result(results), lasting


def _outcome(change: Change, current: bytes | None, revision: int) -> tuple[Result, bytes | None]:
    """What comes of a change in this revision, where its key has the record `current`, and the record that the key has
    then. None for no such key."""
    match change:
        case Set(_, value):
            return _DONE, record_of(value, revision, current)
        case Delete():
            return (Result.NOT_FOUND if current is None else _DONE), None
        case CompareAndSet(_, old, value):
            if current is None:
                return Result.NOT_FOUND, None
            if value_of(current) != old:
                return Result.MISMATCH, current
            return _DONE, record_of(value, revision, current)
