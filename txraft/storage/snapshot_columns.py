"""What a snapshot stands for, as columns of a row or fields of a line: the whole membership is one of them."""

from typing import TypeAlias

from txraft.core.configuration import Configuration, Snapshot

COLUMNS = ("index", "term", "configuration")

SnapshotColumns: TypeAlias = tuple[int, int, str]


def columns_of(snapshot: Snapshot) -> SnapshotColumns:
    """Index, term, and the membership in JSON."""
    return snapshot.index, snapshot.term, snapshot.configuration.to_bytes().decode()


def snapshot_of(index: int, term: int, configuration: str) -> Snapshot:
    """What was stored as these columns. May raise anything where they are not what was stored."""
    return Snapshot(index, term, Configuration.from_bytes(configuration.encode()))
