"""What nodes take while they are measured, seen from outside: memory, disk, the pauses of a reactor, growth."""

import shutil
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.task import LoopingCall

from tests.bench.connections import Connection
from tests.bench.load import STAT, Machine, cpu_seconds, number

MIB: Final = 1024 * 1024
LOOK: Final = 0.01
"""Seconds between two questions to a reactor: one costs txraft some 150 µs, and so all of them 1.5 % of a core."""
LONG: Final = 0.05
"""Seconds from which a pause is a long one."""
SETTLED: Final = 4
"""Growth is judged without the first of so many equal parts, in which what is bounded fills up."""
FEWEST: Final = 6
"""Samples from which it is judged."""
KEPT: Final = 0.05
"""Of what is written: where more stays for each write, it is not bounded."""


@frozen
class Taken:
    """What a node takes, in bytes."""

    rss: int
    """Memory. Pages of files that are mapped count: etcd maps its data, txraft none."""
    anonymous: int
    """Memory without such pages."""
    peak: int
    """The most memory since the process started."""
    data: int
    """Its data directory, as the file system counts it."""

    @classmethod
    def of(cls, pid: int, directory: Path) -> "Taken":
        """A node that runs."""
        return cls.read(Path(f"/proc/{pid}/status").read_text(), size_of(directory))

    @classmethod
    def read(cls, status: str, data: int) -> "Taken":
        """From the text of /proc/PID/status."""
        rss, anonymous, peak = (
            int(number(rf"{name}:\s+(\d+) kB", status)) * 1024 for name in ("VmRSS", "RssAnon", "VmHWM")
        )
        return cls(rss, anonymous, peak, data)

    @classmethod
    def most(cls, several: Iterable["Taken"]) -> "Taken":
        """Of each figure by itself, the greatest; zeros of none."""
        rows = [(each.rss, each.anonymous, each.peak, each.data) for each in several]
        return cls(*(max(column) for column in zip(*rows, strict=True))) if rows else cls(0, 0, 0, 0)


@frozen
class Roles:
    """What the nodes of a cluster take."""

    leader: Taken
    follower: Taken
    """Of each figure, the greatest of all followers."""

    def sizes(self) -> list[int]:
        """In the order of SIZES."""
        return [self.leader.rss, self.follower.rss, self.leader.data, self.follower.data]


SIZES: Final = ("memory of the leader", "memory of a follower", "data of the leader", "data of a follower")
"""What is looked at where something grows."""


def roles(system: Any, leader: Any) -> Roles:
    """Of the nodes that run."""
    others = [node for node in system.nodes if node is not leader and system.is_running(node)]
    taken = {node.pid: Taken.of(node.pid, system.data(node)) for node in [leader, *others]}
    return Roles(taken[leader.pid], Taken.most(taken[node.pid] for node in others))


def size_of(directory: Path) -> int:
    """What the files below it take on the disk, in bytes."""
    total = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):  # it may be gone by now
            found = path.lstat()
            total += found.st_blocks * 512
    return total


def room(directory: Path) -> int:
    """Free bytes on the disk."""
    return shutil.disk_usage(directory).free


def mib(size: float) -> str:
    """For a table."""
    return f"{size / MIB:.1f}"


def slope(at: Sequence[float], sizes: Sequence[float]) -> float | None:
    """Growth per unit of `at`, by least squares, without the first quarter; None where there are too few samples."""
    start = at[0] + (at[-1] - at[0]) / SETTLED if at else 0
    settled = [(x, y) for x, y in zip(at, sizes, strict=True) if x >= start]
    if len(settled) < FEWEST:
        return None
    return statistics.linear_regression(*zip(*settled, strict=True)).slope


def verdict(growth: float | None, written: int) -> str:
    """Whether a size that grows by `growth` bytes a write of `written` bytes is bounded."""
    if growth is None:
        return "too few samples"
    return "bounded" if growth < KEPT * written else "not bounded"


