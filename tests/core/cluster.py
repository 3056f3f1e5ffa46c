"""A small world for the core: servers, their disks and the messages between them, moved by hand, one step at a time.

Nothing happens by itself. A scenario says which timer fires, which message arrives (twice, late, never), when a disk
has written, who crashes; `settle` lets everything that is under way run to its end.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from tests.clock import STARTS_AT
from txraft.core.changes import Change
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.invariants import View, check, check_step
from txraft.core.log import RaftLog
from txraft.core.messages import AppendEntries, Entry, EntryKind, Envelope, Message, NodeId, RequestVote
from txraft.core.raft import Raft
from txraft.core.ready import ReadReady, Ready, Save, TermAndVote
from txraft.core.roles import Role
from txraft.core.state import RaftOptions

M = TypeVar("M", bound=Message)

NOTHING_DUE = Ready(messages=(), save=None, messages_after_save=(), committed=(), reads=(), lost_reads=())


def entries_of(*terms: int) -> tuple[Entry, ...]:
    """A log as the paper draws it: the terms of entries 1, 2, 3 and so on, each with data of its own."""
    return tuple(
        Entry(index, term, EntryKind.COMMAND, f"{term}.{index}".encode()) for index, term in enumerate(terms, 1)
    )


def request_vote(term: int, last_log_index: int = 0, last_log_term: int = 0, *, pre_vote: bool = False) -> RequestVote:
    """A request for a vote, of round 99."""
    return RequestVote(term, last_log_index, last_log_term, round=99, pre_vote=pre_vote)


class Server:
    """One `Raft` with its disk. What it wants sent goes to `outgoing`, what it wants written waits in `writing`."""

    def __init__(
        self,
        node_id: NodeId,
        configuration: Configuration,
        options: RaftOptions,
        seed: int,
        now: Callable[[], float],
        terms: Iterable[int] = (),
        current_term: int | None = None,
        voted_for: NodeId | None = None,
    ) -> None:
        self.id = node_id
        self.configuration = configuration
        self.options = options
        self.random = random.Random(seed)
        self._now = now
        self.disk_log: list[Entry] = list(entries_of(*terms))
        self.disk_start: Snapshot | None = None
        """What the log on the disk starts after."""
        last_term = self.disk_log[-1].term if self.disk_log else 0
        self.disk_term_and_vote = TermAndVote(last_term if current_term is None else current_term, voted_for)
        self.start()

    def start(self) -> None:
        """Start, or start again, with what is on the disk and nothing else. The state machine starts empty, or with the
        snapshot that the log starts after."""
        start = self.disk_start or Snapshot(0, 0, self.configuration)
        self.raft = Raft(
            node_id=self.id,
            log=RaftLog(self.disk_log, start),
            term_and_vote=self.disk_term_and_vote,
            last_applied=start.index,
            options=self.options,
            random=self.random,
            now=self._now(),
        )
        self.outgoing: list[Envelope] = []
        self.writing: list[tuple[Save | None, tuple[Envelope, ...]]] = []
        self.applied: list[Entry] = []
        self.installed: list[Snapshot] = []
        self._given_out = start.index
        self.to_send: list[NodeId] = []
        """To whom a snapshot is to be sent."""
        self.reads: list[ReadReady] = []
        self.lost_reads: list[int] = []
        self._view = self.raft.view()

    @property
    def view(self) -> View:
        return self.raft.view()

    @property
    def terms(self) -> list[int]:
        """The terms of the entries in the log, as the paper draws it."""
        return [self.raft.log.term_at(index) for index in range(self.view.first_index, self.view.last_index + 1)]

    def take(self, due: bool = True) -> None:
        """Take what the core wants done, and check what must always hold. `due` is what it says of the last input."""
        ready = self.raft.ready(self._now())
        before, self._view = self._view, self.raft.view()
        check(self._view)
        check_step(before, self._view)
        if not due:
            assert ready == NOTHING_DUE, f"the last input made something due, which the core denies: {ready}"
            assert self._view.standing == before.standing, "the last input changed more of the server than its log"
        self.outgoing.extend(ready.messages)
        if ready.save is not None or ready.messages_after_save:
            self.writing.append((ready.save, ready.messages_after_save))
        if ready.save is not None and ready.save.replaces_log:
            assert ready.save.log_start is not None
            assert not ready.committed
            self.installed.append(ready.save.log_start)
            self._given_out = ready.save.log_start.index
        for entry in ready.committed:
            assert entry.index == self._given_out + 1, f"{entry} is to be applied after {self._given_out}"
            self._given_out = entry.index
        self.applied.extend(ready.committed)
        self.to_send.extend(ready.snapshots_to_send)
        self.reads.extend(ready.reads)
        self.lost_reads.extend(ready.lost_reads)

    def write(self) -> bool:
        """The oldest write ends: it is durable. False where there is none."""
        if not self.writing:
            return False
        save, messages = self.writing.pop(0)
        due = True
        if save is not None:
            self._store(save)
            due = self.raft.saved(save, self._now())
        self.outgoing.extend(messages)
        self.take(due)
        return True

    def _store(self, save: Save) -> None:
        if save.term_and_vote is not None:
            self.disk_term_and_vote = save.term_and_vote
        if save.log_start is not None:
            self.disk_start = save.log_start
            kept = [] if save.replaces_log else self.disk_log
            self.disk_log = [entry for entry in kept if entry.index > save.log_start.index]
        if save.entries:
            first = self.disk_start.index + 1 if self.disk_start is not None else 1
            assert first <= save.entries[0].index <= first + len(self.disk_log), "a gap"
            self.disk_log[save.entries[0].index - first :] = save.entries

    def write_all(self) -> None:
        """Every write ends, also those that begin meanwhile."""
        while self.write():
            pass

    def sent(self, kind: type[M]) -> list[tuple[NodeId, M]]:
        """The messages of a kind that are on their way, and to whom."""
        return [(envelope.to, envelope.message) for envelope in self.outgoing if isinstance(envelope.message, kind)]

    def receive(self, sender: NodeId, message: Message) -> None:
        """A message arrives."""
        self.take(self.raft.receive(sender, message, self._now()))

    def reconnect(self, peer: NodeId) -> None:
        """A new connection to a peer opens."""
        self.raft.peer_connected(peer, self._now())
        self.take()

    def time_out(self) -> None:
        """The election timer fires, when it is due."""
        elections = self.raft._elections
        elections.deadline = elections._timer = self._now()
        self.raft.election_timeout(self._now())
        self.take()

    def ask_early(self) -> None:
        """What it was to ask before the election timer fires is due."""
        assert self._now() <= self.raft._elections.deadline < self.raft._elections._timer
        self.raft.election_timeout(self.raft._elections.deadline)
        self.take()

    def beat(self) -> None:
        """The heartbeat timer fires."""
        self.raft.heartbeat_timeout(self._now())
        self.take()

    def compact(self, index: int | None = None) -> None:
        """Compact the log up to `index`, or all that is applied, and write that down."""
        self.raft.compact(self.view.last_applied if index is None else index)
        self.take()
        self.write_all()

    def propose(self, data: bytes) -> Entry:
        """A client's command. Raises NotLeader or Overloaded."""
        entry = self.raft.propose(data)
        self.take()
        return entry

    def change_members(self, *changes: Change) -> Entry:
        """An operator's change of the membership. Raises NotLeader, ChangeRefused or TransferUnderWay."""
        entry = self.raft.change_members(changes, self._now())
        self.take()
        return entry

    def transfer(self, target: NodeId) -> None:
        """An operator's transfer of leadership. Raises what `Raft.transfer_leadership` raises."""
        self.raft.transfer_leadership(target, self._now())
        self.take()

    def read(self, read_id: int) -> None:
        """A client's read. Raises NotLeader."""
        self.raft.read(read_id)
        self.take()


