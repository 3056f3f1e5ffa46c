"""When the log is cut off behind the state machine, and by how much.

What is applied stays for a while, for followers that are a little behind: `Keep`. When there is a quarter more than
that, the state machine is asked to make durable what it has, and the log is cut in bites: each is a save among others,
and the next one waits until it is done, so that none holds up a write.

While a snapshot is on its way to a follower, the log stays from there on: otherwise the follower, when it has it, would
need another one (hazard R17). Within bounds: of a log that is MOST_HELD times what is kept, and takes HELD_SIZE of
memory, no more stays than ever.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txraft.core.log import MEMORY_OVERHEAD
from txraft.core.messages import Entry
from txraft.errors import SnapshotFailed
from txraft.node.contract import deferred_of, index_of
from txraft.values import value_class

BITE_ENTRIES: Final = 500
BITE_SIZE: Final = 1 << 20
"""Bytes. A bite has so many entries or so many bytes, or less, or it is one call of the state machine's."""
MOST_HELD: Final = 4
HELD_SIZE: Final = 512 << 20
"""Bytes of memory: 100 s of as many writes as three nodes on two cores take."""


@frozen
class Keep:
    """How much of the log stays though it is applied: so many entries, and no more than so many bytes.

    50,000 are ten seconds of as many writes as three nodes on two cores take, more than a node needs to start again;
    with values of 255 bytes they take 27 MB of memory, and 0.6 s of a start on that machine, where a bite takes the
    disk's thread 1 ms, and 5 with its fsync."""

    entries: int = 50_000
    size: int = 64 << 20
    """Bytes of commands, without what each takes beside them."""


@value_class
class _Bite:
    """What is cut off at once."""

    last: int
    size: int
    """Bytes."""


class Compaction:
    """Cuts one node's log."""

    def __init__(
        self,
        keep: Keep,
        start: int,
        persist: "Callable[[], Deferred[int]]",
        compact: Callable[[int], None],
        held_after: Callable[[], int | None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        """The log has nothing up to `start`. `persist` is the state machine's, and `compact` the core's. `held_after`
        says from where on a follower needs the log that is being sent a snapshot. `on_failure` is called when the state
        machine fails."""
        self._keep = keep
        self._persist = persist
        self._compact = compact
        self._held_after = held_after
        self._on_failure = on_failure
        self._bite_entries = min(BITE_ENTRIES, keep.entries // 8 + 1)
        self._bite_size = min(BITE_SIZE, keep.size // 8 + 1)
        self._bites: deque[_Bite] = deque()
        """What is applied and in the log, in portions."""
        self._start = start
        self._last_of_bites = start
        self._size_of_bites = 0
        self._last = start
        """The last entry that is applied."""
        self._size = 0
        """Bytes of all that is applied and in the log."""
        self._round: Deferred[None] | None = None
        """The one under way."""
        self._saving: Deferred[None] | None = None
        """Fires when the bite that was cut is durable."""

    def applied(self, index: int, size: int) -> None:
        """The state machine has come to `index`, by entries of so many bytes."""
        if self._add(index, size):
            self.consider()

    def found(self, entries: Iterable[Entry]) -> None:
        """At the start: the log has these entries, and the state machine has them too."""
        for entry in entries:
            self._add(entry.index, len(entry.data))

    def saved(self, start: int) -> None:
        """It is durable that the log has nothing up to `start`: it was cut there, or a snapshot took its place. What is
        known of entries up to there goes when it is next looked at."""
        self._start = max(self._start, start)
        if self._saving is not None:
            saving, self._saving = self._saving, None
            saving.callback(None)

    def consider(self) -> None:
        """Begin to cut, if there is enough to be cut."""
        if self._round is None and self._is_beyond(1.25) and self._next(self._last) is not None:
            self._round = Deferred.fromCoroutine(self._cut())
            self._round.addErrback(self._failed).addBoth(self._over)

    def _add(self, index: int, size: int) -> bool:
        """Whether a portion is full with this."""
        self._last = index
        self._size += size
        if index - self._last_of_bites < self._bite_entries and self._size - self._size_of_bites < self._bite_size:
            return False
        self._bites.append(_Bite(index, self._size - self._size_of_bites))
        self._last_of_bites, self._size_of_bites = index, self._size
        return True

    async def _cut(self) -> None:
        durable = index_of(await deferred_of("persist", self._persist()))
        while (bite := self._next(durable)) is not None:
            saving: Deferred[None] = Deferred()
            self._saving = saving
            self._compact(bite.last)
            await saving

    def _next(self, durable: int) -> _Bite | None:
        """What is to be cut off next, if anything is."""
        while self._bites and self._bites[0].last <= self._start:
            size = self._bites.popleft().size
            self._size -= size
            self._size_of_bites -= size
        if not self._bites or self._bites[0].last > min(durable, self._limit()) or not self._is_beyond(1):
            return None
        return self._bites[0]

    def _limit(self) -> int:
        held_after = self._held_after()
        return self._last if held_after is None or self._is_too_much_to_hold() else held_after

    def _is_too_much_to_hold(self) -> bool:
        memory = self._size + MEMORY_OVERHEAD * (self._last - self._start)
        return memory > HELD_SIZE and self._is_beyond(MOST_HELD)

    def _is_beyond(self, times: float) -> bool:
        """Whether there is more than so many times what is kept."""
        return self._last - self._start > times * self._keep.entries or self._size > times * self._keep.size

    def _failed(self, failure: Failure) -> None:
        if not failure.check(SnapshotFailed):  # a snapshot was restored meanwhile
            self._on_failure(failure)

    def _over(self, _: None) -> None:
        self._round = None
