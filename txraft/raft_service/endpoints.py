"""Where servers reach each other: an address is `host:port`, or what Twisted's `clientFromString` makes an endpoint of
(`tcp:`, `unix:`, `tls:`, and those of its plugins)."""

import re
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, HostnameEndpoint, clientFromString, serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamClientEndpoint, IStreamServerEndpoint
from zope.interface import implementer

from txraft.addresses import KINDS, Address, Endpoint, can_be_reached, parse_place
from txraft.core.configuration import Addresses
from txraft.errors import ChangeRefused, SettingsError, in_a_line
from txraft.ports import Port, bind
from txraft.texts import one_line, shown

CONNECT_TIMEOUT: Final = 2
"""Seconds after which dialling `host:port` is given up, and tried again later. An endpoint's text has its own."""
ATTEMPT_DELAY: Final = 0.01
"""Seconds between two addresses of a name, the least that RFC 8305 (§8) allows. Twisted looks at a failure no sooner
either, and a follower whose leader was killed waits for that."""

_ENDS_IN_A_NUMBER: Final = re.compile(r"(\[.*\]|[^:]*):[0-9]+")
"""What is meant as `host:port`, if it is no endpoint."""


@implementer(IStreamServerEndpoint)
class BoundPort:
    """A socket that listens already: connections wait in it until somebody takes them."""

    def __init__(self, reactor: Any, port: socket.socket) -> None:
        self._reactor = reactor
        self._port = port

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        """Take them, also those that have waited."""
        family = self._port.family
        # detach: the endpoint closes the descriptor when it has a duplicate to listen with.
        endpoint = AdoptedStreamServerEndpoint(self._reactor, self._port.detach(), family)
        listening: Deferred[IListeningPort] = endpoint.listen(protocolFactory)
        return listening

    def close(self) -> None:
        """Where nobody takes them."""
        self._port.close()


def client_endpoint(reactor: Any, address: str) -> IStreamClientEndpoint:
    """How to dial a server. Raises SettingsError."""
    where = _host_and_port(address)
    if where is None:
        endpoint: IStreamClientEndpoint = _of_text(clientFromString, reactor, address)
        return endpoint
    if not can_be_reached(where):
        raise SettingsError(f"nobody reaches a server at {where}; that is for where it listens (listen)")
    return HostnameEndpoint(reactor, where.host, where.port, timeout=CONNECT_TIMEOUT, attemptDelay=ATTEMPT_DELAY)


def server_endpoint(reactor: Any, text: str) -> IStreamServerEndpoint:
    """Where to listen. `host:port` is listened on at once. Raises SettingsError and ListenError."""
    try:
        port = bind(parse_place(text), "listen=")
    except SettingsError:  # it may be of a plugin of Twisted's
        port = Endpoint(text)
    return port_endpoint(reactor, port)


def port_endpoint(reactor: Any, port: Port) -> IStreamServerEndpoint:
    """What takes the connections of a port. Raises SettingsError."""
    if isinstance(port, socket.socket):
        return BoundPort(reactor, port)
    endpoint: IStreamServerEndpoint = _of_text(serverFromString, reactor, str(port))
    return endpoint


def own_endpoint(reactor: Any, address: str) -> IStreamServerEndpoint:
    """Where a server listens of which nothing else is said than how the others dial it. Raises SettingsError and
    ListenError."""
    if _host_and_port(address) is None and not address.startswith(("tcp:", "unix:")):
        raise SettingsError(f"listen: is missing: where a server listens that others reach at {shown(address)}")
    return server_endpoint(reactor, address)


def require_dialled(endpoint_of: Callable[[Addresses], IStreamClientEndpoint], addresses: Addresses) -> None:
    """Raises ChangeRefused where a member's addresses are anything but one, or this server could not dial it there."""
    where = one_line(" and ".join(addresses)) or "none"
    if len(addresses) != 1 or ":" not in addresses[0] or not addresses[0].isprintable():
        raise ChangeRefused(f"a member has one address, host:port say, not {where}")
    try:
        endpoint_of(addresses)
    except SettingsError as error:
        raise ChangeRefused(f"such a member cannot be dialled: {error}") from error
    except Exception as error:  # the application's
        raise ChangeRefused(f"such a member cannot be dialled at {where}: {in_a_line(error)}") from error


def _host_and_port(text: str) -> Address | None:
    try:
        place = parse_place(text)
    except SettingsError:
        return None
    return place if isinstance(place, Address) else None


def _of_text(make: Any, reactor: Any, text: str) -> Any:
    try:
        return make(reactor, text)
    except Exception as error:  # what reads it may be anybody's plugin
        if _ENDS_IN_A_NUMBER.fullmatch(text):
            parse_place(text)  # which says what is wrong with the host or the port
        raise SettingsError(f"{shown(text)} {_what_is_wrong(text, error)}") from error


def _what_is_wrong(text: str, error: Exception) -> str:
    if isinstance(error, ImportError | NameError):  # a NameError is what Twisted's TLS raises without pyOpenSSL
        return "needs a package that is not installed: twisted[tls], for TLS"
    original = getattr(error, "originalException", error)  # of an error of FilePath
    if isinstance(original, OSError) and original.filename is not None:
        return f"names a file that cannot be read, {original.filename}: {original.strerror}"
    if type(error).__module__.startswith("OpenSSL"):
        return f"names a file without a certificate, or without a key, as .pem files have them: {in_a_line(error)}"
    if text.startswith(tuple(f"{kind}:" for kind in KINDS)):
        return f"makes no endpoint: {in_a_line(error)}"
    return f"is neither host:port nor an endpoint as Twisted writes them, tcp:host:port say: {in_a_line(error)}"
