"""Where a node listens: its sockets are bound before a process goes into the background, so that what is wrong with
them is found out by then."""

import errno
import socket

from attrs import evolve, frozen

from txraft.errors import ListenError
from txraft.settings import Address, Settings


@frozen
class Ports:
    """A node's two sockets, listening. Connections wait in them until the node serves."""

    raft: socket.socket
    kv: socket.socket

    def close(self) -> None:
        """Where no node is made that would own them."""
        self.raft.close()
        self.kv.close()


def bind_ports(settings: Settings, node_id: int, kvaddr: Address | None = None) -> Ports:
    """Listen, for `txraft.service.make_node_service`. `kvaddr`, where given, is served in place of the configuration's.

    Raises SettingsError or ListenError.
    """
    member = settings.member(node_id)
    if kvaddr is not None:
        member = evolve(member, kvbind=kvaddr)
    raft = _bind(member.listens_on, "address", "bind")
    try:
        return Ports(raft, _bind(member.kv_listens_on, "kvaddr", "kvbind"))
    except ListenError:
        raft.close()
        raise


def _bind(address: Address, key: str, bind: str) -> socket.socket:
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
        advice = f"give this node another {key}, or listen elsewhere ({bind})"
        if error.errno == errno.EADDRINUSE:
            advice = f"end what listens there, or {advice}"
        raise ListenError(f"cannot listen on {address}: {error.strerror}", advice) from error
    return port
