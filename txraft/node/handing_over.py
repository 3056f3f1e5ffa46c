"""How a transfer of leadership ends (thesis §3.10), as the node sees it that hands over; and the one before a stop."""

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, inlineCallbacks
from twisted.internet.interfaces import IReactorTime

from txraft.core.messages import NodeId
from txraft.core.raft import Raft
from txraft.errors import NotApplied, TransferFailed, Undecided


class HandingOver:
    """What takes more than one turn of it. `change` gives a Deferred that fires at the next change of the leader, the
    term or a transfer, and fails with NotApplied when the node stops."""

    def __init__(self, raft: Raft, clock: IReactorTime, change: "Callable[[], Deferred[None]]") -> None:
        self._raft = raft
        self._clock = clock
        self._change = change

    @inlineCallbacks
    def transferred(self, target: NodeId) -> Generator[Deferred[Any], Any, None]:
        """Wait for the end of the transfer that is under way. Fails with TransferFailed unless `target` leads then."""
        # Between two turns the node's own view is older than what has arrived since, and might name this node still.
        while (view := self._raft.view()).transfer_target == target or view.leader_id is None:
            try:
                yield self._change()
            except NotApplied:
                raise TransferFailed(f"this node stopped before it knew whether node {target} took over") from None
        if view.leader_id != target:
            raise TransferFailed(f"node {target} did not take over; node {view.leader_id} leads")

    @inlineCallbacks
    def before_a_stop(
        self, transfer: "Callable[[NodeId], Deferred[NodeId]]", timeout: float
    ) -> Generator[Deferred[Any], Any, None]:
        """Hand over to the voter that is furthest ahead, or wait for the transfer that is under way already. Fires when
        another leads, where there is nobody to ask, or after `timeout` seconds."""
        under_way, successor = self._raft.view().transfer_target, self._raft.successor(self._clock.seconds())
        handed_over: Deferred[Any]
        if under_way is not None:
            handed_over = self.transferred(under_way)
        elif successor is not None:
            handed_over = transfer(successor)
        else:
            return
        with suppress(Undecided, TimeoutError):
            yield handed_over.addTimeout(timeout, self._clock)