@define
class Others:
    """What part of the machine others had since this was made."""

    pids: Sequence[int]
    _before: Machine = field(init=False)
    _own: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._before, self._own = Machine.read(STAT.read_text()), self._used()

    def share(self) -> float:
        """From 0 to 1. CPU time of nodes that have ended meanwhile, and of curl, counts as others'."""
        return Machine.read(STAT.read_text()).share_of_others(self._before, self._used() - self._own)

    def _used(self) -> float:
        used = time.process_time()
        for pid in self.pids:
            with suppress(FileNotFoundError):
                used += cpu_seconds(pid)
        return used


@frozen
class Scheduled:
    """What a thread has had of the processors since it started, in seconds."""

    ran: float
    waited: float
    """Ready to run, and without a processor."""

    @classmethod
    def of(cls, pid: int) -> "Scheduled | None":
        """The main thread of a process, which a reactor runs in; None where the system does not tell."""
        try:
            return cls.read(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text())
        except OSError:
            return None

    @classmethod
    def read(cls, text: str) -> "Scheduled":
        """From the text of schedstat."""
        ran, waited, _slices = map(int, text.split())
        return cls(ran / 1e9, waited / 1e9)


@frozen
class Pause:
    """The time that an answer took, and what the thread that answers did in it; all in seconds."""

    took: float = 0.0
    ran: float | None = None
    waited: float | None = None

    @property
    def slept(self) -> float | None:
        """It waited for neither: for the GIL, a lock or a disk, or had nothing to do."""
        return None if self.ran is None or self.waited is None else max(0.0, self.took - self.ran - self.waited)

    def __str__(self) -> str:
        if self.ran is None or self.waited is None:
            return f"{self.took * 1000:.0f} ms"
        parts = [f"{name} {each * 1000:.0f}" for name, each in (("ran", self.ran), ("waited", self.waited))]
        return f"{self.took * 1000:.0f} ms ({', '.join(parts)}, slept {(self.slept or 0) * 1000:.0f})"


@define(eq=False)
class Pauses:
    """Ask a node something that it answers at once, every LOOK seconds on one connection, whether or not the question
    before has been answered. While its reactor does something else, none is.

    It sees a pause of L as one of L - LOOK to L, and more where answers queue up behind it. A process that the machine
    has no processor for pauses, too: `Pause.waited`.
    """

    clock: Any
    connection: Connection
    question: bytes
    pid: int | None
    """Of the process whose main thread answers; None where there is no such thread."""
    longest: Pause = field(factory=Pause, init=False)
    long: int = field(default=0, init=False)
    """Questions that were answered after LONG or more."""
    count: int = field(default=0, init=False)
    """Questions that were answered."""
    lateness: float = field(default=0.0, init=False)
    """The longest, in seconds, by which this process itself was late to ask. Below it, nothing can be told."""
    _last: float | None = field(default=None, init=False)
    _loop: LoopingCall = field(init=False)

    def start(self) -> None:
        """Begin to ask."""
        self._loop = LoopingCall(self._ask)
        self._loop.clock = self.clock
        self._loop.start(LOOK)

    def stop(self) -> None:
        """And close the connection."""
        if self._loop.running:
            self._loop.stop()
        self.connection.close()

    def again(self) -> None:
        """Forget what was seen."""
        self.longest, self.long, self.count, self.lateness = Pause(), 0, 0, 0.0

    def _ask(self) -> None:
        now = self.clock.seconds()
        if self._last is not None:
            self.lateness = max(self.lateness, now - self._last - LOOK)
        self._last = now
        if self.connection.lost:
            return
        before = self._scheduled()
        asked = self.connection.ask(self.question)
        asked.addCallbacks(lambda _answer: self._answered(now, before), lambda _failure: None)

    def _answered(self, asked_at: float, before: Scheduled | None) -> None:
        took = self.clock.seconds() - asked_at
        self.count += 1
        self.long += took >= LONG
        if took > self.longest.took:
            after = self._scheduled()
            if before is None or after is None:
                self.longest = Pause(took)
            else:
                self.longest = Pause(took, after.ran - before.ran, after.waited - before.waited)

    def _scheduled(self) -> Scheduled | None:
        return None if self.pid is None else Scheduled.of(self.pid)
