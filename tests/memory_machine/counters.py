"""A small machine, and how it is replicated by hand."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed
from txraft.interfaces import IWorker
from txraft.memory_machine import MemoryMachine


class Counters:
    """Counts by name: "a" counts one more of a, "-a" takes a away, where there is one."""

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}

    def apply(self, command: bytes) -> bytes:
        """Count."""
        if command.startswith(b"-"):
            return b"%d" % self.counts.pop(command[1:])
        self.counts[command] = count = self.counts.get(command, 0) + 1
        return b"%d" % count

    def dump(self) -> Iterator[bytes]:
        """A chunk for each."""
        counts = dict(self.counts)
        for name, count in counts.items():
            yield b"%d %s" % (count, name)

    def load(self, chunks: Iterable[bytes]) -> None:
        """Anew."""
        parts = [chunk.partition(b" ") for chunk in chunks]
        self.counts = {name: int(count) for count, _, name in parts}


def command(index: int, data: bytes) -> Entry:
    return Entry(index, 1, EntryKind.COMMAND, data)


def results_of(machine: MemoryMachine, entries: Sequence[Entry]) -> list[bytes | CommandFailed]:
    """What the machine gives; it answers at once."""
    applied = machine.apply(entries)
    assert isinstance(applied.result, list)
    return applied.result


def count(machine: MemoryMachine, *names: bytes) -> list[bytes | CommandFailed]:
    """Apply these commands, after those before."""
    return results_of(machine, [command(index, name) for index, name in enumerate(names, machine.last_applied + 1)])


def outcome(deferred: "Deferred[Any]") -> Any:
    """Of one that has fired. Raises what it failed with."""
    outcomes: list[Any] = []
    deferred.addBoth(outcomes.append)
    if isinstance(outcomes[0], Failure):
        outcomes[0].raiseException()
    return outcomes[0]


def started(directory: Path, worker: IWorker, cluster_id: str = "ours") -> tuple[Counters, MemoryMachine]:
    """What a process has that starts in `directory`."""
    counters = Counters()
    return counters, MemoryMachine(counters, directory, cluster_id, worker)
