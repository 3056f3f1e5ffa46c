"""Whose a data directory is: how that is stored, and what becomes of a configuration that says otherwise.

The members of a cluster are what its log says. What a configuration file says of them counts where a directory is new,
and never again: nodes of which some obey an edited file elect two leaders and acknowledge two histories (hazard E14).

A directory is told from another that had its place by the bits that were drawn when it was made. It is told from its
own copies by its starts: at each, bits are drawn and written down before anybody hears of them, and all of them are
kept. The others remember the last start that they met (`IPeerMemory`), and ask what was drawn at it. A copy from before
that start does not know, however often it is started itself, and of two that are started later, one is met first
(hazards S6, M7; `txraft.rpc.directories`).
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

from attrs import evolve, frozen

from txraft.core.configuration import Configuration, NodeId
from txraft.errors import WrongDirectory
from txraft.interfaces import Identity, Incarnation

_NOT_IN_THE_NAME = re.compile(r" \((begun|restored|recovered) [0-9a-f]{16}\)\Z")
BITS = 8
"""Bytes that are drawn for a directory and for a start."""


@frozen
class Bootstrap:
    """What a new directory becomes; of one that is not, whose it has to be."""

    node_id: NodeId
    cluster_id: str
    configuration: Configuration
    """The members that the cluster is first started with, with their addresses. This node need not be one of them: it
    may join them."""
    named: bool = False
    """Whether `cluster_id` is a name, which has to be that of the directory. One that was made from addresses may
    differ from what is stored: addresses change."""

    @property
    def identity(self) -> Identity:
        """Of a directory that is made of a backup."""
        return Identity(self.node_id, self.cluster_id, self.configuration.voters)

    @property
    def new_identity(self) -> Identity:
        """Of a new directory. Where its node begins a cluster alone, that is another one than any before: nobody else
        is asked, so an emptied directory would otherwise lead a second history of the same cluster (hazard S6)."""
        its, bits = self.identity, os.urandom(BITS).hex()
        if its.founders != {self.node_id}:
            return its
        return evolve(its, cluster_id=f"{its.cluster_id} (begun {bits})" if self.named else bits)


@frozen
class History:
    """What was drawn for a directory."""

    directory: bytes
    starts: bytes = b""
    """At each start, in their order: 8 bytes a start, so even one that is started again every 5 s has 1 MB a week."""

    def drawn_at(self, starts: int) -> bytes:
        """As IPeerMemory."""
        return self.starts[BITS * (starts - 1) :][:BITS] if starts > 0 else b""

    @property
    def incarnation(self) -> Incarnation:
        """As of the last start."""
        return Incarnation(self.directory, len(self.starts) // BITS, self.starts[-BITS:])


def columns_of(identity: Identity, history: History) -> tuple[int, str, str, bytes, bytes, int]:
    """Node id, cluster id, founders, the bits of the directory and of its starts, and the CRC-32 of all."""
    names = (identity.node_id, identity.cluster_id, shown(identity.founders))
    bits = (history.directory, history.starts)
    return *names, *bits, crc32(b"".join(bits), crc32("\n".join(map(str, names)).encode()))


def identity_of(
    node_id: int, cluster_id: str, founders: str, directory: bytes, starts: bytes, checksum: int
) -> tuple[Identity, History] | None:
    """What was stored as these columns; None where they are not what was stored.

    May raise anything where a column is of another type."""
    found = Identity(node_id, cluster_id, ids_in(founders)), History(directory, starts)
    return found if columns_of(*found) == (node_id, cluster_id, founders, directory, starts, checksum) else None


def checksum_of_peer(peer: NodeId, incarnation: Incarnation) -> int:
    """CRC-32 of what is remembered of a peer."""
    return crc32(b"%d %d %b%b" % (peer, incarnation.starts, incarnation.directory, incarnation.start))


def require_same(directory: Path, found: Identity, given: Bootstrap) -> None:
    """Raises WrongDirectory where `directory`, in which `found` is stored, is that of another node, or of a cluster of
    another name. One that was restored from a backup, or recovered, has more in its id than its name."""
    if found.node_id != given.node_id:
        raise WrongDirectory(
            f"{directory} belongs to node {found.node_id}, not to node {given.node_id}: give node {given.node_id} its"
            f" own directory, or start this one with --id {found.node_id}"
        )
    if given.named and not is_called(found.cluster_id, given.cluster_id):
        raise WrongDirectory(
            f'{directory} belongs to cluster "{found.cluster_id}", not to "{given.cluster_id}": start the node with'
            " that cluster's configuration; a cluster keeps the name of its first start"
        )


def recovered(cluster_id: str) -> str:
    """What identifies the cluster that is made of what one node of another has: no cluster has ever had it."""
    return f"{name_in(cluster_id)} (recovered {os.urandom(BITS).hex()})"


def is_called(cluster_id: str, name: str) -> bool:
    """Whether that of a cluster called `name`; of one that was restored from a backup, say, it has more than that."""
    return name in (cluster_id, name_in(cluster_id))


def name_in(cluster_id: str) -> str:
    """What the cluster was called when it was first started."""
    return _NOT_IN_THE_NAME.sub("", cluster_id)


def shown(servers: Iterable[NodeId]) -> str:
    """Their ids, in ascending order."""
    return ", ".join(map(str, sorted(servers)))


def ids_in(text: str) -> frozenset[NodeId]:
    """The ids that are `shown` so. Raises ValueError."""
    return frozenset(map(int, text.split(", "))) if text else frozenset()
