"""The recipes that are objects alone: what their commands do."""

from typing import Any

from attrs import define, evolve, fields
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.trial.unittest import SynchronousTestCase

from txraft.objects.commands import Commands
from txraft.objects.encoding import CONVERTER, pack, unpack
from txraft.objects.writing import writer
from txraft.recipes import Counters, Holding, Item, Locks, Queue, Table


@define(slots=False)
class Mine(Locks, Queue, Table, Counters):
    """All in one."""

    note: str = ""


def done(target: Any, method: Any, *args: Any) -> Any:
    """What comes of a command on the whole way. All is kept and read again after it, as a snapshot does."""
    commands = Commands(type(target))
    found, arguments = commands.decode(commands.of(method).encode(args, {}))
    result = found.result_of(found.apply(target, arguments))
    kept = unpack(pack(writer(type(target))(target)))
    assert CONVERTER.structure(kept, type(target)) == target
    return result


class TogetherTests(SynchronousTestCase):
    def test_all_in_one(self) -> None:
        """Commands and fields do not collide."""
        mine = Mine()
        self.assertEqual(done(mine, Counters.add, "a"), 1)
        self.assertEqual(done(mine, Queue.put, "b"), 1)
        done(mine, Table.set, "c", 5)
        self.assertEqual(done(mine, Locks.acquire_lock, "d", "me", "", 1.0).token, 1)
        self.assertEqual((mine.count("a"), mine.undone(), mine.keys()), (1, 1, ["c"]))
        kinds = (Locks, Queue, Table, Counters)
        methods = [name for kind in kinds for name in vars(kind) if not name.startswith("_")]
        self.assertEqual(len(methods), len({*methods}))
        names = [each.name for kind in kinds for each in fields(kind)]
        self.assertEqual(len(names), len({*names}))


class CountersTests(SynchronousTestCase):
    def test_counted(self) -> None:
        """By name, up and down."""
        counters = Counters()
        self.assertEqual([done(counters, Counters.add, "a", more) for more in (1, 5, -7)], [1, 6, -1])
        self.assertEqual((counters.count("a"), counters.count("b")), (-1, 0))

    def test_too_large(self) -> None:
        """A count that no snapshot can hold would end all snapshots: it is refused, and nothing is changed."""
        counters = Counters()
        for largest in (2**63 - 1, -(2**63 - 1)):
            self.assertEqual(done(counters, Counters.add, str(largest), largest), largest)
            self.assertRaises(OverflowError, counters.add, str(largest), largest)
            self.assertEqual(counters.count(str(largest)), largest)


VALUES = st.one_of(st.booleans(), st.integers(0, 1), st.sampled_from([0.0, 1.0, "", "1", b"", b"1"]))
MAYBE = st.none() | VALUES


class TableTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.sampled_from("ab"), MAYBE, MAYBE, st.booleans())))
    def test_as_a_dict(self, steps: list[tuple[str, Any, Any, bool]]) -> None:
        """It does what a dict does whose values know their types."""
        table, model = Table(), dict[str, str]()
        for key, old, new, compares in steps:
            if compares:
                matches = model.get(key) == (None if old is None else repr(old))
                self.assertEqual(done(table, Table.compare_and_set, key, old, new), matches)
                if not matches:
                    continue
            elif new is None:
                self.assertEqual(done(table, Table.delete, key), key in model)
            else:
                self.assertEqual(done(table, Table.set, key, new), key in model)
            model.pop(key, None)
            if new is not None:
                model[key] = repr(new)
            self.assertEqual({key: repr(table.get(key)) for key in sorted(table.keys())}, model)
        self.assertIsNone(table.get("c"))

    def test_keys(self) -> None:
        """Sorted, and with a prefix."""
        table = Table()
        for key in ("b1", "a", "b0"):
            table.set(key, "")
        self.assertEqual((table.keys(), table.keys("b")), (["a", "b0", "b1"], ["b0", "b1"]))


