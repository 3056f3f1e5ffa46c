"""Bytes to and from the wire: values longer than an AMP value can be, and Raft's messages.

A message is a msgpack array of its fields, in the order in which its attrs class declares them; an entry or a snapshot
in it is such an array again, and a set of servers their ids in ascending order. What arrives is checked in full before
a value is made of it, since nothing behind this module does: the exact types, the range of the numbers, and entries
that follow each other without a gap (hazard R12).
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final

import attrs
import msgpack  # type: ignore[import-untyped]  # msgpack has no annotations
from twisted.protocols import amp

from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import MAX_BATCH_SIZE, AppendEntries, Entry, EntryKind, InstallSnapshot, Message
from txraft.errors import MalformedMessage
from txraft.interfaces import SnapshotFile

MAX_VALUE: Final = 0xFFFF
"""Bytes in one value of an AMP box."""
MAX_INTEGER: Final = 2**63 - 1
"""Indexes and the other numbers are this large at most, since storage keeps them so."""
MAX_TERM: Final = 2**62
"""What claims a higher term is noise. It leaves room below MAX_INTEGER, and no cluster comes near it: neither by
counting elections nor by what others send, since a message raises the term by a step only (`txraft.core.terms`; hazard
N8)."""


class Number(amp.Integer):
    """A whole number from 0 to MAX_INTEGER."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.protocols.amp has no annotations

    def fromString(self, inString: bytes) -> int:  # type: ignore[override]  # AMP has `int` itself here
        """Raises MalformedMessage, or ValueError."""
        number = int(inString)
        if not 0 <= number <= MAX_INTEGER:
            raise MalformedMessage("a number is out of range")
        return number


