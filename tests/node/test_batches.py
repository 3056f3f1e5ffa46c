"""Batches on whole nodes: all or nothing, and linearizable, whoever leads and whoever is asked."""

from random import Random
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.node.world import Journal, Machine, World, WorldTestCase
from txraft.errors import NotApplied, Undecided
from txraft.kv import Batch, CompareAndSet, Get, KeyValueStore, Set, encode
from txraft.kv.commands import Refused, decode_batch_result


class Counter:
    """Two keys that count together: each batch raises both, by compare-and-set, or reads both."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.seen = 0
        """The highest count that somebody was told of."""
        self.raised = self.unknown = self.read = 0

    def begin(self, machine: Machine) -> "Deferred[Any]":
        """Ask a node for a batch, or, one time in three, read its state behind a barrier."""
        seen = self.seen
        match self.random.randrange(3):
            case 0:
                barrier = machine.replica.read_barrier().addCallback(lambda _: self._check(machine, seen))
                return barrier.addErrback(lambda failure: failure.trap(Undecided))
            case 1:
                batch = Batch((Get(b"x"), Get(b"y")), 100)
            case _:
                old, new = b"%d" % seen, b"%d" % (seen + 1)
                cas = CompareAndSet(b"x", old, new), CompareAndSet(b"y", old, new)
                batch = Batch((cas[0], Get(b"y"), cas[1], Get(b"x")), 100)
        return machine.replica.propose(encode(batch)).addCallbacks(
            self._answered, self._failed, callbackArgs=(seen,), errbackArgs=(batch,)
        )

    def _check(self, machine: Machine, seen: int) -> None:
        values = cast(KeyValueStore, machine.journal)
        self._saw(values.get(b"x"), values.get(b"y"), seen)

    def _answered(self, data: bytes, seen: int) -> None:
        match decode_batch_result(data):
            case Refused():
                pass
            case (bytes() as x, bytes() as y):
                self._saw(x, y, seen)
            case (True, bytes() as before, True, bytes() as after):
                assert int(after) == int(before) + 1 == seen + 1, (before, after, seen)
                self.raised += 1
                self.seen = max(self.seen, int(after))
            case other:
                raise AssertionError(other)

    def _saw(self, x: bytes | None, y: bytes | None, seen: int) -> None:
        assert x is not None
        assert x == y, "a batch is seen by halves"
        assert int(x) >= seen, "what had been told before this began is not seen"
        self.read += 1
        self.seen = max(self.seen, int(x))

    def _failed(self, failure: Failure, batch: Batch) -> None:
        failure.trap(Undecided)
        if len(batch.operations) == 4 and not failure.check(NotApplied):
            self.unknown += 1


class BatchTests(WorldTestCase):
    def stores(self, seed: int) -> World:
        """Nodes with a key-value store each."""
        world = self.world(seed=seed)
        for machine in world:
            machine.crash()
        for machine in world:
            machine.start(cast(Journal, KeyValueStore()))
        return world

    def test_linearizable(self) -> None:
        """While leaders are cut off and crash, each batch is seen whole, and by all that begins after its answer; what
        was said to be unknown was done once or never (hazards C5, C6, C8)."""
        read = raised = 0
        for seed in range(1, 6):
            world, random = self.stores(seed), Random(seed)
            counter = Counter(random)
            world.leader().replica.propose(encode(Batch((Set(b"x", b"0"), Set(b"y", b"0")), 0)))
            world.run(1)
            asked: list[Deferred[Any]] = []
            for step in range(240):
                if step % 80 == 20:
                    world.isolate(world.leader().id)
                if step % 80 == 60:
                    world.heal()
                if step == 150:
                    crashed = world.leader()
                    crashed.crash()
                    crashed.start(cast(Journal, KeyValueStore()))
                asked.append(counter.begin(random.choice(list(world))))
                if random.random() < 0.5:
                    world.run(0.03)
            world.heal()
            world.run(8)
            for each in asked:
                self.successResultOf(each)
            stores = [cast(KeyValueStore, machine.journal) for machine in world]
            for store in stores:
                self.assertEqual(store.get(b"x"), store.get(b"y"))
            total = int(stores[0].get(b"x") or b"")
            self.assertTrue(counter.raised <= total <= counter.raised + counter.unknown, (counter.raised, total))
            read, raised = read + counter.read, raised + counter.raised
        self.assertGreater(min(read, raised), 50)
