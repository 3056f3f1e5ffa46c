"""An object of one's own, simulated: what is well passes, and planted bugs are found by the rule that sees them."""

import contextlib
import io
from copy import deepcopy
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from txraft import Counters, Queue, command
from txraft.errors import BadCommand
from txraft.testing import Call, Found, simulate
from txraft.testing.history import Operation, Outcome
from txraft.testing.search import Finding
from txraft.testing.sequential import Raised, check, in_full


def counting(random: Random) -> Call:
    """Adds and looks, at one name."""
    return Call(Counters.add, "a", 1) if random.random() < 0.5 else Call(Counters.count, "a")


def queueing(random: Random) -> Call:
    """All that a queue has."""
    who = random.choice("xy")
    return random.choice(
        [
            Call(Queue.put, "work"),
            Call(Queue.take, who),
            Call(Queue.done, random.randrange(1, 9), who),
            Call(Queue.give_back, who),
            Call(Queue.undone),
            Call(Queue.taken_by),
        ]
    )


@define(slots=False)
class CachingCounters(Counters):
    """A planted bug: a query remembers its first answer, on the node that was asked. What is replicated is right."""

    def count(self, name: str) -> int:
        """As Counters, once."""
        cached: int = self.__dict__.setdefault("cached", self.counts.get(name, 0))
        return cached


@define(slots=False)
class ChanceCounters(Counters):
    """A planted bug: it adds by chance."""

    chance: ClassVar[Random] = Random(1)

    @command
    def add(self, name: str, more: int = 1) -> int:
        """As Counters, by chance."""
        return Counters.add(self, name, more + self.chance.randrange(5))


@define
class DoublingCounters:
    """A model that counts otherwise."""

    counts: dict[str, int] = field(factory=dict)

    def add(self, name: str, more: int) -> int:
        """Twice as much."""
        self.counts[name] = self.counts.get(name, 0) + 2 * more
        return self.counts[name]

    def count(self, name: str) -> int:
        """As Counters."""
        return self.counts.get(name, 0)


@define
class Names:
    """A set, which has an order in each process, and a time."""

    seen: set[str] = field(factory=set)
    last: datetime | None = None

    @command
    def see(self, name: str, at: datetime) -> bool:
        """Whether it is new."""
        is_new = name not in self.seen
        self.seen.add(name)
        self.last = at
        return is_new

    def all(self) -> set[str]:
        """Those that were seen."""
        return self.seen


@define
class Shares:
    """Parts of a whole, which nobody may have."""

    parts: list[float] = field(factory=list)

    @command
    def give(self, part: float) -> str:
        """What it is written as."""
        self.parts.append(part)
        return repr(part)

    @command
    def last(self) -> float:
        """Annotated as what it becomes where it arrives."""
        return len(self.parts)

    @command
    def wrong(self) -> int:
        """It cannot be returned."""
        return "many"  # type: ignore[return-value]  # that is what is wrong

    @command
    def take(self, part: float) -> None:
        """It raises, always."""
        raise LookupError(f"no {part}")

    def is_empty(self) -> bool:
        """For `query`."""
        return not self.parts


@define
class OtherShares(Shares):
    """A model that raises something else, of the same text."""

    @command
    def take(self, part: float) -> None:
        """As Shares."""
        raise KeyError(f"no {part}")


@define
class OtherText(Shares):
    """A model that raises the same, of another text."""

    @command
    def take(self, part: float) -> None:
        """As Shares."""
        raise LookupError(f"not {part}")


@define
class CountingShares(Shares):
    """A model whose answers are equal, and of another class."""

    def is_empty(self) -> bool:
        """As Shares, as a number."""
        return int(not self.parts)  # type: ignore[return-value]  # that is what is wrong


@define
class Keeping:
    """It goes on with what it is given."""

    kept: list[int] = field(factory=list)

    def keep(self, numbers: list[int]) -> int:
        """How many there are then."""
        self.kept = numbers
        self.kept.append(0)
        return len(self.kept)


def sharing(random: Random) -> Call:
    """All that there is of shares."""
    return random.choice(
        [Call(Shares.give, 1), Call(Shares.take, part=1), Call(Shares.last), Call(Shares.wrong), Call(Shares.is_empty)]
    )


@define
class Untyped:
    """A model with a field of anything."""

    counts: dict = field(factory=dict)  # type: ignore[type-arg]  # as a newcomer has it


