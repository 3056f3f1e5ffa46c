"""What an operator sets, as frozen attrs values. `txraft.settings_file` reads them from a file.

The rules for a value stand beside the field they are about, and hold for settings built in code as well: what breaks
one is a `SettingsError`, one line with the key and what to do. `etc/txraft.toml` shows every key with its default.
"""

import hashlib
import ipaddress
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from attrs import Attribute, field, fields, frozen

from txraft.addresses import Address, Endpoint, Place, can_be_reached, check_host, require_reachable
from txraft.errors import SettingsError
from txraft.texts import brief, shown

MILLISECOND = 0.001

MAX_ID: Final = 2**63 - 1
"""What SQLite holds."""
MAX_MEMBERS: Final = 100
"""Far more than have ever made sense: a majority of them has to answer before anything is decided."""
SHORTEST: Final = 1.0
LONGEST: Final = 24 * 3600 * 1000.0
"""Milliseconds: what a reactor's timers keep to, and what they and sockets take at all."""
MAX_KEY_SIZE: Final = 1024 * 1024
MAX_VALUE_SIZE: Final = 31 * 1024 * 1024
"""A key and two values, those of a compare-and-set, are one command, of 64 MiB at most (`txraft.core.messages`)."""
MAX_BATCH_JSON_SIZE: Final = 31 * 1024 * 1024
"""As a command it is shorter."""
MAX_BATCH_OPERATIONS: Final = 10_000
"""Which take a node 0.1 s to read."""
MAX_UNCOMMITTED_SIZE: Final = 2**40
MAX_UNCOMMITTED_ENTRIES: Final = 2**30
MAX_CONNECTIONS: Final = 2**20
MAX_KEPT_ENTRIES: Final = 2**30
MAX_KEPT_SIZE: Final = 2**40

T = TypeVar("T")


def _positive(_: object, attribute: "Attribute[Any]", value: float) -> None:
    if type(value) not in (int, float):
        raise SettingsError(f"{attribute.name}: must be a number, not {brief(value)}")
    if value == math.inf:
        raise SettingsError(f"{attribute.name}: must be finite, not {value}")
    if not value > 0:  # which nan is not either
        raise SettingsError(f"{attribute.name}: must be above 0, not {value}")


def _between(least: int, most: int) -> Callable[[object, "Attribute[int]", int], None]:
    def check(_: object, attribute: "Attribute[int]", value: int) -> None:
        if type(value) is not int:
            raise SettingsError(f"{attribute.name}: must be a whole number, not {brief(value)}")
        if not least <= value <= most:
            raise SettingsError(f"{attribute.name}: must be {least} to {most}, not {shown(value)}")

    return check


def _reachable(_: object, attribute: "Attribute[Any]", address: Place) -> None:
    require_reachable(attribute.name, address)


def _in_the_clear(_: object, attribute: "Attribute[Any]", place: Place | None) -> None:
    if isinstance(place, Endpoint) and place.kind in ("ssl", "tls"):
        raise SettingsError(
            f"{attribute.name}: {shown(place.text)} speaks TLS, and clients of txraft do not; listen at unix:PATH, and"
            " have a proxy that speaks TLS ask there"
        )


@frozen
class Member:
    """A node of the cluster, as its configuration file describes it."""

    id: int = field(validator=_between(0, MAX_ID))
    address: Place = field(validator=_reachable)
    """Raft: where the other nodes reach it."""
    kvaddr: Address = field(validator=_reachable)
    """The HTTP API: where clients reach it."""
    bind: Place | None = None
    """Where it listens for the other nodes, if not at `address`."""
    kvbind: Place | None = field(default=None, validator=_in_the_clear)
    """Where it listens for clients, if not at `kvaddr`."""

    def __attrs_post_init__(self) -> None:
        if self.bind is None and not can_be_reached(self.address):
            raise SettingsError(f"bind: is missing: where node {self.id} listens, which others reach at {self.address}")
        if self.listens_on == self.kv_listens_on:
            raise SettingsError(
                f"kvaddr: node {self.id} cannot listen on {self.listens_on} both for nodes and for clients"
            )

    @property
    def listens_on(self) -> Place:
        return self.bind or self.address

    @property
    def kv_listens_on(self) -> Place:
        return self.kvbind or self.kvaddr


