"""The cluster's membership (§6, thesis chapter 4). What an operator sets is called settings, and is elsewhere."""

import json
from collections.abc import Collection, Iterable, Mapping, Set
from typing import Any, Self, TypeAlias

from attrs import evolve, field, fields, frozen

from txraft.core.id_set import IdSet
from txraft.values import value_class

NodeId: TypeAlias = int
VoterSets: TypeAlias = Collection[Set[NodeId]]
LARGEST_ID = 2**63 - 1
"""What a message or a disk can have."""
MOST_IDS = 100_000
"""Of servers that are members, or were. A few bytes can say how many were removed, and some things take time for each.
"""
Addresses: TypeAlias = tuple[str, ...]
"""How a member is reached. The core carries them, sees to it that no two members share one, and never reads them."""


def _set_of(servers: Iterable[NodeId]) -> frozenset[NodeId]:
    return frozenset(servers)


def _id_set_of(servers: Iterable[NodeId]) -> IdSet:
    return IdSet.of(servers)


def _pairs_of(pairs: Mapping[NodeId, Any] | Iterable[Any]) -> tuple[tuple[NodeId, Any], ...]:
    """A mapping, or the pairs of one, in ascending order of the ids, so that it can be hashed."""
    mapping: Mapping[NodeId, Any] = dict(pairs)
    return tuple((each, tuple(value) if isinstance(value, list) else value) for each, value in sorted(mapping.items()))


@frozen
class Configuration:
    """Who is a member, and whose votes and acknowledgements count. Changed by `txraft.core.changes` alone."""

    voters: frozenset[NodeId] = field(converter=_set_of)
    outgoing: frozenset[NodeId] = field(converter=_set_of, default=frozenset())
    """The old voters, while a joint configuration is in force: then a majority of each of the two sets is needed."""
    learners: frozenset[NodeId] = field(converter=_set_of, default=frozenset())
    """They receive the log and do not count."""
    learners_next: frozenset[NodeId] = field(converter=_set_of, default=frozenset())
    """Voters of `outgoing` that become learners when the joint configuration is left."""
    auto_leave: bool = False
    """Whether the leader leaves the joint configuration by itself, once it is committed."""
    joining: tuple[tuple[NodeId, NodeId | None], ...] = field(converter=_pairs_of, default=())
    """The learners that become voters when they have caught up (thesis §4.2.1; hazard M8), in ascending order, each
    with the voter that it replaces then, or None."""
    addresses: tuple[tuple[NodeId, Addresses], ...] = field(converter=_pairs_of, default=())
    """Of the members that have any, in ascending order of their ids."""
    removed: IdSet = field(converter=_id_set_of, default=IdSet())
    """Every id that was a member and is none any more. None of them is ever used again (hazard M7)."""

    @property
    def voter_sets(self) -> VoterSets:
        return (self.voters, self.outgoing)

    @property
    def members(self) -> frozenset[NodeId]:
        return self.voters | self.outgoing | self.learners

    @property
    def is_joint(self) -> bool:
        return bool(self.outgoing)

    def is_voter(self, server: NodeId) -> bool:
        return server in self.voters or server in self.outgoing

    def with_addresses_of(self, earlier: Self) -> Self:
        """The same, with the addresses from `earlier` of those members that have none here."""
        known = {server: addresses for server, addresses in earlier.addresses if server in self.members}
        return evolve(self, addresses=known | dict(self.addresses))

    def to_bytes(self) -> bytes:
        """As an entry of the log, a snapshot or a disk has it: JSON, without the fields that are empty. `removed` has
        ids that follow each other as one range, [first, last]."""
        plain = {each.name: _plain(getattr(self, each.name)) for each in fields(Configuration)}
        return json.dumps({name: value for name, value in plain.items() if value}, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote. Raises ValueError for everything else."""
        try:
            plain = {"voters": (), "removed": (), **json.loads(data)}
            configuration = cls(**{**plain, "removed": IdSet.from_plain(plain["removed"])})
            configuration.require_sound()
            if configuration.to_bytes() == data:
                return configuration
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"it is no configuration ({error})") from error
        raise ValueError("it is no configuration as a server writes it")

    def require_sound(self) -> None:
        """Raises ValueError where a server has two parts that exclude each other, or a field is of another type."""
        sets = self.voters | self.outgoing | self.learners | self.learners_next
        pairs = {server for pair in self.joining for server in pair if server is not None}
        ids = sets | pairs | {id for id, _ in self.addresses} | {id for ends in self.removed.ranges for id in ends}
        if any(type(server) is not int or server < 0 for server in ids):
            raise ValueError("the id of a server is no number")
        if max(ids, default=0) > LARGEST_ID:
            raise ValueError("the id of a server is out of range")
        if sum(last + 1 - first for first, last in self.removed.ranges) + len(self.members) > MOST_IDS:
            raise ValueError(f"more than {MOST_IDS:,} servers are members, or were")
        if any(type(address) is not str for _, addresses in self.addresses for address in addresses):
            raise ValueError("an address is no text")
        if any(type(addresses) is not tuple for _, addresses in self.addresses) or type(self.auto_leave) is not bool:
            raise ValueError("a field has a value of another type")
        if self.learners & (self.voters | self.outgoing):
            raise ValueError("a server is both voter and learner")
        if self.removed & self.members:
            raise ValueError("a server that was removed is a member")
        if not self.learners_next <= self.outgoing:
            raise ValueError("a server that is to become a learner is no outgoing voter")
        if not self.is_joint and self.auto_leave:
            raise ValueError("a configuration that is not joint cannot be left")
        if not {learner for learner, _ in self.joining} <= self.learners | self.learners_next:
            raise ValueError("a server that is to become a voter is no learner")


def _plain(value: Any) -> Any:
    if isinstance(value, IdSet):
        return value.plain()
    return sorted(value) if isinstance(value, frozenset) else value


@value_class
class Snapshot:
    """What a snapshot stands for: everything up to the entry (index, term), and the membership as of it (§7; hazard
    M6). The data themselves the core does not see."""

    index: int
    term: int
    configuration: Configuration
