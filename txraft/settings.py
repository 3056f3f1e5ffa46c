"""What an operator sets: TOML in, frozen attrs values out.

Whatever is wrong in a file is told in one line, with the file, the key and what to do, as a `SettingsError`. The rules
for a value stand beside the field they are about and hold for settings built in code as well. `etc/txraft.toml` shows
every key with its default.
"""

import difflib
import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeVar, cast

import attrs
import cattrs
from attrs import Attribute, field, frozen
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)

from txraft.errors import SettingsError

MILLISECOND = 0.001

T = TypeVar("T")


@frozen
class Address:
    """A TCP address: a host name or IP address, and a port of 1 to 65535."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port`, or `[::1]:8080` for IPv6. Raises SettingsError."""
        host, _, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            host = ""
        if not host or set(host) & set("[]/@") or any(character.isspace() for character in host):
            raise SettingsError(f"{_shown(text)} is not host:port; write localhost:8080, or [::1]:8080 for IPv6")
        if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
            raise SettingsError(f"{_shown(text)} does not end in a port; give one from 1 to 65535")
        return cls(host.lower(), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _positive(_: object, attribute: "Attribute[Any]", value: float) -> None:
    if value == math.inf:
        raise SettingsError(f"{attribute.name}: must be finite, not {value}")
    if not value > 0:  # which nan is not either
        raise SettingsError(f"{attribute.name}: must be above 0, not {value}")


def _not_negative(_: object, attribute: "Attribute[Any]", value: int) -> None:
    if value < 0:
        raise SettingsError(f"{attribute.name}: must be 0 or above, not {value}")


@frozen
class Member:
    """A node of the cluster, as its configuration file describes it."""

    id: int = field(validator=_not_negative)
    address: Address
    """Raft: where the other nodes reach it."""
    kvaddr: Address
    """The HTTP API: where clients reach it."""
    bind: Address | None = None
    """Where it listens for the other nodes, if not at `address`."""
    kvbind: Address | None = None
    """Where it listens for clients, if not at `kvaddr`."""

    def __attrs_post_init__(self) -> None:
        if self.listens_on == self.kv_listens_on:
            raise SettingsError(
                f"kvbind: node {self.id} cannot listen on {self.listens_on} both for nodes and for clients"
            )

    @property
    def listens_on(self) -> Address:
        return self.bind or self.address

    @property
    def kv_listens_on(self) -> Address:
        return self.kvbind or self.kvaddr


@frozen
class Timing:
    """The fields are milliseconds, as in the file; the properties are seconds, with slow_coefficient in them."""

    slow_coefficient: float = field(default=1.0, validator=_positive)
    """Multiplies all of the others: 10 makes everything slow enough to watch."""
    election_timeout: float = field(default=500.0, validator=_positive)
    """A follower that hears nothing waits this long to twice this long, at random, and then campaigns (§5.2)."""
    heartbeat_interval: float = field(default=100.0, validator=_positive)
    """A leader is heard this often. At most a third of election_timeout, so that one lost heartbeat, or two, does not
    start an election (§5.6: broadcast time ≪ election timeout)."""
    request_timeout: float = field(default=5000.0, validator=_positive)
    """A client's request that has not been decided by then is answered 503."""
    receive_timeout: float = field(default=30_000.0, validator=_positive)
    """A client has this long to send all of a request, and as long again to take its answer (hazard N6)."""
    idle_timeout: float = field(default=60_000.0, validator=_positive)
    """A client's connection on which there is no request for this long is closed."""

    def __attrs_post_init__(self) -> None:
        if self.heartbeat_interval * 3 > self.election_timeout:
            raise SettingsError(
                f"heartbeat_interval: must be at most a third of election_timeout ({self.election_timeout:g}), "
                f"not {self.heartbeat_interval:g}"
            )

    @property
    def election_seconds(self) -> float:
        return self.election_timeout * self.slow_coefficient * MILLISECOND

    @property
    def heartbeat_seconds(self) -> float:
        return self.heartbeat_interval * self.slow_coefficient * MILLISECOND

    @property
    def request_seconds(self) -> float:
        return self.request_timeout * self.slow_coefficient * MILLISECOND

    @property
    def receive_seconds(self) -> float:
        return self.receive_timeout * self.slow_coefficient * MILLISECOND

    @property
    def idle_seconds(self) -> float:
        return self.idle_timeout * self.slow_coefficient * MILLISECOND


@frozen
class SizeLimits:
    """How much a node takes in. All are bytes, except for `connections`."""

    key_size: int = field(default=4 * 1024, validator=_positive)
    value_size: int = field(default=1024 * 1024, validator=_positive)
    uncommitted_size: int = field(default=64 * 1024 * 1024, validator=_positive)
    """What may wait to be committed; a request beyond it is refused as not applied (hazard C9)."""
    connections: int = field(default=700, validator=_positive)
    """How many clients may be connected. Fewer where the process may not open so many files (hazard N4)."""

    def __attrs_post_init__(self) -> None:
        if self.uncommitted_size < self.key_size + self.value_size:
            raise SettingsError(
                f"uncommitted_size: must have room for one key and value ({self.key_size + self.value_size}), "
                f"not {self.uncommitted_size}"
            )


@frozen
class Settings:
    """One cluster, the same on all of its nodes."""

    cluster: tuple[Member, ...]
    timing: Timing = Timing()
    limits: SizeLimits = SizeLimits()
    name: str | None = None
    """What the cluster is called. It counts at a node's first start, and has to stay what it was then."""
    allowed_hosts: tuple[str, ...] = ()
    """The names and addresses, without ports, that a client may call a node by in a request's Host header. All where
    there are none. A list keeps out pages that have their own name point to a node (DNS rebinding, hazard N7)."""

    def __attrs_post_init__(self) -> None:
        if not self.cluster:
            raise SettingsError("cluster: has no nodes; add a [[cluster]] table for each")
        if self.name is not None and not (0 < len(self.name) <= 255 and self.name.isprintable()):
            raise SettingsError(f"name: must be 1 to 255 printable characters, not {_shown(self.name)}")
        ids: dict[int, str] = {}
        addresses: dict[Address, str] = {}
        for number, member in enumerate(self.cluster):
            where = f"cluster[{number}]"
            _claim(ids, member.id, f"{where}.id")
            _claim(addresses, member.address, f"{where}.address")
            _claim(addresses, member.kvaddr, f"{where}.kvaddr")

    @property
    def cluster_id(self) -> str:
        """What identifies the cluster at a node's first start: `name`, or a digest of the members' ids and addresses.

        From then on it is kept on disk, so that addresses may change. A node that is first started after they have
        needs `name` to belong to the same cluster: the others refuse to talk to it otherwise.
        """
        if self.name is not None:
            return self.name
        members = sorted(self.cluster, key=lambda member: member.id)
        text = " ".join(f"{member.id}={member.address}" for member in members)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def member(self, id: int) -> Member:
        """The member with this id. Raises SettingsError where there is none."""
        for member in self.cluster:
            if member.id == id:
                return member
        ids = ", ".join(str(member.id) for member in self.cluster)
        raise SettingsError(f"no node {id} in the configuration; its ids are {ids}")


def _claim(taken: dict[T, str], value: T, key: str) -> None:
    if value in taken:
        raise SettingsError(f"{key}: {value} is already {taken[value]}; each must be used once")
    taken[value] = key


BUILT_IN = Settings(
    cluster=tuple(Member(id, Address("localhost", 8080 + id), Address("localhost", 27004 + id)) for id in range(3))
)
"""The cluster that serves where no configuration file is given."""


def load(path: str) -> Settings:
    """Read a configuration file. Raises SettingsError with one line that names the file and each wrong key."""
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and what absurd numbers and nesting end in
        raise SettingsError(f"{path}: is not TOML: {_one_line(str(error))}") from error
    try:
        return _converter.structure(table, Settings)
    except ClassValidationError as error:
        raise SettingsError(f"{path}: {_one_line('; '.join(_problems(error, '')))}") from error


# From TOML's types to ours: no conversions that TOML does not make, so that `port = "8080"` and `id = true` are errors


def _integer(value: Any, _: type) -> int:
    if type(value) is not int:
        raise SettingsError(f"must be a whole number, not {_shown(value)}")
    return value


def _number(value: Any, _: type) -> float:
    if type(value) not in (int, float):
        raise SettingsError(f"must be a number, not {_shown(value)}")
    return float(value)


def _text(value: Any, _: type) -> str:
    if type(value) is not str:
        raise SettingsError(f'must be text in quotes ("..."), not {_shown(value)}')
    return value


def _address(value: Any, _: type) -> Address:
    return Address.parse(_text(value, str))


def _members(value: Any, _: type) -> tuple[Member, ...]:
    if type(value) is not list:
        raise SettingsError("must be a list of tables, each under [[cluster]]")
    return tuple(_converter.structure(value, list[Member]))


def _texts(value: Any, _: type) -> tuple[str, ...]:
    if type(value) is not list:
        raise SettingsError(f'must be a list of texts in quotes (["..."]), not {_shown(value)}')
    return tuple(_text(each, str) for each in value)


def _table_hook(cls: type) -> Callable[[Any, type], Any]:
    structure = cast(Any, cattrs.gen.make_dict_structure_fn(cls, _converter, _cattrs_forbid_extra_keys=True))

    def hook(value: Any, type_: type) -> Any:
        if not isinstance(value, Mapping):
            raise SettingsError(f"must be a table, not {_shown(value)}")
        return structure(value, type_)

    return hook


_converter = cattrs.Converter(detailed_validation=True)
_converter.register_structure_hook_factory(attrs.has, _table_hook)
_converter.register_structure_hook(int, _integer)
_converter.register_structure_hook(float, _number)
_converter.register_structure_hook(str, _text)
_converter.register_structure_hook(Address, _address)
_converter.register_structure_hook_func(lambda type_: type_ == tuple[Member, ...], _members)
_converter.register_structure_hook_func(lambda type_: type_ == tuple[str, ...], _texts)


def _problems(error: ClassValidationError | IterableValidationError, path: str) -> Iterator[str]:
    """Flatten cattrs' tree of errors into lines, each `key: what is wrong`, outermost key first.

    An error that cattrs ties to a field or an index is about that value; one that it does not comes from the checks of
    the class, and begins with the key that it is about.
    """
    tied, untied = error.group_exceptions()
    for inner, note in tied:
        step = f".{note.name}" if isinstance(note, AttributeValidationNote) else f"[{note.index}]"
        key = f"{path}{step}".lstrip(".")
        if isinstance(inner, ClassValidationError | IterableValidationError):
            yield from _problems(inner, key)
        else:
            yield f"{key}: is missing; add it" if isinstance(inner, KeyError) else f"{key}: {inner}"
    for inner in untied:
        for problem in _unknown_keys(inner) if isinstance(inner, ForbiddenExtraKeysError) else [str(inner)]:
            yield f"{path}.{problem}".lstrip(".")


def _unknown_keys(error: ForbiddenExtraKeysError) -> Iterator[str]:
    known = [attribute.name for attribute in attrs.fields(error.cl)]
    for key in sorted(error.extra_fields):
        close = difflib.get_close_matches(key, known, n=1)
        yield f"{key}: unknown key; " + (f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}")


def _shown(value: object) -> str:
    """A value as TOML would write it, near enough, in one short line."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
