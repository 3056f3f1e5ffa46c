"""Disks that are slow in a cluster that is well: no reason to change the leader. The clients go on.

Each step of a generator gives back how many seconds are to pass until the next one comes. Raises Violation."""

from collections.abc import Iterator, Sequence
from random import Random

from txraft.core.roles import Role
from txraft.testing.disk import FAST
from txraft.testing.machine import Machine
from txraft.testing.standing import leaders_of, states_of
from txraft.testing.violation import Violation

BEARS_FOR = 10
BEARS_WORK_FOR = 6
BEHIND_FOR = 3
"""Election timeouts: how long the disks are slow, how long all but the log is, and how long the log has gone on before
that without a follower."""


def bear_slow_disks(machines: Sequence[Machine], election_timeout: float, random: Random) -> Iterator[float]:
    """Every write takes longer than an election timeout, on every disk: nobody does better than the leader, and it
    stays (hazard S12)."""
    slow = election_timeout * random.choice((1, 2, 4))
    for machine in machines:
        machine.disk.delay = slow, slow + election_timeout / 2
    before = leaders_of(machines)
    yield BEARS_FOR * election_timeout
    if leaders_of(machines) != before:
        raise Violation("Stability", f"all disks are slow, and the leader changes: {states_of(machines)}")
    for machine in machines:
        machine.disk.delay = FAST


def bear_slow_work(machines: Sequence[Machine], election_timeout: float, random: Random) -> Iterator[float]:
    """All that is done beside the log takes longer than an election timeout, on the leader's disk or on every one,
    while a follower needs a snapshot: the log and the heartbeats do not wait for it, and the leader stays (hazard S11).
    Were its writes late, and the others' not, it would hand over.

    Not a follower that campaigns without asking first: it may, when it is back and has not heard of the leader yet."""
    asks = [machine for machine in machines if machine.around.options_of(machine.id).pre_vote]
    behind = next((machine for machine in asks if machine.node.view.role is not Role.LEADER), None)
    if behind is None or len(machines) < 3:
        return
    others = [machine for machine in machines if machine is not behind]
    leading = [machine for machine in others if machine.node.view.role is Role.LEADER]
    before = leaders_of(others)
    behind.crash("the log goes on without it")
    yield BEHIND_FOR * election_timeout
    for machine in random.choice((leading, machines)):
        machine.disk.work_delay = 2 * election_timeout, 4 * election_timeout
    behind.start()
    yield BEARS_WORK_FOR * election_timeout
    if leaders_of(others) != before:
        raise Violation("Stability", f"all work is slow but the log's, and the leader changes: {states_of(machines)}")
    for machine in machines:
        machine.disk.work_delay = FAST
