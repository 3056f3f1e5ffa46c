"""Whether a history of the key-value store is linearizable: whether every operation can be given one moment, between
its invocation and its answer, such that all of them, done one after the other at those moments, give those answers.

Each key is judged by itself: a history is linearizable where it is for each object in it (Herlihy and Wing 1990,
"Linearizability: a correctness condition for concurrent objects", theorem 1). An operation that was said not to have
been applied is left out, so that who saw its value saw one that nobody wrote.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from txraft.kv import CompareAndSet, Delete, Result, Set
from txraft.testing.counterexample import draw, last_answer, relevant, shrink
from txraft.testing.history import Get, Operation, Outcome
from txraft.testing.search import MISSING, Call, Finding, Rule, Search

STEP_LIMIT = 200_000
"""Operations that the search may try for one key: about a second."""

UNOBSERVED = 1
"""The number of every value that nothing compares with: nobody can tell one from another."""

IMPOSSIBLE = Rule(equal=-1)
"""The rule of an answer that the operation never has."""


@frozen
class Verdict:
    """What `check` found, here or in `txraft.testing.sequential`. `str()` of it explains it."""

    finding: Finding
    steps: int
    """What it took, over all keys."""
    key: bytes | None = None
    """The key whose operations are not linearizable, or could not be decided on; None of an object that is no store."""
    counterexample: tuple[Operation, ...] = ()
    """Operations on that key that fail by themselves, whatever the others did, and those that wrote the values seen."""

    @property
    def ok(self) -> bool:
        """Linearizable, without doubt. An undecided history is not."""
        return self.finding is Finding.LINEARIZABLE

    def __str__(self) -> str:
        if self.ok:
            return f"linearizable, in {self.steps} steps"
        if self.finding is Finding.UNDECIDED:
            key = "" if self.key is None else f" for key {self.key!r}"
            return f"UNDECIDED: {self.steps} steps were not enough{key}, so nothing is proven"
        key = "" if self.key is None else f" on key {self.key!r}"
        last = last_answer(self.counterexample)
        picture = draw(self.counterexample)
        return f"NOT linearizable: nothing explains the answers{key} up to {last}\n{picture}"


def check(operations: Iterable[Operation], step_limit: int = STEP_LIMIT) -> Verdict:
    """Judge a history, whose keys have no value when it begins. `step_limit` is for one key."""
    keys: defaultdict[bytes, list[Operation]] = defaultdict(list)
    for each in operations:
        keys[each.action.key].append(each)
    steps = 0
    undecided: Verdict | None = None
    for key, recorded in keys.items():
        applied = [each for each in recorded if each.outcome is not Outcome.NOT_APPLIED]
        search = Search(list(calls(applied)))
        finding = search.run(step_limit)
        steps += search.steps
        if finding is Finding.NOT_LINEARIZABLE:
            shrunk = shrink(applied, _Trials(search.steps))
            return Verdict(finding, steps, key, tuple(relevant(shrunk, recorded)))
        if finding is Finding.UNDECIDED and undecided is None:
            undecided = Verdict(finding, search.steps, key)
    return undecided or Verdict(Finding.LINEARIZABLE, steps)


def calls(operations: Sequence[Operation]) -> Iterator[Call]:
    """What the operations on one key, all of which may have been applied, are to the search."""
    observed = {each.answer for each in operations if isinstance(each.action, Get) and isinstance(each.answer, bytes)}
    observed |= {each.action.old for each in operations if isinstance(each.action, CompareAndSet)}
    numbers = {value: number for number, value in enumerate(sorted(observed), UNOBSERVED + 1)}
    for each in operations:
        if each.outcome is Outcome.OK:
            yield Call(each.invoked, each.completed, _known(each, numbers))
        elif not isinstance(each.action, Get):
            yield Call(each.invoked, None, _open(each.action, numbers))


def _known(operation: Operation, numbers: Mapping[bytes, int]) -> Rule:
    match operation.action, operation.answer:
        case (Get(), None) | (Delete(), Result.NOT_FOUND):
            return Rule(equal=MISSING)
        case Get(), bytes() as value:
            return Rule(equal=numbers[value])
        case (Set() | CompareAndSet()) as action, Result.DONE:
            return _open(action, numbers)
        case Delete(), Result.DONE:
            return Rule(different=MISSING, gives=MISSING)
        case CompareAndSet(_, old, _), Result.MISMATCH | Result.NOT_FOUND:
            return Rule(different=numbers[old])
    return IMPOSSIBLE


def _open(action: Set | Delete | CompareAndSet, numbers: Mapping[bytes, int]) -> Rule:
    """Where it takes effect; where it does not, it might as well never have been."""
    match action:
        case Set(_, value):
            return Rule(gives=numbers.get(value, UNOBSERVED))
        case Delete():
            return Rule(gives=MISSING)
        case CompareAndSet(_, old, value):
            return Rule(equal=numbers[old], gives=numbers.get(value, UNOBSERVED))


class _Trials:
    """The searches for a counter-example. Each may take twice the steps of the first one, which failed, and a few; the
    longer they take together, the fewer there are."""

    def __init__(self, steps: int) -> None:
        self._limit = 2 * steps + 1_000
        self._left = self._limit + STEP_LIMIT

    def __call__(self, operations: Sequence[Operation]) -> bool:
        search = Search(list(calls(operations)))
        finding = search.run(min(self._limit, self._left))
        self._left -= search.steps
        return finding is Finding.NOT_LINEARIZABLE
