"""The key-value store: the state machine that txraft ships with, and the first user of `IStateMachine`.

`commands` is what clients can ask for, and its encoding: a command travels through the log as bytes, and its result
travels back from the node that leads as bytes. `store` applies commands to a dict. Both are pure. `write_behind` keeps
a copy of the dict in an SQLite file, which `data_file` reads and writes.

The truth is the log; the copy saves time. A change that is acknowledged is on a majority of logs, so the copy may lag
behind, and it is written five seconds or ten thousand keys at a time. This is safe because the data and the index of
the last entry that they include change in one transaction (hazard S5): at the next start, the log's entries after that
index are applied again. The index moves with the log, also past entries that change nothing.

Every node applies the same commands in the same order, so nothing here may depend on a clock, on chance, or on the
order of a set.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from txraft.kv.commands import (
    Batch,
    Command,
    CompareAndSet,
    Condition,
    Conditional,
    Delete,
    Get,
    Once,
    Result,
    Set,
    decode_result,
    encode,
)

if TYPE_CHECKING:
    from txraft.kv.store import KeyValueStore
    from txraft.kv.write_behind import WriteBehind

__all__ = [
    "Batch",
    "Command",
    "CompareAndSet",
    "Condition",
    "Conditional",
    "Delete",
    "Get",
    "KeyValueStore",
    "Once",
    "Result",
    "Set",
    "WriteBehind",
    "decode_result",
    "encode",
]

_PLACES = {"KeyValueStore": "store", "WriteBehind": "write_behind"}


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: a client wants the commands, and not the store with its files."""
    if name in _PLACES:
        return getattr(import_module(f"txraft.kv.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'txraft.kv' has no attribute {name!r}")
