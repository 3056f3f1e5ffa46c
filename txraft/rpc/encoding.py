"""Bytes to and from the wire: Raft's messages.

A message is a msgpack array of its fields, in the order in which its attrs class declares them; an entry or a snapshot
in it is such an array again (`txraft.rpc.memberships`). What arrives is checked in full before a value is made of it,
since nothing behind this module does: the exact types, the range of the numbers, entries that follow each other without
a gap (hazard R12), and the memberships in them.
"""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final

import attrs
import msgpack  # type: ignore[import-untyped]  # msgpack has no annotations

from txraft.core.messages import AppendEntries, Entry, EntryKind, InstallSnapshot, Message
from txraft.errors import MalformedMessage
from txraft.interfaces import CHANGES_MEMBERS
from txraft.rpc.arguments import LONGEST_BATCH, MAX_INTEGER, MAX_TERM, LongBytes, unpack
from txraft.rpc.memberships import configuration_of, snapshot_of, snapshot_values
from txraft.rpc.versions import NEWEST_VERSION

_CONFIGURATION: Final = EntryKind.CONFIGURATION


class PackedMessage(LongBytes):
    """A message of one class, as one version of the protocol has it."""

    def __init__(self, message_class: type[Message], version: int = NEWEST_VERSION) -> None:
        super().__init__()
        self._version = version
        self._kinds = {
            kind.value: kind for kind in EntryKind if version >= CHANGES_MEMBERS or kind is not _CONFIGURATION
        }
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
        self._default = snapshot_values(version) if message_class is InstallSnapshot else _entry_values
        self._packer = msgpack.Packer(default=self._default)

    def to_bytes(self, message: Message) -> bytes:
        """What goes on the wire for `message`."""
        packed: bytes = self._packer.pack(self._values(message))
        if len(packed) > LONGEST_BATCH:  # a packer keeps the memory that it once needed
            self._packer = msgpack.Packer(default=self._default)
        return packed

    def from_bytes(self, value: bytes) -> Message:
        """Raises MalformedMessage."""
        values = unpack(value)
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
            fields["entries"] = _entries(part, fields["prev_log_index"], fields["prev_log_term"], term, self._kinds)
        elif self.message_class is InstallSnapshot:
            fields["snapshot"] = snapshot_of(part, term, self._version)
        return self.message_class(**fields)


_entry_values: Callable[[Any], tuple[object, ...]] = attrgetter(*(field.name for field in attrs.fields(Entry)))
_ENTRY_TYPES: Final = (int, int, int, bytes)


def _entries(
    raw: Iterable[Any], index: int, term: int, last_term: int, kinds: dict[int, EntryKind]
) -> tuple[Entry, ...]:
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
        kind = kinds.get(number)
        if kind is None:
            raise MalformedMessage(f"there is no kind of entry {number}")
        if kind is _CONFIGURATION:
            configuration_of(data)
        term = entry_term
        entries.append(Entry(index, term, kind, data))
    return tuple(entries)