class LongBytes(amp.Argument):
    """Bytes of any length, under the keys `name`, `name-2`, `name-3` and so on of one box (hazard R20)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same

    def toBox(self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, Any], proto: object) -> None:  # noqa: ARG002  AMP's signature
        """Put the object into a box."""
        self.cut(name, self.to_bytes(objects[name.decode()]), strings)

    def fromBox(self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, Any], proto: object) -> None:  # noqa: ARG002  AMP's signature
        """Take the object out of a box. Raises MalformedMessage."""
        objects[name.decode()] = self.from_bytes(self.join(name, strings))

    def cut(self, name: bytes, value: bytes, box: dict[bytes, bytes]) -> None:
        """Put `value` into a box, in as many parts as it takes."""
        box[name] = value[:MAX_VALUE]
        for part, start in enumerate(range(MAX_VALUE, len(value), MAX_VALUE), start=2):
            box[b"%s-%d" % (name, part)] = value[start : start + MAX_VALUE]

    def join(self, name: bytes, box: Mapping[bytes, bytes]) -> bytes:
        """Put the parts of a value together again. Raises MalformedMessage."""
        value = box.get(name)
        if value is None:
            raise MalformedMessage(f"{name!r} is missing")
        if len(value) == MAX_VALUE:
            parts = [value]
            while (part := box.get(b"%s-%d" % (name, len(parts) + 1))) is not None:
                parts.append(part)
            value = b"".join(parts)
        return value

    def to_bytes(self, value: Any) -> bytes:
        """What goes on the wire for `value`."""
        return bytes(value)

    def from_bytes(self, value: bytes) -> Any:
        """The value that these bytes stand for. Raises MalformedMessage."""
        return value


class PackedMessage(LongBytes):
    """A message of one class."""

    def __init__(self, message_class: type[Message]) -> None:
        super().__init__()
        fields = attrs.fields(message_class)
        self.message_class = message_class
        self._names = tuple(field.name for field in fields)
        # Of one name alone, attrgetter gives no tuple.
        self._values: Callable[[Message], object] = (
            attrgetter(*self._names) if len(self._names) > 1 else lambda message: (getattr(message, self._names[0]),)
        )
        self._types = tuple(field.type if field.type in (int, bool) else tuple for field in fields)
        self._log_terms = tuple(name for name in self._names if name.endswith("_term"))
        self._part = next((field.name for field in fields if field.type not in (int, bool)), None)
        self._default = _snapshot_values if message_class is InstallSnapshot else _entry_values
        self._packer = msgpack.Packer(default=self._default)

    def to_bytes(self, message: Message) -> bytes:
        """What goes on the wire for `message`."""
        packed: bytes = self._packer.pack(self._values(message))
        if len(packed) > _LONGEST_BATCH:  # a packer keeps the memory that it once needed
            self._packer = msgpack.Packer(default=self._default)
        return packed

    def from_bytes(self, value: bytes) -> Message:
        """Raises MalformedMessage."""
        values = _unpack(value)
        if type(values) is not tuple or tuple(map(type, values)) != self._types:
            raise MalformedMessage("its fields have the wrong number or types")
        fields = dict(zip(self._names, values, strict=True))
        part = fields.pop(self._part, None)
        if min(fields.values()) < 0 or max(fields.values()) > MAX_INTEGER:
            raise MalformedMessage("a number is out of range")
        # A server has entered every term that an entry in its log is of (§5.1).
        term = fields["term"]
        if term > MAX_TERM or max([fields[name] for name in self._log_terms], default=0) > term:
            raise MalformedMessage("a term is out of range")
        if self.message_class is AppendEntries:
            fields["entries"] = _entries(part, fields["prev_log_index"], fields["prev_log_term"], term)
        elif self.message_class is InstallSnapshot:
            fields["snapshot"] = _snapshot(part, term)
        return self.message_class(**fields)


_entry_values: Callable[[Any], tuple[object, ...]] = attrgetter(*(field.name for field in attrs.fields(Entry)))
_ENTRY_TYPES: Final = (int, int, int, bytes)
_KINDS: Final = {kind.value: kind for kind in EntryKind}


def _entries(raw: Iterable[Any], index: int, term: int, last_term: int) -> tuple[Entry, ...]:
    """Make the entries that follow the one of `index` and `term`, in the log of a leader of `last_term`. Along a log,
    indexes go up one by one, and terms never down."""
    entries = []
    for values in raw:
        if type(values) is not tuple or tuple(map(type, values)) != _ENTRY_TYPES:
            raise MalformedMessage("the fields of an entry have the wrong number or types")
        found, entry_term, number, data = values
        index += 1
        if found != index or index > MAX_INTEGER:
            raise MalformedMessage(f"entry {found} stands where entry {index} belongs")
        if not term <= entry_term <= last_term:
            raise MalformedMessage(
                f"entry {index} is of term {entry_term}, after one of term {term}, from a leader of term {last_term}"
            )
        kind = _KINDS.get(number)
        if kind is None:
            raise MalformedMessage(f"there is no kind of entry {number}")
        term = entry_term
        entries.append(Entry(index, term, kind, data))
    return tuple(entries)


class PackedSnapshotFile(LongBytes):
    """A SnapshotFile: the array of its snapshot, its size, its checksum."""

    def to_bytes(self, file: SnapshotFile) -> bytes:
        """What goes on the wire for `file`."""
        packed: bytes = msgpack.packb(attrs.astuple(file, recurse=False), default=_snapshot_values)
        return packed

    def from_bytes(self, value: bytes) -> SnapshotFile:
        """Raises MalformedMessage."""
        values = _unpack(value)
        if type(values) is not tuple or tuple(map(type, values)) != (tuple, int, bytes):
            raise MalformedMessage("the fields of a snapshot's file have the wrong number or types")
        snapshot, size, checksum = values
        if not 0 <= size <= MAX_INTEGER:
            raise MalformedMessage("a snapshot's size is out of range")
        if len(checksum) != _SHA256:
            raise MalformedMessage(f"a checksum of {len(checksum)} bytes")
        return SnapshotFile(_snapshot(snapshot, MAX_TERM), size, checksum)


_SHA256: Final = 32
_SNAPSHOT_TYPES: Final = (int, int, tuple, tuple, tuple)


def _snapshot_values(snapshot: Snapshot) -> tuple[object, ...]:
    members = snapshot.configuration
    sets = (members.voters, members.outgoing, members.learners)
    return (snapshot.index, snapshot.term, *(tuple(sorted(servers)) for servers in sets))


def _snapshot(values: Any, last_term: int) -> Snapshot:
    """Make the snapshot that a server of `last_term` has."""
    if type(values) is not tuple or tuple(map(type, values)) != _SNAPSHOT_TYPES:
        raise MalformedMessage("the fields of a snapshot have the wrong number or types")
    index, term, voters, outgoing, learners = values
    if not 0 < index <= MAX_INTEGER:
        raise MalformedMessage(f"a snapshot of entry {index}")
    if not 0 <= term <= last_term:
        raise MalformedMessage(f"a snapshot of term {term}, from a server of term {last_term}")
    configuration = Configuration(_servers(voters), _servers(outgoing), _servers(learners))
    if not configuration.voters:
        raise MalformedMessage("a configuration without voters")
    if configuration.voters & configuration.learners:
        raise MalformedMessage("a configuration in which a server is both voter and learner")
    return Snapshot(index, term, configuration)


def _servers(ids: tuple[Any, ...]) -> frozenset[int]:
    """A set as it is written: in ascending order, so that nobody is in it twice."""
    if any(type(server) is not int for server in ids):
        raise MalformedMessage("the id of a server is no number")
    if any(before >= after for before, after in itertools.pairwise(ids)):
        raise MalformedMessage("ids of servers are not in ascending order")
    if ids and not 0 <= ids[0] <= ids[-1] <= MAX_INTEGER:
        raise MalformedMessage("the id of a server is out of range")
    return frozenset(ids)


_LONGEST_BATCH: Final = MAX_BATCH_SIZE + 1024
"""Bytes of the longest message with more than one entry."""
_FIELDS: Final = 6
"""Of AppendEntries, which has the most."""


def _unpack(value: bytes) -> Any:
    """What `value` stands for. It is as hostile as can be: a byte may become an object of 50. So what is longer than a
    batch of entries may have no more arrays in it than a message of one entry has."""
    more = {"list_hook": _at_most_arrays(3), "max_array_len": _FIELDS} if len(value) > _LONGEST_BATCH else {}
    try:
        return msgpack.unpackb(value, use_list=False, max_map_len=0, max_ext_len=0, **more)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise MalformedMessage(f"it is not msgpack ({str(error) or type(error).__name__})") from error


def _at_most_arrays(most: int) -> Callable[[object], object]:
    arrays = itertools.count(1)

    def count(array: object) -> object:
        if next(arrays) > most:
            raise ValueError("too many arrays")
        return array

    return count
