"""One command after the other, on a store; and what entries did, for its file."""

from collections.abc import Mapping

from txraft.core.messages import Entry, EntryKind
from txraft.kv import KeyValueStore
from txraft.kv.contents import Contents, Delta


def apply_command(store: KeyValueStore, index: int, command: bytes) -> bytes:
    """Apply the entry at `index`; gives its result."""
    applied = store.apply([Entry(index, 1, EntryKind.COMMAND, command)])
    assert isinstance(applied.result, list)
    result = applied.result[0]
    assert isinstance(result, bytes), result
    return result


def delta(index: int, changes: Mapping[bytes, bytes | None]) -> Delta:
    """What the entries up to `index` changed."""
    return Delta(index, dict(changes))


def index_and_records(contents: Contents) -> tuple[int, dict[bytes, bytes]]:
    """What a file has, without revision and answers."""
    return contents.last_applied, contents.records