@frozen
class Timing:
    """The fields are milliseconds, as in the file; the properties are seconds, with slow_coefficient in them."""

    slow_coefficient: float = field(default=1.0, validator=_positive)
    """Multiplies all of the others: 10 makes everything slow enough to watch."""
    election_timeout: float = field(default=400.0, validator=_positive)
    """A follower that hears nothing waits this long to twice this long, at random, and then campaigns (§5.2)."""
    heartbeat_interval: float = field(default=80.0, validator=_positive)
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
        for time in fields(Timing)[1:]:
            product = getattr(self, time.name) * self.slow_coefficient
            if not SHORTEST <= product <= LONGEST:
                raise SettingsError(
                    f"{time.name}: times slow_coefficient it must be {SHORTEST:g} to {LONGEST:.0f} ms, not {product:g}"
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
    """How much a node takes in, in bytes, and how many."""

    key_size: int = field(default=4 * 1024, validator=_between(1, MAX_KEY_SIZE))
    value_size: int = field(default=1024 * 1024, validator=_between(1, MAX_VALUE_SIZE))
    batch_size: int = field(default=1024 * 1024, validator=_between(1, MAX_BATCH_JSON_SIZE))
    """Of a batch as it is sent."""
    batch_operations: int = field(default=1000, validator=_between(1, MAX_BATCH_OPERATIONS))
    """How many a batch may have."""
    uncommitted_size: int = field(default=64 * 1024 * 1024, validator=_between(1, MAX_UNCOMMITTED_SIZE))
    """What may wait to be committed, in memory; a request beyond it is refused as not applied (hazard C9). It has room
    for the largest change, or that one would be told to try again later whenever another waits."""
    uncommitted_entries: int = field(default=10_000, validator=_between(1, MAX_UNCOMMITTED_ENTRIES))
    """How many changes may wait to be committed. Each takes some kilobytes while it is waited for."""
    connections: int = field(default=700, validator=_between(1, MAX_CONNECTIONS))
    """How many clients may be connected. Fewer where the process may not open so many files (hazard N4)."""

    def __attrs_post_init__(self) -> None:
        compare_and_set = self.key_size + 2 * self.value_size
        for change, size in (("a key and two values", compare_and_set), ("a batch (batch_size)", self.batch_size)):
            if self.uncommitted_size < size:
                raise SettingsError(
                    f"uncommitted_size: must have room for {change}, {size} bytes, not {self.uncommitted_size}"
                )


@frozen
class LogLimits:
    """How much of the log each node keeps, in memory and on disk, for followers that are a little behind. One that is
    further behind is sent a snapshot of all data. There is up to a quarter more; and on the leader, while a snapshot is
    on its way, up to four times as much, or what takes 512 MiB of memory where that is more."""

    keep_entries: int = field(default=50_000, validator=_between(1, MAX_KEPT_ENTRIES))
    """Changes. Each takes 200 bytes of memory beside what it says."""
    keep_size: int = field(default=64 * 1024 * 1024, validator=_between(1, MAX_KEPT_SIZE))
    """Bytes of them: it keeps fewer entries where they are large."""


def _plain_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """The names in lower case, IPv6 addresses without brackets and in their one short form. Raises SettingsError."""
    return tuple(_plain_host(f"allowed_hosts[{number}]", host) for number, host in enumerate(hosts))


def _plain_host(key: str, host: str) -> str:
    plain = host.lower()
    if plain.startswith("[") and plain.endswith("]") and ":" in plain:
        plain = plain[1:-1]
    try:
        check_host(None, None, plain)
    except SettingsError:
        raise SettingsError(
            f"{key}: {shown(host)} is not a host name or an IP address; write it without a port"
        ) from None
    return str(ipaddress.IPv6Address(plain)) if ":" in plain else plain


def require_name(name: str | None) -> None:
    """Raises SettingsError for what is no name of a cluster. None is that of one without."""
    if name is not None and not (0 < len(name) <= 255 and name.isprintable()):
        raise SettingsError(f"name: must be 1 to 255 printable characters, not {shown(name)}")


@frozen
class Settings:
    """One cluster, the same on all of its nodes."""

    cluster: tuple[Member, ...]
    timing: Timing = Timing()
    limits: SizeLimits = SizeLimits()
    log: LogLimits = LogLimits()
    name: str | None = None
    """What the cluster is called. It counts at a node's first start, and has to stay what it was then."""
    allowed_hosts: tuple[str, ...] = field(default=(), converter=_plain_hosts)
    """The names and addresses, without ports, that a client may call a node by in a request's Host header. All where
    there are none. A list keeps out pages that have their own name point to a node (DNS rebinding, hazard N7)."""

    def __attrs_post_init__(self) -> None:
        if not self.cluster:
            raise SettingsError("cluster: has no nodes; add a [[cluster]] table for each")
        if len(self.cluster) > MAX_MEMBERS:
            raise SettingsError(f"cluster: has {len(self.cluster)} nodes; {MAX_MEMBERS} are the most")
        require_name(self.name)
        ids: dict[int, str] = {}
        addresses: dict[Place, str] = {}
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
        return self.name or digest_of_members(self._addresses)

    def restored_cluster_id(self, digest: str) -> str:
        """What identifies a cluster that these members make of a backup, by the `digest` of that: another one than that
        of any cluster before, except of one that was made of the same backup, with the same members and name."""
        its = digest_of_members(self._addresses, f"{digest} ")
        return its if self.name is None else f"{self.name} (restored {its})"

    @property
    def _addresses(self) -> dict[int, str]:
        return {member.id: str(member.address) for member in self.cluster}

    def member(self, id: int) -> Member:
        """The member with this id. Raises SettingsError where there is none."""
        if not isinstance(id, int):
            raise SettingsError(f"the id of a node is a number, and {id!r} is a {type(id).__name__}")
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


def digest_of_members(addresses: Mapping[int, str], seed: str = "") -> str:
    """What identifies a cluster without a name: it follows from the addresses of its members."""
    text = seed + " ".join(f"{id}={address}" for id, address in sorted(addresses.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
