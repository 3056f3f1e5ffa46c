"""An IStateMachine out of three plain methods."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.logger import Logger
from zope.interface import implementer

from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed, ResultNotBytes, SnapshotFailed, StorageError, UnknownCommand, in_a_line
from txraft.interfaces import ISnapshot, IStateMachine, IWorker
from txraft.memory_machine.snapshot import StateSnapshot
from txraft.memory_machine.state_file import Kept, StateFile

ENTRY_SIZE = 100
"""Bytes that an entry counts beside its command, so that many short ones count as what they take in the log."""

RETRY_SIZE = 1 << 20
"""Bytes of entries after which a file is written again where that failed: each time, all of the machine is dumped. Or
an eighth of the last file's, where that is more."""


class PlainMachine(Protocol):
    """What is replicated, in memory. Nothing but commands changes it.

    It is deterministic: what `apply` gives, raises and changes follows from the commands so far, and is the same on
    every node. So it asks no clock, no random numbers and no files, does not depend on the order of a set, and takes
    nothing apart that is nested without bound: how deep is too deep for Python differs from call to call.
    """

    def apply(self, command: bytes, /) -> bytes:
        """Do what a command says, which may be any bytes; gives its result, some kilobytes at most. Called on the
        reactor's thread, and must not block.

        What it raises is the command's result: the proposer gets a CommandFailed with the exception's class and text,
        and all goes on (hazard C10). What it had changed by then stays changed, so it raises before it changes
        anything. Only these end the node: a MemoryError or a KeyboardInterrupt, which come on one node and not on
        others, and an UnknownCommand, which is of a later version."""

    def dump(self) -> Iterable[bytes]:
        """All that the machine holds, in chunks for `load`, as it is at this call: later commands are not to be in it,
        though they come while the chunks are read.

        It is called on the reactor's thread, where the first chunk is taken too, and all others on another thread. So
        it makes a copy first, shallow where what is in it is never changed in place, and encodes that chunk by chunk:

            def dump(self):
                counts = dict(self.counts)
                for name, count in counts.items():
                    yield f"{name} {count}".encode()

        A machine that is small gives a list. One of millions of objects cannot be copied within a heartbeat (40 to 80
        ms for a dict of half a million): it is better off with its data on disk, as an IStateMachine of its own."""

    def load(self, chunks: Iterable[bytes], /) -> None:
        """Let what `dump` gave, on this node or another, take the place of all that the machine holds.

        At the start it is called before the reactor runs, on a machine that is as it was made. Later, on a node that
        has fallen far behind, it is called on another thread than the reactor's; no other of the three is called
        meanwhile. Whoever reads the machine meanwhile sees it half loaded, unless it is built aside and put in place by
        one assignment at the end."""


