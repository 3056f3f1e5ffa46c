"""State machines that do not work, and that a run which keeps all of its log would pass: each is found at once."""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.testing.test_application import Page, PlainTallies, PlainTally, Tallies, Tally
from txraft.core.messages import Entry
from txraft.errors import CommandFailed, SnapshotFailed
from txraft.interfaces import ISnapshot
from txraft.node.compaction import Compaction
from txraft.testing.application import SimulatedHome
from txraft.testing.plan import ALL, plan_of
from txraft.testing.report import Report
from txraft.testing.seeds import first_failure
from txraft.testing.simulation import run_of


class RaisingDump(PlainTally):
    def dump(self) -> Iterable[bytes]:
        raise RuntimeError("boo")


class StrDump(PlainTally):
    def dump(self) -> Any:
        return [*self.counts]


class NoDump(PlainTally):
    def dump(self) -> Any:
        return None


class LossyDump(PlainTally):
    def dump(self) -> Iterable[bytes]:
        return ()


class StrResult(PlainTally):
    def apply(self, command: bytes) -> Any:
        return super().apply(command).decode()


class AsyncApply(PlainTally):
    async def apply(self, command: bytes) -> Any:  # type: ignore[override]  # which is what is wrong
        return super().apply(command)


class ShortApply(Tally):
    def apply(self, entries: Sequence[Entry]) -> "Deferred[list[bytes | CommandFailed]]":
        return super().apply(entries).addCallback(lambda results: results[1:])


class StrSnapshot(Tally):
    def snapshot(self) -> "Deferred[Any]":
        return succeed("a snapshot")


class NonePersist(Tally):
    def persist(self) -> "Deferred[Any]":
        return succeed(None)


class SilentA(PlainTally):
    """Counts, and forgets to say how many."""

    def apply(self, command: bytes) -> Any:
        counted = super().apply(command)
        return None if command == b"a" else counted


class RefusingTally(PlainTally):
    def apply(self, command: bytes) -> bytes:
        raise ValueError(command)


class SilentPersist(Tally):
    def persist(self) -> "Deferred[int]":
        return Deferred()


class FailingSnapshot(Tally):
    def snapshot(self) -> "Deferred[ISnapshot]":
        return fail(SnapshotFailed("boo"))


class HighSnapshot(Tally):
    def snapshot(self) -> "Deferred[ISnapshot]":
        return succeed(Page(self.last_applied + 2, self._encode()))


class ForgetfulRestore(Tally):
    """Leaves `last_applied` as it was."""

    def _restore(self, index: int, chunks: Iterable[bytes]) -> None:
        before = self.last_applied
        super()._restore(index, chunks)
        self.last_applied = before


class RaisingApply(Tally):
    def apply(self, entries: Sequence[Entry]) -> "Deferred[list[bytes | CommandFailed]]":
        return self._worker.run(self._raise, entries)

    def _raise(self, _: Sequence[Entry]) -> list[bytes | CommandFailed]:
        raise ValueError("boo")


class PlainApply(Tally):
    def apply(self, entries: Sequence[Entry]) -> Any:
        return [self._count(entry) for entry in entries]


def plainly(machine: type[PlainTally]) -> type[PlainTallies]:
    return type("Application", (PlainTallies,), {"kind": machine})


def of(machine: type[Tally]) -> type[Tallies]:
    return type("Application", (Tallies,), {"kind": machine})


class ListedTallies(Tallies):
    def state(self, machine: Tally) -> Any:
        return [machine.counts]


class ExitingTallies(Tallies):
    def command(self, random: Random) -> bytes:
        raise random.choice((SystemExit(3), asyncio.CancelledError()))


class RefusedTallies(Tallies):
    def command(self, random: Random) -> bytes:  # noqa: ARG002  an Application's
        return b"refuse"


class QuarrellingTallies(PlainTallies):
    kind = RefusingTally

    def command(self, random: Random) -> bytes:
        return b"%d" % random.randrange(7)


class NoTallies(Tallies):
    def machine(self, home: SimulatedHome) -> Any:  # noqa: ARG002  an Application's
        return None


class UnwrappedTallies(Tallies):
    def machine(self, home: SimulatedHome) -> Any:  # noqa: ARG002  an Application's
        return PlainTally()


class StrTallies(Tallies):
    def command(self, random: Random) -> Any:  # noqa: ARG002  an Application's
        return "a"


