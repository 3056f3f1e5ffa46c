"""A state machine of one's own, simulated: what is right passes, and what is wrong is found."""

import json
import sqlite3
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from random import Random

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed
from txraft.interfaces import ISnapshot, IStateMachine
from txraft.memory_machine import MemoryMachine
from txraft.testing.application import Application, SimulatedHome
from txraft.testing.history import Operation
from txraft.testing.plan import plan_of
from txraft.testing.report import Report
from txraft.testing.simulation import run_of
from txraft.testing.violation import Violation


@implementer(ISnapshot)
@frozen
class Page:
    """A snapshot of a tally."""

    index: int
    data: bytes
    size: None = None

    def chunks(self) -> Iterator[bytes]:
        """As ISnapshot."""
        for start in range(0, len(self.data), 10):
            yield self.data[start : start + 10]

    def close(self) -> "Deferred[None]":
        """As ISnapshot."""
        return succeed(None)


@implementer(IStateMachine)
class Tally:
    """Counts how often each command came, in a file. It refuses some."""

    def __init__(self, home: SimulatedHome) -> None:
        self._file = home.directory / "tally.json"
        self._worker = home.worker
        self.last_applied = 0
        self.counts: dict[str, int] = {}
        if self._file.exists():
            self.last_applied, self.counts = json.loads(self._file.read_bytes())

    def start(self) -> None:
        """As IStateMachine."""

    def close(self) -> "Deferred[None]":
        """As IStateMachine."""
        return succeed(None)

    def check(self, command: bytes) -> None:
        """As IStateMachine: it knows any."""

    def apply(self, entries: Sequence[Entry]) -> "Deferred[list[bytes | CommandFailed]]":
        """As IStateMachine."""
        return succeed([self._count(entry) for entry in entries])

    def _count(self, entry: Entry) -> bytes | CommandFailed:
        self.last_applied = entry.index
        if entry.kind is not EntryKind.COMMAND:
            return b""
        if entry.data == b"refuse":
            return CommandFailed("no")
        name = entry.data.decode()
        self.counts[name] = self.counts.get(name, 0) + 1
        return b"%d" % self.counts[name]

    def persist(self) -> "Deferred[int]":
        """As IStateMachine."""
        return self._worker.run(self._persist, self._encode(), self.last_applied)

    def _persist(self, data: bytes, index: int) -> int:
        written = self._file.with_suffix(".new")
        written.write_bytes(data)
        written.rename(self._file)
        return index

    def snapshot(self) -> "Deferred[ISnapshot]":
        """As IStateMachine."""
        return succeed(Page(self.last_applied, self._encode()))

    def restore(self, index: int, chunks: Iterable[bytes]) -> "Deferred[None]":
        """As IStateMachine."""
        return self._worker.run(self._restore, index, chunks)

    def _restore(self, index: int, chunks: Iterable[bytes]) -> None:
        data = b"".join(chunks)
        self.last_applied, self.counts = json.loads(data)
        self._persist(data, index)

    def _encode(self) -> bytes:
        return json.dumps([self.last_applied, self.counts]).encode()


class Tallies(Application):
    """The application."""

    kind: Callable[[SimulatedHome], Tally] = Tally

    def machine(self, home: SimulatedHome) -> Tally:
        """As Application."""
        return self.kind(home)

    def command(self, random: Random) -> bytes:
        """As Application."""
        return random.choice((b"a", b"b", b"c", b"refuse"))

    def state(self, machine: Tally) -> Hashable:
        """As Application."""
        return machine.last_applied, *sorted(machine.counts.items())


class ForgetfulTally(Tally):
    """Restores what it likes."""

    def _restore(self, index: int, chunks: Iterable[bytes]) -> None:
        super()._restore(index, chunks)
        self.counts.pop("a", None)


class LocalTally(Tally):
    """Counts otherwise where it lives in another directory."""

    def __init__(self, home: SimulatedHome) -> None:
        super().__init__(home)
        self._place = home.directory

    def _count(self, entry: Entry) -> bytes | CommandFailed:
        result = super()._count(entry)
        return CommandFailed(f"in {self._place.name}") if isinstance(result, CommandFailed) else result


class JudgingTallies(Tallies):
    """It has a rule that nothing fulfils."""

    def judge(self, operations: Iterable[Operation]) -> None:
        """As Application. Of bare commands there is no call to judge."""
        raise Violation("Tallies", f"{len([*operations])} calls")


class ForgettingTallies(Tallies):
    kind = ForgetfulTally


class LocalTallies(Tallies):
    kind = LocalTally


