"""The log (§5.3): entries in memory, how far the disk has them, and where the compacted part ends.

    snapshot_index  first_index            durable_index       last_index
         │ compacted │ ── on this server's disk ──│ ── not yet ──│

Indexes start at 1; index 0, of term 0, is before the first entry. `snapshot_index` is 0 while nothing is compacted.

The membership moves with the log (`membership`): there is one door for both.
"""

import bisect
from collections import deque
from collections.abc import Iterable, Sequence

from attrs import define

from txraft.core.configuration import Configuration, Snapshot
from txraft.core.membership import Membership
from txraft.core.messages import Entry, EntryKind
from txraft.errors import Compacted, InvariantViolated

MESSAGE_OVERHEAD = 32
"""Bytes that an entry takes beside its data in a message and on the disk, about."""
MEMORY_OVERHEAD = 160
"""Bytes of memory that an entry takes beside its data: with tracemalloc, in CPython 3.11, 145 in the log of the leader
that made it, of which 72 are the Entry, 41 the head of its data and 32 its index."""


BEGINNING = Snapshot(0, 0, Configuration(voters=()))
"""Where a log starts that has nothing before it, not even members."""


def size_of(entry: Entry) -> int:
    """What an entry counts against the limits of what is sent, in bytes."""
    return len(entry.data) + MESSAGE_OVERHEAD


@define
class _Write:
    """A write that was given out, and is not known to be durable."""

    index: int
    term: int
    kept: int
    """Up to here, nothing of it has been truncated since."""


