"""What a connection needs of the network that it belongs to."""

from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IReactorTime

from txraft.core.messages import NodeId
from txraft.interfaces import IPeerHandler, IPeerMemory
from txraft.rpc.directories import Verdict
from txraft.rpc.handshake import Party
from txraft.rpc.link_limits import LinkLimits

if TYPE_CHECKING:
    from txraft.rpc.link import Link


class Owner(Protocol):
    """`txraft.rpc.network.Network` is one."""

    reactor: IReactorTime
    memory: IPeerMemory
    limits: LinkLimits
    handler: IPeerHandler

    @property
    def party(self) -> Party:
        """Who the node is, and whom it knows, now."""

    def link_made(self, link: "Link") -> None:
        """A connection opened; the handshake is still to come."""

    def link_greeted(self, link: "Link", peer: NodeId) -> None:
        """The caller's Hello was right, and says that it is `peer`; its directory is still to be judged."""

    def link_up(self, link: "Link", peer: NodeId) -> None:
        """The handshake succeeded."""

    def refuse(self, link: "Link", peer: NodeId, verdict: Verdict) -> None:
        """This node refuses the directory that `peer` has."""

    def refused(self, peer: NodeId, verdict: Verdict) -> None:
        """`peer`, whose handshake was in order otherwise, refuses the directory that this node has."""

    def removed(self, peer: NodeId) -> None:
        """`peer` says that this node is no member any more."""

    def link_closed(self, link: "Link") -> None:
        """The link is of no more use. Called once; the transport may still be sending what was written."""

    def complain(self, link: "Link", kind: object, line: str) -> None:
        """Something is wrong with the connection: `line` says it for the log. Complaints of one `kind` are alike."""

    def reject(self, link: "Link", kind: object, line: str) -> None:
        """As `complain`, where the other side is no peer, or does not behave like one: dialling it again at once would
        not help."""