class LocksTests(SynchronousTestCase):
    def test_taken_over(self) -> None:
        """From just what was seen: who has renewed, or has it anew, keeps it."""
        locks = Locks()

        def acquire(holder: str, instead_of: Holding | None = None) -> Holding:
            holding = done(locks, Locks.acquire_lock, "name", holder, "", 1.0, instead_of)
            assert isinstance(holding, Holding)
            return holding

        seen = acquire("a")
        self.assertEqual(acquire("b"), seen)
        self.assertTrue(done(locks, Locks.renew_lock, "name", "a"))
        self.assertFalse(done(locks, Locks.renew_lock, "name", "b"))
        self.assertEqual(acquire("b", seen), evolve(seen, renewal=1))
        self.assertEqual(acquire("a"), evolve(seen, renewal=2))
        self.assertEqual(acquire("b", evolve(seen, renewal=1)).holder, "a")
        self.assertEqual(acquire("b", evolve(seen, renewal=2)), Holding(2, "b", "", 1.0))
        self.assertFalse(done(locks, Locks.release_lock, "name", "a"))
        self.assertTrue(done(locks, Locks.release_lock, "name", "b"))
        self.assertEqual(acquire("a", evolve(seen, renewal=2)).token, 3)


class QueueTests(SynchronousTestCase):
    def test_taken(self) -> None:
        """The oldest first; each is one consumer's, also where that asks again."""
        queue = Queue()
        self.assertIsNone(done(queue, Queue.take, "a"))
        self.assertEqual([done(queue, Queue.put, value) for value in ("x", "y")], [1, 2])
        self.assertEqual(done(queue, Queue.take, "a"), Item(1, "x"))
        self.assertEqual(done(queue, Queue.take, "a"), Item(1, "x"))
        self.assertEqual(done(queue, Queue.take, "b"), Item(2, "y"))
        self.assertIsNone(done(queue, Queue.take, "c"))
        self.assertEqual(queue.taken_by(), {"a": 1, "b": 2})

    def test_given_back(self) -> None:
        """Somebody else gets it, as the oldest; who had it finds out."""
        queue = Queue()
        for value in ("x", "y"):
            done(queue, Queue.put, value)
        done(queue, Queue.take, "a")
        self.assertEqual([done(queue, Queue.give_back, "a"), done(queue, Queue.give_back, "a")], [1, None])
        self.assertEqual(done(queue, Queue.take, "b"), Item(1, "x"))
        self.assertFalse(done(queue, Queue.done, 1, "a"))
        self.assertEqual([done(queue, Queue.done, 1, "b"), done(queue, Queue.done, 1, "b")], [True, False])
        self.assertEqual(queue.undone(), 1)


class QueueMachine(RuleBasedStateMachine):
    """Nothing is lost, and nobody has what somebody else has."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue()
        self.left: set[int] = set()

    @rule()
    def put(self) -> None:
        """One more."""
        number = done(self.queue, Queue.put, "")
        assert number not in self.left
        self.left.add(number)

    @rule(consumer=st.sampled_from("abc"))
    def take(self, consumer: str) -> None:
        """The lowest that is free, or the consumer's own."""
        had = self.queue.taken_by()
        free = self.left - {*had.values()}
        item = done(self.queue, Queue.take, consumer)
        assert (item and item.number) == had.get(consumer, min(free, default=None))

    @rule(consumer=st.sampled_from("abc"), number=st.integers(1, 5))
    def finish(self, consumer: str, number: int) -> None:
        """By who has it, or not."""
        has_it = self.queue.taken_by().get(consumer) == number
        assert done(self.queue, Queue.done, number, consumer) == has_it
        self.left -= {number} if has_it else set()

    @rule(consumer=st.sampled_from("abc"))
    def give_back(self, consumer: str) -> None:
        """What it has, if anything."""
        had = self.queue.taken_by().get(consumer)
        assert done(self.queue, Queue.give_back, consumer) == had

    @invariant()
    def all_there(self) -> None:
        """Each item is free, or one consumer's."""
        taken = [*self.queue.taken.values()]
        assert sorted(taken + self.queue.waiting) == sorted(self.left) == sorted(self.queue.items)


TestQueueMachine = QueueMachine.TestCase
