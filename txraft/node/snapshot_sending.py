"""The leader's side of a snapshot's way to a follower that needs what is compacted.

1. The state machine makes a snapshot, and that becomes a file (`ISnapshotFiles.make`). One file serves all followers
   that need one, for as long as the log has what follows on it.
2. Its data go to the follower (`IPeers.send_snapshot`), from where an earlier attempt ended.
3. The core is told, and sends InstallSnapshot. The follower has caught up when it has what was in the log by then.

Until then the log stays from where the follower will need it (`needed_after`). The file stays for a while after that.

Where it fails, the core is told that: at once where the connection is lost, and otherwise after a pause, because what
is wrong then, a full disk say, is not over soon. Meanwhile the log does not stay for that follower: otherwise a full
disk would fill the leader's. The core asks the follower again, and all of this begins anew.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.core.configuration import Snapshot
from txraft.core.messages import NodeId
from txraft.core.raft import Raft
from txraft.errors import (
    BadSnapshot,
    Compacted,
    ContractBroken,
    SnapshotFailed,
    Undecided,
    Unreachable,
    WorkerStopped,
)
from txraft.interfaces import IPeers, ISnapshotFiles, IStateMachine, SnapshotFile
from txraft.node.chunks import until
from txraft.node.contract import deferred_of, snapshot_of
from txraft.node.pending_requests import Waiting

HELD_FOR: Final = 60.0
"""Seconds for which the log stays for a follower of which nothing is heard, and the file when nobody is sent it. After
an attempt that failed, the next one may go on with the same file."""

OVERTAKEN: Final = (
    "so much was written meanwhile that the log does not go back to it any more; where that comes again, raise"
    " keep_entries and keep_size in the settings of all nodes"
)


@define
class _CatchingUp:
    """A follower that has a snapshot, and not yet what was in the log by then."""

    last: int
    """The last entry of that."""
    match_index: int
    """What it had when it was looked at last."""
    held_until: float


class SnapshotSending:
    """What one node sends while it leads."""

    log = Logger()
    pause = 10.0
    """Seconds between two attempts where one failed, and not by a lost connection; twice as many after each that
    fails, since each may make a snapshot."""
    longest_pause = 60.0

    def __init__(
        self,
        raft: Raft,
        state_machine: IStateMachine,
        files: ISnapshotFiles,
        peers: IPeers,
        clock: IReactorTime,
        is_restoring: Callable[[], bool],
        on_end: Callable[[NodeId, Snapshot | None], None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        """`raft` is only read. `is_restoring` says whether the state machine is itself being restored. `on_end` is
        called with each follower and the snapshot that it has then; None where it could not be sent it. `on_failure`
        is called when the state machine fails."""
        self._raft = raft
        self._state_machine = state_machine
        self._files = files
        self._peers = peers
        self._clock = clock
        self._is_restoring = is_restoring
        self._on_end = on_end
        self._on_failure = on_failure
        self._attempts: dict[NodeId, Deferred[Any]] = {}
        self._made: SnapshotFile | None = None
        self._making = False
        self._wanting: Waiting[NodeId, SnapshotFile] = Waiting()
        """Attempts that wait for what is being made."""
        self._catching_up: dict[NodeId, _CatchingUp] = {}
        self._tried: dict[NodeId, float] = {}
        """Followers the connection to which was lost in the last attempt, and until when the log stays for the next."""
        self._pauses: dict[NodeId, float] = {}
        """Of followers that could not be sent one otherwise."""
        self._problems: dict[NodeId, str] = {}
        """Why the last attempt failed, until one succeeds."""
        self._pausing: set[NodeId] = set()
        """Attempts that have failed, and wait for the end of the pause."""
        self._drop_call: IDelayedCall | None = None
        self._stopped = False

    def send(self, peer: NodeId, term: int) -> None:
        """A follower needs a snapshot from the leader of `term`, which this node is."""
        attempt = Deferred.fromCoroutine(self._attempt(peer, term))
        self._attempts[peer] = attempt
        self._drop_in_time()
        attempt.addCallback(partial(self._ended, peer)).addErrback(self._failed)

    def give_up(self) -> None:
        """This node does not lead any more: nobody is to hear how the attempts end."""
        attempts, self._attempts = self._attempts, {}
        for attempt in attempts.values():
            attempt.cancel()
        for state in (self._catching_up, self._tried, self._pauses, self._problems, self._pausing):
            state.clear()
        self._drop_in_time()

    def stop(self) -> None:
        """The node stops. What is being made is given up at its next chunk."""
        self._stopped = True
        self.give_up()

    def needed_after(self) -> int | None:
        """The index from where on a follower will need the log. None where none will."""
        now, start = self._clock.seconds(), self._raft.log.snapshot_index
        if self._making:
            return start
        needed = [index for peer in tuple(self._catching_up) if (index := self._has_come_to(peer, now)) is not None]
        is_sent = bool(self._attempts.keys() - self._pausing)
        if self._made is not None and (is_sent or now < max(self._tried.values(), default=now)):
            needed.append(self._made.snapshot.index)
        return min((index for index in needed if index >= start), default=None)

    def _has_come_to(self, peer: NodeId, now: float) -> int | None:
        """How far a follower that has a snapshot is now. None where it has caught up, or does not get on."""
        its, progress = self._catching_up[peer], self._raft.followers.get(peer)
        if progress is not None and progress.match_index > its.match_index:
            its.match_index, its.held_until = progress.match_index, now + HELD_FOR
        if its.match_index >= its.last or now >= its.held_until:
            del self._catching_up[peer]
            return None
        return its.match_index

    def problems(self) -> dict[NodeId, str]:
        """Why followers have no snapshot, each in a line: of those that cannot go on without one."""
        start, followers = self._raft.log.snapshot_index, self._raft.followers
        needing = self._problems.keys() & followers.keys()
        return {peer: self._problems[peer] for peer in needing if followers[peer].counted_index < start}

    async def _attempt(self, peer: NodeId, term: int) -> Snapshot | None:
        """Gives what the follower has then."""
        try:
            file = await self._file_for(peer)
            self.log.info(
                "node {peer} is too far behind for the log: it gets a snapshot up to entry {index}, {size} bytes",
                peer=peer,
                index=file.snapshot.index,
                size=file.size,
            )
            await self._peers.send_snapshot(peer, file, partial(self._files.read, file), term)
            self.log.info("node {peer} has the snapshot up to entry {index}", peer=peer, index=file.snapshot.index)
            if file.snapshot.index < self._raft.log.snapshot_index:
                raise Compacted(OVERTAKEN)
        except Unreachable as error:
            self.log.warn("node {peer} did not get all of its snapshot yet: {reason}", peer=peer, reason=str(error))
            self._problems[peer] = f"did not get all of its snapshot yet: {error}"
            self._tried[peer] = self._clock.seconds() + HELD_FOR
        except (Undecided, SnapshotFailed, BadSnapshot, Compacted) as error:
            pause = self._pauses.get(peer, self.pause)
            self._pauses[peer] = min(2 * pause, self.longest_pause)
            self._tried.pop(peer, None)
            self._pausing.add(peer)
            self._problems[peer] = f"could not be sent a snapshot: {error}"
            self.log.warn(
                "node {peer} could not be sent a snapshot: {reason}; it is tried again in {pause:g} s",
                peer=peer,
                reason=str(error),
                pause=pause,
            )
            await deferLater(self._clock, pause)
            self._pausing.discard(peer)
        else:
            self._tried.pop(peer, None)
            self._pauses.pop(peer, None)
            self._problems.pop(peer, None)
            return file.snapshot
        return None

    def _ended(self, peer: NodeId, snapshot: Snapshot | None) -> None:
        del self._attempts[peer]
        if snapshot is not None:
            held_until = self._clock.seconds() + HELD_FOR
            self._catching_up[peer] = _CatchingUp(self._raft.log.last_index, snapshot.index, held_until)
        self._drop_in_time()
        self._on_end(peer, snapshot)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._on_failure(failure)

    # The file

    async def _file_for(self, peer: NodeId) -> SnapshotFile:
        """One that the log goes on from."""
        if not self._making and self._made is not None and self._made.snapshot.index >= self._raft.log.snapshot_index:
            return self._made
        made = self._wanting.add(peer)
        if not self._making:
            self._making = True
            Deferred.fromCoroutine(self._make()).addBoth(self._is_made)
        return await made

    async def _make(self) -> SnapshotFile:
        if self._is_restoring():
            raise SnapshotFailed("this node is restoring a snapshot itself")
        if self._made is not None:  # it takes the room that the new one may need
            self._made = None
            await self._files.discard_made()
        snapshot = snapshot_of(await deferred_of("snapshot", self._state_machine.snapshot()))
        try:
            if snapshot.index < self._raft.log.snapshot_index:
                raise Compacted(OVERTAKEN)
            if snapshot.index > (given := self._raft.view().last_applied):
                raise ContractBroken(
                    f"snapshot is of entry {snapshot.index}, and {given} is the last that it was given"
                )
            stands_for = self._raft.snapshot_at(snapshot.index)
            return await self._files.make(stands_for, until(lambda: self._stopped, snapshot.chunks()), snapshot.size)
        finally:
            await snapshot.close()

    def _is_made(self, result: SnapshotFile | Failure) -> None:
        self._making = False
        if isinstance(result, SnapshotFile):
            self._made = result
        self._wanting.fire_all(result)
        self._drop_in_time()

    def _drop_in_time(self) -> None:
        """Remove the file when nobody has needed it for a while: it takes as much room as all data."""
        if self._drop_call is not None:
            self._drop_call.cancel()
            self._drop_call = None
        if self._made is not None and not self._attempts and not self._making and not self._stopped:
            self._drop_call = self._clock.callLater(HELD_FOR, self._drop)

    def _drop(self) -> None:
        self._made = self._drop_call = None
        self._files.discard_made().addErrback(self._not_dropped)

    def _not_dropped(self, failure: Failure) -> None:
        if failure.trap(SnapshotFailed, WorkerStopped) is SnapshotFailed:
            self.log.warn("{reason}; the next start removes it", reason=failure.getErrorMessage())
