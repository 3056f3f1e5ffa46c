"""Handing leadership to another server (thesis §3.10).

The leader takes no proposals in, brings the target's log up to its own, and tells it to campaign at once: with a term
one higher, an up-to-date log, and the word that the leader wants it, it wins. If it has not after an election timeout,
the leader goes on as before (hazard C4).
"""

from attrs import define

from txraft.core.messages import NodeId, TimeoutNow
from txraft.core.replication import Replication
from txraft.core.state import State


@define(eq=False)
class Transfer:
    """One attempt, on the leader."""

    _state: State
    _replication: Replication
    target: NodeId
    _deadline: float
    """When it has failed, in seconds."""
    _asked: bool = False

    def ask_when_caught_up(self) -> None:
        """Tell the target to campaign, as soon as it has the whole log."""
        caught_up = self._replication.progress[self.target].counted_index == self._state.log.last_index
        if caught_up and not self._asked:
            self._asked = True
            self._state.send(self.target, TimeoutNow(self._state.current_term))

    def ask_again(self) -> None:
        """Tell the target once more, since messages may be lost."""
        self._asked = False

    def has_failed(self, now: float) -> bool:
        """Whether the target has had its time."""
        return now >= self._deadline
