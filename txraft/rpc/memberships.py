"""Bytes to and from the wire for all that has members in it: configurations, changes of them, and snapshots.

A configuration is what `Configuration.to_bytes` gives. Version 5 has three lists of ids in its place, which know
neither addresses nor who was removed (`txraft.rpc.versions`). What arrives is checked in full, as in
`txraft.rpc.encoding`.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import msgpack  # type: ignore[import-untyped]  # msgpack has no annotations

from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import MAX_BATCH_SIZE
from txraft.errors import MalformedMessage
from txraft.interfaces import CHANGES_MEMBERS, SnapshotFile
from txraft.rpc.arguments import MAX_INTEGER, MAX_TERM, MAX_VALUE, LongBytes, unpack
from txraft.rpc.versions import NEWEST_VERSION

MAX_CONFIGURATION: Final = MAX_BATCH_SIZE
"""Bytes of the longest configuration that is read: 50,000 ids at least."""


def configuration_of(data: bytes) -> Configuration:
    """The configuration that an entry of the log or a snapshot has. Raises MalformedMessage."""
    if len(data) > MAX_CONFIGURATION:
        raise MalformedMessage(f"a configuration of {len(data)} bytes")
    try:
        configuration = Configuration.from_bytes(data)
    except ValueError as error:
        raise MalformedMessage(f"a configuration that is none: {error}") from error
    if not configuration.voters:
        raise MalformedMessage("a configuration without voters")
    return configuration


class PackedConfiguration(LongBytes):
    """A Configuration."""

    def to_bytes(self, configuration: Configuration) -> bytes:
        """What goes on the wire for `configuration`."""
        return configuration.to_bytes()

    def from_bytes(self, value: bytes) -> Configuration:
        """Raises MalformedMessage."""
        return configuration_of(value)


class PackedChanges(LongBytes):
    """Changes of the membership: an array of arrays of a Change's fields."""

    def to_bytes(self, changes: Sequence[Change]) -> bytes:
        """What goes on the wire for `changes`."""
        rows = [(each.kind.value, each.server, each.addresses, each.joins, each.replaces) for each in changes]
        packed: bytes = msgpack.packb(rows)
        return packed

    def from_bytes(self, value: bytes) -> tuple[Change, ...]:
        """Raises MalformedMessage."""
        if len(value) > MAX_VALUE:
            raise MalformedMessage(f"changes of the membership of {len(value)} bytes")
        rows = unpack(value)
        if type(rows) is not tuple:
            raise MalformedMessage("changes of the membership that are no array")
        return tuple(map(_change, rows))


_KINDS: Final = {kind.value: kind for kind in ChangeKind}
_CHANGE_TYPES: Final = ((str, int, tuple, bool, int), (str, int, tuple, bool, type(None)))


def _change(values: Any) -> Change:
    if type(values) is not tuple or tuple(map(type, values)) not in _CHANGE_TYPES:
        raise MalformedMessage("the fields of a change of the membership have the wrong number or types")
    kind, server, addresses, joins, replaces = values
    if kind not in _KINDS:
        raise MalformedMessage("there is no such kind of a change of the membership")
    if not all(0 <= each <= MAX_INTEGER for each in (server, replaces or 0)):
        raise MalformedMessage("the id of a server is out of range")
    if any(type(address) is not str for address in addresses):
        raise MalformedMessage("an address is no text")
    return Change(_KINDS[kind], server, addresses, joins, replaces)


class PackedSnapshotFile(LongBytes):
    """A SnapshotFile: the array of its snapshot, its size, its checksum; as the version of the connection has it."""

    def toBox(self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, Any], proto: object) -> None:
        """Put the object into a box."""
        file: SnapshotFile = objects[name.decode()]
        packed = msgpack.packb(attrs.astuple(file, recurse=False), default=snapshot_values(_version_of(proto)))
        self.cut(name, packed, strings)

    def fromBox(self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, Any], proto: object) -> None:
        """Take the object out of a box. Raises MalformedMessage."""
        objects[name.decode()] = self.read(self.join(name, strings), _version_of(proto))

    def read(self, value: bytes, version: int = NEWEST_VERSION) -> SnapshotFile:
        """Raises MalformedMessage."""
        values = unpack(value)
        if type(values) is not tuple or tuple(map(type, values)) != (tuple, int, bytes):
            raise MalformedMessage("the fields of a snapshot's file have the wrong number or types")
        snapshot, size, checksum = values
        if not 0 <= size <= MAX_INTEGER:
            raise MalformedMessage("a snapshot's size is out of range")
        if len(checksum) != _SHA256:
            raise MalformedMessage(f"a checksum of {len(checksum)} bytes")
        return SnapshotFile(snapshot_of(snapshot, MAX_TERM, version), size, checksum)


def _version_of(proto: object) -> int:
    """What the connection speaks that AMP reads or writes an argument for."""
    version: int = getattr(proto, "version", NEWEST_VERSION)
    return version


_SHA256: Final = 32
_IN_BYTES: Final = (int, int, bytes)
_IN_LISTS: Final = (int, int, tuple, tuple, tuple)


def snapshot_values(version: int) -> Callable[[Any], tuple[object, ...]]:
    """What makes of a snapshot what msgpack packs of it."""
    return _with_bytes if version >= CHANGES_MEMBERS else _with_lists


def _with_bytes(snapshot: Snapshot) -> tuple[object, ...]:
    return snapshot.index, snapshot.term, snapshot.configuration.to_bytes()


def _with_lists(snapshot: Snapshot) -> tuple[object, ...]:
    members = snapshot.configuration
    sets = (members.voters, members.outgoing, members.learners)
    return (snapshot.index, snapshot.term, *(tuple(sorted(servers)) for servers in sets))


def snapshot_of(values: Any, last_term: int, version: int) -> Snapshot:
    """Make the snapshot that a server of `last_term` has. Raises MalformedMessage."""
    types = _IN_BYTES if version >= CHANGES_MEMBERS else _IN_LISTS
    if type(values) is not tuple or tuple(map(type, values)) != types:
        raise MalformedMessage("the fields of a snapshot have the wrong number or types")
    index, term, *members = values
    if not 0 < index <= MAX_INTEGER:
        raise MalformedMessage(f"a snapshot of entry {index}")
    if not 0 <= term <= last_term:
        raise MalformedMessage(f"a snapshot of term {term}, from a server of term {last_term}")
    configuration = configuration_of(*members) if version >= CHANGES_MEMBERS else _configuration_of_lists(*members)
    return Snapshot(index, term, configuration)


def _configuration_of_lists(voters: Any, outgoing: Any, learners: Any) -> Configuration:
    configuration = Configuration(_servers(voters), _servers(outgoing), _servers(learners))
    if not configuration.voters:
        raise MalformedMessage("a configuration without voters")
    if configuration.voters & configuration.learners:
        raise MalformedMessage("a configuration in which a server is both voter and learner")
    return configuration


def _servers(ids: tuple[Any, ...]) -> frozenset[int]:
    """A set as it is written: in ascending order, so that nobody is in it twice."""
    if any(type(server) is not int for server in ids):
        raise MalformedMessage("the id of a server is no number")
    if any(before >= after for before, after in itertools.pairwise(ids)):
        raise MalformedMessage("ids of servers are not in ascending order")
    if ids and not 0 <= ids[0] <= ids[-1] <= MAX_INTEGER:
        raise MalformedMessage("the id of a server is out of range")
    return frozenset(ids)