class KeepingTests(SynchronousTestCase):
    def found(self, application: Callable[[], Any], seeds: int = 3) -> Report:
        """The first run that breaks a rule, of those in which no log is compacted."""
        for seed in range(1, seeds + 1):
            report = run_of(evolve(plan_of(seed), keeps=ALL), transcript=True, application=application)
            if report.violation is not None:
                return report
        raise self.failureException("nothing is found")

    def assert_found(self, application: Callable[[], Any], *words: str) -> Report:
        report = self.found(application)
        for word in words:
            self.assertIn(word, str(report.violation))
        return report

    def test_dump(self) -> None:
        """What cannot be written is told with its traceback, and counted."""
        report = self.assert_found(plainly(RaisingDump), "Compaction: ", "in dump", "RuntimeError: boo")
        self.assertGreater(report.not_kept, 0)
        self.assertIn("RuntimeError: boo", "\n".join(report.lines))
        self.assert_found(plainly(StrDump), "Compaction: ", "a chunk is str, not bytes")
        self.assert_found(plainly(NoDump), "Compaction: ", "'NoneType' object is not iterable")
        self.assert_found(plainly(LossyDump), "Restore: ", "that of a new node with it")
        self.assertEqual(self.flushLoggedErrors(), [])  # the violation says it all

    def test_persist_and_snapshot(self) -> None:
        """In production the log would grow without end."""
        self.assert_found(of(SilentPersist), "Liveness: ", "`persist` of node 1's state machine has not fired")
        self.assert_found(of(FailingSnapshot), "Compaction: ", "`snapshot` fails", "SnapshotFailed: boo")
        self.assert_found(of(HighSnapshot), "Compaction: ", "takes a snapshot of ")
        violations = (
            run_of(evolve(plan_of(seed), keeps=2), application=of(HighSnapshot)).violation for seed in range(1, 20)
        )
        sent = next(str(violation) for violation in violations if "node goes on" in str(violation))
        self.assertIn("is the last that it was given; this is a bug in the state machine", sent)

    def test_log_that_is_not_cut(self) -> None:
        """It is long, and nobody asks what is on disk."""
        self.patch(Compaction, "consider", lambda _: None)
        violations = (run_of(plan).violation for seed in range(1, 50) if (plan := plan_of(seed)).keeps < 20)
        found = next(str(violation) for violation in violations if violation is not None)
        self.assertIn("Liveness: ", found)
        self.assertIn("its state machine has not been asked what is on disk", found)

    def test_restore(self) -> None:
        """`last_applied` is the snapshot's then."""
        self.assert_found(of(ForgetfulRestore), "Restore: `last_applied` is 0 after a snapshot of ")
        violations = (
            run_of(evolve(plan_of(seed), keeps=2), application=of(ForgetfulRestore)).violation for seed in range(1, 20)
        )
        node = next(str(violation) for violation in violations if "state machine of node" in str(violation))
        self.assertIn("has restored a snapshot of ", node)

    def test_commands_all_fail(self) -> None:
        """There is nothing to compare, and nothing works: the commonest reasons come first."""
        report = self.assert_found(RefusedTallies, "come to 'no'")
        self.assertIn(
            f"Commands: not one of {report.failed} commands succeeds: {report.failed} ", str(report.violation)
        )
        report = self.assert_found(QuarrellingTallies, "; 2 other reasons")
        counts = [int(times) for times in re.findall(r"(\d+) come to .the command failed: ", str(report.violation))]
        self.assertEqual((len(counts), counts), (5, sorted(counts, reverse=True)))

    def test_results(self) -> None:
        """One that is not bytes is never meant, though all other commands succeed."""
        for machine, kind in ((StrResult, "str"), (AsyncApply, "coroutine"), (SilentA, "NoneType")):
            self.assert_found(plainly(machine), "Commands: b", f"its result is {kind}, not bytes")

    def test_traceback(self) -> None:
        """That of the state machine's own code, in the violation and in the transcript."""
        report = self.assert_found(of(RaisingApply), "The node goes on: ", "ValueError: boo", "in _raise")
        self.assertIn("in _raise", "\n".join(report.lines))

    def test_contract(self) -> None:
        """What is no state machine, or gives what none does: one line says so."""
        for application, what in (
            (of(PlainApply), "the state machine's `apply` gives list, not a Deferred"),
            (of(ShortApply), r"the state machine's `apply` gives \d+ results for \d+ entries"),
            (
                of(StrSnapshot),
                "the state machine's `snapshot` fires with str, not an ISnapshot: it has no chunks, close",
            ),
            (of(NonePersist), "the state machine's `persist` fires with NoneType, not an index"),
            (StrTallies, "Commands: `Application.command` gives str, not bytes: 'a'"),
            (NoTallies, "State machine: `Application.machine` gives NoneType, not an IStateMachine: it has no apply, "),
            (UnwrappedTallies, "not an IStateMachine: .*; wrap it in `txraft.memory_machine.MemoryMachine`"),
        ):
            found = str(self.found(application).violation)
            self.assertRegex(found, what)
            self.assertEqual(found.count("\n"), 0, found)

    def test_state_that_changes(self) -> None:
        """It would seem to differ from what others hold later."""
        self.assert_found(ListedTallies, "State: `Application.state` gives a list", "unhashable")

    def test_exit(self) -> None:
        """What would end the process, or the task, that the run is in."""
        self.assert_found(ExitingTallies, "Exception: ", "in command")

    def test_smallest(self) -> None:
        """One call runs the seeds, and shrinks what it finds."""
        report = first_failure(of(ForgetfulRestore), range(1, 5))
        assert report is not None
        assert report.violation is not None
        self.assertEqual((report.violation.rule, report.plan.faults, report.plan.clients), ("Restore", (), 1))
        self.assertIn("VIOLATED", report.lines[-1])
        self.assertIsNone(first_failure(Tallies, range(1, 3)))
