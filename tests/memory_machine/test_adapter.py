import asyncio
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import txraft.memory_machine
from tests.memory_machine.counters import Counters, command, count, outcome, results_of, started
from tests.storage.worker import HandWorker, InlineWorker
from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed, ResultNotBytes, SnapshotFailed, StorageError
from txraft.interfaces import ISnapshot, IStateMachine
from txraft.memory_machine import MemoryMachine, adapter
from txraft.memory_machine.adapter import ENTRY_SIZE


class MachineCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.counters, self.machine = started(self.directory, InlineWorker())

    def restart(self) -> None:
        """As after `kill -9`."""
        self.counters, self.machine = started(self.directory, InlineWorker())


class ApplyTests(MachineCase):
    """Commands, and what comes of them."""

    def test_results(self) -> None:
        """One for each entry, at once; those that are Raft's own change nothing and count as applied."""
        entries = [command(1, b"a"), Entry(2, 1, EntryKind.NOOP, b""), command(3, b"a")]
        self.assertEqual(results_of(self.machine, entries), [b"1", b"", b"2"])
        self.assertEqual(self.machine.last_applied, 3)

    def test_interface(self) -> None:
        verifyObject(IStateMachine, self.machine)
        verifyObject(ISnapshot, outcome(self.machine.snapshot()))

    def line_of(self, error: BaseException) -> str:
        """What a command's proposer is told where its `apply` raises this."""
        with patch.object(self.counters, "apply", side_effect=error):
            machine = MemoryMachine(self.counters, self.directory, "ours", InlineWorker())
            (result,) = results_of(machine, [command(1, b"a")])
        self.assertIsInstance(result, CommandFailed)
        return str(result)

    def test_raises(self) -> None:
        """hazard C10: what a command raises is its result, the next one is applied, and a start comes to the same."""
        commands = [b"a", b"-b", b"a"]
        first, second, third = count(self.machine, *commands)
        self.assertEqual((first, third), (b"1", b"2"))
        self.assertIsInstance(second, CommandFailed)
        self.assertEqual(str(second), "the command failed: KeyError: b'b'")
        self.restart()
        self.assertEqual([*map(str, count(self.machine, *commands))], [*map(str, (first, second, third))])
        self.assertEqual(self.counters.counts, {b"a": 2})

    def test_same_text_everywhere(self) -> None:
        """hazard C10: no address in memory, no second line, nothing where the error cannot say what it is."""

        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        self.assertEqual(
            self.line_of(LookupError(self, object())),
            f"the command failed: LookupError: ({self!r}, <object object>)",
        )
        self.assertEqual(self.line_of(ValueError("not\n  that")), "the command failed: ValueError: not that")
        self.assertEqual(self.line_of(RecursionError()), "the command failed: RecursionError")
        self.assertEqual(self.line_of(Mute()), "the command failed: Mute")
        self.assertEqual(self.line_of(SystemExit(3)), "the command failed: SystemExit: 3")
        self.assertEqual(self.line_of(asyncio.CancelledError()), "the command failed: CancelledError")
        self.assertEqual(self.line_of(ValueError("\udcff x")), r"the command failed: ValueError: \udcff x")

    def test_no_bytes(self) -> None:
        """hazard C10: `apply` forgets to return something."""
        with patch.object(self.counters, "apply", return_value=None):
            machine = MemoryMachine(self.counters, self.directory, "ours", InlineWorker())
            (result,) = results_of(machine, [command(1, b"a")])
        self.assertIsInstance(result, ResultNotBytes)
        self.assertEqual(str(result), "the command failed: its result is NoneType, not bytes")

    def test_no_memory(self) -> None:
        """On one node only: that one has other data now, and must end. An operator's interrupt is as much."""
        for error in (MemoryError(), KeyboardInterrupt()):
            with self.assertRaises(type(error)):
                self.line_of(error)

    def test_example(self) -> None:
        """The one in the package's docstring works as it stands there."""
        documentation = inspect.cleandoc(txraft.memory_machine.__doc__ or "").splitlines()
        code = [line for line in documentation[1:] if not line or line.startswith("    ")]
        names: dict[str, Any] = {"Iterable": Iterable}
        exec(inspect.cleandoc("\n".join(code)), names)
        machine = MemoryMachine(names["Jobs"](), self.directory, "ours", InlineWorker())
        results = count(machine, b"add wash", b"add dry", b"take", b"sell")
        self.assertEqual(results[:3], [b"1", b"2", b"wash"])
        self.assertEqual(outcome(machine.persist()), 4)
        again = MemoryMachine(names["Jobs"](), self.directory, "ours", InlineWorker())
        results = count(again, b"take", b"take")
        self.assertEqual([*map(str, results)], ["b'dry'", "the command failed: IndexError: pop from empty list"])