class LazyTally(Tally):
    """Commits now and then, and holds the database's lock in between."""

    def __init__(self, home: SimulatedHome) -> None:
        self._database = database = sqlite3.connect(home.directory / "tally.sqlite", timeout=0, isolation_level=None)
        home.at_death.callback(database.close)
        database.execute("CREATE TABLE IF NOT EXISTS tally (data)")
        super().__init__(home)
        for (data,) in database.execute("SELECT data FROM tally"):
            self.last_applied, self.counts = json.loads(data)

    def _count(self, entry: Entry) -> bytes | CommandFailed:
        result = super()._count(entry)
        self._write()
        return result

    def _write(self) -> None:
        if not self._database.in_transaction:
            self._database.execute("BEGIN IMMEDIATE")
        self._database.execute("DELETE FROM tally")
        self._database.execute("INSERT INTO tally VALUES (?)", (self._encode(),))

    def _persist(self, _: bytes, index: int) -> int:
        self._write()
        self._database.execute("COMMIT")
        return index


class LazyTallies(Tallies):
    kind = LazyTally


class BoastfulTally(Tally):
    """Says that it has written what it has not."""

    def _persist(self, _: bytes, index: int) -> int:
        return index


class HastyTally(Tally):
    """Reads a snapshot where it is handed in."""

    def restore(self, index: int, chunks: Iterable[bytes]) -> "Deferred[None]":
        return super().restore(index, list(chunks))


class HastyTallies(Tallies):
    kind = HastyTally


class BoastfulTallies(Tallies):
    kind = BoastfulTally


class PlainTally:
    """The same in memory, in three plain methods."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def apply(self, command: bytes) -> bytes:
        if command == b"refuse":
            raise ValueError(f"not {self!r}")
        name = command.decode()
        self.counts[name] = self.counts.get(name, 0) + 1
        return b"%d" % self.counts[name]

    def dump(self) -> Iterable[bytes]:
        counts = dict(self.counts)
        for name, count in counts.items():
            yield f"{name} {count}".encode()

    def load(self, chunks: Iterable[bytes]) -> None:
        words = [chunk.decode().split() for chunk in chunks]
        self.counts = {name: int(count) for name, count in words}


class CarelessTally(PlainTally):
    """Does not make a copy before it goes on."""

    def dump(self) -> Iterable[bytes]:
        for name in "abc":
            yield f"{name} {self.counts.get(name, 0)}".encode()


class PlainTallies(Application):
    """The application, on the adapter."""

    kind = PlainTally

    def __init__(self) -> None:
        self._tallies: dict[MemoryMachine, PlainTally] = {}

    def machine(self, home: SimulatedHome) -> MemoryMachine:
        """As Application."""
        tally = self.kind()
        machine = MemoryMachine(tally, home.directory, "simulated", home.worker)
        self._tallies[machine] = tally
        return machine

    def command(self, random: Random) -> bytes:
        """As Application."""
        return random.choice((b"a", b"b", b"c", b"refuse"))

    def state(self, machine: MemoryMachine) -> Hashable:
        """As Application."""
        counts = self._tallies[machine].counts
        return machine.last_applied, *sorted(item for item in counts.items() if item[1])


class CarelessTallies(PlainTallies):
    kind = CarelessTally


class ApplicationTests(SynchronousTestCase):
    def runs(self, application: Callable[[], Application], seeds: int) -> Iterator[Report]:
        """Runs in which logs are compacted."""
        for seed in range(1, seeds + 1):
            yield run_of(evolve(plan_of(seed), keeps=2), application=application)

    def found(self, application: Callable[[], Application], seeds: int) -> str:
        """The first rule that is broken."""
        violations = (report.violation for report in self.runs(application, seeds) if report.violation is not None)
        violation = next(violations, None)
        return violation.rule if violation is not None else "none"

    def test_passes(self) -> None:
        """What does as it should passes, and clients are served."""
        for application, seeds in ((Tallies, 10), (PlainTallies, 5), (LazyTallies, 5)):
            for report in self.runs(application, seeds):
                self.assertIsNone(report.violation, f"seed {report.plan.seed}: {report.violation}")
                self.assertGreater(report.done, 10)

    def test_rule_of_its_own(self) -> None:
        """It judges what clients saw."""
        self.assertEqual(self.found(JudgingTallies, 1), "Tallies")

    def test_restore_that_forgets(self) -> None:
        """States are compared at equal indexes, also after a snapshot."""
        self.assertEqual(self.found(ForgettingTallies, 20), "State Machine Safety")

    def test_results_that_differ(self) -> None:
        """hazard C10: a command fails alike on every node."""
        self.assertEqual(self.found(LocalTallies, 5), "State Machine Safety")

    def test_persist_that_lies(self) -> None:
        """hazard S18: what is compacted was on disk, it was said, and after a crash it is not."""
        self.assertEqual(self.found(BoastfulTallies, 20), "Durability")

    def test_restore_that_blocks(self) -> None:
        """hazard S11: a large snapshot is read off the reactor."""
        self.assertEqual(self.found(HastyTallies, 20), "Reactor")

    def test_dump_that_does_not_copy(self) -> None:
        """Commands go on while what a machine in memory dumps is written (hazard S5). Such a snapshot is seen where it
        is checked, or where a node has it."""
        self.assertIn(self.found(CarelessTallies, 20), ("Restore", "State Machine Safety"))