class SimulateTests(SynchronousTestCase):
    def found(self, kind: type, seeds: int, **given: Any) -> Found:
        """In which something is."""
        found = simulate(kind, counting, range(1, seeds + 1), **given)
        assert found is not None
        return found

    def rule(self, kind: type, seeds: int, **given: Any) -> str:
        """That is broken."""
        violation = self.found(kind, seeds, shrinking=0, **given).report.violation
        return "none" if violation is None else violation.rule

    def test_counters(self) -> None:
        """Nothing is found where nothing is wrong."""
        found = simulate(Counters, counting, range(1, 6))
        self.assertIsNone(found, str(found))

    def test_wrong_arguments(self) -> None:
        """Are told before anything runs."""
        right: dict[str, Any] = {"kind": Counters, "operations": counting, "seeds": [1]}
        for wrong, line in (
            ({"seeds": 5}, "seeds: are numbers, range(1, 101) say, not 5"),
            ({"operations": [Call(Counters.count, "a")]}, "operations: is a function, not [Call("),
            ({"invariant": 5}, "invariant: is a function, not 5"),
        ):
            self.assertIn(line, str(self.assertRaises(TypeError, simulate, **(right | wrong))))

    def test_nothing_is_written(self) -> None:
        """Where clients only look, nothing deposes a leader whose disk hangs, and it serves (hazard S12)."""
        found = simulate(Counters, lambda _: Call(Counters.count, "a"), [7], shrinking=0)
        self.assertIsNone(found, str(found))

    def test_queue(self) -> None:
        """The battery, with queries, judged by itself done in sequence."""
        found = simulate(Queue, queueing, range(1, 6))
        self.assertIsNone(found, str(found))

    def test_stale_query(self) -> None:
        """All nodes are equal, and only what clients saw shows it: in few calls, and again from what is said."""
        found = self.found(CachingCounters, 10, model=Counters, shrinking=30)
        lines = str(found).splitlines()
        self.assertIn("Linearizability: NOT linearizable: nothing explains the answers up to client", lines[0])
        self.assertIn("add('a', 1) -> unknown", str(found))
        self.assertNotIn("count('a') -> unknown", str(found))
        self.assertRegex(
            lines[-1], r"^again: simulate\(CachingCounters, counting, seeds=\[\d+\], model=Counters, shrinking=30\)$"
        )
        again = eval(lines[-1].removeprefix("again: "))
        self.assertEqual((str(again), again.report.lines), (str(found), found.report.lines))

    def test_chance(self) -> None:
        """Nodes that throw dice differ."""
        self.assertEqual(self.rule(ChanceCounters, 10, model=Counters), "State Machine Safety")

    def test_sets_and_times(self) -> None:
        """They are compared as they travel."""
        at = datetime(2026, 11, 27, tzinfo=UTC)
        found = simulate(
            Names,
            lambda random: Call(Names.see, random.choice("abcdef"), at) if random.random() < 0.5 else Call(Names.all),
            range(1, 4),
        )
        self.assertIsNone(found, str(found))

    def test_model_without_types(self) -> None:
        """It is refused before anything runs."""
        error = self.assertRaises(TypeError, simulate, Counters, counting, model=Untyped)
        self.assertIn("Untyped.counts: dict does not travel: say of what, dict[str, int] for instance", str(error))

    def test_answers_as_they_arrive(self) -> None:
        """A whole number that is annotated as a float is one for object and model, and a result that cannot travel is
        a failure for both."""
        found = simulate(Shares, sharing, range(1, 6))
        self.assertIsNone(found, str(found))

    def test_other_answers(self) -> None:
        """What is raised is compared by class and text, and what is returned by class and value."""
        for model, line in (
            (OtherShares, "take(part=1.0) -> the command failed: LookupError: no 1.0"),
            (OtherText, "take(part=1.0) -> the command failed: LookupError: no 1.0"),
            (CountingShares, "is_empty() -> "),
        ):
            found = simulate(Shares, sharing, range(1, 6), model=model, shrinking=0)
            self.assertIn("Linearizability: NOT linearizable", str(found))
            self.assertIn(line.replace("part=", ""), str(found).replace("part=", ""))

    def test_calls_that_make_no_sense(self) -> None:
        """They are refused in a line where they are drawn, and are neither an answer nor a violation."""
        for call, line in (
            (Call(Counters.add, "a", 1, 2), "operations: gives add('a', 1, 2), and Counters.add: too many positional"),
            (Call(Counters.add, "a", mor=1), "Counters.add: got an unexpected keyword argument 'mor'"),
            (Call(Counters.add, 1), "Counters.add: name cannot be 1: TypeError: 1 is of the class int, not str"),
            (Call(Counters.add, "a", True), "Counters.add: more cannot be True"),
            (Call(Counters.count), "gives count(), and Counters.count: missing a required argument: 'name'"),
            (Call(Queue.take, "x"), "operations: gives a Call of take, and Counters has no method of that name"),
            (Call(Counters().counts.items), "gives a Call of items, and Counters has no method of that name"),
            ("add", "operations: gives 'add', not a Call; write Call(Counter.add, 'apples')"),
        ):
            error = self.assertRaises(BadCommand, simulate, Counters, lambda _, each=call: each, range(1, 9))
            self.assertIn(line, str(error))

    def test_calls_that_the_model_does_not_take(self) -> None:
        """They are refused, too."""
        for model, line in (
            (DoublingCounters, "operations: gives add('a'), and DoublingCounters.add: missing a required argument"),
            (Names, "operations: gives a Call of add, and Names has no method of that name"),
        ):
            call = Call(Counters.add, "a")
            error = self.assertRaises(BadCommand, simulate, Counters, lambda _, each=call: each, [1], model=model)
            self.assertIn(line, str(error))

    def test_model(self) -> None:
        """Another model judges otherwise."""
        self.assertEqual(self.rule(Counters, 5, model=DoublingCounters), "Linearizability")

    def test_invariant(self) -> None:
        """It is asked of each node: it gives False, or raises."""

        def few(counters: Counters) -> None:
            assert counters.counts.get("a", 0) < 3, "too many"

        self.assertEqual(self.rule(Counters, 5, invariant=lambda each: each.counts.get("a", 0) < 3), "Invariant")
        found = self.found(Counters, 5, invariant=few, shrinking=0)
        self.assertIn("Invariant: AssertionError: too many, of Counters(counts={'a': 3})", str(found))

    def test_progress(self) -> None:
        """It is on stderr, where it is wished."""
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            simulate(Counters, counting, [1])
            self.assertEqual(shown.getvalue(), "")
            simulate(Counters, counting, [1], progress=True)
        self.assertIn("seeds: 100%", shown.getvalue())


