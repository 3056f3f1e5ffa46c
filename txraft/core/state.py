"""What a server knows (Figure 2, "State"), and the outbox in which what it wants done collects.

Whoever changes `current_term` or `voted_for` calls `change_term` or `vote_for`, and nothing else: that is what makes
them one durable record (hazard E1) and lets a vote be cleared only when the term rises (hazard E2).
"""

from random import Random

from attrs import define, field, frozen, validators

from txraft.core.configuration import Configuration, Snapshot
from txraft.core.log import RaftLog
from txraft.core.messages import MAX_BATCH_SIZE, AppendEntriesReply, Entry, Envelope, Message, NodeId, Reply
from txraft.core.ready import LostData, ReadReady, Ready, Save, TermAndVote
from txraft.core.roles import LEGAL_CHANGES, Role
from txraft.errors import InvariantViolated
from txraft.values import value_class


@frozen
class RaftOptions:
    """How a server behaves. Times in seconds, sizes in bytes. All servers of a cluster should have the same."""

    election_timeout: float = 0.5
    """A follower waits for this long to twice this long, at random, before it campaigns (§5.2)."""
    heartbeat_interval: float = 0.1
    pre_vote: bool = True
    """Clusters that mix servers with and without it still elect (hazard E5)."""
    max_message_size: int = field(default=64 << 10, validator=validators.le(MAX_BATCH_SIZE))
    """Entries in one AppendEntries; a single larger one still goes (hazard R20). Where a pair has only one connection,
    heartbeats wait behind entries, and a follower may hear its leader once a message only: then a line must carry one
    within an election timeout, 64 KiB in 0.5 s, or 131 kB/s. At 1 Gbit/s a message of this size takes 0.5 ms."""
    max_inflight_messages: int = 64
    max_inflight_size: int = 4 << 20
    """Of AppendEntries to one follower that are not answered yet; the last one may pass it (hazard R18). A follower is
    sent as much in one round trip and fsync: 4 MiB in 100 ms, or 42 MB/s, say."""
    max_uncommitted_size: int = 64 << 20
    """Bytes of memory of what was proposed here and is not committed yet; more is refused (hazard C9)."""
    max_uncommitted_entries: int = 10_000
    """So many of them. Each has somebody who waits for it, which takes some kilobytes (`txraft.node.replica`)."""


@value_class
class Write:
    """What the disk is doing."""

    since: float
    """When it began, in seconds: when the save was given out, or the one before it became durable."""
    last_index: int
    """The last entry that had been given out to be saved by then."""
    given_out_at: float
    """When that was; a leader sent it to the others at the same time."""


