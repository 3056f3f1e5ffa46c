"""The configurations that a log has in it (§6), and which of them is in force: the last one, committed or not.

A server uses a configuration from the moment at which its entry is in the log. Where that is truncated, the one before
is in force again (hazard M5), so all that the log still has are kept. `txraft.core.log.RaftLog` owns this and moves it:
nothing else appends, truncates, compacts or replaces.
"""

from attrs import define, field

from txraft.core.configuration import Configuration, NodeId


@define(eq=False)
class Membership:
    """The configuration as of the log's start, and those in the log above it."""

    _base: Configuration
    _base_index: int
    _later: list[tuple[int, Configuration]] = field(factory=list)
    """Each with the index of its entry, in ascending order."""
    configuration: Configuration = field(init=False)
    """The one in force."""
    index: int = field(init=False)
    """Of the entry that it is from; the log's start where that entry is compacted."""

    def __attrs_post_init__(self) -> None:
        self._look()

    def append(self, index: int, configuration: Configuration) -> None:
        """The log ends with this configuration now."""
        self._later.append((index, configuration))
        self._look()

    def truncate_from(self, index: int) -> None:
        """The log has nothing from `index` on any more."""
        while self._later and self._later[-1][0] >= index:
            self._later.pop()
        self._look()

    def compact(self, index: int) -> None:
        """The log starts after `index` now."""
        self._base, self._base_index = self.at(index), index
        self._later = [later for later in self._later if later[0] > index]
        self._look()

    def at(self, index: int) -> Configuration:
        """The configuration as of entry `index`, which is not below the log's start (hazard M6)."""
        return next((each for since, each in reversed(self._later) if since <= index), self._base)

    def index_at(self, index: int) -> int:
        """Of the entry that the configuration as of entry `index` is from; the log's start where that is compacted."""
        return next((since for since, _ in reversed(self._later) if since <= index), self._base_index)

    def votes_since(self, server: NodeId, index: int) -> bool:
        """Whether a server has a vote by the configuration as of entry `index`, or by a later one."""
        return self.at(index).is_voter(server) or any(
            each.is_voter(server) for since, each in self._later if since > index
        )

    def _look(self) -> None:
        self.index, self.configuration = self._later[-1] if self._later else (self._base_index, self._base)
