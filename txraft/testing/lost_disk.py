"""A disk is lost in a cluster that is well, and the README's steps are taken (hazards S6, M7)."""

from collections.abc import Callable, Iterator, Sequence

from txraft.testing.machine import Machine
from txraft.testing.standing import leaderless


def lose_a_disk(
    lost: Machine, others: Sequence[Machine], ask: Callable[[], None], unsettled: Callable[[], str]
) -> Iterator[Callable[[], str]]:
    """Each step gives back what says, by an empty text, that it is done and the next one may come. `ask` sees to it
    that one of the others takes a change, and `unsettled` says why the cluster is not one.

    Nothing happens where one of the others has never met the node, and would have to let in any directory."""
    if not all(_knows(other, lost) for other in others):
        return
    lost.run_on(lost.disk.synced.empty())
    yield lambda: _runs(lost)
    yield lambda: leaderless(others)
    for other in others:
        other.stop()
        yield lambda: _runs(other)  # noqa: B023 - it is done with when the next one comes
        other.disk.forget(lost.id)
        other.start()
        yield lambda: leaderless(others)
    ask()
    found = lost.disk.lose()
    lost.around.judges.durability.replaced(lost.id)
    lost.start()
    yield unsettled
    yield lambda: "" if all(_knows(other, lost) for other in others) else f"not all have met node {lost.id}"
    lost.run_on(found)
    yield lambda: _runs(lost)
    lost.put_back()
    lost.start()
    yield unsettled


def _knows(other: Machine, lost: Machine) -> bool:
    history, known = lost.disk.synced.history, other.disk.synced.peers.get(lost.id)
    return history is not None and known is not None and known.directory == history.directory


def _runs(machine: Machine) -> str:
    return "" if machine.process is None else f"node {machine.id} still runs"
