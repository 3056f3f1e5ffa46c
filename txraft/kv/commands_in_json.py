"""Operations in JSON, as `/batch` takes them, and a command of the log that is made of them."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import astuple

from txraft.errors import UnknownCommand
from txraft.kv.commands import Batch, CompareAndSet, Conditional, Delete, Get, Once, Operation, Set, decode

OPERATIONS: dict[str, tuple[Callable[..., Operation], tuple[str, ...]]] = {
    "set": (Set, ("key", "val")),
    "delete": (Delete, ("key",)),
    "cas": (CompareAndSet, ("key", "old", "val")),
    "get": (Get, ("key",)),
}
"""What each is called, and what it takes, in the order in which the command has it."""

_NAMES = {kind: (name, fields) for name, (kind, fields) in OPERATIONS.items()}
_CONTROL_CHARACTERS = bytes(set(range(0x20)) - set(b"\t\r\n"))
"""That are not written as text: each would take six bytes of JSON."""

InJson: TypeAlias = dict[str, Any]


def text_or_base64(value: bytes) -> str | dict[str, str]:
    """What stands for a key or a value in JSON."""
    if len(value.translate(None, _CONTROL_CHARACTERS)) == len(value):
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {"base64": b64encode(value).decode()}


def command_in_json(data: bytes) -> InJson:
    """What `data`, an entry's, asks for: all `operations` of it; its `idempotency_key`, where it has one; and under
    `conditions` which mod_revisions its key may have, or may not, where it has any. Of what is no command of the
    key-value store, or of a later version's, the `data`."""
    try:
        command = decode(data)
    except UnknownCommand:
        command = None
    found: InJson = {}
    if isinstance(command, Once):
        found["idempotency_key"] = text_or_base64(command.key)
        command = command.request
    if isinstance(command, Conditional):
        found["conditions"] = [
            {"mod_revision_is" if each.is_one else "mod_revision_is_not": list(each.revisions)}
            for each in command.conditions
        ]
        command = command.change
    if command is None:
        return {"data": text_or_base64(data)}
    operations = command.operations if isinstance(command, Batch) else (command,)
    return {"operations": list(map(_operation_in_json, operations)), **found}


def _operation_in_json(operation: Operation) -> InJson:
    name, fields = _NAMES[type(operation)]
    return {name: dict(zip(fields, map(text_or_base64, astuple(operation)), strict=True))}
