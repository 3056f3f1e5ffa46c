"""What a state machine gives, held to `IStateMachine`. A breach of that is one line that says which call is wrong."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.interface import InterfaceClass

from txraft.core.messages import Entry
from txraft.errors import ContractBroken
from txraft.interfaces import ISnapshot


def lacking(interface: InterfaceClass, thing: object) -> str:
    """Which names of an interface `thing` has not got."""
    return ", ".join(sorted(name for name in interface.names() if not hasattr(thing, name)))


def deferred_of(call: str, answer: object) -> "Deferred[Any]":
    """What a call has given back. Raises ContractBroken."""
    if not isinstance(answer, Deferred):
        raise ContractBroken(f"`{call}` gives {type(answer).__name__}, not a Deferred")
    return answer


def require_results(results: object, entries: Sequence[Entry]) -> None:
    """Raise ContractBroken where `apply` has not fired with a result for each of these."""
    if not isinstance(results, (list, tuple)):
        raise ContractBroken(f"`apply` fires with {type(results).__name__}, not a list")
    if len(results) != len(entries):
        raise ContractBroken(f"`apply` gives {len(results)} results for {len(entries)} entries, and each needs one")


def index_of(persisted: object) -> int:
    """What `persist` has fired with. Raises ContractBroken."""
    if not isinstance(persisted, int):
        raise ContractBroken(f"`persist` fires with {type(persisted).__name__}, not an index")
    return persisted


def snapshot_of(taken: Any) -> ISnapshot:
    """What `snapshot` has fired with. Raises ContractBroken."""
    if lacks := lacking(ISnapshot, taken):
        raise ContractBroken(f"`snapshot` fires with {type(taken).__name__}, not an ISnapshot: it has no {lacks}")
    snapshot: ISnapshot = taken
    return snapshot
