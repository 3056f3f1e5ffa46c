"""The dullest store that there is: it keeps everything that ever happened, and looks through all of it each time."""

from attrs import define, field

from txraft.kv.commands import (
    Batch,
    Change,
    Command,
    CompareAndSet,
    Conditional,
    Delete,
    Get,
    Once,
    Operation,
    OperationResult,
    Refused,
    Request,
    Result,
    Set,
    encode_batch_result,
)


@define
class Event:
    revision: int
    key: bytes
    value: bytes | None
    """None where the key was deleted."""


@define
class Model:
    answers_kept: int
    events: list[Event] = field(factory=list)
    requests: list[tuple[Once, bytes]] = field(factory=list)
    """Those that had an Idempotency-Key, and what came of them."""

    @property
    def revision(self) -> int:
        return self.events[-1].revision if self.events else 1

    def life(self, key: bytes) -> list[Event]:
        """What happened to a key since it came to be; nothing where it is not there."""
        events: list[Event] = []
        for event in self.events:
            if event.key == key:
                events = [] if event.value is None else [*events, event]
        return events

    def value(self, key: bytes) -> bytes | None:
        life = self.life(key)
        return life[-1].value if life else None

    def numbers(self, key: bytes) -> tuple[int, int, int] | None:
        """create_revision, mod_revision, version."""
        life = self.life(key)
        return (life[0].revision, life[-1].revision, len(life)) if life else None

    def apply(self, command: Command) -> bytes:
        """Do it; gives what comes of it."""
        if not isinstance(command, Once):
            return self._do(command)
        for once, result in self.requests[-self.answers_kept :]:
            if once.key == command.key:
                return result if once.request == command.request else Result.OTHER_REQUEST.value
        result = self._do(command.request)
        self.requests.append((command, result))
        return result

    def _do(self, request: Request) -> bytes:
        match request:
            case Batch():
                return self._do_all(request)
            case Conditional(change, conditions):
                numbers = self.numbers(change.key) or (0, 0, 0)
                if any((numbers[1] in each.revisions) != each.is_one for each in conditions):
                    return Result.PRECONDITION.value
                return self._do_one(change, self.revision + 1).value
            case _:
                return self._do_one(request, self.revision + 1).value

    def _do_one(self, change: Change, revision: int) -> Result:
        value = self.value(change.key)
        match change:
            case Set():
                self.events.append(Event(revision, change.key, change.value))
            case Delete() | CompareAndSet() if value is None:
                return Result.NOT_FOUND
            case Delete():
                self.events.append(Event(revision, change.key, None))
            case CompareAndSet() if value != change.old:
                return Result.MISMATCH
            case CompareAndSet():
                self.events.append(Event(revision, change.key, change.value))
        return Result.DONE

    def _do_all(self, batch: Batch) -> bytes:
        before, revision = list(self.events), self.revision + 1
        there = {each.key for each in batch.operations if self.life(each.key)}
        results: list[OperationResult] = []
        for number, operation in enumerate(batch.operations):
            result = self._do_in_batch(operation, revision, results)
            read = sum(len(each) for each in results if isinstance(each, bytes))
            if read > batch.max_answer:
                result = Result.TOO_MUCH
            if result is not Result.DONE:
                self.events = before
                return encode_batch_result(Refused(number, result))
        for operation in batch.operations:
            if operation.key not in there and not self.life(operation.key):
                self.events = before + [event for event in self.events[len(before) :] if event.key != operation.key]
        return encode_batch_result(results)

    def _do_in_batch(self, operation: Operation, revision: int, results: list[OperationResult]) -> Result:
        if isinstance(operation, Get):
            results.append(self.value(operation.key))
            return Result.DONE
        result = self._do_one(operation, revision)
        results.append(result is Result.DONE)
        return Result.DONE if isinstance(operation, Delete) else result
