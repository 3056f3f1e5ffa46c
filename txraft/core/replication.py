"""A leader's log: how its entries reach the followers, and when they are committed (§5.3, §5.4.2)."""

from attrs import define

from txraft.core.backlog import Backlog
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.log import MEMORY_OVERHEAD
from txraft.core.messages import (
    MAX_COMMAND_SIZE,
    AppendEntries,
    AppendEntriesReply,
    Entry,
    EntryKind,
    Heartbeat,
    InstallSnapshot,
    NodeId,
)
from txraft.core.progress import Progress, ProgressState
from txraft.core.quorum import committed_index
from txraft.core.ready import LostData
from txraft.core.state import State
from txraft.errors import CommandTooLong, Overloaded

LEFT_ALONE = 60.0
"""Seconds for which nothing is sent to a follower that has lost what it had acknowledged, unless it connects anew.
There is nothing that a leader could do for it, and each time is a line in the log (hazard R23)."""


LEAVES_WITHIN = 10
"""Election timeouts after which a server that was removed, and does not say that it knows, is not fed any more."""


@define
class _Leaving:
    """A server that is no member any more."""

    index: int
    """Of the entry that says so."""
    told_at: float | None = None
    """Since when heartbeats tell it that this is committed, in seconds."""


class Replication:
    """The log of one term's leader, on its way to the followers."""

    def __init__(self, state: State, now: float) -> None:
        self._state = state
        self._last_request_id = 0
        options = state.options
        self._uncommitted = Backlog(options.max_uncommitted_size, options.max_uncommitted_entries, MEMORY_OVERHEAD)
        self.progress: dict[NodeId, Progress] = {}
        self._leaving: dict[NodeId, _Leaving] = {}
        """Who is fed though no member any more."""
        self._feed_members(now)
        self._append(EntryKind.NOOP, b"")

    # The leader's log

    def propose(self, data: bytes) -> Entry:
        """Append a command to the log. Raises Overloaded where too much waits to be committed already (hazard C9), and
        CommandTooLong where followers could not take it in: then nothing after it would be committed either.
        """
        if len(data) > MAX_COMMAND_SIZE:
            raise CommandTooLong(len(data), MAX_COMMAND_SIZE)
        if not self._uncommitted.add(data):
            waiting = self._uncommitted
            raise Overloaded(f"{waiting.count} changes, {waiting.size} bytes, wait to be committed; try again later")
        return self._append(EntryKind.COMMAND, data)

    def append_configuration(self, configuration: Configuration, now: float) -> Entry:
        """Append a membership, which is in force from now on (§6)."""
        entry = self._append(EntryKind.CONFIGURATION, configuration.to_bytes())
        self._feed_members(now)
        return entry

    def _feed_members(self, now: float) -> None:
        """Begin to feed who has come. Who has gone is fed until it knows (`let_go`)."""
        state = self._state
        members = state.configuration.members - {state.node_id}
        for peer in sorted(members - self.progress.keys()):
            self.progress[peer] = Progress(next_index=state.log.last_index + 1, last_contact=now)
        for peer in self.progress.keys() - members - self._leaving.keys():
            self._leaving[peer] = _Leaving(state.log.last_index)

    def let_go(self, now: float) -> None:
        """Stop to feed those that are no members any more, once that is committed, and they have been told or are
        silent for long. To be called before heartbeats are sent, which tell them."""
        for peer, leaving in list(self._leaving.items()):
            progress = self.progress[peer]
            if self._state.commit_index < leaving.index:
                continue
            if leaving.told_at is None:
                leaving.told_at = now
                continue
            is_told = progress.match_index >= leaving.index and progress.last_contact >= leaving.told_at
            if is_told or now - leaving.told_at >= LEAVES_WITHIN * self._state.options.election_timeout:
                del self._leaving[peer], self.progress[peer]

    def _append(self, kind: EntryKind, data: bytes) -> Entry:
        state = self._state
        entry = Entry(state.log.last_index + 1, state.current_term, kind, data)
        state.log.append((entry,))
        return entry

    def advance_commit_index(self, newly_held: int) -> bool:
        """Commit what a majority of disks holds, if it is of the current term (§5.4.2; hazard R1). What has changed is
        that one disk holds everything up to `newly_held`. Whether anything was committed.

        This server counts by its own durable_index: an entry that its disk is still writing is not there (hazard R10).
        A follower that has lost what it had acknowledged does not count (hazard R23).
        """
        state = self._state
        if newly_held <= state.commit_index:
            return False
        match_index = {peer: progress.counted_index for peer, progress in self.progress.items()}
        match_index[state.node_id] = state.log.durable_index
        index = committed_index(state.configuration.voter_sets, match_index)
        if index <= state.commit_index or state.log.term_at(index) != state.current_term:
            return False
        for entry in state.log.between(state.commit_index + 1, index):
            if entry.term == state.current_term and entry.kind is EntryKind.COMMAND:  # as `propose` counted it in (R16)
                self._uncommitted.remove(entry.data)
        state.commit_to(index)
        return True

    def held_by_others(self) -> int:
        """What would be committed if followers that need a snapshot, which this server's disk has, had everything."""
        state = self._state
        held = {
            peer: state.log.last_index if progress.state is ProgressState.SNAPSHOT else progress.counted_index
            for peer, progress in self.progress.items()
        }
        held[state.node_id] = state.log.durable_index
        return max(state.commit_index, committed_index(state.configuration.voter_sets, held))

    # Sending

    def send_entries(self, now: float) -> None:
        """Send every follower what it may be sent now."""
        last_index = self._state.log.last_index
        for peer, progress in self.progress.items():
            if progress.next_index <= last_index or progress.state is ProgressState.PROBE:
                self._send_entries_to(peer, progress, now)

    def _send_entries_to(self, peer: NodeId, progress: Progress, now: float) -> None:
        log, options = self._state.log, self._state.options
        while progress.may_send(options.max_inflight_messages, options.max_inflight_size):
            if progress.next_index <= log.snapshot_index:
                progress.probe_at(log.snapshot_index)
            elif progress.state is ProgressState.PROBE:
                self._send(peer, progress, (), 0, now)
            elif progress.next_index <= log.last_index:
                self._send(peer, progress, *log.batch(progress.next_index, options.max_message_size), now)
            else:
                return

    def _send(self, peer: NodeId, progress: Progress, entries: tuple[Entry, ...], size: int, now: float) -> None:
        self._last_request_id += 1
        self._request(peer, self._last_request_id, entries)
        progress.sent(self._last_request_id, progress.next_index - 1 + len(entries), size, now)

    def ask_again(self, peer: NodeId, now: float) -> None:
        """Ask a follower that owes an answer whether it has all that was sent to it (`txraft.core.progress`). One that
        has lost data is asked under a new number, so that no answer from before the loss counts."""
        progress = self.progress[peer]
        if progress.state is ProgressState.LOST:
            progress.probe()
        if progress.owed is None:
            return
        if progress.next_index <= self._state.log.snapshot_index:
            progress.probe_at(self._state.log.snapshot_index)
            return
        self._request(peer, progress.owed, ())
        progress.asked(now)

    def _request(self, peer: NodeId, request_id: int, entries: tuple[Entry, ...]) -> None:
        """Send AppendEntries that follow on what the follower has been sent so far."""
        state, prev_log_index = self._state, self.progress[peer].next_index - 1
        state.send(
            peer,
            AppendEntries(
                term=state.current_term,
                request_id=request_id,
                prev_log_index=prev_log_index,
                prev_log_term=state.log.term_at(prev_log_index),
                entries=entries,
                leader_commit=state.commit_index,
            ),
        )

    def send_heartbeats(self, read_round: int) -> None:
        """Send every follower a heartbeat. It waits for nothing, also not for a follower that is behind.

        A follower is told of what it has acknowledged only (hazard R7); one that has lost that learns of it so.
        """
        state = self._state
        for peer, progress in self.progress.items():
            leader_commit = min(progress.match_index, state.commit_index)
            if leader_commit < state.log.snapshot_index:
                leader_commit = 0  # whose term would not be known; a follower so far behind is told by its entries
            commit_term = state.log.term_at(leader_commit) if leader_commit else 0
            state.send(peer, Heartbeat(state.current_term, leader_commit, commit_term, read_round))

    # What comes back

    def on_reply(self, peer: NodeId, reply: AppendEntriesReply, now: float) -> bool:
        """An answer to AppendEntries in the current term, perhaps late or a duplicate. Whether anything may be due now:
        nothing is where all was sent already, and nothing is committed by it."""
        progress = self._contact(peer, now)
        if progress is None or reply.match_index > self._state.log.last_index:  # no member, or no honest one
            return False
        if reply.success:
            progress.accepted(reply.request_id, reply.match_index)
            commits = self.advance_commit_index(progress.counted_index)
            return commits or progress.next_index <= self._state.log.last_index
        log = self._state.log
        hint = log.match_hint(reply.match_index, reply.match_term)
        if progress.refused(reply.request_id, hint, log.snapshot_index):
            if progress.state is ProgressState.LOST:
                progress.asked(now + LEFT_ALONE)
                self._state.lost_data.append(LostData(peer, progress.match_index))
            elif progress.state is ProgressState.SNAPSHOT:
                self._state.snapshots_to_send.append(peer)
        return True

    def on_heartbeat_reply(self, peer: NodeId, now: float) -> None:
        """The peer follows this leader. What it has not answered may be lost (hazards R15, R21)."""
        progress = self._contact(peer, now)
        if progress is not None and progress.is_due(now, self._state.options.heartbeat_interval):
            self.ask_again(peer, now)

    def snapshot_ended(self, peer: NodeId, delivered: Snapshot | None, now: float) -> None:
        """A follower that was to be sent a snapshot has the data of it; or of none, and is left alone as if it had been
        probed now, and the probe lost. So it is where what follows on the snapshot has been compacted meanwhile."""
        state, progress = self._state, self.progress.get(peer)
        if progress is None or progress.state is not ProgressState.SNAPSHOT:  # of an earlier leadership, perhaps
            return
        self._last_request_id += 1
        index = state.log.snapshot_index
        if delivered is not None and delivered.index >= index:
            index = delivered.index
            state.send(peer, InstallSnapshot(state.current_term, self._last_request_id, delivered))
        progress.probe_at(index)
        progress.sent(self._last_request_id, index, 0, now)

    def _contact(self, peer: NodeId, now: float) -> Progress | None:
        progress = self.progress.get(peer)
        if progress is not None:
            progress.last_contact = now
            progress.has_answered = True
        return progress

    def peer_connected(self, peer: NodeId) -> None:
        """A new connection: whatever was under way on the old one may be lost, so ask where the logs match. How a
        snapshot ended, the driver says."""
        progress = self.progress.get(peer)
        if progress is not None and progress.state is not ProgressState.SNAPSHOT:
            progress.probe()
