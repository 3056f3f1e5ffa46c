"""Anything may happen to a machine, in any order, and it holds what its commands say."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.memory_machine.counters import outcome, results_of, started
from tests.storage.worker import HandWorker, InlineWorker
from txraft.core.messages import Entry, EntryKind
from txraft.errors import SnapshotFailed
from txraft.testing.quick_disk import quick_directory

NAMES = st.sampled_from([b"a", b"b", b"c" * 300])
COMMANDS = st.one_of(st.none(), NAMES, NAMES.map(lambda name: b"-" + name))


def expected(entries: Sequence[Entry]) -> tuple[dict[bytes, int], list[str]]:
    """What a machine holds that has applied these, and what each of them gives, as text."""
    counts: Counter[bytes] = Counter()
    results = []
    for entry in entries:
        taken = entry.data.removeprefix(b"-")
        if entry.kind is not EntryKind.COMMAND:
            results.append(str(b""))
        elif taken == entry.data:
            counts[taken] += 1
            results.append(str(b"%d" % counts[taken]))
        elif taken in counts:
            results.append(str(b"%d" % counts.pop(taken)))
        else:
            results.append(f"the command failed: KeyError: {taken!r}")
    return counts, results


class OneNode(RuleBasedStateMachine):
    """A machine as a driver uses it. The log has everything that was ever committed."""

    def __init__(self) -> None:
        super().__init__()
        temporary = quick_directory()
        self.teardown = temporary.cleanup  # type: ignore[method-assign]  # Hypothesis calls it at the end
        self.directory = Path(temporary.name)
        self.log: list[Entry] = []
        self.durable = 0
        self.begin()

    def begin(self) -> None:
        """A process starts."""
        self.worker = HandWorker()
        self.counters, self.machine = started(self.directory / "node", self.worker)
        self.persisting = self.restoring = False

    def commit(self, commands: Sequence[bytes | None]) -> None:
        for command in commands:
            kind = EntryKind.NOOP if command is None else EntryKind.COMMAND
            self.log.append(Entry(len(self.log) + 1, 1, kind, command or b""))

    def apply(self) -> None:
        """Everything that is committed."""
        _, results = expected(self.log)
        first = self.machine.last_applied
        if entries := self.log[first:]:
            assert [str(result) for result in results_of(self.machine, entries)] == results[first:]

    @precondition(lambda self: not self.restoring)
    @rule(commands=st.lists(COMMANDS, min_size=1))
    def new_commands(self, commands: list[bytes | None]) -> None:
        self.commit(commands)
        self.apply()

    @precondition(lambda self: not self.persisting)
    @rule()
    def persist(self) -> None:
        self.persisting = True
        self.machine.persist().addBoth(self.persisted)

    def persisted(self, durable: int | Failure) -> None:
        self.persisting = False
        if isinstance(durable, Failure):
            assert durable.check(SnapshotFailed)
            assert self.restoring
        else:
            assert self.durable <= durable <= len(self.log)
            self.durable = durable

    @precondition(lambda self: self.worker.waiting)
    @rule()
    def work(self) -> None:
        self.worker.work_once()

    @rule()
    def snapshot(self) -> None:
        """What it holds is what the log says, up to its index."""
        made = self.machine.snapshot()
        self.worker.work()
        snapshot = outcome(made)
        assert snapshot.index >= self.durable
        counters, machine = started(self.directory / "other", InlineWorker())
        outcome(machine.restore(snapshot.index, snapshot.chunks()))
        assert counters.counts == expected(self.log[: snapshot.index])[0]
        snapshot.close()
        shutil.rmtree(self.directory / "other")

    @precondition(lambda self: not self.restoring)
    @rule(commands=st.lists(COMMANDS, min_size=1))
    def restore(self, commands: list[bytes | None]) -> None:
        """The others went on meanwhile, and cut off their logs."""
        self.commit(commands)
        _, machine = started(self.directory / "leader", InlineWorker())
        results_of(machine, self.log)
        snapshot = outcome(machine.snapshot())
        self.restoring = True
        self.machine.restore(snapshot.index, list(snapshot.chunks())).addCallback(self.restored)
        snapshot.close()
        shutil.rmtree(self.directory / "leader")

    def restored(self, _: None) -> None:
        self.restoring = False
        assert self.machine.last_applied == len(self.log)

    @rule()
    def crash(self) -> None:
        """The next process has what was durable, or more, and comes to the same by the log."""
        self.begin()
        assert self.durable <= self.machine.last_applied <= len(self.log)
        self.consistent()
        self.apply()

    @invariant()
    def consistent(self) -> None:
        """It holds what everything up to its index has done (hazard S5)."""
        if not self.restoring:
            assert self.counters.counts == expected(self.log[: self.machine.last_applied])[0]


class PropertyTests(SynchronousTestCase):
    def test_one_node(self) -> None:
        """hazards C10, S5: commands that raise, files that are written and restored, crashes."""
        run_state_machine_as_test(OneNode, settings=settings(max_examples=50, stateful_step_count=30))
