"""The search for an order of operations on one register that explains every answer.

This is Wing and Gong's search ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of the states that
it has been in ("Testing for linearizability", 2017). An operation may come next if no other that is still to come had
completed before it was invoked. The search tries one that may, from the value that it leaves tries the next, and takes
back where it cannot go on. It never goes on from one and the same state, what was done and the value it left, twice.

That alone is exponential in the number of concurrent operations, and one whose outcome is unknown is concurrent with
all that follow. Five rules, none of which can miss an order where there is one, keep it short. Below, *open* is an
operation of unknown outcome, *known* is any other, and an order is a solution if it has all the known and some open
ones, in keeping with time, and gives every answer.

1. A known operation that writes nothing (a get, or a change that was refused) comes as soon as it may and finds the
   value it needs: it can be moved to there in any solution, for it changes nothing for the others.
2. Of known operations with the same rule that may come next, the one that completes first goes first: in a solution
   that has them the other way round they can be exchanged. Of open ones with the same rule, the first invoked.
3. Open operations are put in only where needed: they change the value, and a run of them is followed by a known
   operation that would have been refused before the run. For take any other run in a solution. At its end, leave it
   out. If the known operation after it sets the value to something, leave the run out too: what the operation leaves
   is the same. If it does not, move the run behind it: an open operation may always come later. Repeat; it ends. And
   of a run, what comes before an operation that needs nothing of the value can be left out.
4. A value that known operations still to come need is not given up when no operation still to come writes it.
5. Values that no operation compares with are one value (`txraft.testing.linearizability` sees to it), so that writes
   of them have the same rule.
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from typing import NamedTuple

from attrs import frozen

MISSING = 0
"""The value of a register that has none: how each begins."""


class Finding(enum.Enum):
    """What came of the search."""

    LINEARIZABLE = "linearizable"
    NOT_LINEARIZABLE = "not linearizable"
    UNDECIDED = "undecided"
    """The search had taken as many steps as it was allowed."""


class Rule(NamedTuple):
    """What an operation needs of the value, and what it makes of it. Values are numbers; None: it does not care."""

    equal: int | None = None
    """The value must be this one."""
    different: int | None = None
    """The value must not be this one."""
    gives: int | None = None
    """The value becomes this one."""

    def accepts(self, value: int) -> bool:
        """Whether the operation can come where the register holds `value`."""
        return (self.equal is None or value == self.equal) and (self.different is None or value != self.different)

    def after(self, value: int) -> int:
        """The value that it leaves."""
        return value if self.gives is None else self.gives


@frozen
class Call:
    """One operation: from when to when, in seconds, and its rule. `completed` is None where it is open."""

    invoked: float
    completed: float | None
    rule: Rule


class Search:
    """One search over the operations of one register, which begins as MISSING."""

    def __init__(self, calls: Sequence[Call]) -> None:
        ordered = sorted(calls, key=lambda call: call.invoked)
        known = [(call, call.completed) for call in ordered if call.completed is not None]
        unknown = [call for call in ordered if call.completed is None]
        self.steps = 0
        self._count = len(known)
        self._calls = [call for call, _ in known] + unknown
        self._completed = [completed for _, completed in known]
        self._by_completion = sorted(range(self._count), key=self._completed.__getitem__)
        self._open: defaultdict[Rule, list[int]] = defaultdict(list)
        for number, call in enumerate(unknown, self._count):
            self._open[call.rule].append(number)
        self._open_needs = {rule.equal for rule in self._open}
        self._needed = Counter(call.rule.equal for call, _ in known)
        """How many known operations to come need a value."""
        self._writers = Counter(call.rule.gives for call in self._calls)
        """How many operations to come give a value."""
        self._open_done: Counter[Rule] = Counter()
        self._done = bytearray(len(self._calls))
        self._done_bits = 0
        # Known operations to come are a list linked both ways; its head and end are at index _count.
        self._next = [*range(1, self._count + 1), 0]
        self._previous = [self._count, *range(self._count)]
        self._first = 0
        """Index in _by_completion of the known operation to come that completes first."""
        self._value = MISSING
        self._before_run: int | None = None
        """Within a run of open operations, the value before it (rule 3)."""
        self._trail: list[tuple[int, int, int | None, int]] = []
        self._seen: set[tuple[int, int, int, int | None]] = set()

    def run(self, step_limit: int) -> Finding:
        """Search to the end, or until `step_limit` operations were tried. Called once."""
        choices = [iter(self._choices())]
        while self._first < self._count:
            number = next(choices[-1], None)
            if number is not None:
                if self.steps >= step_limit:
                    return Finding.UNDECIDED
                self.steps += 1
                if self._take(number):
                    choices.append(iter(self._choices()))
            elif self._trail:
                choices.pop()
                self._take_back()
            else:
                return Finding.NOT_LINEARIZABLE
        return Finding.LINEARIZABLE

    def _choices(self) -> list[int]:
        """The operations worth trying next, the most likely first."""
        if self._first == self._count:
            return []
        deadline = self._completed[self._by_completion[self._first]]
        changing: dict[Rule, int] = {}
        refused: set[Rule] = set()
        start = self._value if self._before_run is None else self._before_run
        number = self._next[self._count]
        while number < self._count and self._calls[number].invoked <= deadline:
            rule = self._calls[number].rule
            if not rule.accepts(start):
                refused.add(rule)
            if rule.accepts(self._value) and (self._before_run is None or rule in refused):
                if rule.gives is None:
                    return [number]
                other = changing.get(rule)
                if other is None or self._completed[number] < self._completed[other]:
                    changing[rule] = number
            number = self._next[number]
        return sorted(changing.values(), key=self._completed.__getitem__) + self._open_choices(deadline, refused)

    def _open_choices(self, deadline: float, refused: Set[Rule]) -> list[int]:
        """The open operations that may help one of the known that are `refused` without them (rule 3)."""
        choices = []
        for rule, numbers in self._open.items() if refused else ():
            done = self._open_done[rule]
            if done == len(numbers) or self._calls[numbers[done]].invoked > deadline:
                continue
            if not rule.accepts(self._value) or (self._before_run is not None and rule.equal is None):
                continue
            value = rule.after(self._value)
            if value != self._value and (value in self._open_needs or any(each.accepts(value) for each in refused)):
                choices.append(numbers[done])
        return choices

    def _take(self, number: int) -> bool:
        """Let an operation come next. False, and nothing has changed, where that leads nowhere."""
        rule = self._calls[number].rule
        left = self._value
        self._trail.append((number, left, self._before_run, self._first))
        self._value = rule.after(left)
        self._writers[rule.gives] -= 1
        self._done[number] = True
        self._done_bits ^= 1 << number
        if number >= self._count:
            self._open_done[rule] += 1
            if self._before_run is None:
                self._before_run = left
        else:
            self._before_run = None
            self._needed[rule.equal] -= 1
            self._next[self._previous[number]] = self._next[number]
            self._previous[self._next[number]] = self._previous[number]
            while self._first < self._count and self._done[self._by_completion[self._first]]:
                self._first += 1
        if rule.gives is not None and (self._is_lost(left) or self._is_known()):
            self._take_back()
            return False
        return True

    def _take_back(self) -> None:
        """Undo the last `_take`."""
        number, self._value, self._before_run, self._first = self._trail.pop()
        rule = self._calls[number].rule
        self._writers[rule.gives] += 1
        self._done[number] = False
        self._done_bits ^= 1 << number
        if number >= self._count:
            self._open_done[rule] -= 1
        else:
            self._needed[rule.equal] += 1
            self._next[self._previous[number]] = number
            self._previous[self._next[number]] = number

    def _is_lost(self, value: int) -> bool:
        """Whether a value that is needed again is no more, and will not come again (rule 4)."""
        return value != self._value and self._needed[value] > 0 and self._writers[value] == 0

    def _is_known(self) -> bool:
        """Whether the search has been in this state; if not, it has now."""
        head = self._next[self._count]  # every known operation before it is done, so those bits can go
        state = (head, self._done_bits >> head, self._value, self._before_run)
        if state in self._seen:
            return True
        self._seen.add(state)
        return False