class Cluster:
    """Servers 1 to n, the paper's S1 to Sn, and the messages on their way between them."""

    def __init__(
        self,
        servers: int = 3,
        *,
        logs: Mapping[NodeId, Iterable[int]] | None = None,
        current_terms: dict[NodeId, int] | None = None,
        options: RaftOptions | dict[NodeId, RaftOptions] | None = None,
        configuration: Configuration | None = None,
        seed: int = 1,
    ) -> None:
        """`logs` gives the terms of the entries that a server starts with, on its disk."""
        self.now = STARTS_AT
        members = configuration or Configuration(voters=range(1, servers + 1))
        of_all = options if isinstance(options, RaftOptions) else RaftOptions()
        of_one = options if isinstance(options, dict) else {}
        self._founders, self._options, self._seed = members, of_all, seed
        self._cut: set[tuple[NodeId, NodeId]] = set()
        self.servers = {
            node_id: Server(
                node_id,
                members,
                of_one.get(node_id, of_all),
                seed * 1000 + node_id,
                lambda: self.now,
                (logs or {}).get(node_id, ()),
                (current_terms or {}).get(node_id),
            )
            for node_id in sorted(members.members)
        }

    def start_empty(self, node_id: NodeId) -> Server:
        """Start a server that is to join. It knows who founded the cluster, and nothing else."""
        server = Server(node_id, self._founders, self._options, self._seed * 1000 + node_id, lambda: self.now)
        self.servers[node_id] = server
        return server

    def __getitem__(self, node_id: NodeId) -> Server:
        return self.servers[node_id]

    def __iter__(self) -> Iterator[Server]:
        return iter(self.servers.values())

    # The network

    def cut(self, sender: NodeId, receiver: NodeId) -> None:
        """Lose what goes from `sender` to `receiver`, one way."""
        self._cut.add((sender, receiver))

    def isolate(self, *nodes: NodeId) -> None:
        """Lose what goes between `nodes` and all others; among themselves they still talk."""
        for one in nodes:
            for other in set(self.servers) - set(nodes):
                self._cut |= {(one, other), (other, one)}

    def heal(self) -> None:
        """No link is cut any more. What was lost stays lost."""
        self._cut.clear()

    def deliver_one(self) -> bool:
        """Deliver, or lose on a cut link, the oldest message of the first server that has one. False if none has."""
        for server in self:
            if server.outgoing:
                envelope = server.outgoing.pop(0)
                if (server.id, envelope.to) not in self._cut and envelope.to in self.servers:
                    self[envelope.to].receive(server.id, envelope.message)
                return True
        return False

    def cross(self) -> None:
        """Deliver all messages that are on their way, before any that they lead to."""
        under_way = [(server.id, envelope) for server in self for envelope in server.outgoing]
        for server in self:
            server.outgoing.clear()
        for sender, envelope in under_way:
            if envelope.to in self.servers:
                self[envelope.to].receive(sender, envelope.message)

    def send_snapshot(self) -> bool:
        """The first snapshot that a server is to send has arrived, or has failed on a cut link. False if none is."""
        for server in self:
            if server.to_send:
                peer, raft = server.to_send.pop(0), server.raft
                if {(server.id, peer), (peer, server.id)} & self._cut or peer not in self.servers:
                    raft.snapshot_failed(peer, self.now)
                else:
                    raft.snapshot_delivered(peer, raft.snapshot_at(server.view.last_applied), self.now)
                server.take()
                return True
        return False

    def settle(self, writing: Iterable[NodeId] | None = None) -> None:
        """Deliver messages, send snapshots and finish writes until there are none; with `writing`, only these servers'
        disks write."""
        disks = [server for server in self if writing is None or server.id in set(writing)]
        for _ in range(10_000):
            if not any([self.deliver_one(), self.send_snapshot(), *(disk.write() for disk in disks)]):
                return
        raise AssertionError("the cluster does not settle: servers go on sending for ever")

    # Time

    def advance(self, seconds: float) -> None:
        """Let time pass. No timer fires by itself."""
        self.now += seconds

    def beat(self) -> None:
        """A heartbeat interval passes, the leaders' timers fire, and everything settles."""
        self.advance(0.1)
        for leader in self.leaders():
            leader.beat()
        self.settle()

    def run(self, seconds: float) -> None:
        """Let time pass with every timer firing when it is due, heartbeats each 0.1 s, and everything settling."""
        end = self.now + seconds
        while self.now < end:
            self.beat()
            for server in self:
                deadline = server.raft.election_deadline
                if deadline is not None and deadline <= self.now:
                    server.time_out()
            self.settle()

    # Elections

    def leaders(self) -> list[Server]:
        return [server for server in self if server.view.role is Role.LEADER]

    def elect(self, node_id: NodeId) -> Server:
        """Make one server the leader: the others have not heard of one for an election timeout, and its timer fires."""
        self.advance(2 * RaftOptions().election_timeout)
        self[node_id].time_out()
        self.settle()
        assert self[node_id].view.role is Role.LEADER, self[node_id].view
        return self[node_id]

    def win(self, node_id: NodeId) -> Server:
        """As `elect`, but stop at the moment of victory: nothing that the new leader sends has arrived anywhere."""
        server = self[node_id]
        for _ in range(3):  # a first campaign may only learn of a later term
            self.advance(2 * RaftOptions().election_timeout)
            server.time_out()
            working = True
            while working and server not in self.leaders():
                working = self.deliver_one() or any(one.write() for one in self)
            if server in self.leaders():
                return server
        raise AssertionError(f"not elected: {server.view}")

    def take_messages(self, node_id: NodeId) -> list[Envelope]:
        """Take what a server has sent off the network, to be delivered by hand, or not."""
        server = self[node_id]
        messages, server.outgoing = server.outgoing, []
        return messages


def requests(server: Server, to: NodeId | None = None) -> list[AppendEntries]:
    """The AppendEntries that a leader has sent and that have not been delivered, to one follower or to all."""
    return [
        envelope.message
        for envelope in server.outgoing
        if isinstance(envelope.message, AppendEntries) and to in (None, envelope.to)
    ]


def only_request(server: Server, to: NodeId) -> AppendEntries:
    (request,) = requests(server, to)
    return request
