"""The driver: one core with its disk, its peers, its timers and its state machine, as a Twisted service.

Every input to the core passes through `_ask` or `_tell`, which also see to it that the outputs are taken soon: once for
all inputs of one turn of the reactor. `_flush` takes them and carries them out. Nothing else touches the core.

    a proposal, a read ──── _ask ──> core <── _tell ──── a message, a timer, a save that is done
                                      │ once a turn
    peers <── messages ─── _flush <── Ready
    ApplyQueue <── committed ─────┤
    those who read <── reads ─────┤
    Snapshots <── who needs one ──┤
    SaveQueue <── save, and ──────┘
      messages after it
"""

import random
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.core import invariants
from txraft.core.backlog import Backlog
from txraft.core.changes import Change
from txraft.core.configuration import Addresses, Configuration
from txraft.core.log import MEMORY_OVERHEAD
from txraft.core.messages import Envelope, InstallSnapshot, Message, NodeId, RequestVoteReply
from txraft.core.progress import Progress
from txraft.core.ready import Ready, Save
from txraft.core.roles import Role
from txraft.core.state import RaftOptions
from txraft.errors import (
    ChangeRefused,
    NoSuchVoter,
    NotApplied,
    NotLeader,
    TransferUnderWay,
    TxraftError,
    Undecided,
    UnknownCommand,
)
from txraft.interfaces import IPeerHandler, IPeers, ISnapshotFiles, IStateMachine, IStorage, SnapshotFile, Stored
from txraft.node.compaction import Keep
from txraft.node.handing_over import HandingOver
from txraft.node.membership_watch import MembershipWatch
from txraft.node.pending_requests import Changes, HeldProposals, PendingReads, Proposals
from txraft.node.reporting import reason_of, report_change, report_lost_data, report_start, report_vote
from txraft.node.save_queue import SaveQueue
from txraft.node.snapshots import Snapshots
from txraft.node.starting import start_raft
from txraft.node.timers import Timers

_P = ParamSpec("_P")
_T = TypeVar("_T")


