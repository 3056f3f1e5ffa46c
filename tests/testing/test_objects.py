"""An object of one's own, simulated: what is well passes, and planted bugs are found by the rule that sees them."""

import contextlib
import io
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from txraft import Counters, Queue, command
from txraft.testing import Call, Found, simulate
from txraft.testing.history import Operation, Outcome
from txraft.testing.search import Finding
from txraft.testing.sequential import check


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
