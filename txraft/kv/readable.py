"""A command of the log as a line for a person."""

from txraft.errors import UnknownCommand
from txraft.kv.commands import Batch, Command, CompareAndSet, Conditional, Delete, Get, Once, Operation, Set, decode

LONGEST = 60
"""Bytes of a key or a value that are shown."""
MOST_OPERATIONS = 10
"""Of a batch that are shown."""


def readable(data: bytes) -> str:
    """What `data`, an entry's, asks for, in one line that does no harm to a terminal. Of what is no command of the
    key-value store, the bytes."""
    try:
        command = decode(data)
    except UnknownCommand:
        command = None
    return text_of(data) if command is None else _of(command)


def text_of(data: bytes) -> str:
    """Bytes in quotes, shortened: as text, where they are UTF-8."""
    shown = data[:LONGEST]
    more = f"... ({len(data):,} bytes)" if len(data) > LONGEST else ""
    try:
        return repr(shown.decode()) + more
    except UnicodeDecodeError:
        return repr(shown) + more


def _of(command: Command) -> str:
    match command:
        case Conditional(change, conditions):
            each = [f"{'is' if one.is_one else 'is not'} {' or '.join(map(str, one.revisions))}" for one in conditions]
            return f"{_of(change)}, where its mod_revision {' and '.join(each)}"
        case Batch(operations, _):
            shown = "; ".join(map(_of_operation, operations[:MOST_OPERATIONS]))
            return f"batch of {len(operations)}: {shown}{'; ...' if len(operations) > MOST_OPERATIONS else ''}"
        case Once(key, _, request):
            return f"{_of(request)}, with Idempotency-Key {text_of(key)}"
        case operation:
            return _of_operation(operation)


def _of_operation(operation: Operation) -> str:
    match operation:
        case Set(key, value):
            return f"set {text_of(key)} to {text_of(value)}"
        case Delete(key):
            return f"delete {text_of(key)}"
        case CompareAndSet(key, old, value):
            return f"set {text_of(key)} from {text_of(old)} to {text_of(value)}"
        case Get(key):
            return f"get {text_of(key)}"