class CheckTests(SynchronousTestCase):
    def seen(self, count: int, outcome: Outcome) -> bool:
        """Whether an add of some outcome explains a count after it."""
        add = Operation(1, Call(Counters.add, "a", more=1), 1.0, None, outcome)
        return check([add, Operation(2, Call(Counters.count, "a"), 2.0, 3.0, Outcome.OK, count)], Counters).ok

    def test_unknown_outcome(self) -> None:
        """It may have taken effect, or not; once."""
        self.assertEqual([self.seen(count, Outcome.UNKNOWN) for count in (0, 1, 2)], [True, True, False])

    def test_not_applied(self) -> None:
        """It never takes effect."""
        self.assertEqual([self.seen(count, Outcome.NOT_APPLIED) for count in (0, 1)], [True, False])

    def test_time(self) -> None:
        """What was answered before another began comes before it; what is under way at once may be either way."""
        add = Operation(1, Call(Counters.add, "a", 1), 1.0, 2.0, Outcome.OK, 1)
        count = Call(Counters.count, "a")
        self.assertTrue(check([add, Operation(2, count, 1.5, 4.0, Outcome.OK, 0)], Counters).ok)
        verdict = check([add, Operation(2, count, 3.0, 4.0, Outcome.OK, 0)], Counters)
        self.assertEqual(verdict.finding, Finding.NOT_LINEARIZABLE)
        self.assertIn("client 2: count('a') -> 0", str(verdict))

    def test_answers_by_class_and_value(self) -> None:
        """Wherever they are in an answer."""
        count = Call(Counters.count, "a")
        for answer, is_explained in ((0, True), (False, False), (0.0, False), (Raised("KeyError: 'a'"), False)):
            self.assertEqual(check([Operation(1, count, 1.0, 2.0, Outcome.OK, answer)], Counters).ok, is_explained)
        for one, other in (
            ([1], [True]),
            ([1], (1,)),
            ({1}, frozenset({1})),
            ({"a": {1}}, {"a": {1.0}}),
            ({True: 1}, {1: 1}),
            (Counters({"a": 1}), Counters({"a": True})),
            (Counters({"a": 1}), CachingCounters({"a": 1})),
            (0.0, -0.0),
        ):
            self.assertNotEqual(in_full(one), in_full(other))
        for same in ([{1, 2}], {"a": (1, None), "b": [b"x"]}, float("nan")):
            self.assertEqual(in_full(same), in_full(deepcopy(same)))
        self.assertEqual(in_full(float("nan")), in_full(float("nan")))

    def test_argument_that_is_kept(self) -> None:
        """What a model keeps of a call and changes stays out of the call."""
        call = Call(Keeping.keep, given := [1])
        self.assertEqual([call.on(Keeping()), call.on(Keeping()), given], [2, 2, [1]])

    def test_undecided(self) -> None:
        """A search that is given up proves nothing, and says so."""
        adds = [Operation(each, Call(Counters.add, "a", 1), 1.0, 2.0, Outcome.OK, each) for each in (3, 2, 1)]
        self.assertTrue(check(adds, Counters).ok)
        verdict = check(adds, Counters, step_limit=2)
        self.assertEqual((verdict.ok, verdict.finding), (False, Finding.UNDECIDED))
        self.assertIn("UNDECIDED: 2 steps were not enough, so nothing is proven", str(verdict))

    def test_nothing_seen(self) -> None:
        """It explains itself."""
        self.assertTrue(check([], Counters).ok)
        self.assertTrue(check([Operation(1, Call(Counters.add, "a", 1), 1.0)], Counters).ok)