@define(eq=False)
class State:
    """One server's state. Shared by the modules of the core, each of which changes its own part of it."""

    node_id: NodeId
    options: RaftOptions
    random: Random
    """Only for election timeouts and for naming campaigns."""

    log: RaftLog
    durable: TermAndVote
    """The term and vote that are on the disk."""
    term_and_vote: TermAndVote = field(init=False)
    """The two that follow, as the one record that is saved."""
    current_term: int = field(init=False)
    voted_for: NodeId | None = field(init=False)

    commit_index: int = 0
    """The highest entry known to be committed. Never goes back (hazard R2)."""
    last_applied: int = 0
    """Entries up to here have been given out to be applied, or a snapshot of them to be installed."""

    role: Role = Role.FOLLOWER
    leader_id: NodeId | None = None
    """The leader of current_term, once known."""

    write: Write | None = None
    """What the disk is doing, if it has anything to do."""

    _given_out: TermAndVote = field(init=False)
    _given_out_at: float = field(init=False, default=0.0)
    _saves_under_way: int = field(init=False, default=0)
    _log_start: Snapshot | None = field(init=False, default=None)
    """Where the log starts, until that is given out to be saved."""
    _replaces_log: bool = field(init=False, default=False)
    """Whether that is a snapshot that takes the place of the log."""
    _messages: list[Envelope] = field(init=False, factory=list)
    _messages_after_save: list[Envelope] = field(init=False, factory=list)
    reads: list[ReadReady] = field(init=False, factory=list)
    lost_reads: list[int] = field(init=False, factory=list)
    snapshots_to_send: list[NodeId] = field(init=False, factory=list)
    lost_data: list[LostData] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self._given_out = self.durable
        self._keep(self.durable)

    @property
    def configuration(self) -> Configuration:
        """The membership in force: the last one in the log, committed or not (§6)."""
        return self.log.membership.configuration

    # Term, vote and role

    def change_term(self, term: int) -> None:
        """Enter a later term, in which no vote is given and no leader known yet."""
        if term <= self.current_term:
            raise InvariantViolated(f"the term cannot go from {self.current_term} to {term}")
        self._keep(TermAndVote(term, None))
        self.leader_id = None

    def vote_for(self, candidate: NodeId) -> None:
        """Give this term's one vote (§5.2)."""
        if self.voted_for not in (None, candidate):
            raise InvariantViolated(f"the vote of term {self.current_term} was given to {self.voted_for} already")
        self._keep(TermAndVote(self.current_term, candidate))

    def _keep(self, term_and_vote: TermAndVote) -> None:
        self.term_and_vote = term_and_vote
        self.current_term, self.voted_for = term_and_vote.current_term, term_and_vote.voted_for

    def change_role(self, role: Role) -> None:
        """Change the role, if the table allows it."""
        if role not in LEGAL_CHANGES[self.role]:
            raise InvariantViolated(f"a {self.role.value} cannot become a {role.value}")
        self.role = role

    def follow(self, leader: NodeId) -> None:
        """Follow the leader of current_term, which has been heard."""
        if self.leader_id not in (None, leader):
            raise InvariantViolated(f"term {self.current_term} has two leaders, {self.leader_id} and {leader}")
        self.change_role(Role.FOLLOWER)
        self.leader_id = leader

    def commit_to(self, index: int) -> None:
        """Everything up to `index` is committed. Does nothing where that was known (hazard R2)."""
        if index > self.log.last_index:
            raise InvariantViolated(f"entry {index} is committed, and the log ends at {self.log.last_index}")
        self.commit_index = max(self.commit_index, index)

    # The log's start

    def compact(self, index: int) -> None:
        """Forget the log up to `index`, which is applied. Does nothing where that is done."""
        if index > self.last_applied:
            raise InvariantViolated(f"the log is to be compacted to {index}, but only {self.last_applied} is applied")
        if index > self.log.snapshot_index:
            self._log_start = self.log.snapshot_at(index)
            self.log.compact(index)

    def install(self, snapshot: Snapshot) -> None:
        """Let a snapshot, which is on the disk, take the place of the log, which has not got the snapshot's last
        entry. A leader of an earlier release does not say where the members are (`txraft.rpc.versions`): what is known
        of that here stays, or a later start could dial nobody."""
        configuration = snapshot.configuration.with_addresses_of(self.configuration)
        snapshot = Snapshot(snapshot.index, snapshot.term, configuration)
        self.log.restore(snapshot)
        self.commit_to(snapshot.index)
        self.last_applied = snapshot.index
        self._log_start, self._replaces_log = snapshot, True

    # The disk

    def saved(self, save: Save, now: float) -> None:
        """The oldest save that was given out is durable."""
        if save.entries:
            self.log.mark_durable(save.entries[-1].index, save.entries[-1].term)
        elif save.log_start is not None and save.replaces_log:
            self.log.mark_durable(save.log_start.index, save.log_start.term)
        if save.term_and_vote is not None:
            self.durable = save.term_and_vote
        if _is_awaited(save):
            self._saves_under_way -= 1
            self.write = self._write_from(now) if self._saves_under_way else None

    def disk_hangs(self, now: float) -> bool:
        """Whether a write has taken an election timeout, and goes on."""
        return self.write is not None and now - self.write.since >= self.options.election_timeout

    # The outbox

    def send(self, to: NodeId, message: Message) -> None:
        """Send a message that says nothing about this server which is not durable already."""
        self._messages.append(Envelope(to, message))

    def send_after_save(self, to: NodeId, message: Message) -> None:
        """Send a message once everything that is so far to be saved is durable."""
        self._messages_after_save.append(Envelope(to, message))

    def answer(self, to: NodeId, reply: Reply) -> None:
        """Send a reply, after the save of what it promises: the term that it names, the vote, or the entries."""
        promised = reply.match_index if isinstance(reply, AppendEntriesReply) and reply.success else 0
        if self.term_and_vote == self.durable and promised <= self.log.durable_index:
            self.send(to, reply)
        else:
            self.send_after_save(to, reply)

    def take_ready(self, now: float) -> Ready:
        """Everything that has collected, in one value."""
        ready = Ready(
            messages=tuple(self._messages),
            save=self._take_save(now),
            messages_after_save=tuple(self._messages_after_save),
            committed=self._take_committed(),
            reads=tuple(self.reads),
            lost_reads=tuple(self.lost_reads),
            snapshots_to_send=tuple(self.snapshots_to_send),
            lost_data=tuple(self.lost_data),
        )
        self._messages, self._messages_after_save = [], []
        self._log_start, self._replaces_log = None, False
        self.reads, self.lost_reads, self.snapshots_to_send, self.lost_data = [], [], [], []
        return ready

    def _take_save(self, now: float) -> Save | None:
        term_and_vote = None if self.term_and_vote == self._given_out else self.term_and_vote
        entries, log_start = self.log.take_unsaved(), self._log_start
        if term_and_vote is None and not entries and log_start is None:
            return None
        self._given_out = self.term_and_vote
        save = Save(term_and_vote, entries, log_start, self._replaces_log)
        if _is_awaited(save):
            self._saves_under_way += 1
            self._given_out_at = now
            if self.write is None:
                self.write = self._write_from(now)
        return save

    def _write_from(self, now: float) -> Write:
        return Write(now, self.log.given_out_index, self._given_out_at)

    @property
    def applicable_index(self) -> int:
        """Entries up to here may be applied. What is applied but not in this server's own log would be lost to it by a
        crash, so it waits for the disk."""
        return min(self.commit_index, self.log.durable_index)

    def _take_committed(self) -> tuple[Entry, ...]:
        last = self.applicable_index
        if last <= self.last_applied:
            return ()
        committed = self.log.between(self.last_applied + 1, last)
        self.last_applied = last
        return committed


def _is_awaited(save: Save) -> bool:
    """Whether anybody waits for this write. For one that only compacts the log nobody does, nor have others one like it
    by which to tell a disk that hangs from one that is slow (hazard S12)."""
    return bool(save.entries) or save.term_and_vote is not None or save.replaces_log
