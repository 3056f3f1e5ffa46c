"""The configurations that a log has in it (§6), and which of them is in force: the last one, committed or not.

A server uses a configuration from the moment at which its entry is in the log. Where that is truncated, the one before
is in force again (hazard M5), so all that the log still has can be found. Only the one in force and the one as of the
log's start are kept as values, of the others only the data of their entries, which the log has anyway: each value has
every id that was ever removed. `txraft.core.log.RaftLog` owns this and moves it: nothing else appends, truncates,
compacts or replaces.
"""

from bisect import bisect_right
from collections.abc import Iterable

from attrs import define, field

from txraft.core.configuration import Configuration, NodeId


@define(eq=False)
class Membership:
    """The configuration as of the log's start, and those in the log above it."""

    _base: Configuration
    _base_index: int
    _later: list[tuple[int, bytes]] = field(init=False, factory=list)
    """The index and the data of each one's entry, in ascending order."""
    configuration: Configuration = field(init=False)
    """The one in force."""
    index: int = field(init=False)
    """Of the entry that it is from; the log's start where that entry is compacted."""

    def __attrs_post_init__(self) -> None:
        self.index, self.configuration = self._base_index, self._base

    def append(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """The log ends with these now, each the index and the data of an entry. Raises ValueError where the last one
        is no configuration, and then nothing has changed; the caller knows that the others are."""
        if later := list(entries):
            index, data = later[-1]
            self.index, self.configuration = index, Configuration.from_bytes(data)
            self._later += later

    def truncate_from(self, index: int) -> None:
        """The log has nothing from `index` on any more."""
        if self.index >= index:
            self.index, self.configuration = self.index_at(index - 1), self.at(index - 1)
            del self._later[self._count_at(index - 1) :]

    def compact(self, index: int) -> None:
        """The log starts after `index` now."""
        self._base, self._base_index = self.at(index), index
        del self._later[: self._count_at(index)]
        self.index = max(self.index, index)

    def at(self, index: int) -> Configuration:
        """The configuration as of entry `index`, which is not below the log's start (hazard M6)."""
        if index >= self.index:
            return self.configuration
        count = self._count_at(index)
        return Configuration.from_bytes(self._later[count - 1][1]) if count else self._base

    def index_at(self, index: int) -> int:
        """Of the entry that the configuration as of entry `index` is from; the log's start where that is compacted."""
        count = self._count_at(index)
        return self._later[count - 1][0] if count else self._base_index

    def votes_since(self, server: NodeId, index: int) -> bool:
        """Whether a server has a vote by the configuration as of entry `index`, or by a later one."""
        if self.configuration.is_voter(server) or self.at(index).is_voter(server):
            return True
        between = self._later[self._count_at(index) : -1]
        return any(Configuration.from_bytes(data).is_voter(server) for _, data in between)

    def _count_at(self, index: int) -> int:
        """How many of `_later` are not above entry `index`."""
        return bisect_right(self._later, index, key=lambda each: each[0])
