"""The simple twin of `SQLiteStorage`: a list. For tests and simulation."""

from collections.abc import Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from txraft.core.messages import Entry
from txraft.core.ready import Save, TermAndVote
from txraft.interfaces import IStorage, Stored
from txraft.storage.merging import require_no_gap


@define(eq=False)
class MemoryDisk:
    """What survives a restart: the next server is given a new `MemoryStorage` over the same disk."""

    term_and_vote: TermAndVote = field(factory=lambda: TermAndVote(0, None))
    entries: list[Entry] = field(factory=list)


@implementer(IStorage)
@frozen(eq=False)
class MemoryStorage:
    """An `IStorage` whose saves are durable at once. Anything else (slow, failing, lossy) is for a test to wrap."""

    disk: MemoryDisk = field(factory=MemoryDisk)

    def load(self) -> Stored:
        """What the disk has."""
        return Stored(self.disk.term_and_vote, tuple(self.disk.entries))

    def save(self, saves: Sequence[Save]) -> "Deferred[None]":
        """Has already fired. Fails with InvariantViolated, and changes nothing, where entries would leave a gap."""
        return execute(self._save, saves)

    def close(self) -> "Deferred[None]":
        """Nothing to do."""
        return succeed(None)

    def _save(self, saves: Sequence[Save]) -> None:
        term_and_vote, entries = self.disk.term_and_vote, self.disk.entries.copy()
        for save in saves:
            term_and_vote = save.term_and_vote or term_and_vote
            for entry in save.entries:
                require_no_gap((entry,), len(entries))
                del entries[entry.index - 1 :]
                entries.append(entry)
        self.disk.term_and_vote, self.disk.entries = term_and_vote, entries
