"""A state machine of one's own that lives in memory, in three plain methods. A job queue:

    class Jobs:
        def __init__(self) -> None:
            self.jobs: list[str] = []

        def apply(self, command: bytes) -> bytes:  # "add NAME", or "take"
            match command.decode().split():
                case ["add", name]:
                    self.jobs.append(name)
                    return b"%d" % len(self.jobs)
                case ["take"]:
                    return self.jobs.pop(0).encode()  # there is none: who proposed it is told IndexError
            raise ValueError("neither add nor take")

        def dump(self) -> Iterable[bytes]:
            return [job.encode() for job in self.jobs]

        def load(self, chunks: Iterable[bytes]) -> None:
            self.jobs = [chunk.decode() for chunk in chunks]

`MemoryMachine(Jobs(), directory, cluster_id, worker)` makes an IStateMachine of it, with what it has kept in that
directory. Every node has one. Commands come to all of them in the same order, so all hold the same. `PlainMachine` says
what the three methods promise.

All of the machine is in one file, `state` (`state_file`). It is written anew now and then, so that the log can be cut
off behind it. Whoever makes a MemoryMachine loads it, and the node then applies what the log has after it. The same
file brings a node up to date that is far behind. It is written aside, synced and renamed, and the name is synced: a
crash between any two of these steps leaves the old one or the new one, each with its index in it (hazard S5).

1. `dump` is called on the reactor's thread, between two commands, and the first chunk is taken there. All others are
   taken, and written, on the worker's, while commands go on (hazard S11).
2. When the new file has its name, durably, `persist` says its index, and the log up to there may go. What is written is
   all of the machine, so that is done only when the commands since the last time come to as many bytes as the file has.
   Until then `persist` says the same index again. So the log is never much longer than the data, and for each byte of
   it one more is written.
3. To restore, the other node's file is written aside and checked, and then takes the place of this one's. Then `load`
   is called, on the worker's thread. A crash in the middle of that leaves the new file, which the start loads.

So a MemoryMachine is made before the reactor runs, and `load` is not called on that thread later: it takes the longer
the more data there are, and without heartbeats for so long there would be an election.
"""

from txraft.memory_machine.adapter import MemoryMachine, PlainMachine

__all__ = ["MemoryMachine", "PlainMachine"]
