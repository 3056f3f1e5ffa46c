"""What a snapshot stands for, as columns of a row or fields of a line: the membership as three lists of ids."""

from collections.abc import Iterable
from typing import TypeAlias

from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import NodeId

SnapshotColumns: TypeAlias = tuple[int, int, str, str, str]
"""Index, term, voters, outgoing voters, learners."""


def columns_of(snapshot: Snapshot | None) -> SnapshotColumns:
    """Of what is before the first entry, None, everything is 0 or empty."""
    if snapshot is None:
        return 0, 0, "", "", ""
    members = snapshot.configuration
    return snapshot.index, snapshot.term, shown(members.voters), shown(members.outgoing), shown(members.learners)


def snapshot_of(index: int, term: int, voters: str, outgoing: str, learners: str) -> Snapshot | None:
    """What was stored as these columns. May raise anything where they are not what was stored."""
    if index == 0:
        return None
    return Snapshot(index, term, Configuration(ids_in(voters), ids_in(outgoing), ids_in(learners)))


def shown(servers: Iterable[NodeId]) -> str:
    """Their ids, in ascending order."""
    return ", ".join(map(str, sorted(servers)))


def ids_in(text: str) -> frozenset[NodeId]:
    """The ids that are `shown` so. Raises ValueError."""
    return frozenset(map(int, text.split(", "))) if text else frozenset()
