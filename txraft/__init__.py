"""Raft for Python, on Twisted: a replicated, linearizable key-value store, and the library underneath it.

Where to start reading:

- `txraft.core` is Raft itself, pure: no sockets, no files, no clock. Its docstring is the theory of operation.
- `txraft.node` drives one core: disk, peers, timers and state machine around it.
- `txraft.service` wires one whole node, and is the only module that knows all the others; `txraft.cli` starts it.
"""
