"""Where a node listens: its sockets are bound before a process goes into the background, so that what is wrong with
them is found out by then."""

import errno
import socket

from attrs import define, evolve, frozen

from txraft.errors import ListenError
from txraft.settings import Address, Member, Settings


@frozen
class Ports:
    """A node's two sockets, listening. Connections wait in them until the node serves."""

    raft: socket.socket
    kv: socket.socket
    address: Address | None = None
    """Where it was told to listen for the other nodes, whatever the configuration says."""
    kvaddr: Address | None = None
    """The same, for clients."""

    def close(self) -> None:
        """Where no node is made that would own them."""
        self.raft.close()
        self.kv.close()


@define
class PortsSoFar:
    """The sockets of a node that is to join a cluster, as far as it knows where it listens."""

    raft: socket.socket | None = None
    kv: socket.socket | None = None
    address: Address | None = None
    kvaddr: Address | None = None
    """As `Ports` has them."""

    def complete(self, address: Address, kvaddr: Address) -> Ports:
        """Listen there, where it did not know. Raises ListenError."""
        self.raft = self.raft or bind_raft(address)
        self.kv = self.kv or bind_kv(kvaddr)
        return Ports(self.raft, self.kv, self.address, self.kvaddr)

    def close(self) -> None:
        """Where no node was made that would own them."""
        for each in (self.raft, self.kv):
            if each is not None:
                each.close()


def bind_ports(
    settings: Settings, node_id: int, kvaddr: Address | None = None, address: Address | None = None
) -> Ports:
    """Listen, for `txraft.service.make_node_service`. `kvaddr` and `address`, where given, are listened on for clients
    and for the other nodes in place of what the configuration says.

    Raises SettingsError or ListenError.
    """
    return bind_ports_of(settings.member(node_id), kvaddr, address)


def bind_ports_of(member: Member, kvaddr: Address | None = None, address: Address | None = None) -> Ports:
    """As `bind_ports`, for a member that need not be in the configuration."""
    member = evolve(member, bind=address or member.bind, kvbind=kvaddr or member.kvbind)
    raft = bind_raft(member.listens_on)
    try:
        return Ports(raft, bind_kv(member.kv_listens_on), address, kvaddr)
    except ListenError:
        raft.close()
        raise


def bind_so_far(member: Member | None, kvaddr: Address | None = None, address: Address | None = None) -> PortsSoFar:
    """As `bind_ports_of`, of a node that need not know yet where it listens. Raises ListenError."""
    if member is not None:
        ports = bind_ports_of(member, kvaddr, address)
        return PortsSoFar(ports.raft, ports.kv, address, kvaddr)
    so_far = PortsSoFar(address=address, kvaddr=kvaddr)
    try:
        so_far.raft = None if address is None else bind_raft(address)
        so_far.kv = None if kvaddr is None else bind_kv(kvaddr)
    except ListenError:
        so_far.close()
        raise
    return so_far


def bind_raft(address: Address) -> socket.socket:
    """Listen for the other nodes. Raises ListenError."""
    return _bind(address, "--address", "bind")


def bind_kv(address: Address) -> socket.socket:
    """Listen for clients. Raises ListenError."""
    return _bind(address, "--kvaddr", "kvbind")


def _bind(address: Address, option: str, key: str) -> socket.socket:
    """Listen. Raises ListenError with one line."""
    try:
        family, kind, protocol, _, where = min(
            socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE),
            key=lambda info: info[0] != socket.AF_INET,  # localhost is 127.0.0.1, and also ::1
        )
        port = socket.socket(family, kind, protocol)
        try:
            port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port.bind(where)
            port.listen(128)
            port.setblocking(False)
        except OSError:
            port.close()
            raise
    except OSError as error:
        advice = f"say where else this node is to listen: {option} HOST:PORT, or {key} in its file (--config)"
        if error.errno == errno.EADDRINUSE:
            advice = f"end what listens there, or {advice}"
        raise ListenError(f"cannot listen on {address}: {error.strerror}", advice) from error
    return port
