"""Those who wait: for an entry to be applied, for a read index, for a change of what a node sees.

Whoever is told may do anything at once: cancel others that wait here, wait anew, or stop the node. So each is taken out
before it is told, and who has been cancelled is out already (`Waiting`).
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from txraft.core.backlog import Backlog
from txraft.core.messages import Entry, NodeId
from txraft.core.ready import ReadReady
from txraft.errors import NotApplied, NotLeader, OutcomeUnknown, Overloaded

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

STOPPED = "the node stopped before it could answer"


class Waiting(Generic[K, T]):
    """Deferreds that have not fired, by a key of their own each, in the order in which they came."""

    def __init__(self, on_cancel: Callable[[K], None] = lambda _key: None) -> None:
        """`on_cancel` is called with the key of one that is cancelled, which does not wait any more."""
        self.on_cancel = on_cancel
        self._deferreds: dict[K, Deferred[T]] = {}

    def add(self, key: K) -> "Deferred[T]":
        """A new one."""

        def cancel(_deferred: "Deferred[T]") -> None:
            if self._deferreds.pop(key, None) is not None:
                self.on_cancel(key)

        deferred: Deferred[T] = Deferred(cancel)
        self._deferreds[key] = deferred
        return deferred

    def __len__(self) -> int:
        """How many wait."""
        return len(self._deferreds)

    def __iter__(self) -> Iterator[K]:
        """The keys of those that wait now. Others may come and go meanwhile."""
        return iter(list(self._deferreds))

    def fire(self, key: K, result: "T | Failure") -> None:
        """Fire the one of this key, if it waits still."""
        deferred = self._deferreds.pop(key, None)
        if deferred is not None:
            deferred.callback(result)

    def fire_all(self, result: "T | Failure") -> None:
        """Fire those that wait now."""
        for key in self:
            self.fire(key, result)

    def fail(self, key: K, error: Exception) -> None:
        """Let it fail, if it waits still."""
        self.fire(key, Failure(error))


class Proposals:
    """Commands that this node put into its log as a leader, and that are not decided yet.

    Success is claimed only for the very entry that was proposed, of that index and that term (hazard C6). Two may wait
    for one index: an entry that was truncated here, and lives on elsewhere, and a later one in its place.
    """

    def __init__(self) -> None:
        self._waiting: Waiting[tuple[int, int], bytes] = Waiting()
        self._applied_term = 0

    def add(self, entry: Entry) -> "Deferred[bytes]":
        """Wait for a proposed entry. Fires with its result; fails with NotApplied when another took its place, and with
        OutcomeUnknown when the node stops first. Where the state machine failed on it, it fails with CommandFailed.
        Cancelling it ends the wait.
        """
        return self._waiting.add((entry.index, entry.term))

    def applied(self, entry: Entry, result: bytes | Failure) -> None:
        """An entry was applied, with this result (without meaning where it is not a command). It is a Failure where the
        command failed (hazard C10)."""
        if entry.term > self._applied_term:
            self._applied_term = entry.term
            self._give_up_older(entry.term)
        self._waiting.fire((entry.index, entry.term), result)

    def _give_up_older(self, term: int) -> None:
        # Terms never decrease along a log: behind an applied entry of this term, no entry of an older one can follow.
        for key in self._waiting:
            if key[1] < term:
                self._waiting.fail(key, NotApplied("a new leader's entry took the place of this change; send it again"))

    def jumped_over(self, index: int) -> None:
        """A snapshot is restored: what became of entries up to `index` cannot be learnt here any more (hazard C7)."""
        for key in self._waiting:
            if key[0] <= index:
                self._waiting.fail(key, OutcomeUnknown("a snapshot jumped over this change, and may have it in it"))

    def stop(self) -> None:
        """The node stops; what becomes of the proposals is decided by the others."""
        for key in self._waiting:
            self._waiting.fail(key, OutcomeUnknown(f"{STOPPED}; the change may have been made, or may yet be"))


class HeldProposals:
    """Commands that came while leadership was being handed over (hazard C4)."""

    def __init__(self, room: Backlog, propose: "Callable[[bytes], Deferred[bytes]]") -> None:
        """As much is held as there is room for; what is let go is given to `propose`."""
        self._room = room
        self._propose = propose
        self._commands: dict[object, bytes] = {}
        self._ended: Waiting[object, None] = Waiting(self._release)
        """Fire when the transfer has ended."""

    def add(self, command: bytes) -> "Deferred[bytes]":
        """Hold a command until `let_go`, and propose it then. Fails with Overloaded where too much is held already."""
        if not self._room.add(command):
            return fail(Overloaded("too many changes wait for leadership to be transferred; try again later"))
        key = object()
        self._commands[key] = command
        return self._ended.add(key).addCallback(lambda _: self._propose(command))

    def let_go(self) -> None:
        """Propose what is held, except what nobody waits for any more."""
        for key in self._ended:
            self._release(key)
            self._ended.fire(key, None)

    def _release(self, key: object) -> None:
        command = self._commands.pop(key, None)
        if command is not None:
            self._room.remove(command)


class PendingReads:
    """Reads whose index the core has not said yet, by their ids."""

    def __init__(self, forget: Callable[[int], None]) -> None:
        """`forget` is called with the id of a read that is cancelled."""
        self.last_id = 0
        self._waiting: Waiting[int, int] = Waiting(forget)

    def next_id(self) -> int:
        """The id of a new read."""
        self.last_id += 1
        return self.last_id

    def add(self, read_id: int) -> "Deferred[int]":
        """Wait for a read's index. Fails with NotLeader where it cannot be confirmed."""
        return self._waiting.add(read_id)

    def found(self, read: ReadReady) -> None:
        """The core has said it."""
        self._waiting.fire(read.read_id, read.read_index)

    def lose(self, read_ids: Iterable[int], leader_id: NodeId | None) -> None:
        """The core will not say it, for `leader_id` leads."""
        for read_id in read_ids:
            self._waiting.fail(read_id, NotLeader(leader_id))

    def lose_all(self) -> None:
        """The node stops."""
        self.lose(self._waiting, None)


