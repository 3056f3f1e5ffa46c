"""What a simulated node remembers of the directories of the others: writing it down takes time, and may fail."""

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.core.messages import NodeId
from txraft.errors import WriteFailed
from txraft.interfaces import Incarnation, IPeerMemory, IWorker
from txraft.storage.identity import History
from txraft.testing.disk import Disk


@implementer(IPeerMemory)
@define(eq=False)
class DiskPeers:
    """The `IPeerMemory` of one process on a disk, on which its start has been counted."""

    _disk: Disk
    _worker: IWorker
    _on_failure: Callable[[WriteFailed], None]
    _known: dict[NodeId, Incarnation] = field(init=False)
    _history: History = field(init=False)

    def __attrs_post_init__(self) -> None:
        synced = self._disk.synced
        assert synced.history is not None
        self._known, self._history = synced.peers.copy(), synced.history

    @property
    def own(self) -> Incarnation:
        """As IPeerMemory."""
        return self._history.incarnation

    def drawn_at(self, starts: int) -> bytes:
        """As IPeerMemory."""
        return self._history.drawn_at(starts)

    def known(self, peer: NodeId) -> Incarnation | None:
        """As IPeerMemory."""
        return self._known.get(peer)

    def meet(self, peer: NodeId, incarnation: Incarnation) -> "Deferred[None]":
        """As IPeerMemory. Where it cannot be written, the process ends."""
        self._known[peer] = incarnation
        if self._disk.synced.peers.get(peer) == incarnation:
            return succeed(None)
        return self._worker.run(self._disk.meet, peer, incarnation).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        assert isinstance(failure.value, WriteFailed)
        self._on_failure(failure.value)
        return failure
