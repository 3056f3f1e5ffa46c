"""Objects that are replicated, on the reactor that runs the tests, and in the simulator."""

from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.integration.ports import reserve_port
from tests.objects.test_writing import Price
from tests.storage.worker import InlineWorker
from txraft.core.messages import Entry, EntryKind
from txraft.errors import BadCommand, CommandFailed, SettingsError, SnapshotFailed, StorageError, UnknownCommand
from txraft.home import Home
from txraft.objects import ObjectService, command
from txraft.objects.commands import Commands
from txraft.objects.machine import ObjectMachine
from txraft.raft_service.options import Options
from txraft.settings import Timing
from txraft.testing.application import Application, SimulatedHome
from txraft.testing.seeds import first_failure

QUICK = Options(Timing(election_timeout=60, heartbeat_interval=20))


@define
class Counter:
    """What is counted."""

    counts: dict[str, int] = field(factory=dict)

    @command
    def add(self, name: str, more: int = 1) -> int:
        """Gives how many there are."""
        if more < 0:
            raise ValueError("only more")
        self.counts[name] = self.counts.get(name, 0) + more
        return self.counts[name]

    def count(self, name: str) -> int:
        """How many there are."""
        return self.counts.get(name, 0)

    def names(self) -> Iterator[str]:
        """One after the other, while others call commands."""
        yield from self.counts


COMMANDS = Commands(Counter)


@define
class LaterCounter(Counter):
    """Of the next release."""

    unit: str = "pieces"


