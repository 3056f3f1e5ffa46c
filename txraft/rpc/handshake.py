"""Who may talk to whom: the checks behind `Hello`."""

import enum
from collections.abc import Hashable

from attrs import Factory, define, frozen

from txraft.core.messages import NodeId
from txraft.interfaces import Identity
from txraft.rpc.amp_commands import PROTOCOL_VERSION


class Refusal(enum.Enum):
    """Why a handshake is refused; the value is the line that the caller and the log get."""

    VERSION = "the RPC protocol here is version {here.protocol_version}, the caller's is {hello.protocol_version}"
    CLUSTER = "this node belongs to cluster {here.cluster_id!r}, the caller to {hello.cluster_id!r}"
    VOTERS = (
        "the voters here are {here.voters}, the caller's are {hello.voters}: start both with the members that the"
        " cluster was first started with"
    )
    NOT_MEANT = "this is node {here.to_id}, the caller meant node {hello.to_id}: check the addresses"
    MYSELF = "this is node {here.to_id}, and the caller says that it is the same: two nodes have one id"
    STRANGER = "the caller says that it is node {hello.from_id}, which is not in this cluster's configuration"


@frozen
class Greeting:
    """What `Hello` carries, field by field."""

    protocol_version: int
    cluster_id: str
    voters: tuple[NodeId, ...]
    """In ascending order."""
    from_id: NodeId
    to_id: NodeId


def greeting(here: Identity, peer: NodeId) -> Greeting:
    """What the node `here` says to `peer`."""
    return Greeting(PROTOCOL_VERSION, here.cluster_id, tuple(sorted(here.voters)), here.node_id, peer)


def check(here: Identity, hello: Greeting) -> Refusal | None:
    """Why the node `here` does not let the caller in, if it does not.

    Nodes that disagree about who votes could elect two leaders at once, so they do not talk (hazard E14)."""
    ours = greeting(here, here.node_id)
    reasons = {
        Refusal.VERSION: hello.protocol_version != ours.protocol_version,
        Refusal.CLUSTER: hello.cluster_id != ours.cluster_id,
        Refusal.VOTERS: hello.voters != ours.voters,
        Refusal.NOT_MEANT: hello.to_id != here.node_id,
        Refusal.MYSELF: hello.from_id == here.node_id,
        Refusal.STRANGER: hello.from_id not in here.voters,
    }
    return next((refusal for refusal, holds in reasons.items() if holds), None)


def describe(refusal: Refusal, here: Identity, hello: Greeting) -> str:
    """The refusal in one line."""
    return refusal.value.format(here=greeting(here, here.node_id), hello=hello)


@define(eq=False)
class News:
    """Tells what is new from what was said already, so that a retry every second does not fill the log."""

    _last: dict[Hashable, object] = Factory(dict)

    def is_new(self, subject: Hashable, value: object) -> bool:
        """Whether `value` differs from the last one of `subject`."""
        known = self._last.get(subject)
        self._last[subject] = value
        return known != value

    def forget(self, subject: Hashable) -> None:
        """Let the next value of `subject` be new."""
        self._last.pop(subject, None)
