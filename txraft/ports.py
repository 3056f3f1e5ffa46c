"""Where a node listens: its sockets are bound before a process goes into the background, so that what is wrong with
them is found out by then. At an endpoint of Twisted's it listens only when it starts."""

import errno
import os
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Final, TypeAlias

from attrs import define, evolve, frozen

from txraft.addresses import Address, Endpoint, Place
from txraft.errors import ListenError
from txraft.settings import Member, Settings

UNIX: Final = re.compile(r"unix:(?:address=)?([^:=\\]+)(?::mode=[0-7]+)?")

Port: TypeAlias = socket.socket | Endpoint
"""A socket that listens, in which connections wait until the node serves; or the endpoint that it is to listen at."""


@frozen
class Ports:
    """A node's two ports."""

    raft: Port
    kv: Port
    address: Place | None = None
    """Where it was told to listen for the other nodes, whatever the configuration says."""
    kvaddr: Place | None = None
    """The same, for clients."""

    def close(self) -> None:
        """Where no node is made that would own them."""
        _close(self.raft, self.kv)


@define
class PortsSoFar:
    """The ports of a node that is to join a cluster, as far as it knows where it listens."""

    raft: Port | None = None
    kv: Port | None = None
    address: Place | None = None
    kvaddr: Place | None = None
    """As `Ports` has them."""

    def complete(self, address: Place, kvaddr: Place) -> Ports:
        """Listen there, where it did not know. Raises ListenError."""
        self.raft = self.raft or bind_raft(address)
        self.kv = self.kv or bind_kv(kvaddr)
        return Ports(self.raft, self.kv, self.address, self.kvaddr)

    def close(self) -> None:
        """Where no node was made that would own them."""
        _close(self.raft, self.kv)


def bind_ports(settings: Settings, node_id: int, kvaddr: Place | None = None, address: Place | None = None) -> Ports:
    """Listen, for `txraft.service.make_node_service`. `kvaddr` and `address`, where given, are listened on for clients
    and for the other nodes in place of what the configuration says.

    Raises SettingsError or ListenError.
    """
    return bind_ports_of(settings.member(node_id), kvaddr, address)


def bind_ports_of(member: Member, kvaddr: Place | None = None, address: Place | None = None) -> Ports:
    """As `bind_ports`, for a member that need not be in the configuration."""
    member = evolve(member, bind=address or member.bind, kvbind=kvaddr or member.kvbind)
    raft = bind_raft(member.listens_on)
    try:
        return Ports(raft, bind_kv(member.kv_listens_on), address, kvaddr)
    except ListenError:
        _close(raft)
        raise


def bind_so_far(member: Member | None, kvaddr: Place | None = None, address: Place | None = None) -> PortsSoFar:
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


def bind_raft(place: Place) -> Port:
    """Listen for the other nodes. Raises ListenError."""
    return bind(place, "--address HOST:PORT, or bind in its file (--config)")


def bind_kv(place: Place) -> Port:
    """Listen for clients. Raises ListenError."""
    return bind(place, "--kvaddr HOST:PORT, or kvbind in its file (--config)")


def bind(place: Place, option: str) -> Port:
    """Listen, or see that a socket in the file system can be made later. Raises ListenError with one line; `option` is
    how to give another place."""
    try:
        if isinstance(place, Address):
            return _bind_tcp(place)
        unix = UNIX.fullmatch(place.text)
        if unix is None:
            return place
        _make_way(Path(unix[1]))
        return Endpoint(f"{place}:lockfile=0")
    except OSError as error:
        advice = f"say where else this node is to listen: {option}"
        if error.errno == errno.EADDRINUSE:
            advice = f"end what listens there, or {advice}"
        if error.errno == errno.EEXIST:
            advice = f"move it away, or {advice}"
        raise ListenError(f"cannot listen on {place}: {error.strerror or error}", advice) from error


def _bind_tcp(address: Address) -> socket.socket:
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
    return port


def _make_way(path: Path) -> None:
    """Remove a socket at which nobody answers: that of a process that was killed. (Twisted looks for that process by
    its id, which in a container is that of the next one, too.) Raises OSError where there is no room for another."""
    path.parent.stat()
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as caller:
        caller.setblocking(False)
        answers = caller.connect_ex(str(path)) != errno.ECONNREFUSED
    if path.is_socket() and not answers:
        path.unlink()
    elif answers and path.is_socket():
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    elif os.path.lexists(path):
        raise OSError(errno.EEXIST, "there is something else, which is no socket")


def _close(*ports: Port | None) -> None:
    for port in ports:
        if isinstance(port, socket.socket):
            port.close()