class SharedBarriers:
    """One barrier for many reads: those that come while one is being found share the next, which starts after them."""

    def __init__(
        self, find_read_index: "Callable[[], Deferred[int]]", reaches: "Callable[[int], Deferred[None]]"
    ) -> None:
        """`find_read_index` starts to look for one. `reaches` fires when everything up to an index is applied."""
        self._find_read_index = find_read_index
        self._reaches = reaches
        self._next: Waiting[object, None] = Waiting()
        """Those who share the next one."""
        self._finding = False

    def join(self) -> "Deferred[None]":
        """Fires when everything is applied up to a read index that was found after this call. Cancelling it ends the
        wait."""
        joined = self._next.add(object())
        if not self._finding:
            self._find_next()
        return joined

    def _find_next(self) -> None:
        self._finding = True
        waiting, self._next = self._next, Waiting()
        self._find_read_index().addBoth(self._found, waiting)

    def _found(self, result: "int | Failure", waiting: Waiting[object, None]) -> None:
        if isinstance(result, Failure):
            waiting.fire_all(result)
        elif waiting:
            reached = self._reaches(result).addBoth(waiting.fire_all)
            if waiting:  # for what has still to be applied
                waiting.on_cancel = lambda _: None if waiting else reached.cancel()
        self._finding = False
        if self._next:
            self._find_next()


class Changes:
    """Counts changes, and who waits for the next one."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: Waiting[object, None] = Waiting()

    def since(self, count: int) -> "Deferred[None]":
        """Fires when there has been a change since the count was `count`. Cancelling it ends the wait."""
        return succeed(None) if count != self.count else self._waiting.add(object())

    def happened(self) -> None:
        """There has been one."""
        self.count += 1
        self._waiting.fire_all(None)


class AppliedIndex:
    """How far the state machine has come, and who waits for it to come further.

    Work is done only for those whose index is reached, and none for those who wait for later ones. An index that nobody
    waits for any more is let go (hazard C9): it may be that of an entry which comes late, or never.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self._stopped = False
        self._waiting: dict[int, Waiting[object, None]] = {}
        self._indexes: list[int] = []
        """A heap of the keys of `_waiting`, and of as many that were, at most."""

    def reaches(self, index: int) -> "Deferred[None]":
        """Fires when everything up to `index` is applied. Fails with NotApplied when the node stops first. Cancelling
        it ends the wait.
        """
        if index <= self.index:
            return succeed(None)
        if self._stopped:
            return fail(NotApplied(STOPPED))
        if index not in self._waiting:
            self._waiting[index] = Waiting(lambda _: self._let_go(index))
            heappush(self._indexes, index)
        return self._waiting[index].add(object())

    def _let_go(self, index: int) -> None:
        """One who waited for `index` does not any more."""
        if index in self._waiting and not self._waiting[index]:
            del self._waiting[index]
            if len(self._indexes) > 2 * len(self._waiting):  # to take each out of the heap would be quadratic
                self._indexes = sorted(self._waiting)

    def advance(self, index: int) -> None:
        """Everything up to `index` is applied."""
        self.index = index
        while self._indexes and self._indexes[0] <= index:
            waiting = self._waiting.pop(heappop(self._indexes), None)
            if waiting is not None:
                waiting.fire_all(None)

    def stop(self) -> None:
        """The node stops and applies nothing any more."""
        self._stopped = True
        while self._waiting:
            _, waiting = self._waiting.popitem()
            for key in waiting:
                waiting.fail(key, NotApplied(STOPPED))
