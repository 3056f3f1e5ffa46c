"""What the store holds as of one entry of the log: in memory, and as it is read from a file."""

from collections.abc import Mapping
from itertools import islice
from typing import TypeAlias

from attrs import define, field, frozen
from sortedcontainers import SortedList  # type: ignore[import-untyped]  # it has no annotations

from txraft.kv.answers import Answers, KeptAnswer
from txraft.kv.records import numbers_of

Changes: TypeAlias = Mapping[bytes, bytes | None]
"""The new records of keys; None where a key is removed."""


@define
class Delta:
    """What some entries did to the contents, the last of them being `index`."""

    index: int = 0
    """0 where there is no entry yet."""
    changes: dict[bytes, bytes | None] = field(factory=dict)
    revision: int = 1
    """Of the store, then."""
    answers: list[KeptAnswer] = field(factory=list)
    size: int = 0
    """Bytes of all that came in, also of what later ones took the place of."""

    @property
    def count(self) -> int:
        """How many rows of the file it changes."""
        return len(self.changes) + len(self.answers)

    def add(self, index: int, revision: int, changes: Changes, kept: KeptAnswer | None = None) -> None:
        """Add what entry `index` did."""
        self.index = index
        self.revision = revision
        for key, record in changes.items():
            self.changes[key] = record
            self.size += len(key) + (len(record) if record is not None else 0)
        if kept is not None:
            self.answers.append(kept)
            self.size += len(kept.key) + len(kept.answer)


@frozen
class KeyInfo:
    """A key of a listing, and its numbers (`txraft.kv.records`)."""

    key: bytes
    create_revision: int
    mod_revision: int
    version: int


@frozen
class Listing:
    """Some of the keys, in order."""

    revision: int
    """Of the store, when they were listed."""
    count: int
    """How many keys there are with that prefix, listed or not."""
    more: bool
    """Whether there are such keys behind the last of these."""
    keys: tuple[KeyInfo, ...]


@define(eq=False, repr=False)
class Contents:
    """Records by key, the keys in order, and what came of requests with an Idempotency-Key."""

    last_applied: int = 0
    revision: int = 1
    """Of the store. Each request that changes something makes the next one; 1 is empty."""
    records: dict[bytes, bytes] = field(factory=dict)
    answers: Answers = field(factory=Answers)
    _keys: "SortedList[bytes]" = field(init=False)
    """Beside the dict, which finds a key in a tenth of the time: only what makes or removes a key looks here. An SQLite
    table in memory would take twice the memory (25 bytes a key and not 12), the time of a new key (12 µs and not 6),
    and three times that of a listing."""

    @_keys.default
    def _keys_in_order(self) -> "SortedList[bytes]":
        return SortedList(self.records)

    def change(self, changes: Changes) -> None:
        """Take over new records."""
        records = self.records
        for key, record in changes.items():
            if record is None:
                if records.pop(key, None) is not None:
                    self._keys.remove(key)
            else:
                if key not in records:
                    self._keys.add(key)
                records[key] = record

    def empty(self) -> None:
        """Free the memory of a million records, say, a little at a time: all at once, as when the last reference goes,
        would keep every thread waiting for a tenth of a second."""
        while self.records:
            self.records.popitem()
        while self._keys:
            del self._keys[-1000:]

    def take(self, delta: Delta) -> None:
        """Take over all that some entries did, which follow on those that made this."""
        self.last_applied, self.revision = delta.index, delta.revision
        self.change(delta.changes)
        for kept in delta.answers:
            self.answers.keep(kept.key, kept.answer)

    def list_keys(self, prefix: bytes, after: bytes | None, limit: int, max_size: int) -> Listing:
        """The first `limit` keys that begin with `prefix` and come behind `after`: fewer where they have more than
        `max_size` bytes together, and in any case one."""
        keys, behind = self._keys, _behind_prefix(prefix)
        begin = keys.bisect_left(prefix)
        end = len(keys) if behind is None else keys.bisect_left(behind)
        start = begin if after is None else max(begin, keys.bisect_right(after))
        listed: list[KeyInfo] = []
        for key in islice(keys.islice(start, end), limit):
            max_size -= len(key)
            if max_size < 0 and listed:
                break
            listed.append(KeyInfo(key, *numbers_of(self.records[key])))
        return Listing(self.revision, end - begin, start + len(listed) < end, tuple(listed))


def _behind_prefix(prefix: bytes) -> bytes | None:
    """The least key that is behind all that begin so; None where there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
