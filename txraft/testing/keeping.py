"""At the end of a run, when nothing is wrong any more: whether the log can be cut off behind each state machine.

Otherwise it would grow without end, and nothing else would show: a run is short, and logs that are kept whole do.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from typing import Final

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txraft.core.messages import NodeId
from txraft.errors import ContractBroken
from txraft.interfaces import ISnapshot
from txraft.testing.application import SimulatedHome
from txraft.testing.machine import Machine
from txraft.testing.transcript import traceback_of
from txraft.testing.violation import Violation
from txraft.testing.watched_machine import WatchedMachine, made_by

BITE: Final = 16
"""Entries that may be left because a log is cut in bites: an eighth of what it keeps, or what the state machine was
given at once, which is little in a run."""


def _not_compacted(machine: Machine) -> str:
    """Why the log of a node that stands still is longer than it should be. Empty where it is not, or where something
    still needs it."""
    if under_way := machine.state_machine.under_way:
        return f"`{min(under_way)}` of node {machine.id}'s state machine has not fired"
    node, keeps = machine.node, machine.around.keeps
    start, last = node.view.first_index - 1, node.applied.index
    if node._snapshots.sending.needed_after() is not None or last - start <= 1.25 * keeps + BITE:
        return ""
    durable = machine.watcher.persisted
    if durable is not None and start >= min(durable, last - keeps) - BITE:
        return ""
    said = "has not been asked what is on disk" if durable is None else f"has {durable} on disk"
    return f"node {machine.id} keeps its log from {start} to {last}, with {keeps} to keep; its state machine {said}"


def keep(
    machines: Sequence[Machine], on_violation: Callable[[Violation], None], makes_others: bool
) -> Iterator[Callable[[], str]]:
    """The steps, each as what says why it is not done yet: every log is cut off, and then, if it `makes_others`, a new
    state machine is restored from a snapshot of each. All processes run."""
    for machine in machines:
        assert machine.process is not None
        machine.process.enter(machine.node._snapshots._compaction.consider)
    yield lambda: next(filter(None, map(_not_compacted, machines)), "")
    if makes_others:
        new_ids = count(len(machines) + 1)
        keepings = [_Keeping(machine, new_id, on_violation) for machine, new_id in zip(machines, new_ids, strict=False)]
        for each in keepings:
            each.begin()
        yield lambda: next(filter(None, (each.unfinished() for each in keepings)), "")


@define(eq=False)
class _Keeping:
    """Asks one state machine for everything that the log's end depends on, and makes another one of its snapshot. What
    is wrong goes to `_on_violation`."""

    _machine: Machine
    _new_id: NodeId
    """Of a node that there is not, whose state machine is the other one."""
    _on_violation: Callable[[Violation], None]
    _doing: str = field(init=False, default="`persist`")

    def begin(self) -> None:
        """Ask it. The process runs, and neither the node nor the state machine does anything."""
        process = self._machine.process
        assert process is not None
        process.enter(self._begin)

    def _begin(self) -> None:
        Deferred.fromCoroutine(self._keep()).addErrback(self._failed)

    def unfinished(self) -> str:
        """What has not been answered yet."""
        return f"{self._doing} of node {self._machine.id}'s state machine has not fired" if self._doing else ""

    async def _keep(self) -> None:
        machine = self._machine.state_machine
        await machine.persist()
        self._doing = "`snapshot`"
        snapshot = await machine.snapshot()
        self._doing = "reading the snapshot"
        chunks = await self._machine.home.worker.run(_read, snapshot)
        await snapshot.close()
        self._doing = "`restore`"
        await self._restore(snapshot.index, chunks)
        self._doing = ""

    async def _restore(self, index: int, chunks: Sequence[bytes]) -> None:
        """Let a new node's state machine have it."""
        around, home = self._machine.around, _beside(self._machine.home, self._new_id)
        with home.at_death:
            other = WatchedMachine(made_by(around.application, home), around.application.state, lambda _: None, iter)
            other.start()
            await other.restore(index, iter(chunks))
            if other.last_applied != index:
                raise Violation("Restore", f"`last_applied` is {other.last_applied} after a snapshot of {index}")
            known, found = around.judges.invariants.states.get(index), other.state()
        if known not in (None, found):
            raise Violation("Restore", f"at {index}, the state is {known}, and that of a new node with it {found}")

    def _failed(self, failure: Failure) -> None:
        who = f"node {self._machine.id}"
        if isinstance(failure.value, Violation):
            self._on_violation(failure.value)
        elif isinstance(failure.value, ContractBroken):
            self._on_violation(Violation("Contract", f"{who}: {failure.value}"))
        else:
            self._on_violation(Violation("Compaction", f"{who}: {self._doing} fails:\n{traceback_of(failure)}"))
        self._doing = ""


def _read(snapshot: ISnapshot) -> list[bytes]:
    chunks = list(snapshot.chunks())
    for chunk in chunks:
        if not isinstance(chunk, bytes):
            raise TypeError(f"a chunk is {type(chunk).__name__}, not bytes")
    return chunks


def _beside(home: SimulatedHome, new_id: NodeId) -> SimulatedHome:
    directory = home.directory.with_name(f"new-{new_id}")
    directory.mkdir()
    return evolve(home, node_id=new_id, directory=directory, kept={}, at_death=ExitStack())
