"""What a simulated cluster replicates: the key-value store, or a state machine of your own.

    class Counters(Application):
        def machine(self, home):                        # called whenever a process starts, on each node
            counters = SQLiteCounters(home.directory / "counters.sqlite", home.worker)
            home.at_death.callback(counters.connection.close)
            return counters

        def command(self, random):                      # what clients propose
            return random.choice([b"up", b"down"])

        def state(self, machine):                       # what must be equal on all nodes that have applied as much
            return machine.count

    failed = first_failure(Counters, range(1, 201))     # of `txraft.testing.seeds`
    assert failed is None, f"seed {failed.plan.seed}: {failed.violation}"

A machine in memory is `MemoryMachine(Jobs(), home.directory, "simulated", home.worker)`, and has nothing to let go of.

In two of five runs members come and go while all of this happens: an `Application` makes machines for those too.

In these runs logs keep little, so that they are compacted and snapshots are restored; half of the plans that
`run_of(plan_of(seed), application=Counters)` takes keep their logs whole. By hand, a run is made smaller by
`shrink(report, run=partial(run_of, application=Counters))`. Some hundred seeds find most; a bug that needs two faults
at once may need thousands. The files are in memory where the system has /dev/shm, so fsync costs nothing.

For a replicated object, `simulate` of `txraft.testing.objects` makes the application of its operations, and judges
linearizability by a model, in `judge`. Elsewhere that is not searched for by itself, and follows from the other rules:
each command is in the log once, in an order that keeps with time, its answer is what the state machine gave for just
that entry, the same on every node, and who reads sees what had been acknowledged before.

In the end of each run every state machine says what is on its disk, gives a snapshot, and one of a new node is restored
from that. It is a violation too where a result is not bytes, or not one of many commands succeeds. Where some fail, and
where `persist` or `snapshot` does at times, a run passes, and `first_failure` does not show it: look once at `failed`
and `not_kept` of the report that `run_of(plan_of(1), application=Counters)` gives.

What cannot be found:

- What differs from process to process. All nodes are in one, and have one hash seed: a result that depends on the order
  of a set of strings may be the same on all of them. (The order of a set of ints follows from its history, and may
  differ after a snapshot, so that is found.) It is found by a test that makes a run in two processes, with two
  values of PYTHONHASHSEED: `run_of(plan, transcript=True, application=Counters).lines` must be the same in both.
- What follows from the commands alone, and is wrong on every node alike: that `apply` does what it should is for its
  own tests.
- What `state` leaves out and no result shows.
- That a `persist` which gives the same low index again and again ever gives a higher one: it may wait for more
  commands than a run has.
- A file that is not synced, or is written in several steps that a power cut comes between: a crash here is that of a
  process, and a job on the worker is atomic.
- What takes long: time is simulated, and a call that blocks the reactor for a minute takes none.
"""

from collections.abc import Hashable, Iterable
from contextlib import ExitStack
from random import Random
from typing import Any, Protocol

from attrs import frozen

from txraft.home import Home
from txraft.interfaces import IStateMachine
from txraft.testing.history import Operation
from txraft.testing.requests import Look, Propose


@frozen
class SimulatedHome(Home):
    """Where a state machine lives in a run. Its directory survives a crash, which is that of a process and not of the
    operating system: what was written to a file is there afterwards, synced or not. Of a job that is under way on
    `worker` when the process dies all is done, or nothing: so a job is what the machine makes atomic, one transaction,
    say."""

    random: Random
    """What is left to chance and still is to be the same in each run of a seed."""
    kept: dict[str, Any]
    """What survives its processes without being in a file. Copied by `copy.deepcopy` where somebody copies the disk."""
    at_death: ExitStack
    """Lets go of what the process has open when it is dead, as the operating system does. A connection to a database
    would otherwise keep its lock, and the next process of the node would find the database locked:
    `home.at_death.callback(connection.close)`, which rolls back what is not committed."""


class Application(Protocol):
    """A state machine and what clients do with it. One is made for each run, without arguments. Derive from it: then
    `judge` need not be written."""

    def machine(self, home: SimulatedHome) -> IStateMachine:
        """The state machine of a process that starts, with what it has kept. Blocks, if need be. A TxraftError that it
        raises is a violation: the node does not start."""

    def command(self, random: Random) -> bytes | Propose | Look:
        """What a client proposes next, as bytes; or what it asks for, as `requests` has it. Some are to succeed: a run
        in which many fail, and none succeeds, is taken for one of a state machine that does not work."""

    def state(self, machine: Any) -> Hashable:
        """All that `machine`, one that `self.machine` gave, holds now; or a digest. Called after each of its calls, and
        kept, to be compared: so a tuple, say, and no list that the machine goes on with."""

    def judge(self, operations: "Iterable[Operation]") -> None:
        """Called once, when all is over, with what clients saw: each `Propose` and each `Look` that has a `call`.
        Raises Violation where that cannot be. By default all of it can."""
