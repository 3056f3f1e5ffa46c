"""An object of one's own, simulated: what is well passes, and planted bugs are found by the rule that sees them."""

from random import Random
from typing import ClassVar

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from txraft import Counters, Queue, command
from txraft.testing.history import Operation, Outcome
from txraft.testing.objects import simulate, told
from txraft.testing.sequential import Call, unexplained


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


class SimulateTests(SynchronousTestCase):
    def test_counters(self) -> None:
        """Nothing is found where nothing is wrong."""
        failed = simulate(Counters, counting, range(1, 6))
        self.assertIsNone(failed, failed and told(failed))

    def test_queue(self) -> None:
        """The battery, with queries, judged by itself done in sequence."""
        failed = simulate(Queue, queueing, range(1, 6))
        self.assertIsNone(failed, failed and told(failed))

    def test_stale_query(self) -> None:
        """All nodes are equal, and only what clients saw shows it."""
        failed = simulate(CachingCounters, counting, range(1, 11), model=Counters, shrinking=0)
        assert failed is not None
        assert failed.violation is not None
        self.assertEqual(failed.violation.rule, "Linearizability")
        self.assertIn(f"seeds=[{failed.plan.seed}]", told(failed))

    def test_chance(self) -> None:
        """Nodes that throw dice differ."""
        failed = simulate(ChanceCounters, counting, range(1, 11), model=Counters, shrinking=0)
        assert failed is not None
        assert failed.violation is not None
        self.assertEqual(failed.violation.rule, "State Machine Safety")

    def test_model(self) -> None:
        """Another model judges otherwise."""
        failed = simulate(Counters, counting, range(1, 6), model=DoublingCounters, shrinking=0)
        assert failed is not None
        assert failed.violation is not None
        self.assertEqual(failed.violation.rule, "Linearizability")

    def test_invariant(self) -> None:
        """It is asked of each node."""
        failed = simulate(
            Counters, counting, range(1, 6), invariant=lambda each: each.counts.get("a", 0) < 3, shrinking=0
        )
        assert failed is not None
        assert failed.violation is not None
        self.assertEqual(failed.violation.rule, "Invariant")


class SequentialTests(SynchronousTestCase):
    def seen(self, count: int, outcome: Outcome) -> Operation | None:
        """An add of some outcome, and then a count."""
        add = Operation(1, Call(Counters.add, "a", 1, command=b"add"), 1.0, None, outcome)
        return unexplained([add, Operation(2, Call(Counters.count, "a"), 2.0, 3.0, Outcome.OK, count)], Counters)

    def test_unknown_outcome(self) -> None:
        """It may have taken effect, or not; once."""
        self.assertIsNone(self.seen(0, Outcome.UNKNOWN))
        self.assertIsNone(self.seen(1, Outcome.UNKNOWN))
        self.assertIsNotNone(self.seen(2, Outcome.UNKNOWN))

    def test_not_applied(self) -> None:
        """It never takes effect."""
        self.assertIsNone(self.seen(0, Outcome.NOT_APPLIED))
        self.assertIsNotNone(self.seen(1, Outcome.NOT_APPLIED))

    def test_time(self) -> None:
        """What was answered before another began comes before it."""
        calls = [
            Operation(1, Call(Counters.add, "a", 1, command=b"add"), 1.0, 2.0, Outcome.OK, 1),
            Operation(2, Call(Counters.count, "a"), 3.0, 4.0, Outcome.OK, 0),
        ]
        self.assertIs(unexplained(calls, Counters), calls[1])
