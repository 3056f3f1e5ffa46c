"""What a simulated cluster replicates: the key-value store, or a state machine of your own.

    class Counters:                                     # an `Application`
        def machine(self, home):                        # called whenever a process starts, on each node
            return SQLiteCounters(home.directory / "counters.sqlite", home.worker)

        def command(self, random):                      # what clients propose
            return random.choice([b"up", b"down"])

        def state(self, machine):                       # what must be equal on all nodes that have applied as much
            return machine.count

    report = run_of(plan_of(seed), application=Counters)
    assert report.violation is None, report.violation

Every rule is checked but linearizability by its own search, which knows keys and values only. It follows from others:
each command is in the log once, in an order that keeps with time, its answer is what the state machine gave for just
that entry, the same on every node, and who reads sees what had been acknowledged before.
"""

from collections.abc import Hashable
from pathlib import Path
from random import Random
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from txraft.core.messages import NodeId
from txraft.interfaces import IStateMachine, IWorker


@frozen
class Home:
    """Where a state machine lives: for one process of one node."""

    node_id: NodeId
    directory: Path
    """The node's own, which survives its processes. A crash is that of a process, not of the operating system: what was
    written to a file is there afterwards, synced or not."""
    worker: IWorker
    """Does what takes time. Of a job that is under way when the process dies all is done, or nothing: so a job is what
    the machine makes atomic, one transaction, say."""
    clock: IReactorTime
    random: Random
    """What is left to chance and still is to be the same in each run of a seed."""
    kept: dict[str, Any]
    """What survives its processes without being in a file. Copied by `copy.deepcopy` where somebody copies the disk."""


class Application(Protocol):
    """A state machine and what clients do with it. One is made for each run, without arguments."""

    def machine(self, home: Home) -> IStateMachine:
        """The state machine of a process that starts, with what it has kept. Blocks, if need be. A TxraftError that it
        raises is a violation: the node does not start."""

    def command(self, random: Random) -> bytes:
        """What a client proposes next."""

    def state(self, machine: Any) -> Hashable:
        """All that `machine`, one that `self.machine` gave, holds now; or a digest. Called after each of its calls."""
