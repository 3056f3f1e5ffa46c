"""Those who wait: for an entry to be applied, for a read index, for a change of what a node sees.

Whoever is told may do anything at once, also cancel others that wait here, or stop the node: so everything is taken out
before anybody is told, and who has been cancelled meanwhile is passed over.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, fail, succeed

from txraft.core.log import ENTRY_OVERHEAD
from txraft.core.messages import Entry, NodeId
from txraft.core.ready import ReadReady
from txraft.errors import NotApplied, NotLeader, OutcomeUnknown, Overloaded

STOPPED = "the node stopped before it could answer"


class Proposals:
    """Commands that this node put into its log as a leader, and that are not decided yet.

    Success is claimed only for the very entry that was proposed, of that index and that term (hazard C6). Two may wait
    for one index: an entry that was truncated here, and lives on elsewhere, and a later one in its place.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], Deferred[bytes]] = {}
        self._applied_term = 0

    def add(self, entry: Entry) -> "Deferred[bytes]":
        """Wait for a proposed entry. Fires with its result; fails with NotApplied when another took its place, and with
        OutcomeUnknown when the node stops first. Cancelling it ends the wait.
        """
        key = (entry.index, entry.term)

        def cancel(_done: "Deferred[bytes]") -> None:
            self._waiting.pop(key, None)

        done: Deferred[bytes] = Deferred(cancel)
        self._waiting[key] = done
        return done

    def applied(self, entry: Entry, result: bytes) -> None:
        """An entry was applied, with this result (without meaning where it is not a command)."""
        if entry.term > self._applied_term:
            self._applied_term = entry.term
            self._give_up_older(entry.term)
        done = self._waiting.pop((entry.index, entry.term), None)
        if done is not None:
            done.callback(result)

    def _give_up_older(self, term: int) -> None:
        # Terms never decrease along a log: behind an applied entry of this term, no entry of an older one can follow.
        for key in [key for key in self._waiting if key[1] < term]:
            done = self._waiting.pop(key, None)
            if done is not None:
                done.errback(NotApplied("a new leader's entry took the place of this change; send it again"))

    def stop(self) -> None:
        """The node stops; what becomes of the proposals is decided by the others."""
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            if not done.called:
                done.errback(OutcomeUnknown("the node stopped before the change was committed"))


class HeldProposals:
    """Commands that came while leadership was being handed over (hazard C4)."""

    def __init__(self, max_size: int, propose: "Callable[[bytes], Deferred[bytes]]") -> None:
        """At most `max_size` bytes are held; what is let go is given to `propose`."""
        self._max_size = max_size
        self._propose = propose
        self._size = 0
        self._waiting: dict[Deferred[None], int] = {}
        """Fires when the transfer has ended; and how much it holds."""

    def add(self, command: bytes) -> "Deferred[bytes]":
        """Hold a command until `let_go`, and propose it then. Fails with Overloaded where too much is held already."""
        size = len(command) + ENTRY_OVERHEAD
        if self._size + size > self._max_size:
            return fail(Overloaded("too many changes wait for leadership to be transferred; try again later"))
        self._size += size
        ended: Deferred[None] = Deferred(self._forget)
        self._waiting[ended] = size
        return ended.addCallback(lambda _: self._propose(command))

    def let_go(self) -> None:
        """Propose what is held, but for what nobody waits for any more."""
        waiting, self._waiting, self._size = self._waiting, {}, 0
        for ended in waiting:
            if not ended.called:
                ended.callback(None)

    def _forget(self, ended: "Deferred[None]") -> None:
        self._size -= self._waiting.pop(ended, 0)


class PendingReads:
    """Reads whose index the core has not said yet, by their ids."""

    def __init__(self) -> None:
        self.last_id = 0
        self._waiting: dict[int, Deferred[int]] = {}

    def next_id(self) -> int:
        """The id of a new read."""
        self.last_id += 1
        return self.last_id

    def add(self, read_id: int, forget: Callable[[int], None]) -> "Deferred[int]":
        """Wait for a read's index. Fails with NotLeader where it cannot be confirmed. Cancelled, it is forgotten."""

        def cancel(_found: "Deferred[int]") -> None:
            if self._waiting.pop(read_id, None) is not None:
                forget(read_id)

        found: Deferred[int] = Deferred(cancel)
        self._waiting[read_id] = found
        return found

    def found(self, read: ReadReady) -> None:
        """The core has said it."""
        found = self._waiting.pop(read.read_id, None)
        if found is not None:
            found.callback(read.read_index)

    def lose(self, read_ids: Iterable[int], leader_id: NodeId | None) -> None:
        """The core will not say it, for `leader_id` leads."""
        for read_id in read_ids:
            found = self._waiting.pop(read_id, None)
            if found is not None:
                found.errback(NotLeader(leader_id))

    def lose_all(self) -> None:
        """The node stops."""
        self.lose(list(self._waiting), None)


class Changes:
    """Counts changes, and who waits for the next one."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: dict[Deferred[None], None] = {}

    def since(self, count: int) -> "Deferred[None]":
        """Fires when there has been a change since the count was `count`. Cancelling it ends the wait."""
        if count != self.count:
            return succeed(None)

        def cancel(changed: "Deferred[None]") -> None:
            self._waiting.pop(changed, None)

        changed: Deferred[None] = Deferred(cancel)
        self._waiting[changed] = None
        return changed

    def happened(self) -> None:
        """There has been one."""
        self.count += 1
        waiting, self._waiting = self._waiting, {}
        for changed in waiting:
            if not changed.called:
                changed.callback(None)


class AppliedIndex:
    """How far the state machine has come, and who waits for it to come further."""

    def __init__(self, index: int) -> None:
        self.index = index
        self._stopped = False
        self._waiting: defaultdict[int, dict[Deferred[None], None]] = defaultdict(dict)

    def reaches(self, index: int) -> "Deferred[None]":
        """Fires when everything up to `index` is applied. Fails with NotApplied when the node stops first. Cancelling
        it ends the wait.
        """
        if index <= self.index:
            return succeed(None)
        if self._stopped:
            return fail(NotApplied(STOPPED))

        def cancel(reached: "Deferred[None]") -> None:
            waiting = self._waiting.get(index, {})
            waiting.pop(reached, None)
            if not waiting:
                self._waiting.pop(index, None)

        reached: Deferred[None] = Deferred(cancel)
        self._waiting[index][reached] = None
        return reached

    def advance(self, index: int) -> None:
        """Everything up to `index` is applied."""
        self.index = index
        for at in sorted(at for at in self._waiting if at <= index):
            for reached in self._waiting.pop(at, {}):
                if not reached.called:
                    reached.callback(None)

    def stop(self) -> None:
        """The node stops and applies nothing any more."""
        self._stopped = True
        waiting = [reached for at in sorted(self._waiting) for reached in self._waiting[at]]
        self._waiting.clear()
        for reached in waiting:
            if not reached.called:
                reached.errback(NotApplied(STOPPED))