class ServiceTests(TestCase):
    @inlineCallbacks
    def test_three(self) -> Generator[Deferred[Any], Any, None]:
        """Any server takes calls and queries; and all of it is there after a restart, also of a later class."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        directory = Path(self.mktemp())
        members = {id: f"127.0.0.1:{reserve_port()}" for id in range(3)}

        def start(kind: type[Counter]) -> list[ObjectService[Counter]]:
            made = [ObjectService(reactor, members, id, directory / str(id), kind, options=QUICK) for id in members]
            for each in made:
                each.startService()
            return made

        services = start(Counter)
        try:
            numbers = []
            for each in services:
                numbers.append((yield each.call(Counter.add, "apples", more=2)))
            self.assertEqual(numbers, [2, 4, 6])
            for each in services:
                self.assertEqual((yield each.query(Counter.count, "apples")), 6)
                self.assertEqual(each.object.count("apples"), 6)
                error = yield self.assertFailure(each.call(Counter.add, "apples", -1), CommandFailed)
                self.assertEqual(str(error), "the command failed: ValueError: only more")
                self.assertRaises(BadCommand, each.call, Counter.add, 7)
                self.assertRaises(BadCommand, each.call, Counter.count, "apples")
                self.assertRaises(BadCommand, each.query, Counter.add, "apples")  # on one of the servers alone
                (yield each.query(lambda counter: counter.counts)).clear()  # of a copy
                error = yield self.assertFailure(each.query(Counter.names), BadCommand)
                self.assertIn("Counter.names returned <generator ", str(error))
                self.assertIn("cannot be copied: TypeError: it would read the object later; give a list", str(error))
                self.assertRaises(BadCommand, each.propose, b"nonsense")  # on which each would end, at every start
                self.assertEqual((yield each.propose(COMMANDS.of(Counter.add).encode(("pears", 0), {}))), b"\x00")
        finally:
            yield gatherResults([each.stopService() for each in services])
        services = start(LaterCounter)
        try:
            self.assertEqual((yield services[2].query(Counter.count, "apples")), 6)
        finally:
            yield gatherResults([each.stopService() for each in services])


class RefusedTests(SynchronousTestCase):
    def test_kind(self) -> None:
        """What cannot be made, or is an object already. The directory is free again."""

        @define
        class Named:
            name: str

        def make(kind: Any) -> Any:
            return ObjectService(MemoryReactorClock(), {0: f"127.0.0.1:{port}"}, 0, directory, kind)

        directory, port = Path(self.mktemp()), reserve_port()
        line = str(self.assertRaises(SettingsError, make, Counter()))
        self.assertEqual(line, "kind: is the class of the object, not Counter(counts={})")
        for _ in range(2):
            line = str(self.assertRaises(TypeError, make, Named))
            self.assertIn("Named cannot be made without arguments, give its fields defaults: TypeError: ", line)


class KeptTests(SynchronousTestCase):
    """Its fields, in a snapshot."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def machine(self, kind: Callable[[], Counter]) -> ObjectMachine[Counter]:
        home = Home(1, "c", self.directory, InlineWorker(), InlineWorker(), Clock(), self.fail)
        return ObjectMachine(kind, home)

    def persisted(self, kind: type[Counter]) -> None:
        machine = self.machine(kind)
        call = COMMANDS.of(Counter.add).encode(("a",), {})
        machine.check(call)
        for unknown in (call[:-1], call.replace(b"name", b"nome"), call[:-1] + b"\xc3"):
            self.assertRaises(UnknownCommand, machine.check, unknown)
        self.assertRaises(UnknownCommand, machine.apply, [Entry(1, 1, EntryKind.COMMAND, b"nonsense")])
        machine.apply([Entry(1, 1, EntryKind.COMMAND, call)])
        self.successResultOf(machine.snapshot())

    def test_fields_that_come(self) -> None:
        """They are as they are at first."""
        self.persisted(Counter)
        machine = self.machine(LaterCounter)
        self.assertEqual((machine.last_applied, machine.object), (1, LaterCounter({"a": 1}, "pieces")))

    def test_fields_that_go(self) -> None:
        """What they had would be lost."""
        self.persisted(LaterCounter)
        line = str(self.assertRaises(StorageError, self.machine, Counter))
        self.assertIn("ValueError: Counter has no field unit any more", line)

    def test_not_as_annotated(self) -> None:
        """What could not be loaded as it is, is not kept in place of the log that has it: of what is not as its
        annotation says, a defaultdict would come back as a dict, and the servers would differ."""

        for value, line in (
            (defaultdict(int), "counts is not as it is annotated: TypeError: defaultdict"),
            ({"a": cast(int, "many")}, "'many' is of the class str, not int"),
            ({"\ud800": 1}, "UnicodeEncodeError: "),
        ):
            machine = self.machine(Counter)
            machine.object.counts = value
            failed = self.failureResultOf(machine.snapshot(), SnapshotFailed)
            self.assertIn(line, str(failed.value))
        self.assertEqual(len(self.flushLoggedErrors(SnapshotFailed)), 3)

    def test_classes_that_change_what_they_are_given(self) -> None:
        """What they hold would be another value on the servers that load it."""

        @define
        class Shop:
            price: Price | None = None

        home = Home(1, "c", self.directory, InlineWorker(), InlineWorker(), Clock(), self.fail)
        machine = ObjectMachine(Shop, home)
        machine.object.price = Price(3)
        failed = self.failureResultOf(machine.snapshot(), SnapshotFailed)
        self.assertIn("price would not be loaded as it is: a class in it changes what it is given", str(failed.value))
        self.assertEqual(len(self.flushLoggedErrors(SnapshotFailed)), 1)

    def test_begins_otherwise(self) -> None:
        """What a server begins with is the same on all, and can be kept: that is said when it is made, and not by a log
        that grows."""

        @define
        class Dice:
            thrown: int = field(factory=count().__next__)

        @define
        class Unset:
            number: int = field(init=False)

        def otherwise() -> Counter:
            return Counter(defaultdict(int))

        for kind, line in (
            (Dice, "Dice is not the same each time that it is made, and is to be on all servers"),
            (otherwise, "begins with what cannot be kept: TypeError: counts is not as it is annotated: TypeError: def"),
            (Unset, "Unset begins with what cannot be kept: TypeError: number is not as it is annotated: Attribute"),
        ):
            self.assertIn(line, str(self.assertRaises(TypeError, self.machine, kind)))


class CounterApplication(Application):
    """An `Application` of it."""

    def machine(self, home: SimulatedHome) -> ObjectMachine[Counter]:
        """As Application."""
        return ObjectMachine(Counter, home)

    def command(self, random: Random) -> bytes:
        """As Application."""
        return COMMANDS.of(Counter.add).encode((random.choice("abc"), random.randint(-1, 3)), {})

    def state(self, machine: ObjectMachine[Counter]) -> Hashable:
        """As Application."""
        return tuple(sorted(machine.object.counts.items()))


class SimulationTests(SynchronousTestCase):
    def test_seeds(self) -> None:
        """Crashes, snapshots and restores leave the same counts everywhere."""
        failed = first_failure(CounterApplication, range(1, 16))
        self.assertIsNone(failed, failed and failed.violation)
