"""Who may talk to whom: the checks behind `Hello`."""

import enum
from collections.abc import Hashable

from attrs import Factory, define, frozen

from txraft.core.messages import NodeId
from txraft.rpc.amp_commands import PROTOCOL_VERSION


class Refusal(enum.Enum):
    """Why a handshake is refused; the value is the line that the caller and the log get."""

    VERSION = "the RPC protocol here is version {here.protocol_version}, the caller's is {hello.protocol_version}"
    CLUSTER = "this node belongs to cluster {here.cluster_id!r}, the caller to {hello.cluster_id!r}"
    NOT_MEANT = "this is node {here.to_id}, the caller meant node {hello.to_id}: check the addresses"
    MYSELF = "this is node {here.to_id}, and the caller says that it is the same: two nodes have one id"
    STRANGER = "the caller says that it is node {hello.from_id}, which is not in this cluster's configuration"


@frozen
class Greeting:
    """What `Hello` carries, field by field."""

    protocol_version: int
    cluster_id: str
    from_id: NodeId
    to_id: NodeId


@frozen
class Identity:
    """Who this node is, and which peers it knows."""

    local_id: NodeId
    cluster_id: str
    peers: frozenset[NodeId]

    def greeting(self, peer: NodeId) -> Greeting:
        """What to say to `peer`."""
        return Greeting(PROTOCOL_VERSION, self.cluster_id, self.local_id, peer)

    def check(self, hello: Greeting) -> Refusal | None:
        """Why the caller is not let in, if it is not."""
        if hello.protocol_version != PROTOCOL_VERSION:
            return Refusal.VERSION
        if hello.cluster_id != self.cluster_id:
            return Refusal.CLUSTER
        if hello.to_id != self.local_id:
            return Refusal.NOT_MEANT
        if hello.from_id == self.local_id:
            return Refusal.MYSELF
        if hello.from_id not in self.peers:
            return Refusal.STRANGER
        return None

    def describe(self, refusal: Refusal, hello: Greeting) -> str:
        """The refusal in one line."""
        return refusal.value.format(here=self.greeting(self.local_id), hello=hello)


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