@implementer(IPeerHandler)
class Node(Service):
    """One server of the cluster. It serves what it is asked as a leader; `txraft.node.replica` finds the leader."""

    log = Logger()

    def __init__(
        self,
        *,
        node_id: NodeId,
        stored: Stored,
        storage: IStorage,
        peers: IPeers,
        state_machine: IStateMachine,
        snapshots: ISnapshotFiles,
        keep: Keep,
        options: RaftOptions,
        clock: IReactorTime,
        random: random.Random,
        on_failure: Callable[[TxraftError], None],
        check_addresses: Callable[[Addresses], None] = lambda _: None,
    ) -> None:
        """`stored` is what `storage.load()` gave. `on_failure` is called, once, when the node cannot go on, and has
        stopped: a write failed, an invariant does not hold, or it was removed. `check_addresses` raises ChangeRefused.

        Raises DataLost or MemberRemoved, as `start_raft` does, and StorageError where the snapshots cannot be used.
        """
        self.node_id = node_id
        self._peers = peers
        self._state_machine = state_machine
        self._options = options
        self._clock = clock
        self._on_failure = on_failure
        received = snapshots.open()
        last_applied, now = state_machine.last_applied, clock.seconds()
        self._raft = start_raft(node_id, stored, received, last_applied, options, random, now)
        self._view = self._raft.view()
        self._saving = SaveQueue(storage, self._saved, self._fail)
        self._proposals = Proposals()
        self._held = HeldProposals(
            Backlog(options.max_uncommitted_size, options.max_uncommitted_entries, MEMORY_OVERHEAD), self.propose
        )
        self._snapshots = Snapshots(
            raft=self._raft,
            state_machine=state_machine,
            files=snapshots,
            received=received,
            keep=keep,
            peers=peers,
            clock=clock,
            proposals=self._proposals,
            tell=self._tell,
            on_failure=self._fail,
        )
        self.applied = self._snapshots.applied
        self.to_apply = self._snapshots.to_apply
        self.problems = self._snapshots.sending.problems
        self._reads = PendingReads(self._raft.forget_read)
        self._changes = Changes()
        self._members = MembershipWatch(self._raft, peers, self.log, self._changes.happened, check_addresses)
        self._handing_over = HandingOver(self._raft, clock, lambda: self.change_since(self.changes))
        self._flush_call: IDelayedCall | None = None
        self._timers = Timers(clock, options.heartbeat_interval, self._election_is_due, self._heartbeat_is_due)

    # Service

    def startService(self) -> None:
        """Start the timers."""
        Service.startService(self)
        report_start(self.log, self._view)
        self._members.look(self._view)
        self._timers.set(self._raft.election_deadline)
        self._snapshots.start()

    def stopService(self) -> None:
        """Stop everything, and tell those who wait. What is being written is the storage's to finish."""
        Service.stopService(self)
        if self._flush_call is not None and self._flush_call.active():
            self._flush_call.cancel()
        self._timers.stop()
        self._snapshots.stop()
        self._held.let_go()
        self._proposals.stop()
        self._reads.lose_all()
        self._changes.happened()

    # What applications ask, where this node leads

    def propose(self, command: bytes) -> "Deferred[bytes]":
        """Replicate a command as the leader. Fires with its result when it is applied here.

        Fails with NotLeader, Overloaded or another NotApplied when it never takes effect, and with OutcomeUnknown when
        the node stops first. May never fire, where this node cannot learn the outcome: the caller cancels when it has
        waited for long enough.
        """
        try:
            return self._proposals.add(self._ask(self._raft.propose, command))
        except TransferUnderWay:
            return self._held.add(command)
        except Exception:
            return fail()

    def read_index(self) -> "Deferred[int]":
        """From which index on a linearizable read may be answered, as the leader. Fails with NotLeader. May never fire,
        where this node cannot learn it: the caller cancels.
        """
        read_id = self._reads.next_id()
        try:
            self._ask(self._raft.read, read_id)
        except Exception:
            return fail()
        return self._reads.add(read_id)

    @inlineCallbacks
    def transfer_leadership(self, target: NodeId) -> Generator[Deferred[Any], Any, NodeId]:
        """Hand leadership over, as the leader (thesis §3.10). What is proposed meanwhile waits for the end of it, and
        is proposed then, if this node still leads (hazard C4). Fires with `target` when that leads.

        Fails with NotLeader, NoSuchVoter, TransferUnderWay, another NotApplied, or TransferFailed.
        """
        self._ask(self._raft.transfer_leadership, target, self._clock.seconds())
        if target == self.node_id:
            yield self.read_index()  # so that a majority says so, too
        else:
            yield self._handing_over.transferred(target)
        return target

    @inlineCallbacks
    def change_members(self, changes: Sequence[Change]) -> Generator[Deferred[Any], Any, Configuration]:
        """Change the membership, as the leader (§6). Fires with the one in force when the change is committed, and a
        joint configuration left.

        Fails with NotLeader, ChangeUnderWay or another ChangeRefused, TransferUnderWay, another NotApplied, or
        OutcomeUnknown. May never fire, as `propose`.
        """
        self._members.check(changes)
        yield self._proposals.add(self._ask(self._raft.change_members, changes, self._clock.seconds()))
        configuration: Configuration = yield self._members.settled(lambda: self.change_since(self.changes))
        return configuration

    def hand_over(self) -> "Deferred[None]":
        """Before a stop: where this node leads, let the voter lead that is furthest ahead, so that nobody waits for an
        election. A transfer that is under way already is waited for instead. Fires when another leads, where there is
        nobody to ask, or after an election timeout.
        """
        if not self.running:
            return succeed(None)
        return self._handing_over.before_a_stop(self.transfer_leadership, self._options.election_timeout)

    @property
    def view(self) -> invariants.View:
        """Where this node stood at the end of its last turn."""
        return self._view

    @property
    def configuration(self) -> Configuration:
        """The membership in force."""
        return self._raft.configuration

    @property
    def configuration_index(self) -> int:
        """The entry that it is from; see `Raft.configuration_index`."""
        return self._raft.configuration_index

    @property
    def followers(self) -> Mapping[NodeId, Progress]:
        """What this node knows of each other one while it leads; see `Raft.followers`."""
        return self._raft.followers

    @property
    def changes(self) -> int:
        """Counts what `change_since` waits for."""
        return self._changes.count

    def change_since(self, changes: int) -> "Deferred[None]":
        """Fires when there has been a change since `self.changes` was `changes`: of the leader, the term, a transfer of
        leadership, or who is connected. Fails with NotApplied when the node is not running.
        """
        if not self.running:
            return fail(NotApplied("the node is not running"))
        return self._changes.since(changes)

    # IPeerHandler

    def receive(self, sender: NodeId, message: Message) -> None:
        """A message arrived."""
        if isinstance(message, RequestVoteReply):
            report_vote(self.log, sender, message, self.view)
        elif isinstance(message, InstallSnapshot) and not self._snapshots.can_install(sender, message.snapshot):
            return
        self._tell(self._raft.receive, sender, message, self._clock.seconds())

    def passed_on(self, command: bytes) -> "Deferred[bytes]":
        """As IPeerHandler. What comes into the log is applied by all, so an unknown command is refused before."""
        try:
            self._state_machine.check(command)
        except UnknownCommand as error:
            if self._view.role is not Role.LEADER:
                return fail(NotLeader(self._view.leader_id))
            what = f"node {self.node_id}, which leads, does not know a command of {error.what}"
            return fail(NotApplied(f"{what}; do all nodes run the same version of txraft?"))
        return self.propose(command)

    def snapshot_offered(self, sender: NodeId, term: int, file: SnapshotFile) -> "Deferred[int]":
        """As IPeerHandler."""
        return self._snapshots.receiving.offered(sender, term, file)

    def snapshot_received(self, sender: NodeId, file: SnapshotFile, offset: int, data: bytes) -> "Deferred[None]":
        """As IPeerHandler."""
        return self._snapshots.receiving.received(sender, file, offset, data)

    def snapshot_finished(self, sender: NodeId, file: SnapshotFile) -> "Deferred[None]":
        """As IPeerHandler."""
        return self._snapshots.receiving.finished(sender, file)

    def peer_connected(self, peer: NodeId) -> None:
        """Entries and requests to `peer` go by a new connection; those on the one before may be lost (hazard R22)."""
        self._tell(self._raft.peer_connected, peer, self._clock.seconds())
        self._changes.happened()

    def peer_lost(self, peer: NodeId) -> None:
        """There is no connection to `peer`. If that led, its followers look for another leader soon."""
        self._tell(self._raft.peer_lost, peer, self._clock.seconds())
        self._changes.happened()

    def refused(self, peer: NodeId, error: TxraftError) -> None:
        """Others refuse this node. Where they are to be believed, nothing that it says may count (hazards S6, M7)."""
        if self._members.believes(peer, error):
            self._fail(Failure(error))

    # Inputs

    def _ask(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Give the core an input whose answer somebody waits for. Raises what the core raises."""
        if not self.running:
            raise NotLeader(None)
        try:
            return function(*args, **kwargs)
        except (Undecided, NoSuchVoter, ChangeRefused):
            raise
        except Exception:
            self._fail(Failure())
            raise
        finally:
            self._flush_soon()

    def _tell(self, function: Callable[_P, bool | None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Give the core an input that is nobody's question. Where it says False, nothing is due because of it."""
        if not self.running:
            return
        try:
            due = function(*args, **kwargs)
        except Exception:
            self._fail(Failure())
        else:
            if due is not False:
                self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flush_call is None and self.running:
            self._flush_call = self._clock.callLater(0, self._flush)

    def _election_is_due(self) -> None:
        now, deadline = self._clock.seconds(), self._raft.election_deadline
        if deadline is not None and now >= deadline:
            self._tell(self._raft.election_timeout, now)
        else:  # the leader was heard, or an election won, meanwhile
            self._flush_soon()

    def _heartbeat_is_due(self) -> None:
        self._tell(self._raft.heartbeat_timeout, self._clock.seconds())

    def _saved(self, saves: Iterable[Save], messages: Iterable[Envelope]) -> None:
        now = self._clock.seconds()
        for save in saves:
            if save.log_start is not None and self.running:
                self._snapshots.saved(save)
            self._tell(self._raft.saved, save, now)
        if self.running:
            self._send(messages)

    # Outputs

    def _flush(self) -> None:
        """Carry out what the core wants done, in the order that `Ready` gives."""
        self._flush_call = None
        try:
            ready = self._raft.ready(self._clock.seconds())
            before, self._view = self._view, self._raft.view()
            invariants.check(self._view)
            invariants.check_step(before, self._view)
            if self._view.standing != before.standing:
                self._report(before, self._view)
            if self._view.transfer_target is None:
                self._held.let_go()
            if self.running:  # one that is told may stop the node
                self._carry_out(ready)
                self._members.look(self._view)
        except Exception:  # what was taken from the core and not carried out is lost, so there is no going on
            self._fail(Failure())
        if self.running:
            self._timers.set(self._raft.election_deadline)

    def _carry_out(self, ready: Ready) -> None:
        if ready.messages:
            self._send(ready.messages)
        if ready.save is not None or ready.messages_after_save:
            self._saving.put(ready.save, ready.messages_after_save)
        if ready.committed:
            self.to_apply.put(ready.committed)
        for peer in ready.snapshots_to_send:
            self._snapshots.sending.send(peer, self._view.current_term)
        for lost in ready.lost_data:
            report_lost_data(self.log, lost)
        for read in ready.reads:
            self._reads.found(read)
        if ready.lost_reads:
            self._reads.lose(ready.lost_reads, self._view.leader_id)

    def _send(self, messages: Iterable[Envelope]) -> None:
        for envelope in messages:
            self._peers.send(envelope.to, envelope.message)

    def _report(self, before: invariants.View, after: invariants.View) -> None:
        """Say what changed to those who wait for a change, and in the log."""
        if before.leadership != after.leadership:
            self._changes.happened()
        if before.role is Role.LEADER and after.role is not Role.LEADER:
            self._snapshots.sending.give_up()
        report_change(self.log, before, after)

    # The end

    def _fail(self, failure: Failure) -> None:
        """Stop rather than go on wrong: the core, the disk or the state machine has failed."""
        if self.running:
            reason = reason_of(self.log, self.node_id, failure)
            self.stopService()
            self._on_failure(reason)
