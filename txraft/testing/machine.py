"""One node of the cluster: the real driver and replica, in a process that can be killed, over a disk that stays."""

from collections.abc import Callable, Sequence
from random import Random
from typing import ParamSpec, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger, LogPublisher
from zope.interface import implementer

from txraft.core.configuration import Configuration
from txraft.core.messages import Entry, Message, NodeId
from txraft.core.quorum import majority
from txraft.core.ready import Ready, Save, TermAndVote
from txraft.core.state import Options
from txraft.errors import StorageError, TxraftError, Unreachable
from txraft.interfaces import IPeerHandler, IPeers
from txraft.node import Node
from txraft.replica import Replica
from txraft.testing.data import Copy, Data
from txraft.testing.disk import Disk, DiskStorage
from txraft.testing.durability import Durability
from txraft.testing.evidence import Evidence
from txraft.testing.invariants import Invariants, Observed, Violation
from txraft.testing.schedule import Process, Schedule
from txraft.testing.transcript import Transcript, in_words, what_changed

_P = ParamSpec("_P")

QUIET = Logger(observer=LogPublisher())
"""A log that goes to nobody: the transcript says the same."""


class Wiring(Protocol):
    """What joins a process to the network: `Datagrams` or `Streams`."""

    @property
    def peers(self) -> IPeers:
        """Its peers."""

    def start(self, handler: IPeerHandler) -> None:
        """Dial, and listen."""

    def crashed(self) -> None:
        """The process is dead."""

    def knows_who_lives(self) -> bool:
        """Whether every connection leads to a process that lives."""

    def break_connection(self, peer: NodeId) -> None:
        """Break what this process has dialled to `peer`."""


@define(eq=False)
class Surroundings:
    """What all machines of a simulation share."""

    schedule: Schedule
    random: Random
    transcript: Transcript
    invariants: Invariants
    durability: Durability
    options_of: Callable[[NodeId], Options]
    request_timeout: float
    wire: "Callable[[Machine, Process], Wiring]"
    on_violation: Callable[[Violation], None]
    ids: range


class WatchedNode(Node):
    """The node, seen when its heartbeat timer fires, and when it carries out what its core wants done."""

    evidence: Evidence
    watch: Callable[[Ready], None]
    watch_heartbeat: Callable[[], None]

    def _heartbeat_timer(self) -> None:
        super()._heartbeat_timer()
        self.watch_heartbeat()

    def read_index(self) -> "Deferred[int]":
        found = super().read_index()
        self.evidence.asks(self._last_read_id)
        return found

    def _carry_out(self, ready: Ready) -> None:
        self.watch(ready)
        super()._carry_out(ready)


