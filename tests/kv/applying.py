"""One command after the other, on a store."""

from txraft.core.messages import Entry, EntryKind
from txraft.kv import KeyValueStore


def apply_command(store: KeyValueStore, index: int, command: bytes) -> bytes:
    """Apply the entry at `index`; gives its result."""
    applied = store.apply([Entry(index, 1, EntryKind.COMMAND, command)])
    assert isinstance(applied.result, list)
    result = applied.result[0]
    assert isinstance(result, bytes), result
    return result
