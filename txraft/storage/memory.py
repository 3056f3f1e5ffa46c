"""The simple twin of `SQLiteStorage`: a list, and a dictionary of peers. For tests and simulation."""

from collections.abc import Sequence

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import Entry, NodeId
from txraft.core.ready import Save, TermAndVote
from txraft.interfaces import Incarnation, IPeerMemory, IStorage, Stored
from txraft.storage.identity import BITS, History
from txraft.storage.merging import require_no_gap, require_stored


@define(eq=False)
class MemoryDisk:
    """What survives a restart: the next server is given a new `MemoryStorage` over the same disk."""

    term_and_vote: TermAndVote = field(factory=lambda: TermAndVote(0, None))
    entries: list[Entry] = field(factory=list)
    log_start: Snapshot | None = None
    """None until the first start."""

    @property
    def start(self) -> int:
        """Index of the last entry that the log does not hold any more."""
        return 0 if self.log_start is None else self.log_start.index

    @property
    def last_index(self) -> int:
        """Index of the last entry."""
        return self.start + len(self.entries)

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; None where it is not known here."""
        if self.log_start is not None and index == self.start:
            return self.log_start.term
        return self.entries[index - self.start - 1].term if self.start < index <= self.last_index else None


@implementer(IPeerMemory)
@define(eq=False)
class PeersInMemory:
    """An `IPeerMemory` that is durable at once."""

    history: History = field(factory=lambda: History(bytes(BITS), bytes(BITS)))
    """This node's."""
    peers: dict[NodeId, Incarnation] = field(factory=dict)

    @property
    def own(self) -> Incarnation:
        """As IPeerMemory."""
        return self.history.incarnation

    def drawn_at(self, starts: int) -> bytes:
        """As IPeerMemory."""
        return self.history.drawn_at(starts)

    def known(self, peer: NodeId) -> Incarnation | None:
        """As IPeerMemory."""
        return self.peers.get(peer)

    def meet(self, peer: NodeId, incarnation: Incarnation) -> "Deferred[None]":
        """Has already fired."""
        self.peers[peer] = incarnation
        return succeed(None)


@implementer(IStorage)
@frozen(eq=False)
class MemoryStorage:
    """An `IStorage` whose saves are durable at once. Anything else (slow, failing, lossy) is for a test to wrap."""

    disk: MemoryDisk = field(factory=MemoryDisk)
    bootstrap: Configuration = field(factory=lambda: Configuration(voters=()))
    """The members with which a new disk begins."""

    def load(self) -> Stored:
        """What the disk has."""
        start = self.disk.log_start = self.disk.log_start or Snapshot(0, 0, self.bootstrap)
        return Stored(self.disk.term_and_vote, tuple(self.disk.entries), start)

    def save(self, saves: Sequence[Save]) -> "Deferred[None]":
        """Has already fired. Fails with InvariantViolated, and changes nothing, where entries would leave a gap."""
        return execute(self._save, saves)

    def close(self) -> "Deferred[None]":
        """Nothing to do."""
        return succeed(None)

    def _save(self, saves: Sequence[Save]) -> None:
        after = evolve(self.disk, entries=self.disk.entries.copy())
        for save in saves:
            require_no_gap(save, after.start, after.last_index)
            _apply(save, after)
        disk = self.disk
        disk.term_and_vote, disk.entries, disk.log_start = after.term_and_vote, after.entries, after.log_start


def _apply(save: Save, disk: MemoryDisk) -> None:
    disk.term_and_vote = save.term_and_vote or disk.term_and_vote
    if save.log_start is not None:
        if save.replaces_log:
            disk.entries.clear()
        else:
            require_stored(save.log_start, disk.entries[save.log_start.index - disk.start - 1].term)
            del disk.entries[: save.log_start.index - disk.start]
        disk.log_start = save.log_start
    if save.entries:
        del disk.entries[save.entries[0].index - disk.start - 1 :]
        disk.entries.extend(save.entries)