@implementer(IPeerHandler, IPeers)
@define(eq=False)
class Machine:
    """A machine with its disk, and at times a process with a node. Between the node and the network it sees everything
    that comes and goes."""

    id: NodeId
    around: Surroundings
    disk: Disk = field(init=False)
    copy: Copy = field(init=False)
    process: Process | None = field(init=False, default=None)
    dies_after: int | None = None
    """So many things the process may still let out, then it dies: between a save and a send, say."""
    starts: int = 0

    node: WatchedNode = field(init=False)
    replica: Replica = field(init=False)
    data: Data = field(init=False)
    _wiring: Wiring = field(init=False)
    _storage: DiskStorage = field(init=False)
    _seen: Observed = field(init=False)
    _evidence: Evidence = field(init=False)
    _options: Options = field(init=False)
    _applied: list[tuple[int, bytes]] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self._options = self.around.options_of(self.id)
        self.disk = Disk(self.around.random, self._synced)
        self.copy = Copy(self.around.random)

    # Its life

    def start(self) -> None:
        """Start a process with what the disk has, if none runs."""
        around = self.around
        if self.process is not None:
            return
        self.starts += 1
        self.dies_after = None
        self.process = process = Process(around.schedule, around.random, self._after_step)
        self._wiring = around.wire(self, process)
        self._storage = DiskStorage(self.disk, process, self.may_act)
        self.data = Data(self.copy, self._apply)
        self._seen = Observed(self.id, applied=self.data.last_applied)
        self._evidence = Evidence(self.id, majority(len(around.ids)), self._options)
        self._applied.clear()
        try:
            self.node = self._node(process)
        except TxraftError as error:
            around.on_violation(Violation("The node starts", f"node {self.id} does not: {error}"))
            return
        self.replica = Replica(
            self.node,
            self,
            dict.fromkeys(around.ids, ("", "")),
            process,
            request_timeout=around.request_timeout,
            patience=self._options.election_timeout,
            max_held_size=1 << 20,
        )
        process.enter(self._start)

    def _node(self, process: Process) -> WatchedNode:
        around = self.around
        node = WatchedNode(
            node_id=self.id,
            configuration=Configuration(voters=around.ids),
            stored=self._storage.load(),
            storage=self._storage,
            peers=self,
            state_machine=self.data,
            options=self._options,
            clock=process,
            random=Random(around.random.getrandbits(64)),
            on_failure=self._failed,
        )
        node.log = QUIET
        node.evidence, node.watch, node.watch_heartbeat = self._evidence, self._carries_out, self._beats
        return node

    def _start(self) -> None:
        self.node.startService()
        self._wiring.start(self)

    def crash(self, why: str) -> None:
        """Kill the process, if one runs. What it has not synced may be lost."""
        if self.process is None:
            return
        self.say(f"CRASH: {why}")
        self.process.kill()
        self.process = None
        self.disk.lose_power()
        self._wiring.crashed()

    def may_act(self) -> bool:
        """Something is about to leave the process. Where the process is to die first, it does."""
        if self.process is None:
            return False
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after < 0:
                self.crash("between two things that it did")
                return False
        return True

    def knows_who_lives(self) -> bool:
        """Whether the network has noticed which of the other processes are dead."""
        return self._wiring.knows_who_lives()

    def break_connection(self, peer: NodeId) -> None:
        """Break the connection that the process has dialled to `peer`."""
        if self.process is not None:
            self._wiring.break_connection(peer)

    def say(self, what: str) -> None:
        """Add a line to the transcript."""
        if self.around.transcript.on:
            self.around.transcript.add(f"n{self.id}", what)

    # What comes to the node: IPeerHandler

    @property
    def handler(self) -> IPeerHandler:
        """What the network calls."""
        return self

    def deliver(self, sender: NodeId, message: Message) -> None:
        """A message arrived at the machine."""
        if self.process is not None:
            self.process.enter(self.receive, sender, message)

    def receive(self, sender: NodeId, message: Message) -> None:
        """A message arrived in the process."""
        self.around.schedule.steps += 1
        if self.around.transcript.on:
            view = self.node.view
            self.say(f"[{view.role.value} {view.current_term}] <- n{sender}  {in_words(message)}")
        raft, evidence, now = self.node._raft, self._evidence, self.node._clock.seconds()
        before = evidence.before(sender, message, raft, now)
        self.node.receive(sender, message)
        self._hold(evidence.after, before, sender, message, raft, now)

    def peer_connected(self, peer: NodeId) -> None:
        """As IPeerHandler."""
        self.node.peer_connected(peer)

    def peer_lost(self, peer: NodeId) -> None:
        """As IPeerHandler."""
        self.node.peer_lost(peer)

    def handle_propose(self, command: bytes) -> "Deferred[bytes]":
        """As IPeerHandler."""
        return self.node.handle_propose(command)

    def handle_read_barrier(self) -> "Deferred[int]":
        """As IPeerHandler."""
        return self.node.handle_read_barrier()

    def handle_transfer(self, target: NodeId) -> "Deferred[NodeId]":
        """As IPeerHandler."""
        return self.node.handle_transfer(target)

    # What leaves it: IPeers

    def send(self, to: NodeId, message: Message) -> None:
        """As IPeers."""
        if not self.may_act():
            return
        self._hold(self.around.durability.sends, self.id, self.disk.synced, to, message)
        self._hold(self._evidence.sends, to, message)
        self._wiring.peers.send(to, message)

    def propose(self, to: NodeId, command: bytes) -> "Deferred[bytes]":
        """As IPeers."""
        return self._wiring.peers.propose(to, command) if self.may_act() else fail(Unreachable("dead"))

    def read_barrier(self, to: NodeId) -> "Deferred[int]":
        """As IPeers."""
        return self._wiring.peers.read_barrier(to) if self.may_act() else fail(Unreachable("dead"))

    def transfer_leadership(self, leader: NodeId, target: NodeId) -> "Deferred[NodeId]":
        """As IPeers."""
        peers = self._wiring.peers
        return peers.transfer_leadership(leader, target) if self.may_act() else fail(Unreachable("dead"))

    # What happens in it

    def _hold(self, rule: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """See to it that a rule holds."""
        try:
            rule(*args, **kwargs)
        except Violation as violation:
            self.around.on_violation(violation)

    def _beats(self) -> None:
        self._hold(self._evidence.beats, self.node._raft, self.node._clock.seconds())

    def _carries_out(self, ready: Ready) -> None:
        self._hold(self._evidence.confirms, ready)

    def _after_step(self) -> None:
        view, seen = self.node.view, self._seen
        if view is seen.view:
            return
        before = seen.view
        try:
            added, removed = self.around.invariants.observe(seen, view, self.node._raft.log)
            self.around.durability.takes_for_durable(view, self.node._raft.log, self.disk.synced)
            if added:
                self._evidence.appends(view, self.node._raft.log)
            for index, command in self._applied:
                self.around.invariants.applied(seen, index, command)
        except Violation as violation:
            self.around.on_violation(violation)
        else:
            if self.around.transcript.on and (what := what_changed(before, view, added, removed)):
                self.say(what)
        self._applied.clear()

    def _apply(self, index: int, command: bytes) -> None:
        self._applied.append((index, command))

    def _synced(self, saves: Sequence[Save], before: TermAndVote, entries: Sequence[Entry]) -> None:
        synced = self.disk.synced
        kept = min((save.entries[0].index - 1 for save in saves if save.entries), default=len(entries))
        removed = [entry for entry in entries[kept:] if not self.disk.has(entry.index, entry.term)]
        self._hold(self.around.durability.synced, self.id, saves, before, synced, removed)
        if self.around.transcript.on:
            last = synced.entries[-1] if synced.entries else None
            end = f"{last.index}/{last.term}" if last is not None else "0/0"
            vote = synced.term_and_vote
            self.say(f"disk: term {vote.current_term}, vote {vote.voted_for}, log ends {end}")

    def _failed(self, error: TxraftError) -> None:
        if isinstance(error, StorageError) and self.disk.failures:
            self.crash(str(error))
        else:
            self.around.on_violation(Violation("The node goes on", f"node {self.id} stops: {error}"))


def state_of(machine: Machine) -> str:
    """Where a node stands, in short."""
    view = machine.node.view
    return f"{view.role.value} {view.current_term}, log {view.last_index}/{view.last_term}, commit {view.commit_index}"
