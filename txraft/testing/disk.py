"""Disks: writes take time, and a crash, a fault or a full disk may end them.

A save is one transaction and one is under way at a time (`IStorage`), so what a crash leaves of the save that was under
way is all of it or nothing: chance decides. What came before it stays, whatever the crash. Only an operator may put
something else in its place: nothing at all, or an older copy (hazard S6).
"""

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from txraft.core.configuration import Configuration
from txraft.core.messages import Entry, NodeId
from txraft.core.ready import Save, TermAndVote
from txraft.errors import WriteFailed
from txraft.file_names import LOG
from txraft.interfaces import Incarnation, IStorage, Stored
from txraft.storage.identity import BITS, Bootstrap, History
from txraft.storage.memory import MemoryDisk, MemoryStorage
from txraft.storage.memory_snapshots import MemorySnapshotDisk
from txraft.storage.merging import merge
from txraft.storage.raft_file import RaftFile
from txraft.testing.schedule import Process
from txraft.testing.violation import Violation

if TYPE_CHECKING:
    from txraft.testing.work import SimulatedWorker

FAST = (0.0001, 0.002)
"""Seconds that a write takes, from and to."""


@define(eq=False)
class Synced:
    """What survives a crash."""

    directory: Path | None = None
    """Where what is real is kept: of a state machine that has files, and the log file, if it has one."""
    log: MemoryDisk = field(factory=MemoryDisk)
    snapshots: MemorySnapshotDisk = field(factory=MemorySnapshotDisk)
    application: dict[str, Any] = field(factory=dict)
    """What the state machine keeps beside its files."""
    held: int = 0
    """Everything up to here the state machine has, it says."""
    history: History | None = None
    """What was drawn for it; None before its first start, and where nobody asks."""
    peers: dict[NodeId, Incarnation] = field(factory=dict)
    """Which directories the other nodes had."""

    @property
    def starts(self) -> int:
        """How often a process was started on it."""
        return 0 if self.history is None else self.history.incarnation.starts

    def configuration(self, bootstrap: Configuration) -> Configuration:
        """The membership that a process would begin with, by its log, or else by `bootstrap`."""
        return MemoryStorage(evolve(self.log), bootstrap).load().configuration

    def empty(self) -> "Synced":
        """What is in its place when all of it was removed."""
        return Synced(self._new_directory())

    def copy(self) -> "Synced":
        """What somebody copies of it while no process runs."""
        directory = self._new_directory()
        if self.directory is not None and directory is not None and self.directory.exists():
            shutil.copytree(self.directory, directory, dirs_exist_ok=True)
        return evolve(
            self,
            directory=directory,
            log=evolve(self.log),
            snapshots=MemorySnapshotDisk(self.snapshots.received.copy()),
            application=deepcopy(self.application),
            peers=self.peers.copy(),
        )

    def _new_directory(self) -> Path | None:
        return None if self.directory is None else Path(mkdtemp(dir=self.directory.parent))