class RaftLog:
    """One server's log. What it is made with is durable; what is appended becomes so by `mark_durable`."""

    def __init__(self, entries: Iterable[Entry] = (), start: Snapshot = BEGINNING) -> None:
        """`start` is what the log begins after."""
        self.snapshot_index = start.index
        self.snapshot_term = start.term
        self.membership = Membership(start.configuration, start.index)
        self.first_index = start.index + 1
        """Index of the first entry that is kept, or would be."""
        self.last_index = start.index
        self.last_term = start.term
        self._entries: list[Entry] = []
        self.append(tuple(entries))
        self.durable_index = self.last_index
        """Everything up to here is on this server's disk. Goes back only when what it covers is truncated, and to 0
        when a snapshot takes the place of it all."""
        self.given_out_index = self.last_index
        """Everything up to here has been given out to be written."""
        self._writes: deque[_Write] = deque()

    def term_at(self, index: int) -> int:
        """The term of the entry at `index`, which is not above last_index.

        Raises Compacted for an index below snapshot_index: it has a term, which is not 0 and not known (hazard R13).
        """
        if index == self.snapshot_index:
            return self.snapshot_term
        return self.entry(index).term

    def entry(self, index: int) -> Entry:
        """The entry at `index`, first_index ≤ index ≤ last_index. Raises Compacted below."""
        if index <= self.snapshot_index:
            raise Compacted(f"entry {index} is compacted; the log starts at {self.first_index}")
        return self._entries[index - self.first_index]

    def has(self, index: int, term: int) -> bool:
        """Whether the log holds the entry (index, term). What is compacted is not held (hazard R13)."""
        return self.snapshot_index <= index <= self.last_index and self.term_at(index) == term

    def between(self, first: int, last: int) -> tuple[Entry, ...]:
        """Entries first to last, both included and held. Raises Compacted when `first` is below first_index."""
        if first <= self.snapshot_index:
            raise Compacted(f"entry {first} is compacted; the log starts at {self.first_index}")
        return tuple(self._entries[first - self.first_index : last - self.first_index + 1])

    def batch(self, first: int, max_bytes: int) -> tuple[tuple[Entry, ...], int]:
        """The entries from `first` on, which is held: as many as fit in `max_bytes`, but at least one. And their size,
        in bytes."""
        batch: list[Entry] = []
        left = max_bytes
        for position in range(first - self.first_index, len(self._entries)):
            entry = self._entries[position]
            size = size_of(entry)
            if batch and size > left:
                break
            batch.append(entry)
            left -= size
        return tuple(batch), max_bytes - left

    def is_up_to_date(self, last_log_index: int, last_log_term: int) -> bool:
        """Whether a candidate's log, which ends so, is at least as up-to-date as this one (§5.4.1)."""
        return (last_log_term, last_log_index) >= (self.last_term, self.last_index)

    def match_hint(self, index: int, term: int) -> int:
        """The highest index, not above `index` or the log's end, whose entry is of `term` or an older one (§5.3, fast
        backup): the logs of two servers cannot match above it. Below snapshot_index where nothing that is kept is so.
        """
        as_old = bisect.bisect_right(self._entries, term, key=lambda entry: entry.term)
        if as_old == 0 and self.snapshot_term > term:
            return min(index, self.snapshot_index - 1)
        return min(index, self.snapshot_index + as_old)

    def snapshot_at(self, index: int) -> Snapshot:
        """What a snapshot of everything up to `index`, which is not above last_index, stands for (hazard M6). Raises
        Compacted below snapshot_index."""
        return Snapshot(index, self.term_at(index), self.membership.at(index))

    def append(self, entries: Sequence[Entry]) -> None:
        """Append entries that follow on last_index without a gap (hazard R12), of terms that do not go back. A
        configuration among them is in force from now on (§6)."""
        index, term = self.last_index, self.last_term
        configurations = []
        for entry in entries:
            if entry.index != index + 1 or entry.term < term:
                raise InvariantViolated(
                    f"entry {entry.index} of term {entry.term} cannot follow entry {index} of term {term}"
                )
            index, term = entry.index, entry.term
            if entry.kind is EntryKind.CONFIGURATION:
                configurations.append((index, entry.data))
        self.membership.append(configurations)
        self._entries.extend(entries)
        self.last_index, self.last_term = index, term

    def truncate_from(self, index: int) -> None:
        """Remove the entry at `index`, which is held, and all that follow. The caller knows they are not committed."""
        del self._entries[index - self.first_index :]
        self.membership.truncate_from(index)
        self.last_index, self.last_term = index - 1, self.term_at(index - 1)
        self.durable_index = min(self.durable_index, index - 1)
        self.given_out_index = min(self.given_out_index, index - 1)
        for write in self._writes:
            write.kept = min(write.kept, index - 1)

    def compact(self, index: int) -> None:
        """Forget everything up to `index`, which is held, applied and durable."""
        self.membership.compact(index)
        self.snapshot_term = self.term_at(index)
        del self._entries[: index - self.snapshot_index]
        self.snapshot_index = index
        self.first_index = index + 1

    def restore(self, snapshot: Snapshot) -> None:
        """Forget everything, and go on from the snapshot's last entry, which is not held and is above snapshot_index as
        it was (hazard S7), with its membership (hazard M6). That the log starts there is to be written, as entries are.
        """
        self._entries.clear()
        self.membership = Membership(snapshot.configuration, snapshot.index)
        self.snapshot_index = self.last_index = snapshot.index
        self.snapshot_term = self.last_term = snapshot.term
        self.first_index = snapshot.index + 1
        self.durable_index = self.given_out_index = 0
        for write in self._writes:
            write.kept = 0

    def take_unsaved(self) -> tuple[Entry, ...]:
        """What has not been given out to be written yet; from now on it counts as given out, and so does a start of the
        log that `restore` has made."""
        if self.given_out_index == self.last_index:
            return ()
        unsaved = self.between(max(self.given_out_index + 1, self.first_index), self.last_index)
        self.given_out_index = self.last_index
        self._writes.append(_Write(self.last_index, self.last_term, self.last_index))
        return unsaved

    def mark_durable(self, index: int, term: int) -> None:
        """The oldest of the writes that were given out is durable; it ended with the entry (index, term), or made the
        log start after it.

        What has been truncated since it was given out does not count, even where the same entry has come back: later
        writes will take it off the disk, and put it there again, in that order (hazard R11).
        """
        if not self._writes or (self._writes[0].index, self._writes[0].term) != (index, term):
            raise InvariantViolated(f"a write that ended with entry {index} of term {term} is not the oldest one")
        self.durable_index = max(self.durable_index, self._writes.popleft().kept)
