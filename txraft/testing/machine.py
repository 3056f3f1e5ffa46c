"""One node of the cluster: the real driver and replica, in a process that can be killed, over a disk that stays."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast

from attrs import define, field
from twisted.logger import LogEvent, Logger

from txraft.core.invariants import View
from txraft.core.messages import Entry, Message, NodeId
from txraft.core.ready import Save, TermAndVote
from txraft.core.state import RaftOptions
from txraft.errors import DirectoryRefused, MemberRemoved, StorageError, TxraftError
from txraft.interfaces import Identity, IPeerHandler
from txraft.node.compaction import Keep
from txraft.node.replica import Replica
from txraft.storage.memory_snapshots import MemorySnapshotFiles
from txraft.testing.application import SimulatedHome
from txraft.testing.change_evidence import ChangeEvidence
from txraft.testing.disk import FAST, Disk, DiskStorage, Synced
from txraft.testing.disk_peers import DiskPeers
from txraft.testing.doors import Arrivals, Departures
from txraft.testing.evidence import Evidence
from txraft.testing.invariants import Observed
from txraft.testing.memberships import InLog
from txraft.testing.schedule import Process
from txraft.testing.snapshot_disk import DiskSnapshots
from txraft.testing.surroundings import Surroundings, Wiring
from txraft.testing.transcript import QUIET, traceback_of
from txraft.testing.violation import Violation
from txraft.testing.watched_machine import MachineEvent, WatchedMachine, made_by
from txraft.testing.watcher import WatchedNode, Watcher
from txraft.testing.work import SimulatedWorker, read_at_work

MAX_HELD_SIZE = 50 << 10
"""Bytes of changes that may wait for an answer on one node: about as many as there can be clients."""
MAX_HELD = 100
NOWHERE = Path("nowhere")
"""The directory of those that have none: the key-value store is simulated without files."""
PAUSE = 0.3
"""Seconds between two attempts to send a snapshot."""
LITTLE_AT_ONCE = 2
"""Entries applied in a turn, where a plan is tight."""


@define(eq=False)
class Machine:
    """A machine with its disk, and at times a process with a node. Between the node and the network it sees everything
    that comes and goes."""

    id: NodeId
    around: Surroundings
    disk: Disk
    identity: Identity
    installed: bool = True
    """Whether a node was set up on it. One that is not cannot be started."""
    addresses: set[str] = field(init=False)
    """Where it listens."""
    process: Process | None = field(init=False, default=None)
    dies_after: int | None = None
    """So many things the process may still let out, then it dies: between a save and a send, say."""
    dies_voting: bool = False
    """Whether the process dies, and is started again at once, when a vote for another is on its disk."""
    dies_at_work: int | None = None
    """So many more steps of compaction, and of making, receiving and restoring snapshots, before the process dies, or
    in the middle of the next one; it is started again at once."""
    dies_installing: bool = False
    """Whether the process dies, and is started again at once, when its log starts after a snapshot and its data may not
    yet be that snapshot's."""
    cuts_after: int | None = None
    """So many pieces of a snapshot may still arrive before the connection breaks that they came by."""
    on_cut: "Callable[[Machine, NodeId], None]" = lambda *_: None
    """Breaks the connection to a node that sends a snapshot."""
    on_removed: "Callable[[Machine], None]" = lambda _: None
    """Called when its node has ended because it was removed."""
    stopping: bool = False
    """Whether the process has been asked to end."""

    node: WatchedNode = field(init=False)
    replica: Replica = field(init=False)
    state_machine: WatchedMachine = field(init=False)
    watcher: Watcher = field(init=False)
    """Of its process."""
    home: SimulatedHome = field(init=False)
    """Of its state machine."""
    wiring: Wiring = field(init=False)
    """What joins its process to the network."""
    _options: RaftOptions = field(init=False)
    _at_death: ExitStack = field(init=False, factory=ExitStack)
    """What is to be done when the process is dead, for its state machine."""
    _dead: ExitStack = field(init=False, factory=ExitStack)
    """The same of the process before it."""
    _bug: str = ""
    """The traceback of what its node has met."""

    def __attrs_post_init__(self) -> None:
        self._options = self.around.options_of(self.id)
        self.addresses = {str(self.id)}

    # Its life

    def start(self) -> None:
        """Start a process with what the disk has, if none runs."""
        around = self.around
        if self.process is not None or not self.installed:
            return
        self._dead.close()
        self.dies_after, self.stopping = None, False
        self.disk.failures = 0
        self.process = process = Process(around.schedule, around.random, self._after_step)
        self.wiring = around.wire(self, process)
        try:
            self.node = self._node(process)
        except Violation as violation:
            around.judges.on_violation(violation)
            return
        except MemberRemoved as error:
            self._ends_removed(error, None)
            return
        except TxraftError as error:
            around.judges.on_violation(Violation("The node starts", f"node {self.id} does not: {error}"))
            return
        self.replica = Replica(
            self.node,
            Departures(self),
            "simulated",
            self.identity.founders,
            process,
            request_timeout=around.request_timeout,
            patience=self._options.election_timeout,
            max_held_size=MAX_HELD_SIZE,
            max_held=MAX_HELD,
        )
        process.enter(self._start)

    def _node(self, process: Process) -> WatchedNode:
        around, disk = self.around, self.disk
        storage = DiskStorage(disk, process, self.may_act, self.may_work)
        stored = storage.load()
        watched = partial(read_at_work, process, around.judges.on_violation)
        self.state_machine = machine = self._state_machine(process, watched)
        if machine.last_applied < disk.synced.held:
            what = f"node {self.id} comes back at {machine.last_applied}, and had {disk.synced.held} on its disk"
            raise Violation("Durability", what)
        disk.synced.held = machine.last_applied  # a crash may come when that is there, and before anybody is told
        worker = SimulatedWorker(disk, process, self.may_work)
        files = DiskSnapshots(disk, worker, self._disk_changed, watched, MemorySnapshotFiles(disk.synced.snapshots))
        node = WatchedNode(
            node_id=self.id,
            stored=stored,
            storage=storage,
            peers=Departures(self),
            state_machine=machine,
            snapshots=files,
            keep=Keep(around.keeps),
            options=self._options,
            clock=process,
            random=Random(around.random.getrandbits(64)),
            on_failure=self._failed,
        )
        sending = node._snapshots.sending
        for part in (node._snapshots, sending, node._snapshots.receiving):
            part.log = QUIET
        node.log = Logger(observer=cast(Any, self._hear))
        sending.pause = sending.longest_pause = PAUSE
        if around.tight:
            node.to_apply.at_once = LITTLE_AT_ONCE
        evidence = Evidence(self.id, self._options)
        rules = around.judges.invariants
        changing = ChangeEvidence(self.id, self._options.election_timeout, process, rules.memberships, rules.synced_on)
        seen = Observed(self.id, InLog(disk.bootstrap), applied=machine.last_applied)
        rules.state_is(seen, machine.state())
        self.watcher = node.watcher = Watcher(node, around.judges, disk, evidence, changing, seen, process)
        disk.on_synced = self._synced
        return node

    def _state_machine(self, process: Process, watched: Callable[[Iterable[bytes]], Iterable[bytes]]) -> WatchedMachine:
        """Any that the application has, with what it has kept on the disk."""
        around, synced, worker = self.around, self.disk.synced, SimulatedWorker(self.disk, process, self.may_work)
        place = (self.id, "simulated", synced.directory or NOWHERE, worker, worker, process, self._failed)
        self.home = SimulatedHome(*place, around.random, synced.application, self._at_death)
        machine = made_by(around.application, self.home)
        return WatchedMachine(machine, around.application.state, self._machine_did, watched)

    def _start(self) -> None:
        self.state_machine.start()
        self.node.startService()
        if self.node.running:  # one that was removed ends at once
            self.wiring.start(self.handler)

    def remember(self, process: Process, random: Random) -> DiskPeers:
        """What a process that starts knows of the directories of the others, and `random` what is drawn for its own."""
        self.disk.count_start(random)
        return DiskPeers(self.disk, SimulatedWorker(self.disk, process, self.may_act), self._failed)

    def run_on(self, other: Synced) -> None:
        """Start a process on `other`, which has forgotten, in the place of what the disk has. That is put aside."""
        self.crash("the disk is exchanged")
        self.disk.put_in_place(other)
        self.start()

    def put_back(self) -> None:
        """What the disk had before it forgot is there again, if it forgot, and no process runs."""
        if self.disk.original is not None:
            self.crash("the disk is put back")
            self.disk.put_back()

    def heal(self) -> None:
        """From now on nothing is wrong with it, and a process runs. What is under way already may take its time."""
        self.put_back()
        self.dies_after = self.dies_at_work = self.cuts_after = None
        self.dies_voting = self.dies_installing = False
        self.disk.full = self.disk.fails = self.disk.has_no_room = False
        self.disk.delay = self.disk.work_delay = FAST
        self.disk.go_on()
        self._end(self.process)
        if self.process is not None:
            self.process.resume()
            self.process.set_clock(rate=1.0)
        self.start()

    def stop(self) -> None:
        """Ask the process to end (SIGTERM), if one runs. The node hands over and stops, and soon the process ends."""
        if self.process is not None:
            self.say("STOP")
            self.stopping = True
            self.process.enter(self._stop, self.process)

    def _stop(self, process: Process) -> None:
        def stop(_: None) -> None:
            self.node.stopService()
            self.state_machine.close()
            self.around.schedule.after(self.around.random.random() * 0.02, self._end, process)

        self.node.hand_over().addCallback(stop)

    def _end(self, process: Process | None) -> None:
        """A process that was asked to end has ended."""
        if self.stopping and self.process is process:
            self.crash("it has stopped")

    def crash(self, why: str) -> None:
        """Kill the process, if one runs. What it has not synced may be lost."""
        if self.process is None:
            return
        self.say(f"CRASH: {why}")
        self.process.kill()
        self.process = None
        self.disk.lose_power()
        self._dead = self._at_death.pop_all()
        self.around.schedule.after(0, self._dead.close)  # when nothing of the process is on the stack any more
        self.wiring.crashed()

    def close(self) -> None:
        """Let go of the files, and of what the process has open."""
        self._dead.close()
        self._at_death.close()
        self.disk.close()

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

    def may_work(self) -> bool:
        """A step of compaction or of a snapshot is about to begin. Where the process is to die in one, it may."""
        if self.process is not None and self.dies_at_work is not None:
            self.dies_at_work -= 1
            if self.dies_at_work < 0:
                self.dies_at_work = None
                self._die_at_work()
        return self.may_act()

    def _die_at_work(self) -> None:
        schedule, random = self.around.schedule, self.around.random
        lives = random.choice((0.0, 0.002)) * random.random()
        if lives:
            schedule.after(lives, self.crash, "in the middle of a step")
        else:
            self.crash("between two steps")
        schedule.after(lives + random.random() * 0.01, self.start)

    def knows_who_lives(self) -> bool:
        """Whether the network has noticed which of the other processes are dead."""
        return self.wiring.knows_who_lives()

    def break_connection(self, peer: NodeId) -> None:
        """Break the connection that the process has dialled to `peer`."""
        if self.process is not None:
            self.wiring.break_connection(peer)

    def say(self, what: str) -> None:
        """Add a line to the transcript."""
        self.watcher.say(what)

    def message_lost(self, to: NodeId, message: Message) -> None:
        """A copy of what the machine sent does not arrive."""
        self.watcher.message_lost(to, message)

    # Between its node and the network

    @property
    def handler(self) -> IPeerHandler:
        """What the network calls."""
        return Arrivals(self)

    def deliver(self, sender: NodeId, message: Message) -> bool:
        """A message arrived at the machine. Whether a process runs, to take it."""
        if self.process is not None:
            self.process.enter(self.receive, sender, message)
        return self.process is not None

    def receive(self, sender: NodeId, message: Message) -> None:
        """A message arrived in the process."""
        self.around.schedule.steps += 1
        self.watcher.receives(sender, message)

    def send(self, to: NodeId, message: Message) -> None:
        """A message leaves the process."""
        if self.may_act():
            self.watcher.sends(to, message)
            self.wiring.peers.send(to, message)

    # What happens in it

    def piece_arrived(self, sender: NodeId) -> None:
        """A piece of a snapshot has arrived."""
        if self.cuts_after is not None:
            self.cuts_after -= 1
            if self.cuts_after < 0:
                self.cuts_after = None
                self.around.schedule.after(0, self.on_cut, self, sender)

    def _synced(self, saves: Sequence[Save], before: TermAndVote, entries: Sequence[Entry]) -> None:
        self.watcher.synced(saves, before, entries)
        vote, schedule, random = self.disk.synced.log.term_and_vote, self.around.schedule, self.around.random
        if self.dies_voting and vote != before and vote.voted_for not in (None, self.id):
            self.dies_voting = False
            died = random.random() * 0.002
            schedule.after(died, self.crash, "having voted")
            schedule.after(died + random.random() * 0.002, self.start)
        if self.dies_installing and any(save.replaces_log for save in saves):
            self.dies_installing = False
            schedule.after(0, self._die_at_work)

    def _disk_changed(self) -> None:
        self.watcher.disk_changed()

    def _machine_did(self, event: MachineEvent) -> None:
        self.watcher.machine_did(event)

    def _after_step(self) -> None:
        self.watcher.turn_ended()

    def _hear(self, event: LogEvent) -> None:
        """The node says something. What it does is in the transcript, without that."""
        if "log_failure" in event:
            self._bug = traceback_of(event["log_failure"])
            self.say(self._bug)

    def _failed(self, error: TxraftError) -> None:
        refused_rightly = isinstance(error, DirectoryRefused) and self.disk.original is not None
        if refused_rightly or (isinstance(error, StorageError) and self.disk.failures):
            self.crash(str(error))
        elif isinstance(error, MemberRemoved):
            self._ends_removed(error, self.node.view)
        elif isinstance(error.__cause__, Violation):
            self.around.judges.on_violation(error.__cause__)
        else:
            what = "\n".join(filter(None, (f"node {self.id} stops: {error}", self._bug)))
            self.around.judges.on_violation(Violation("The node goes on", what))

    def _ends_removed(self, error: MemberRemoved, view: View | None) -> None:
        """A node ends, with this view of its own at last, or does not start, because it was removed."""
        try:
            self.around.judges.invariants.ends_removed(self.id, view)
        except Violation as violation:
            self.around.judges.on_violation(violation)
        self.crash(str(error))
        self.on_removed(self)


def state_of(machine: Machine) -> str:
    """Where a node stands, in short."""
    view = machine.node.view
    return f"{view.role.value} {view.current_term}, log {view.last_index}/{view.last_term}, commit {view.commit_index}"
