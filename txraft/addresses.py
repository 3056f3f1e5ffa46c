"""Where a node listens, or is reached: `host:port`, or the text of an endpoint as Twisted writes them."""

import ipaddress
import re
import socket
from contextlib import suppress
from typing import Final, Self, TypeAlias

from attrs import Attribute, field, frozen

from txraft.errors import SettingsError
from txraft.texts import shown

LABEL = re.compile(r"[a-z0-9_-]{1,63}")
KINDS: Final = ("tcp", "tcp6", "unix", "ssl", "tls", "systemd", "haproxy")
"""Of the endpoints to listen with that come with Twisted."""
LONGEST_PATH: Final = 107
"""Bytes of the name of a socket in the file system."""


def check_host(_: object, __: object, host: str) -> None:
    """An IP address, or a host name as DNS has it."""
    if ":" in host:
        try:
            scope = ipaddress.IPv6Address(host).scope_id
        except ValueError:
            raise SettingsError(f"{shown(host)} is not an IPv6 address") from None
        if scope is not None:
            raise SettingsError(f"{shown(host)} is an address on one link only; use one that all nodes reach")
    elif not (len(host) <= 253 and all(map(LABEL.fullmatch, host.removesuffix(".").split(".")))):
        raise SettingsError(
            f"{shown(host)} is not a host name; write letters, digits and hyphens, at most 63 between two dots, and"
            " other letters as DNS has them (xn--...)"
        )


def _check_port(_: object, __: "Attribute[int]", port: int) -> None:
    if not 1 <= port <= 65535:
        raise SettingsError(f"{port} is not a port; give one from 1 to 65535")


@frozen
class Address:
    """A TCP address."""

    host: str = field(validator=check_host)
    """In lower case; IPv6 without brackets."""
    port: int = field(validator=_check_port)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port`, or `[::1]:8080` for IPv6. Raises SettingsError."""
        if text.partition(":")[0] in KINDS:
            raise SettingsError(f"{shown(text)} is an endpoint as Twisted writes them; host:port is needed here")
        host, _, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            host = ""
        if not host or set(host) & set("[]/@"):
            raise SettingsError(f"{shown(text)} is not host:port; write localhost:8080, or [::1]:8080 for IPv6")
        if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
            raise SettingsError(f"{shown(text)} does not end in a port that can be dialled; give one from 1 to 65535")
        return cls(host.lower(), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_TCP = re.compile(r"([0-9]+)(?::interface=([0-9.]+))?")
"""`tcp:` to listen with, where what follows says no more than an address does."""
_UNIX = re.compile(r"unix:((?:/[^:/\\]+)*)/[^:/\\]+")
_TLS = re.compile(r"tls:([^:\\=]+:[0-9]+)((?::(?:trustRoots|certificate|privateKey)=[^:\\]+)*)")
"""What others may be told to dial. Twisted takes more, some of which does harm: by a timeout below zero, every attempt
is a traceback in the log."""


def _check_text(_: object, __: object, text: str) -> None:
    if not text.isprintable():
        raise SettingsError(f"{shown(text)} has characters that cannot be printed")


@frozen
class Endpoint:
    """What Twisted's `serverFromString` or `clientFromString` makes an endpoint of: `unix:/run/txraft.sock`."""

    text: str = field(validator=_check_text)

    @property
    def kind(self) -> str:
        return self.text.partition(":")[0]

    @property
    def names(self) -> tuple[str, ...] | None:
        """What it names on the machine that dials it: the directory of a socket, or files of certificates. None where
        nobody can dial it, or only by more than a member's address may have."""
        if (unix := _UNIX.fullmatch(self.text)) is not None:
            return None if len(self.text.encode()) > len("unix:") + LONGEST_PATH else ("unix", unix[1])
        if (tls := _TLS.fullmatch(self.text)) is None:
            return None
        try:
            return ("tls", tls[2]) if _names_one(Address.parse(tls[1])) else None
        except SettingsError:
            return None

    def __str__(self) -> str:
        return self.text


Place: TypeAlias = Address | Endpoint
"""Where a node listens, or where the others reach it."""


def parse_place(text: str) -> Place:
    """Read `host:port`, or an endpoint. One that says no more than an address does is read as that. Raises
    SettingsError."""
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        return Address.parse(text)
    if kind == "tcp":
        if (found := _TCP.fullmatch(rest)) is not None:
            port, interface = found.groups("0.0.0.0")
            return Address.parse(f"{interface}:{port}")
        with suppress(SettingsError):
            return Address.parse(rest)
    return Endpoint(text)


def require_reachable(name: str, place: Place) -> None:
    """Raise SettingsError where others cannot reach a node at `place`: at an endpoint that can only be listened with,
    0.0.0.0, in any way to write it, [::], or an address of many. `name` is what it is, `address` or `kvaddr`."""
    bind = {"address": "bind", "kvaddr": "kvbind"}[name]
    if isinstance(place, Endpoint) and place.names is None:
        raise SettingsError(
            f"{name}: {shown(place.text)} is no address at which others reach the node: host:port, unix:/PATH, or"
            f" tls:HOST:PORT:trustRoots=DIRECTORY; use {bind} for where it listens"
        )
    if isinstance(place, Address) and not _names_one(place):
        raise SettingsError(
            f"{name}: {place} is no address at which others reach the node; use {bind} for where it listens"
        )


def _names_one(address: Address) -> bool:
    try:
        ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv4Address(socket.inet_aton(address.host))
    except OSError:  # not IPv4
        if ":" not in address.host:
            return True
        ip = ipaddress.IPv6Address(address.host)
    return not (ip.is_unspecified or ip.is_multicast or ip == ipaddress.IPv4Address("255.255.255.255"))


def can_be_reached(place: Place) -> bool:
    """Whether others may reach a node at the very place where it listens; otherwise that only says where it listens."""
    return place.kind == "unix" if isinstance(place, Endpoint) else _names_one(place)