@define(eq=False)
class Disk:
    """What survives a crash, and how the disk behaves."""

    random: Random
    synced: Synced = field(factory=Synced)
    has_log_file: bool = False
    """Whether the real log file is kept beside `synced`. A node that starts must find the same in both."""
    bootstrap: Configuration = field(factory=lambda: Configuration(voters=()))
    """The members with which a new directory begins."""
    earlier: Synced | None = None
    """A copy of what was there before the last start."""
    original: Synced | None = None
    """What was there, while something that has forgotten of it is in its place."""
    on_synced: Callable[[Sequence[Save], TermAndVote, list[Entry]], None] = lambda *_: None
    """Called with what has become durable, and with the term and vote, and the entries, that it took the place of."""
    delay: tuple[float, float] = FAST
    fails: bool = False
    """The next write fails."""
    hangs: bool = False
    """The write that is under way, or the next one, does not end, until `go_on`."""
    full: bool = False
    """Every write fails, until there is room again."""
    failures: int = 0
    under_way: tuple[Save, ...] | None = None
    at_work: "list[SimulatedWorker]" = field(factory=list)
    """Who is doing something on it, beside the saves."""
    work_delay: tuple[float, float] = FAST
    """Seconds that anything else takes that goes to it: what a worker does."""
    has_no_room: bool = False
    """There is no room for snapshots, though for the log."""
    _file: RaftFile | None = None
    _ends: list[Callable[[], None]] = field(factory=list)
    """The ends of writes, while the disk hangs."""

    def load(self) -> Stored:
        """What a process finds when it starts. Raises Violation."""
        self.close()
        synced, directory = self.synced, self.synced.directory
        if directory is not None:
            directory.mkdir(exist_ok=True)
        stored = MemoryStorage(synced.log, self.bootstrap).load()
        if directory is not None and self.has_log_file:
            self._file = RaftFile(directory / LOG, Bootstrap(0, "simulation", self.bootstrap), _connect)
            found = self._file.load()
            self._file.open()
            if found != stored:
                raise Violation("Storage", f"the log file has {found}, and should have {stored}")
            if self._file.peers != synced.peers:
                raise Violation("Storage", f"the log file has met {self._file.peers}, and should have {synced.peers}")
        return stored

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close(failed=True)

    def has(self, index: int, term: int) -> bool:
        """Whether the entry (index, term), which is committed where a log does not have it any more, is safe here."""
        log = (self.original or self.synced).log
        return index < log.start or log.term_at(index) == term

    def whole_snapshots(self) -> set[tuple[int, int]]:
        """Index and term of the snapshots that were received and are whole."""
        return {(snapshot.index, snapshot.term) for snapshot in self.synced.snapshots.received}

    def sync(self) -> None:
        """What is under way becomes durable."""
        saves, self.under_way = self.under_way, None
        if saves is None:
            return
        log = self.synced.log
        before, entries, save = log.term_and_vote, log.entries, merge(saves)
        MemoryStorage(log).save([save]).addErrback(lambda failure: failure.raiseException())
        if self._file is not None:
            self._file.write(save)
        self.on_synced(saves, before, entries)

    def may_sync(self) -> None:
        """What is under way becomes durable, or is lost, by chance."""
        if self.under_way is not None and self.random.random() < 0.5:
            self.sync()
        self.under_way = None

    def count_start(self, random: Random) -> None:
        """A process starts on it, of which others are to hear: bits are drawn, and kept, as `RaftFile` does."""
        if self.original is None:
            self.earlier = self.synced.copy()
        history = self.synced.history or History(random.randbytes(BITS))
        self.synced.history = evolve(history, starts=history.starts + random.randbytes(BITS))

    def meet(self, peer: NodeId, incarnation: Incarnation) -> None:
        """Which directory another node has becomes durable. Raises WriteFailed where the disk fails, or is full."""
        self.require_room()
        self.synced.peers[peer] = incarnation
        if self._file is not None:
            self._file.meet(peer, incarnation)

    def put_in_place(self, other: Synced) -> None:
        """While no process runs: what has forgotten is in the place of what was there."""
        self.original, self.synced = self.synced, other

    def forget(self, peer: NodeId) -> None:
        """While no process runs: what is known of another node's directory is forgotten, as `txraft forget` does."""
        self.synced.peers.pop(peer, None)
        if self._file is not None:
            self._file.forget(peer)

    def lose(self) -> Synced:
        """While no process runs: what was there is gone for good, and nothing in its place. Gives back what it was, in
        case that it is found again."""
        lost, self.original, self.synced = self.original or self.synced, None, self.synced.empty()
        return lost

    def put_back(self) -> None:
        """While no process runs: what was there is there again."""
        if self.original is not None:
            self.synced, self.original = self.original, None

    def require_room(self) -> None:
        """Something beside the log is written. Raises WriteFailed where the disk fails, or is full."""
        if self.fails or self.full:
            self.fails = False
            self.failures += 1
            raise WriteFailed("the simulated disk is " + ("full" if self.full else "broken"))

    def finish(self, end: Callable[[], None]) -> None:
        """A write has had its time: call `end`, now or when the disk goes on."""
        if self.hangs:
            self._ends.append(end)
        else:
            end()

    def go_on(self) -> None:
        """Hang no longer."""
        self.hangs = False
        ends, self._ends = self._ends, []
        for end in ends:
            end()

    def lose_power(self) -> None:
        """The process, or the machine, stops in the middle of whatever it is doing."""
        self.may_sync()
        self._ends.clear()
        at_work, self.at_work = self.at_work, []
        for worker in at_work:
            worker.die()


@implementer(IStorage)
@define(eq=False)
class DiskStorage:
    """The `IStorage` of one process on a disk."""

    disk: Disk
    process: Process
    may_act: Callable[[], bool]
    """Whether the process still lives, now that it starts to write."""
    may_work: Callable[[], bool]
    """The same, where the log is to start elsewhere."""

    def load(self) -> Stored:
        """As IStorage."""
        return self.disk.load()

    def save(self, saves: Sequence[Save]) -> "Deferred[None]":
        """As IStorage. A dead process's saves never happen."""
        done: Deferred[None] = Deferred()
        may_write = self.may_work if any(save.log_start for save in saves) else self.may_act
        if may_write():
            assert self.disk.under_way is None, "one save at a time"
            self.disk.under_way = tuple(saves)
            delay = self.disk.random.uniform(*self.disk.delay)
            self.process.schedule.after(delay, self.disk.finish, partial(self.process.enter, self._written, done))
        return done

    def close(self) -> "Deferred[None]":
        """As IStorage."""
        return succeed(None)

    def _written(self, done: "Deferred[None]") -> None:
        disk = self.disk
        self.process.schedule.steps += 1
        try:
            disk.require_room()
        except WriteFailed:
            disk.may_sync()  # a write that failed may be there all the same
            done.errback()
        else:
            disk.sync()
            done.callback(None)


def _connect(path: Path) -> sqlite3.Connection:
    """Quickly: it is not the machine that loses its power."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = MEMORY")
    connection.execute("PRAGMA synchronous = OFF")
    return connection
