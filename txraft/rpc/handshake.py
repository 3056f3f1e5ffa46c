"""Who may talk to whom: the checks behind `Hello`."""

import enum
from collections.abc import Set
from types import SimpleNamespace
from typing import Any, Final

import attrs
from attrs import frozen

from txraft.core.messages import NodeId
from txraft.interfaces import CHANGES_MEMBERS, Identity, Incarnation
from txraft.rpc.limited_log import shown
from txraft.rpc.versions import NEWEST_VERSION, OLDEST_VERSION, agreed

_NEEDED: Final = "a node needs an id that was never used there, an empty directory, and --join"
LONGEST_TOLD: Final = 200
"""Characters that a caller's log has of what it was told."""


class Refusal(enum.Enum):
    """Why a handshake is refused: what the caller is told, and what the log says of the caller.

    A caller is told nothing of this node. One that does not know the name of the cluster learns that this is another
    cluster, and no more. Its log has what it is told behind "refused this node: ", up to `LONGEST_TOLD` characters. One
    that was removed is shown instead which node says so (`amp_commands.RemovedThere`), unless it is of version 5.
    """

    VERSION = (
        "another version of txraft's protocol is spoken here: upgrade the older of the two, one release after the"
        " other",
        "speaks version {hello.versions} of txraft's protocol, and this node version {here.versions}: upgrade the older"
        " of the two, one release after the other",
    )
    CLUSTER = (
        f"this is another cluster; to join it, {_NEEDED}",
        "belongs to cluster '{hello.cluster_id}', and this node to '{here.cluster_id}'; to join this one, "
        f"{_NEEDED}",
    )
    FOUNDERS = (
        f"this cluster has other founders; to join it, {_NEEDED}; to begin one, all nodes need the same members",
        "has the founders {hello.voters}, and this node {here.voters}; to join this cluster, "
        f"{_NEEDED}; to begin one, all nodes need the same members",
    )
    REMOVED = (
        "the caller was removed from this cluster, for good: end it; its data directory may be deleted",
        "says that it is node {hello.from_id}, which was removed from this cluster, for good: it is told so; where it"
        " does not end by itself, end it",
    )
    NOT_MEANT = (
        "this is not the node that was meant; `txraft members` has its address, and `txraft member update` changes it",
        "meant node {hello.to_id}, and this is node {here.from_id}; `txraft members` has the addresses of both, and"
        " `txraft member update` changes them",
    )
    MYSELF = (
        "two nodes have one id: end one of them",
        "has the id of this node, {hello.from_id}: two nodes have one id; end one of them",
    )
    STRANGER = (
        "the caller is no member that is known here; where it was not added a moment ago, see `txraft member add`",
        "says that it is node {hello.from_id}, which is no member that is known here; where it was not added a moment"
        " ago, see `txraft member add`",
    )

    def __init__(self, told: str, logged: str) -> None:
        self.told = told
        self._logged = logged

    def describe(self, here: "Party", hello: "Greeting") -> str:
        """For the log of the node `here`: what the caller said, and what would have been right."""
        return self._logged.format(hello=hello.shown(), here=greeting(here, here.identity.node_id).shown())


@frozen
class Party:
    """One side of a handshake: who it is, and whom it knows."""

    identity: Identity
    peers: Set[NodeId] = frozenset()
    """The other members."""
    removed: Set[NodeId] = frozenset()
    """Ids of those that were members once, and whose removal is committed (hazard M7)."""
    configuration_index: int = 0
    """Of the entry that its configuration is from; 0 where that is still the founders'."""
    newest_version: int = NEWEST_VERSION
    """It behaves like a release that speaks no newer one."""

    def knows(self, node: NodeId) -> bool:
        """Whether this is a member, or was one when the cluster began."""
        return node in self.peers or node in self.identity.founders


@frozen
class Greeting:
    """What `Hello` carries, field by field. Where the other speaks no version that is spoken here, only its versions
    are known."""

    protocol_version: int
    """The oldest one that the caller speaks."""
    newest_version: int
    cluster_id: str = ""
    voters: tuple[NodeId, ...] = ()
    """The founders, in ascending order. (Version 5, which knows no others, calls them so.)"""
    from_id: NodeId = -1
    to_id: NodeId = -1
    incarnation: Incarnation | None = None
    known: int = 0
    """The start of the callee that the caller knows."""
    configuration_index: int = 0
    """As `Party`'s. 0 in version 5, in which all members are founders."""

    def arguments(self) -> dict[str, Any]:
        """As `Hello` takes them. A node that speaks version 5 alone has two fields less."""
        fields = attrs.asdict(self, recurse=False)
        if self.newest_version < CHANGES_MEMBERS:
            fields |= {"newest_version": None, "configuration_index": None}
        return fields

    def version(self, here: Party) -> int | None:
        """What a connection between `here` and the caller speaks; None where they have no version in common."""
        return agreed(self.protocol_version, self.newest_version, here.newest_version)

    def shown(self) -> SimpleNamespace:
        """Each field as a line of the log may have it, and `versions`."""
        oldest, newest = self.protocol_version, self.newest_version
        versions = f"{oldest}" if oldest == newest else f"{oldest} to {newest}"
        fields = {field.name: shown(getattr(self, field.name)) for field in attrs.fields(Greeting)}
        return SimpleNamespace(**fields, versions=versions)


def greeting(here: Party, peer: NodeId, incarnation: Incarnation | None = None, known: int = 0) -> Greeting:
    """What the node `here` says to `peer`, with its incarnation, and the start of `peer` that it knows."""
    identity = here.identity
    return Greeting(
        protocol_version=OLDEST_VERSION,
        newest_version=here.newest_version,
        cluster_id=identity.cluster_id,
        voters=tuple(sorted(identity.founders)),
        from_id=identity.node_id,
        to_id=peer,
        incarnation=incarnation,
        known=known,
        configuration_index=here.configuration_index,
    )


def check(here: Party, hello: Greeting) -> Refusal | None:
    """Why the node `here` does not let the caller in, if it does not. What it makes of the caller's directory is
    another question (`txraft.rpc.directories`).

    Nodes of which one was started with other members, as an edited file has them, could elect two leaders at once, so
    they do not talk (hazard E14).

    **Who is not known may be a member all the same** (hazard E10). A membership is in force where its entry is in the
    log, and this node may not have that entry yet, or may have another in its place, which nobody committed. An
    election may need the caller's vote, or this node's vote for the caller. If the caller were refused, and the nodes
    that could tell this one about it had died, nobody would ever be elected, although a majority lives.

    So a founder is let in until its removal is committed. Any other node is let in when its log has a configuration: a
    leader sent it that, so it was added. Which of the two configurations is later does not matter, because this node's
    may be the one that will be truncated. The candidate decides whose vote counts, and the core votes when it is asked.
    Refused are nodes that nobody has added, or that have not heard of it: they have nothing to say yet."""
    identity, ours = here.identity, greeting(here, here.identity.node_id)
    reasons = {
        Refusal.VERSION: hello.version(here) is None,
        Refusal.CLUSTER: hello.cluster_id != ours.cluster_id,
        Refusal.FOUNDERS: hello.voters != ours.voters,
        Refusal.REMOVED: hello.from_id in here.removed,
        Refusal.NOT_MEANT: hello.to_id != identity.node_id,
        Refusal.MYSELF: hello.from_id == identity.node_id,
        Refusal.STRANGER: not here.knows(hello.from_id) and hello.configuration_index == 0,
    }
    return next((refusal for refusal, holds in reasons.items() if holds), None)
