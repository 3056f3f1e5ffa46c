"""The cluster's membership (§6, thesis chapter 4). What an operator sets is called settings, and is elsewhere."""

from collections.abc import Collection, Set
from typing import TypeAlias

from attrs import field, frozen

from txraft.values import value_class

NodeId: TypeAlias = int
VoterSets: TypeAlias = Collection[Set[NodeId]]


def _set_of(servers: "frozenset[NodeId] | set[NodeId] | range | tuple[NodeId, ...]") -> frozenset[NodeId]:
    return frozenset(servers)


@frozen
class Configuration:
    """Who is a member, and whose votes and acknowledgements count."""

    voters: frozenset[NodeId] = field(converter=_set_of)
    outgoing: frozenset[NodeId] = field(converter=_set_of, default=frozenset())
    """The old voters, while a joint configuration is in force: then a majority of each of the two sets is needed."""
    learners: frozenset[NodeId] = field(converter=_set_of, default=frozenset())
    """They receive the log and do not count."""

    @property
    def voter_sets(self) -> VoterSets:
        return (self.voters, self.outgoing)

    @property
    def members(self) -> frozenset[NodeId]:
        return self.voters | self.outgoing | self.learners

    def is_voter(self, server: NodeId) -> bool:
        return server in self.voters or server in self.outgoing


@value_class
class Snapshot:
    """What a snapshot stands for: everything up to the entry (index, term), and the membership as of it (§7; hazard
    M6). The data themselves the core does not see."""

    index: int
    term: int
    configuration: Configuration
