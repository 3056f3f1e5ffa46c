"""Raft for Python, on Twisted: a replicated, linearizable key-value store, and the library underneath it.

Where to start reading:

- `txraft.core` is Raft itself, pure: no sockets, no files, no clock. Its docstring is the theory of operation.
- `txraft.node` drives one core: disk, peers, timers and state machine around it.
- `txraft.service` wires one whole node, and is the only module that knows all the others; `txraft.cli` starts it.
- `txraft.memory_machine` replicates a state machine of your own, and `txraft.testing` simulates it under faults.

The interfaces are zope.interface's, which mypy understands with the plugin of the package `mypy-zope`; without it, it
says `got "MemoryMachine", expected "IStateMachine"`. In pyproject.toml:

    [tool.mypy]
    plugins = ["mypy_zope:plugin"]

Docstrings name hazards, as in "hazard N4": what is known to go wrong in programs like this one. The list is
`tests/rules/hazards.md`, in the repository and the source distribution; each has a test that names it too.
"""