class PersistTests(MachineCase):
    """When the file is written, and what is in it."""

    def test_nothing_yet(self) -> None:
        """No file, nothing durable."""
        self.assertEqual(outcome(self.machine.persist()), 0)
        self.assertEqual([*self.directory.iterdir()], [])
        self.restart()
        self.assertEqual(self.machine.last_applied, 0)

    def test_persist(self) -> None:
        """hazard S5: a start has what was durable, and its index with it; what came later is in the log."""
        count(self.machine, b"a", b"b", b"a")
        self.assertEqual(outcome(self.machine.persist()), 3)
        count(self.machine, b"a", b"c")
        self.restart()
        self.assertEqual((self.machine.last_applied, self.counters.counts), (3, {b"a": 2, b"b": 1}))
        self.assertEqual([path.name for path in self.directory.iterdir()], ["state"])

    def test_chunks(self) -> None:
        """`load` is given what `dump` gave, piece by piece, whatever is in it."""
        dumped = [b"", b"\n", b"x" * 200_000, b"\xff" * 8, b""]
        loaded: list[bytes] = []
        machine = MemoryMachine(self.counters, self.directory, "ours", InlineWorker())
        count(machine, b"a")
        with (
            patch.object(self.counters, "dump", return_value=dumped),
            patch.object(self.counters, "load", side_effect=loaded.extend),
        ):
            outcome(machine.persist())
            MemoryMachine(self.counters, self.directory, "ours", InlineWorker())
        self.assertEqual(loaded, dumped)

    def test_empty(self) -> None:
        """A machine that holds nothing is durable, too."""
        count(self.machine, b"a", b"-a")
        self.assertEqual(outcome(self.machine.persist()), 2)
        self.restart()
        self.assertEqual((self.machine.last_applied, self.counters.counts), (2, {}))

    def test_how_often(self) -> None:
        """A large machine is written again when as many bytes of commands have come as its file has; that costs
        nothing until then. So do those that came while it was written."""
        worker = HandWorker()
        counters, machine = started(self.directory, worker)
        counters.counts = {b"%0100d" % number: 1 for number in range(100)}
        count(machine, b"a")
        persisted = machine.persist()
        count(machine, *[b"b"] * 50)
        worker.work()
        self.assertEqual(outcome(persisted), 1)
        size = (self.directory / "state").stat().st_size
        count(machine, *[b"b"] * (size // (ENTRY_SIZE + 1) - 50))
        self.assertEqual(outcome(machine.persist()), 1)
        self.assertEqual(worker.waiting, [])
        count(machine, b"b")
        persisted = machine.persist()
        worker.work()
        self.assertEqual(outcome(persisted), machine.last_applied)

    def test_again(self) -> None:
        """Nothing has been applied since, so nothing is written."""
        count(self.machine, b"a")
        outcome(self.machine.persist())
        with patch.object(self.counters, "dump", side_effect=AssertionError):
            self.assertEqual(outcome(self.machine.persist()), 1)
        self.restart()
        with patch.object(self.counters, "dump", side_effect=AssertionError):
            self.assertEqual(outcome(self.machine.persist()), 1)

    def test_commands_meanwhile(self) -> None:
        """hazard S11: chunks are taken and written on the worker, while commands go on, which are not in them."""
        worker = HandWorker()
        _, machine = started(self.directory, worker)
        count(machine, b"a", b"b", b"a")
        persisted = machine.persist()
        count(machine, b"a", b"-b", b"c")
        self.assertNoResult(persisted)
        self.assertEqual([*self.directory.iterdir()], [])
        worker.work()
        self.assertEqual(outcome(persisted), 3)
        self.restart()
        self.assertEqual((self.machine.last_applied, self.counters.counts), (3, {b"a": 2, b"b": 1}))

    def test_first_chunk(self) -> None:
        """It alone is taken by who calls: so a `dump` that is a generator makes its copy there, and not later."""
        worker = HandWorker()
        counters, machine = started(self.directory, worker)
        count(machine, b"a")
        taken: list[int] = []

        def dump() -> Iterator[bytes]:
            for number in range(3):
                taken.append(number)
                yield b"chunk"

        with patch.object(counters, "dump", dump):
            machine.persist()
        self.assertEqual(taken, [0])
        worker.work()
        self.assertEqual(taken, [0, 1, 2])

    def test_dump_raises(self) -> None:
        """At its call, at the first chunk, later, or with no bytes: one line and a traceback in the log, the file
        before it stays, and commands go on."""

        def dump(*chunks: Any) -> Iterator[bytes]:
            for chunk in chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk

        count(self.machine, b"a")
        outcome(self.machine.persist())
        self.patch(adapter, "RETRY_SIZE", 0)
        for fails in (
            lambda: 1 / 0,
            lambda: dump(ZeroDivisionError()),
            lambda: dump(b"x" * 100_000, ZeroDivisionError()),
            lambda: [b"x", "ZeroDivisionError"],
        ):
            count(self.machine, *[b"a"] * 5)
            with patch.object(self.counters, "dump", fails):
                error = self.failureResultOf(self.machine.persist(), SnapshotFailed).value
            self.assertRegex(str(error), "^the state machine cannot be kept, as its `dump` raised (Zero|TypeE)")
            self.assertEqual(len(self.flushLoggedErrors(SnapshotFailed)), 1)
            self.assertEqual([path.name for path in self.directory.iterdir()], ["state"])
        count(self.machine, *[b"a"] * 5)
        self.assertEqual(outcome(self.machine.persist()), 26)

    def test_not_again_at_once(self) -> None:
        """Where it failed, all of the machine is not dumped again for each command."""
        count(self.machine, b"a")
        with patch.object(self.counters, "dump", side_effect=ZeroDivisionError):
            self.failureResultOf(self.machine.persist(), SnapshotFailed)
            self.flushLoggedErrors(SnapshotFailed)
            count(self.machine, b"a")
            self.assertEqual(outcome(self.machine.persist()), 0)
            count(self.machine, b"a" * adapter.RETRY_SIZE)
            self.failureResultOf(self.machine.persist(), SnapshotFailed)
            self.flushLoggedErrors(SnapshotFailed)

    def test_close(self) -> None:
        """A stop does not wait for all of a large machine: what is being written is broken off, without a word."""
        worker = HandWorker()
        counters, machine = started(self.directory, worker)
        count(machine, b"a")
        with patch.object(counters, "dump", return_value=[b"x" * 100_000] * 10):
            persisted = machine.persist()
        closed = machine.close()
        self.assertNoResult(closed)
        worker.work()
        outcome(closed)
        self.failureResultOf(persisted, SnapshotFailed)
        self.assertEqual([*self.directory.iterdir()], [])


class SnapshotTests(MachineCase):
    """What brings another node up to date."""

    def setUp(self) -> None:
        super().setUp()
        count(self.machine, b"a", b"b", b"a")
        self.other, self.other_machine = started(self.directory / "other", InlineWorker())

    def test_from_node_to_node(self) -> None:
        """The other node holds the same then, also after its next start."""
        count(self.other_machine, b"x")
        snapshot = outcome(self.machine.snapshot())
        data = b"".join(snapshot.chunks())
        blocks = [data[start : start + 7] for start in range(0, len(data), 7)]
        outcome(self.other_machine.restore(snapshot.index, blocks))
        for _ in range(2):
            self.assertEqual((self.other_machine.last_applied, self.other.counts), (3, {b"a": 2, b"b": 1}))
            self.assertEqual(outcome(self.other_machine.persist()), 3)
            self.other, self.other_machine = started(self.directory / "other", InlineWorker())
        self.assertEqual(count(self.other_machine, b"a"), [b"3"])

    def test_is_the_file(self) -> None:
        """Where there is a file, nothing is dumped for it; and it has all that `persist` has ever said."""
        outcome(self.machine.persist())
        count(self.machine, b"a")
        with patch.object(self.counters, "dump", side_effect=AssertionError):
            self.assertEqual(outcome(self.machine.snapshot()).index, 3)
            self.restart()
            self.assertEqual(outcome(self.machine.snapshot()).index, 3)

    def test_stays(self) -> None:
        """It is what it was, though the file is written anew meanwhile, until it is closed."""
        snapshot = outcome(self.machine.snapshot())
        expected = (self.directory / "state").read_bytes()
        count(self.machine, *[b"a"] * 10)
        self.assertEqual(outcome(self.machine.persist()), 13)
        self.assertEqual(b"".join(snapshot.chunks()), expected)
        outcome(snapshot.close())
        self.failureResultOf(snapshot.close(), OSError)

    def test_damaged(self) -> None:
        """hazard S4: a bit of the file has flipped since. It is not sent, and the next one is written anew."""
        snapshot = outcome(self.machine.snapshot())
        path = self.directory / "state"
        content = bytearray(path.read_bytes())
        content[-50] ^= 1
        path.write_bytes(content)
        line = str(self.assertRaises(SnapshotFailed, list, snapshot.chunks()))
        self.assertIn(f"{path} is damaged: it does not match its checksum; it is written anew", line)
        again = outcome(self.machine.snapshot())
        self.assertEqual(again.index, 3)
        self.assertEqual(b"".join(again.chunks()), path.read_bytes())

    def test_restore_while_it_is_written(self) -> None:
        """What is being written is of no use any more: it is broken off, and what was restored counts."""
        snapshot = outcome(self.machine.snapshot())
        worker = HandWorker()
        counters, machine = started(self.directory / "third", worker)
        count(machine, b"x")
        with patch.object(counters, "dump", return_value=[b"x" * 100_000] * 10):
            persisted = machine.persist()
        restored = machine.restore(3, snapshot.chunks())
        self.assertEqual(counters.counts, {b"x": 1})
        worker.work()
        self.failureResultOf(persisted, SnapshotFailed)
        outcome(restored)
        self.assertEqual((machine.last_applied, counters.counts), (3, {b"a": 2, b"b": 1}))
        count(machine, *[b"a"] * 10)
        with patch.object(counters, "dump", return_value=[b"x" * 100_000] * 10):
            persisted = machine.persist()
        worker.work()
        self.assertEqual(outcome(persisted), 13)

    def test_load_on_the_worker(self) -> None:
        """hazard S11: a large machine is not loaded where heartbeats have to be sent."""
        snapshot = outcome(self.machine.snapshot())
        worker = HandWorker()
        counters, machine = started(self.directory / "third", worker)
        with patch.object(counters, "load", side_effect=AssertionError):
            restored = machine.restore(3, snapshot.chunks())
        self.assertNoResult(restored)
        worker.work()
        self.assertEqual(counters.counts, {b"a": 2, b"b": 1})

    def test_load_raises(self) -> None:
        """In a running node, which ends, and at each start after it, until there is a program that can read it."""
        snapshot = outcome(self.machine.snapshot())
        with patch.object(self.other, "load", side_effect=ValueError("new\nformat")):
            restored = self.other_machine.restore(3, snapshot.chunks())
            line = str(self.failureResultOf(restored, StorageError).value)
            path = self.directory / "other" / "state"
            self.assertIn(f"{path} is whole, and the state machine's `load` raised ValueError: new format; start", line)
            with self.assertRaises(StorageError) as raised:
                MemoryMachine(self.other, self.directory / "other", "ours", InlineWorker())
            self.assertEqual(str(raised.exception), line)
        self.other, self.other_machine = started(self.directory / "other", InlineWorker())
        self.assertEqual((self.other_machine.last_applied, self.other.counts), (3, {b"a": 2, b"b": 1}))
        self.assertIsInstance(self.other, Counters)
