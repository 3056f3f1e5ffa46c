"""The way into the state machine: what is committed, in the order of the log, one call at a time. Where a snapshot
stands for a part of the log, it is restored when its turn comes.

A call has as many entries as will keep its results small, as far as the calls before it tell. Where the machine has
answered already, as one in memory does, the next call follows at once, within the bounds of a turn of the reactor.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from txraft.core.configuration import Snapshot
from txraft.core.messages import Entry
from txraft.errors import CommandFailed, ContractBroken
from txraft.interfaces import IStateMachine
from txraft.node.chunks import until
from txraft.node.contract import deferred_of, require_results

Results: TypeAlias = list[bytes | CommandFailed]


@define
class _Install:
    snapshot: Snapshot
    chunks: Iterable[bytes]
    behind: deque[Entry] = field(factory=deque)
    """Entries that follow on it."""


class ApplyQueue:
    """Entries to be applied and snapshots to be restored, first in first out."""

    at_once = 500
    """Entries that are applied in one turn of the reactor, so that catching up does not hold up heartbeats."""
    size_at_once = 64 << 10
    """Bytes of them and of their results, and in any case one call. A command may be many small changes, which take
    0.4 µs a byte: 28 ms; or it may be short, and read a great deal (hazard N1)."""
    most_in_a_call = 64
    """Entries. A call costs 2 µs beside them."""

    def __init__(
        self,
        state_machine: IStateMachine,
        clock: IReactorTime,
        on_applied: Callable[[Entry, bytes | Failure], None],
        on_index: Callable[[int, int], None],
        on_install: Callable[[Snapshot], None],
        on_restored: Callable[[Snapshot], None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        """`on_applied` is called with each entry and its result, a Failure where that is a CommandFailed; `on_index`,
        after those of a call, with the index that the state machine has come to, and the bytes of these entries;
        `on_install` before a snapshot is restored, and `on_restored` after it; `on_failure` with what the state machine
        failed with as a whole. After that, and after `stop`, none of them is called any more."""
        self._state_machine = state_machine
        self._clock = clock
        self._on_applied = on_applied
        self._on_index = on_index
        self._on_install = on_install
        self._on_restored = on_restored
        self._on_failure = on_failure
        self._queue: deque[Entry] = deque()
        self._installs: deque[_Install] = deque()
        """What follows on that."""
        self._in_a_call = 1
        """Entries that the next call may have."""
        self._applying = False
        """The state machine has not answered yet."""
        self._next_turn: IDelayedCall | None = None
        self._stopped = False

    def put(self, entries: Iterable[Entry]) -> None:
        """Apply these, after what was put in before."""
        (self._installs[-1].behind if self._installs else self._queue).extend(entries)
        self._go_on()

    def install(self, snapshot: Snapshot, chunks: Iterable[bytes]) -> None:
        """Restore the state machine from a snapshot, after what was put in before. `chunks` are its data, which are
        looked at no sooner, and on a thread."""
        self._installs.append(_Install(snapshot, until(lambda: self._stopped, chunks)))
        self._go_on()

    @property
    def installing(self) -> bool:
        """Whether there is a snapshot that is not restored yet."""
        return bool(self._installs)

    def stop(self) -> None:
        """Apply nothing more. What the state machine is doing is its own to finish; nobody is told how it ends."""
        self._stopped = True
        self._queue.clear()
        self._installs.clear()
        if self._next_turn is not None and self._next_turn.active():
            self._next_turn.cancel()

    def _go_on(self) -> None:
        if self._next_turn is None and not self._applying:
            self._apply()

    def _apply(self) -> None:
        """Apply as much as a turn may."""
        self._next_turn = None
        left, room = self.at_once, self.size_at_once
        while self._queue and left > 0 and room > 0:
            batch, size = self._take(min(left, self._in_a_call), room)
            try:
                applied = deferred_of("apply", self._state_machine.apply(batch))
                if not applied.called or applied.paused or isinstance(applied.result, Failure):
                    self._applying = True
                    applied.addCallback(self._answered, batch, size).addErrback(self._on_failure)
                    return
                size = self._tell(cast(Results, applied.result), batch, size)
            except BaseException:  # whatever it is, nothing may be applied after what was not (hazard C10)
                self._on_failure(Failure())
                return
            left -= len(batch)
            room -= size
        if self._queue:
            self._next_turn = self._clock.callLater(0, self._apply)
        elif self._installs:
            self._restore(self._installs[0])

    def _restore(self, install: _Install) -> None:
        self._applying = True
        try:
            self._on_install(install.snapshot)
            if self._stopped:  # by somebody who was told
                return
            restored = deferred_of("restore", self._state_machine.restore(install.snapshot.index, install.chunks))
            restored.addCallback(self._restored, install).addErrback(self._on_failure)
        except BaseException:
            self._on_failure(Failure())

    def _restored(self, _: None, install: _Install) -> None:
        self._applying = False
        if not self._stopped:
            self._installs.popleft()
            self._queue = install.behind
            self._on_restored(install.snapshot)
            self._go_on()

    def _answered(self, results: Results, batch: list[Entry], size: int) -> None:
        self._applying = False
        if not self._stopped:
            self._tell(results, batch, size)
            self._apply()

    def _take(self, most: int, room: int) -> tuple[list[Entry], int]:
        """So many of the entries that come next, as far as there is room, and in any case one; and their bytes."""
        batch: list[Entry] = []
        size, queue = 0, self._queue
        while queue and most > 0 and size < room:
            entry = queue.popleft()
            batch.append(entry)
            most -= 1
            size += len(entry.data)
        return batch, size

    def _tell(self, results: Results, batch: list[Entry], size: int) -> int:
        """The entries of a call, `size` bytes, are applied. Gives back their bytes with those of the results."""
        size_of_entries = size
        require_results(results, batch)
        for entry, result in zip(batch, results, strict=True):
            if isinstance(result, bytes):
                size += len(result)
                outcome: bytes | Failure = result
            elif isinstance(result, CommandFailed):
                outcome = Failure(result)
            else:
                raise ContractBroken(f"result is {type(result).__name__}, neither bytes nor a CommandFailed")
            if self._stopped:  # by somebody who was told
                return size
            self._on_applied(entry, outcome)
        self._on_index(batch[-1].index, size_of_entries)
        as_these = len(batch) * self.size_at_once // (size or 1)
        self._in_a_call = max(1, min(self.most_in_a_call, 2 * self._in_a_call, as_these))
        return size
