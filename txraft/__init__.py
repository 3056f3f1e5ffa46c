"""Raft for Python, on Twisted: a replicated, linearizable key-value store, and the library underneath it.

What a program of your own needs is in this package itself:

    ObjectService, command       one server that replicates a Python object of yours (`txraft.objects`)
    RaftService, Home            the same for a state machine that you write from the ground up, or `MemoryMachine`
    newcomer                     what a server is given that joins a cluster which runs
    CoroutineResource            HTTP for what your object answers (`txraft.coroutine_resource`)
    BlockingService              either of them in a program that blocks (`txraft.blocking`)
    MemoryMachine                in three plain methods, on bytes (`txraft.memory_machine`)
    Counters, Table, Queue       objects that are ready to be replicated (`txraft.recipes`)
    Lock, Election               with a fencing token and a lease, of an object that has `Locks`
    run_on_monotonic_time        a clock for the reactor that nobody can set, which every program wants
    Options, Timing, LogLimits, SizeLimits      what may be set
    TxraftError                  the root of all errors. Of what is asked: `NotApplied` never takes effect,
                                 `OutcomeUnknown` may have, and `CommandFailed` is what the machine raised

Where to start reading:

- `txraft.core` is Raft itself, pure: no sockets, no files, no clock. Its docstring is the theory of operation.
- `txraft.node` drives one core: disk, peers, timers and state machine around it.
- `txraft.raft_service` wires one server with any state machine.
- `txraft.service` wires a whole node of the key-value store, and `txraft.cli` starts it.
- `txraft.client` is for programs that use the key-value store: over HTTP, from anywhere.
- `txraft.testing` simulates a cluster of a state machine of your own under faults.

The interfaces are zope.interface's, which mypy understands with the plugin of the package `mypy-zope`; without it, it
says `got "MemoryMachine", expected "IStateMachine"`. In pyproject.toml:

    [tool.mypy]
    plugins = ["mypy_zope:plugin"]

Docstrings name hazards, as in "hazard N4": what is known to go wrong in programs like this one. The list is
`tests/rules/hazards.md`, in the repository and the source distribution; each has a test that names it too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txraft.blocking import BlockingService
    from txraft.coroutine_resource import CoroutineResource
    from txraft.errors import BadCommand, CommandFailed, NotApplied, OutcomeUnknown, TxraftError
    from txraft.home import Home
    from txraft.memory_machine import MemoryMachine
    from txraft.monotonic import run_on_monotonic_time
    from txraft.objects import ObjectService, command
    from txraft.raft_service import RaftService, newcomer
    from txraft.raft_service.options import Options
    from txraft.recipes import Counters, Election, Held, Lock, Locks, Queue, Table
    from txraft.settings import LogLimits, SizeLimits, Timing

__all__ = [
    "BadCommand",
    "BlockingService",
    "CommandFailed",
    "CoroutineResource",
    "Counters",
    "Election",
    "Held",
    "Home",
    "Lock",
    "Locks",
    "LogLimits",
    "MemoryMachine",
    "NotApplied",
    "ObjectService",
    "Options",
    "OutcomeUnknown",
    "Queue",
    "RaftService",
    "SizeLimits",
    "Table",
    "Timing",
    "TxraftError",
    "command",
    "newcomer",
    "run_on_monotonic_time",
]

_PLACES = {
    "blocking": ("BlockingService",),
    "coroutine_resource": ("CoroutineResource",),
    "errors": ("BadCommand", "CommandFailed", "NotApplied", "OutcomeUnknown", "TxraftError"),
    "home": ("Home",),
    "memory_machine": ("MemoryMachine",),
    "monotonic": ("run_on_monotonic_time",),
    "objects": ("ObjectService", "command"),
    "raft_service": ("RaftService", "newcomer"),
    "raft_service.options": ("Options",),
    "recipes": ("Counters", "Election", "Held", "Lock", "Locks", "Queue", "Table"),
    "settings": ("LogLimits", "SizeLimits", "Timing"),
}


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: to import the core is not to import all of Twisted."""
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"txraft.{module}"), name)
    raise AttributeError(f"module 'txraft' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