@implementer(IStateMachine)
class MemoryMachine:
    """Replicates `machine`, which is kept in `directory`, the node's own, as part of the cluster `cluster_id`. Files
    are written and read on `worker`, which its owner stops once `close` has fired.

    To make one loads `machine` from its file, if there is one. That blocks, so it is done before the reactor runs.

    Raises CorruptLog where the file is damaged, WrongDirectory where it is of another cluster, and StorageError where
    it cannot be used for another reason; and where `machine.load` raises."""

    log = Logger()

    def __init__(self, machine: PlainMachine, directory: Path, cluster_id: str, worker: IWorker) -> None:
        self.last_applied = 0
        self._machine = machine
        self._file = StateFile(directory, cluster_id)
        self._worker = worker
        self._durable = 0
        """The last entry of which it is certain that the file has it."""
        self._size_to_come = 0
        """Bytes of entries after which the file is written anew."""
        self._alone = DeferredLock()
        """Of what uses the file."""
        self._restores = 0
        """That are under way, or wait for it."""
        self._closed = False
        kept = self._file.load()
        if kept is not None:
            self._load_machine()
            self._has_kept(kept)
            self.last_applied = kept.index

    def start(self) -> None:
        """As IStateMachine. There is nothing to do."""

    def check(self, command: bytes) -> None:
        """As IStateMachine. A plain machine takes any bytes: it has a result for them, or what it raises is one."""

    def apply(self, entries: Sequence[Entry]) -> "Deferred[list[bytes | CommandFailed]]":
        """As IStateMachine. Answers at once."""
        apply = self._machine.apply
        results: list[bytes | CommandFailed] = []
        size = 0
        for entry in entries:
            result: bytes | CommandFailed = b""
            if entry.kind is EntryKind.COMMAND:
                try:
                    result = apply(entry.data)
                    if not isinstance(result, bytes):
                        result = ResultNotBytes(result)
                except (MemoryError, KeyboardInterrupt, UnknownCommand):
                    raise
                except BaseException as error:  # SystemExit and CancelledError are as good as any other
                    result = CommandFailed.of(error)
            results.append(result)
            size += len(entry.data)
        self._size_to_come -= size + ENTRY_SIZE * len(entries)
        self.last_applied = entries[-1].index
        return succeed(results)

    def persist(self) -> "Deferred[int]":
        """As IStateMachine. Writes all of the machine, if it is time for that; otherwise it fires at once, with the
        same as the last time. Fails with SnapshotFailed, which is in the log."""
        return self._alone.run(self._persist) if self._alone.locked or self._is_time else succeed(self._durable)

    def snapshot(self) -> "Deferred[ISnapshot]":
        """As IStateMachine. It is the file: what has been applied since it was written is in the log."""
        return self._alone.run(self._snapshot)

    def restore(self, index: int, chunks: Iterable[bytes]) -> "Deferred[None]":
        """As IStateMachine. Fails with StorageError, also where `machine.load` raises, and with what `chunks` raise."""
        self._restores += 1
        return self._alone.run(self._restore, index, chunks)

    def close(self) -> "Deferred[None]":
        """As IStateMachine. Breaks off what is being written."""
        self._closed = True
        return self._alone.run(lambda: None)

    @property
    def _is_time(self) -> bool:
        """Whether enough has been applied to write the file anew."""
        return self._size_to_come <= 0 and self._durable < self.last_applied

    # What happens one at a time

    async def _persist(self) -> int:
        if self._is_time:
            await self._write()
        return self._durable

    async def _snapshot(self) -> ISnapshot:
        if self._file.kept is None:
            await self._write()
        kept = self._file.kept
        assert kept is not None
        return StateSnapshot(self._file, kept, await self._worker.run(self._file.open), self._worker)

    async def _restore(self, index: int, chunks: Iterable[bytes]) -> None:
        self._restores -= 1
        self._has_kept(await self._worker.run(self._replace, index, chunks))
        self.last_applied = index

    async def _write(self) -> None:
        """Write all of the machine, as it is now."""
        kept = self._file.kept
        self._size_to_come = max(RETRY_SIZE, 0 if kept is None else kept.size // 8)
        size_at_call = self._size_to_come
        try:
            chunks = self._dump()
            written = await self._worker.run(self._file.write, self.last_applied, chunks, self._goes_on)
        except SnapshotFailed as error:
            if isinstance(error.__cause__, OSError):
                self.log.error("{error}", error=error)
            elif self._goes_on():
                self.log.failure("{error}", error=error)
            raise
        self._has_kept(written, size_at_call - self._size_to_come)

    # The machine's own

    def _dump(self) -> Iterator[bytes]:
        """The chunks, of which the first has been taken. Raises SnapshotFailed, now or later, where `dump` raises."""
        chunks = self._chunks()
        first = next(chunks, None)
        return iter(()) if first is None else chain((first,), chunks)

    def _chunks(self) -> Iterator[bytes]:
        try:
            for chunk in self._machine.dump():
                if not isinstance(chunk, bytes):
                    raise TypeError(f"a chunk is {type(chunk).__name__}, not bytes")
                yield chunk
        except Exception as error:
            raise SnapshotFailed(
                f"the state machine cannot be kept, as its `dump` raised {in_a_line(error)}; until that is mended, the"
                " log grows"
            ) from error

    def _load_machine(self) -> None:
        try:
            self._machine.load(self._file.chunks())
        except StorageError:
            raise
        except Exception as error:
            raise StorageError(
                f"{self._file.path} is whole, and the state machine's `load` raised {in_a_line(error)}; start the"
                " program that wrote it, or one that can read it"
            ) from error

    def _replace(self, index: int, blocks: Iterable[bytes]) -> Kept:
        kept = self._file.replace(index, blocks)
        self._load_machine()
        return kept

    def _goes_on(self) -> bool:
        """Whether what is being written is of use still. On any thread."""
        return not self._closed and not self._restores

    def _has_kept(self, kept: Kept, size_since: int = 0) -> None:
        self._durable = kept.index
        self._size_to_come = kept.size - size_since
