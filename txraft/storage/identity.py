"""Whose a data directory is: how that is stored, and what becomes of a configuration that says otherwise.

The members of a cluster are what it was started with. A file that names others is refused, not obeyed: nodes of which
some obey it elect two leaders and acknowledge two histories (hazard E14).
"""

from pathlib import Path
from zlib import crc32

from txraft.errors import WrongDirectory
from txraft.interfaces import Identity
from txraft.storage.snapshot_columns import ids_in, shown


def columns_of(identity: Identity) -> tuple[int, str, str, int]:
    """Node id, cluster id, voters, and the CRC-32 of all three."""
    voters = shown(identity.voters)
    checksum = crc32(f"{identity.node_id}\n{identity.cluster_id}\n{voters}".encode())
    return identity.node_id, identity.cluster_id, voters, checksum


def identity_of(node_id: int, cluster_id: str, voters: str, checksum: int) -> Identity | None:
    """The identity that was stored as these columns; None where they are not what was stored.

    May raise anything where a column is of another type."""
    identity = Identity(node_id, cluster_id, ids_in(voters))
    return identity if columns_of(identity) == (node_id, cluster_id, voters, checksum) else None


def require_same(directory: Path, found: Identity, given: Identity, named: bool) -> None:
    """Raises WrongDirectory where `directory`, in which `found` is stored, is not that of `given`.

    `named` says that the cluster's id was given as a name. One that was made from addresses may differ from what is
    stored: addresses change."""
    if found.node_id != given.node_id:
        raise WrongDirectory(
            f"{directory} belongs to node {found.node_id}, not to node {given.node_id}: give node {given.node_id} its"
            f" own directory, or start this one with --id {found.node_id}"
        )
    if named and found.cluster_id != given.cluster_id:
        raise WrongDirectory(
            f'{directory} belongs to cluster "{found.cluster_id}", not to "{given.cluster_id}": start the node with'
            " that cluster's configuration; a cluster keeps the name of its first start"
        )
    if found.voters != given.voters:
        raise WrongDirectory(
            f"{directory} belongs to a cluster of the nodes {shown(found.voters)}, and the configuration names"
            f" {shown(given.voters)}: editing the configuration cannot change who is a member; start the node with the"
            " list that it was first started with"
        )
