"""What a server has only while it leads (Figure 2, "Volatile state on leaders"), and what it does then.

A `Leader` is made at an election won and thrown away when the server steps down. Its log's way to the followers is in
`replication`; here is what it owes them by the clock: heartbeats, stepping down when a majority is out of contact, and
handing over when its own disk hangs.
"""

from collections.abc import Sequence, Set

from txraft.core.changes import Change
from txraft.core.lateness import Lateness
from txraft.core.messages import AppendEntriesReply, Entry, HeartbeatReply, NodeId
from txraft.core.progress import ProgressState
from txraft.core.quorum import has_quorum
from txraft.core.reads import Reads
from txraft.core.reconfiguration import Reconfiguration
from txraft.core.replication import Replication
from txraft.core.state import State, Write
from txraft.core.transfer import Transfer
from txraft.errors import NoSuchVoter, TargetBehind, TargetLostData, TargetSilent, TransferUnderWay


class Leader:
    """One term's leadership."""

    def __init__(self, state: State, now: float) -> None:
        """An election is won (§5.2): tell everyone at once, and append an entry of one's own term (§8)."""
        self._state = state
        self.replication = Replication(state, now)
        self.reads = Reads(state)
        self.reconfiguration = Reconfiguration(state, self.replication)
        self.transfer: Transfer | None = None
        self.is_overtaken = False
        """Whether this server's disk hangs in a write that a majority of the others has had for an election timeout."""
        self._seen_overtaken: tuple[Write, float] | None = None
        """That write, and when a beat first saw that the others have it."""
        self._beat_at = now
        self._lateness = Lateness(state.options)
        self.replication.send_heartbeats(self.reads.round)

    # Inputs

    def beat(self, now: float) -> bool:
        """The heartbeat timer fired. Whether this server leads on.

        One that is out of contact with a majority does not (CheckQuorum). One whose disk hangs hands over; where nobody
        takes over, it does not lead on either: heartbeats alone do not earn the right to lead (hazard S12).
        """
        late = now - self._beat_at - self._state.options.heartbeat_interval
        self._beat_at = now
        if not self._lateness.passes_over(late):
            self.is_overtaken = self._others_have_what_it_writes(now)
            if not self._is_in_contact(now) or not self._go_on_handing_over(now):
                return False
        if self.transfer is None:
            self.reconfiguration.promote(self._in_contact(now), now)
        self.replication.let_go(now)
        self.reads.on_answer(self._state.node_id, self.reads.round)  # who has answered may be a majority by now
        self.replication.send_heartbeats(self.reads.round)
        return True

    def on_append_entries_reply(self, peer: NodeId, reply: AppendEntriesReply, now: float) -> bool:
        """An answer to AppendEntries in the current term, perhaps late or a duplicate. Whether anything may be due."""
        return self.replication.on_reply(peer, reply, now) or self.transfer is not None

    def on_heartbeat_reply(self, peer: NodeId, reply: HeartbeatReply, now: float) -> None:
        """The peer follows this leader."""
        self.replication.on_heartbeat_reply(peer, now)
        self.reads.on_answer(peer, reply.read_round)

    def propose(self, data: bytes) -> Entry:
        """Append a command to the log. Raises Overloaded or TransferUnderWay."""
        if self.transfer is not None:
            raise TransferUnderWay(self.transfer.target)
        return self.replication.propose(data)

    def change_members(self, changes: Sequence[Change], now: float) -> Entry:
        """Append what the membership becomes. Raises ChangeUnderWay, ChangeRefused or TransferUnderWay."""
        if self.transfer is not None:
            raise TransferUnderWay(self.transfer.target)
        return self.reconfiguration.change(changes, self._in_contact(now), now)

    def transfer_leadership(self, target: NodeId, now: float) -> None:
        """Hand leadership to `target` (thesis §3.10).

        Raises TransferUnderWay, NoSuchVoter, TargetSilent, TargetLostData or TargetBehind.
        """
        if self.transfer is not None:
            raise TransferUnderWay(self.transfer.target)
        if target == self._state.node_id:
            return
        if target not in self._state.configuration.voters:
            voters = ", ".join(map(str, sorted(self._state.configuration.voters)))
            raise NoSuchVoter(f"node {target} cannot lead; the voters are {voters}")
        if not self._has_heard(target, now):
            raise TargetSilent(f"node {target} has not answered for an election timeout, so it was not asked to lead")
        progress = self.replication.progress[target]
        if progress.has_lost_data:
            raise TargetLostData(f"node {target} has lost what it had acknowledged, so it was not asked to lead")
        if progress.state is ProgressState.SNAPSHOT:
            raise TargetBehind(f"node {target} is being sent a snapshot, so it was not asked to lead; try again later")
        self._hand_over(target, now)

    # Outputs

    def successor(self, now: float) -> NodeId | None:
        """The voter that is furthest ahead of those that have answered within an election timeout, if any have. It is
        none that has lost data (hazard R23), or needs a snapshot first."""
        progress, configuration = self.replication.progress, self._state.configuration
        heard = [
            peer
            for peer in progress
            if peer in configuration.voters and self._has_heard(peer, now)
            if not progress[peer].has_lost_data and progress[peer].state is not ProgressState.SNAPSHOT
        ]
        return max(heard, key=lambda peer: progress[peer].match_index, default=None)

    def send(self, now: float) -> None:
        """Send everything that the inputs so far have made due."""
        if self.transfer is None and self.reconfiguration.is_due:
            self._finish_the_change(now)
        if self.reads.start_round():
            self.replication.send_heartbeats(self.reads.round)
        self.replication.send_entries(now)
        if self.transfer is not None:
            self.transfer.ask_when_caught_up()

    # Inside

    def _has_heard(self, peer: NodeId, now: float) -> bool:
        """Whether a member has answered within an election timeout, or this server has led for less than that."""
        return now - self.replication.progress[peer].last_contact < self._state.options.election_timeout

    def _in_contact(self, now: float) -> Set[NodeId]:
        """Who has answered this leader, and within an election timeout, and itself (hazard M9)."""
        progress = self.replication.progress
        answered = {peer for peer in progress if progress[peer].has_answered and self._has_heard(peer, now)}
        return answered | {self._state.node_id}

    def _is_in_contact(self, now: float) -> bool:
        """CheckQuorum (thesis §6.2; hazard E8): whether a majority has answered within an election timeout."""
        recent = {peer for peer in self.replication.progress if self._has_heard(peer, now)}
        return has_quorum(self._state.configuration.voter_sets, recent | {self._state.node_id})

    def _others_have_what_it_writes(self, now: float) -> bool:
        """Whether what this server's disk is doing has been committed, and so is on the disks of a majority without it,
        for long enough (hazard S12). Followers that need a snapshot count as if they had it: they wait for this disk.

        Where all disks are slow the others have not finished either, or took about as long, and leadership stays where
        it is: this server's disk has an election timeout more than theirs had, from when they have finished. Its write
        may have had to wait for the one before it, and theirs not.
        """
        write = self._state.write
        if write is None or write.last_index > self.replication.held_by_others():
            self._seen_overtaken = None
            return False
        if self._seen_overtaken is None or self._seen_overtaken[0] is not write:
            self._seen_overtaken = write, now
        _, seen_at = self._seen_overtaken
        took = seen_at - write.given_out_at
        return now - seen_at >= took + self._state.options.election_timeout

    def _finish_the_change(self, now: float) -> None:
        """A change of the members is committed, and something follows on it."""
        if self.reconfiguration.is_to_leave_joint:
            self.reconfiguration.leave_joint(now)
        elif (successor := self.successor(now)) is not None:
            self._hand_over(successor, now)

    def _go_on_handing_over(self, now: float) -> bool:
        """Begin a transfer where the disk hangs, repeat or end the one there is. Whether this server leads on: one that
        has no vote any more (hazard M4), for which `send` begins a transfer, does not where nobody takes over."""
        if self.transfer is None:
            if self.is_overtaken and (successor := self.successor(now)) is not None:
                self._hand_over(successor, now)
        elif not self.transfer.has_failed(now):
            self.transfer.ask_again()
        elif self.is_overtaken or self.reconfiguration.is_retired:
            return False
        else:
            self.transfer = None
        return True

    def _hand_over(self, target: NodeId, now: float) -> None:
        deadline = now + self._state.options.election_timeout
        self.transfer = Transfer(self._state, self.replication, target, deadline)
        self.replication.ask_again(target, now)  # there is no time to lose, and what was sent may be lost (hazard R21)
