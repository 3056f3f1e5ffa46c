"""How a state machine is called: in order, one call at a time, as much as a turn of the reactor may."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from tests.node.world import Journal, Page, WorldTestCase
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed, ContractBroken, CorruptLog, OutcomeUnknown, SnapshotFailed
from txraft.node.apply_queue import ApplyQueue, Results


class ApplyQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.journal = Clock(), Journal()
        self.told: list[bytes | Failure] = []
        self.indexes = [0]
        self.queued = 0
        self.failures: list[Failure] = []
        self.sizes = 0
        self.restored: list[int] = []
        self.queue = ApplyQueue(
            self.journal,
            self.clock,
            lambda _, result: self.told.append(result),
            self.comes_to,
            lambda _: self.restored.append(-1),
            lambda snapshot: self.restored.append(snapshot.index),
            self.fails,
        )

    def comes_to(self, index: int, size: int) -> None:
        self.indexes.append(index)
        self.sizes += size

    def fails(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.queue.stop()

    def put(self, *commands: bytes) -> None:
        first = self.queued + 1
        self.queue.put(Entry(index, 1, EntryKind.COMMAND, each) for index, each in enumerate(commands, first))
        self.queued += len(commands)

    def applied_in_turns(self, turns: int) -> list[int]:
        """How many entries each turn has applied, from now on."""
        counts = []
        for _ in range(turns):
            before = len(self.journal.commands)
            self.clock.turn()
            counts.append(len(self.journal.commands) - before)
        return counts

    def test_at_once(self) -> None:
        """A machine that answers at once is asked at once for all, in fewer calls the more there are."""
        self.put(*(b"%d" % number for number in range(300)))
        self.assertEqual(self.told, [b"%d" % number for number in range(300)])
        self.assertEqual(self.journal.calls, [1, 2, 4, 8, 16, 32, 64, 64, 64, 45])
        self.assertEqual((self.indexes[-1], self.sizes), (300, 10 + 2 * 90 + 3 * 200))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_raft_s_own(self) -> None:
        """Entries of every kind come to the machine, in their order, and have a result."""
        kinds = EntryKind.NOOP, EntryKind.COMMAND, EntryKind.NOOP
        self.queue.put(Entry(index, 1, kind, b"a") for index, kind in enumerate(kinds, 1))
        self.assertEqual(self.told, [b"", b"A", b""])
        self.assertEqual(self.journal.last_applied, 3)

    def test_many_in_turns(self) -> None:
        """However much is committed at once, a turn applies so many, so that heartbeats come between (hazard S11)."""
        self.put(*[b"a"] * (2 * self.queue.at_once + 1))
        self.assertEqual(len(self.told), self.queue.at_once)
        self.assertEqual(self.applied_in_turns(3), [self.queue.at_once, 1, 0])

    def install(self, index: int) -> None:
        """Put in a snapshot of entries that say nothing, up to `index`."""
        page = Page(index, (b"",) * index, self.journal)
        self.queue.install(Snapshot(index, 1, Configuration((1,))), page.chunks())
        self.queued = index

    def test_snapshot_in_its_turn(self) -> None:
        """A snapshot is restored after what was put in before, and before what was put in later (hazard S9)."""
        self.journal.hold()
        self.put(b"a")
        self.install(5)
        self.put(b"f")
        self.assertEqual((self.restored, self.queue.installing), ([], True))
        self.journal.restores.hold()
        self.journal.let_go()
        self.assertEqual((self.told, self.restored), ([b"A"], [-1]))
        self.put(b"g")
        self.assertEqual(self.journal.last_applied, 1)
        self.journal.restores.let_go()
        self.assertEqual((self.restored, self.queue.installing, self.journal.last_applied), ([-1, 5], False, 5))
        self.journal.let_go()
        self.journal.let_go()
        self.assertEqual(self.told, [b"A", b"F", b"G"])

    def test_one_snapshot_after_another(self) -> None:
        """They are restored in their order, with what is between them."""
        self.install(2)
        self.put(b"c")
        self.install(7)
        self.install(9)
        self.put(b"j")
        self.assertEqual(self.restored, [-1, 2, -1, 7, -1, 9])
        self.assertEqual((self.told, self.journal.last_applied), ([b"C", b"J"], 10))

    def test_stopped_while_it_restores(self) -> None:
        """A stop need not wait for a large snapshot: its chunks end. Nobody is told how."""
        self.journal.restores.hold()
        self.install(5)
        self.put(b"f")
        self.queue.stop()
        self.journal.restores.let_go()
        self.assertEqual((self.restored, self.journal.commands), ([-1], []))
        self.failures[0].trap(SnapshotFailed)

    def test_failed_restore(self) -> None:
        """It ends the queue."""
        self.journal.restores.hold()
        self.install(5)
        self.put(b"f")
        self.journal.restores.let_go(CorruptLog("no"))
        self.failures[0].trap(CorruptLog)
        self.assertEqual(self.told, [])

    def test_large_commands_in_turns(self) -> None:
        """A turn applies so many bytes of commands and results, and in any case one entry (hazards S11, N1)."""
        quarter = self.queue.size_at_once // 4  # a command's result is as long as the command here
        self.put(*map(bytes, (5 * quarter, quarter, quarter, quarter, 1)))
        self.assertEqual(len(self.told), 1)
        self.assertEqual(self.applied_in_turns(3), [3, 1, 0])

    def test_large_results_in_turns(self) -> None:
        """Commands that are short and read a great deal: a call has fewer when those before it gave much, so that only
        the first reads more than a turn may (hazard N1)."""
        self.put(*[b"a"] * 127)
        self.journal.answer = bytes(self.queue.size_at_once)
        self.put(*[b"a"] * 70)
        self.assertEqual(self.applied_in_turns(7), [1] * 6 + [0])
        self.assertEqual(self.journal.calls, [1, 2, 4, 8, 16, 32, 64, 64, *[1] * 6])
        self.journal.answer = b""
        self.put(*[b"a"] * 8)
        self.assertEqual(self.journal.calls[-4:], [1, 2, 4, 1])

    def test_slow_machine(self) -> None:
        """The next call waits for the one before, and has what came meanwhile."""
        self.journal.hold()
        self.put(b"a")
        self.put(b"b")
        self.put(b"c", b"d")
        for calls in ([1], [1, 2], [1, 2, 1]):
            self.clock.turn()
            self.assertEqual(self.journal.calls, calls)
            self.assertEqual(len(self.told), self.indexes[-1])
            self.journal.let_go()
        self.assertEqual(self.told, [b"A", b"B", b"C", b"D"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_meanwhile(self) -> None:
        """Nobody is told how a call ends that is under way at a stop, and there is no other."""
        for fails in (False, True):
            self.setUp()
            self.journal.hold()
            self.put(b"a", b"b")
            self.queue.stop()
            self.journal.end(fails)
            self.clock.turn()
            self.assertEqual((self.journal.calls, self.told, self.indexes), ([1], [], [0]))

    def test_stopped_between_turns(self) -> None:
        self.put(*[b"a"] * (self.queue.at_once + 1))
        self.queue.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failures(self) -> None:
        """What is no answer to a call is the end: an exception, and a failure."""

        def broken(_: Sequence[Entry]) -> "Deferred[Results]":
            raise ValueError("no")

        def exiting(_: Sequence[Entry]) -> "Deferred[Results]":
            raise SystemExit

        late: Deferred[Any] = Deferred()
        calls: list[Callable[[Sequence[Entry]], Deferred[Any]]] = [
            broken,
            exiting,
            lambda _: fail(ValueError("no")),
            lambda _: late,
        ]
        for apply in calls:
            self.setUp()
            self.patch(self.journal, "apply", apply)
            self.put(b"a", b"b")
            if not late.called and not self.failures:
                late.callback([])
            kinds = (ValueError, ContractBroken, SystemExit)
            self.assertEqual([failure.type in kinds for failure in self.failures], [True])
            self.assertEqual((self.told, self.indexes), ([], [0]))
        self.assertTrue(late.called)

    def test_contract(self) -> None:
        """One line says what is wrong with what `apply` and `restore` give."""
        answers: list[tuple[Any, str]] = [
            ([b""], "`apply` gives list, not a Deferred"),
            (succeed(None), "`apply` fires with NoneType, not a list"),
            (succeed([]), "`apply` gives 0 results for 1 entries, and each needs one"),
            (succeed([b"", b""]), "`apply` gives 2 results for 1 entries, and each needs one"),
            (succeed([None]), "result is NoneType, neither bytes nor a CommandFailed"),
        ]
        for answer, what in answers:
            self.setUp()
            self.patch(self.journal, "apply", lambda _, answer=answer: answer)
            self.put(b"a", b"b")
            self.assert_broken(what)
        self.setUp()
        self.patch(self.journal, "restore", lambda *_: None)
        self.queue.install(Snapshot(5, 1, Configuration(frozenset({1}))), ())
        self.assert_broken("`restore` gives NoneType, not a Deferred")

    def assert_broken(self, what: str) -> None:
        lines = [(failure.type, failure.getErrorMessage()) for failure in self.failures]
        self.assertEqual(lines, [(ContractBroken, f"the state machine's {what}; this is a bug in the state machine")])
        self.assertEqual((self.told, self.indexes), ([], [0]))


class WholeNodesTests(WorldTestCase):
    def test_command_that_fails(self) -> None:
        """The state machine fails on a command: whoever proposed it, on whatever node, hears that it did, and the
        cluster goes on; so it does after a restart, which applies the command again (hazard C10)."""
        world = self.world()
        for machine in world:
            machine.journal.fails_on = b"bad"
        leader = world.leader()
        world.run(1)
        done = [machine.replica.propose(command) for machine in world for command in (b"good", b"bad", b"good")]
        world.run(1)
        for number, one in enumerate(done):
            if number % 3 == 1:
                self.assertEqual(str(self.failureResultOf(one, CommandFailed).value), "no")
            else:
                self.assertEqual(self.successResultOf(one), b"GOOD")
        leader.crash()
        again = Journal()
        again.fails_on = b"bad"
        leader.start(again)
        world.run(2)
        self.assertEqual(again.commands, world.leader().journal.commands)
        self.assertEqual([machine.failures for machine in world], [[], [], []])

    def test_slow_machine(self) -> None:
        """While the leader's state machine works off the reactor, the leader leads on, and answers afterwards."""
        world, leader = self.begun()
        leader.journal.hold()
        done = [leader.replica.propose(b"%d" % number) for number in range(10)]
        barrier = world.followers()[0].replica.read_barrier()
        world.settle()
        own = leader.replica.read_barrier()
        world.run(2)
        self.successResultOf(barrier)
        self.assertNoResult(own)
        for _ in range(5):
            leader.journal.let_go()
        world.settle()
        self.assertEqual([self.successResultOf(one) for one in done], [b"%d" % number for number in range(10)])
        self.successResultOf(own)
        self.assertIs(world.leader(), leader)

    def test_stopped_while_it_applies(self) -> None:
        """Those who wait are told at once that nobody knows; the call that is under way may end as it likes."""
        for fails in (False, True):
            world, leader = self.begun()
            leader.journal.hold()
            done = [leader.replica.propose(b"%d" % number) for number in range(3)]
            world.settle()
            leader.node.stopService()
            self.assertEqual([self.outcome(one) for one in done], [OutcomeUnknown] * 3)
            leader.journal.end(fails)
            world.run(1)
            self.assertEqual(leader.failures, [])
