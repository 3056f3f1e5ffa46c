"""Who may talk to whom: the checks behind `Hello`."""

import enum
from types import SimpleNamespace

import attrs
from attrs import frozen

from txraft.core.messages import NodeId
from txraft.interfaces import Identity, Incarnation
from txraft.rpc.amp_commands import PROTOCOL_VERSION
from txraft.rpc.limited_log import shown


class Refusal(enum.Enum):
    """Why a handshake is refused: what the caller is told, and what the log says of the caller.

    A caller is told nothing of this node. One that does not know the name of the cluster learns that this is another
    cluster, and no more.
    """

    VERSION = (
        "another version of txraft's protocol is spoken here",
        "speaks version {hello.protocol_version} of txraft's protocol, and this node version {here.protocol_version}",
    )
    CLUSTER = (
        "this is another cluster; a node that is to join it with a new directory needs an empty one, and, as `name` in"
        " its configuration, the `cluster` of the others' /status",
        "belongs to cluster '{hello.cluster_id}', and this node to '{here.cluster_id}': to join this one anew,"
        " it needs an empty directory, and this as `name` in its configuration",
    )
    VOTERS = (
        "the voters here are others: start both nodes with the members that the cluster was first started with",
        "has the voters {hello.voters}, and this node {here.voters}: start both with the members that the cluster was"
        " first started with",
    )
    NOT_MEANT = (
        "this is not the node that was meant: check the addresses",
        "meant node {hello.to_id}, and this is node {here.from_id}: check the addresses",
    )
    MYSELF = (
        "two nodes have one id",
        "has the id of this node, {hello.from_id}: two nodes have one id",
    )
    STRANGER = (
        "the caller is not in this cluster's configuration",
        "says that it is node {hello.from_id}, which is not in this cluster's configuration",
    )

    def __init__(self, told: str, logged: str) -> None:
        self.told = told
        self._logged = logged

    def describe(self, here: Identity, hello: "Greeting") -> str:
        """For the log of the node `here`: what the caller said, and what would have been right."""
        return self._logged.format(hello=hello.shown(), here=greeting(here, here.node_id).shown())


@frozen
class Greeting:
    """What `Hello` carries, field by field. Of another version of the protocol only that is known."""

    protocol_version: int
    cluster_id: str = ""
    voters: tuple[NodeId, ...] = ()
    """In ascending order."""
    from_id: NodeId = -1
    to_id: NodeId = -1
    incarnation: Incarnation | None = None
    known: int = 0
    """The start of the callee that the caller knows."""

    def shown(self) -> SimpleNamespace:
        """Each field as a line of the log may have it."""
        return SimpleNamespace(**{field.name: shown(getattr(self, field.name)) for field in attrs.fields(Greeting)})


def greeting(here: Identity, peer: NodeId, incarnation: Incarnation | None = None, known: int = 0) -> Greeting:
    """What the node `here` says to `peer`, with its incarnation, and the start of `peer` that it knows."""
    voters = tuple(sorted(here.founders))
    return Greeting(PROTOCOL_VERSION, here.cluster_id, voters, here.node_id, peer, incarnation, known)


def check(here: Identity, hello: Greeting) -> Refusal | None:
    """Why the node `here` does not let the caller in, if it does not. What it makes of the caller's directory is
    another question (`txraft.rpc.directories`).

    Nodes that disagree about who votes could elect two leaders at once, so they do not talk (hazard E14)."""
    ours = greeting(here, here.node_id)
    reasons = {
        Refusal.VERSION: hello.protocol_version != ours.protocol_version,
        Refusal.CLUSTER: hello.cluster_id != ours.cluster_id,
        Refusal.VOTERS: hello.voters != ours.voters,
        Refusal.NOT_MEANT: hello.to_id != here.node_id,
        Refusal.MYSELF: hello.from_id == here.node_id,
        Refusal.STRANGER: hello.from_id not in here.founders,
    }
    return next((refusal for refusal, holds in reasons.items() if holds), None)
