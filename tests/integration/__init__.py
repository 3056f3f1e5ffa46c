"""Whole nodes, as an operator runs them: `twistd` processes, real disks and sockets, real time.

`cluster` starts them and does to them what happens to processes: SIGKILL, SIGTERM, SIGSTOP. `client` asks them as a
program would, `writers` keeps book of what they promised under load. None of the three knows pytest; benchmarks use
them too. A test waits for what it can see from outside (`until`), and never for a time in which it hopes that something
has happened. Every process is ended by its id, whatever became of the test.

The processes run the installed txraft where there is one, and this tree's otherwise.
"""
