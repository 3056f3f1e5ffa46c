"""Sees everything that happens to one process, and holds it to every rule: what the node is told, concludes, says and
writes."""

from collections.abc import Callable, Sequence
from typing import ParamSpec

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txraft.core.changes import Change
from txraft.core.configuration import Configuration
from txraft.core.invariants import View
from txraft.core.messages import Entry, Message, NodeId
from txraft.core.ready import Ready, Save, TermAndVote
from txraft.core.roles import Role
from txraft.errors import ChangeRefused, NotApplied
from txraft.interfaces import SnapshotFile
from txraft.node.driver import Node
from txraft.testing.change_evidence import ChangeEvidence
from txraft.testing.disk import Disk
from txraft.testing.durability import Durability
from txraft.testing.evidence import Evidence
from txraft.testing.invariants import Invariants, Observed
from txraft.testing.schedule import Process
from txraft.testing.transcript import Transcript, in_words, what_changed
from txraft.testing.transfers import Transfers
from txraft.testing.violation import Violation
from txraft.testing.watched_machine import Applied, MachineEvent, NotKept, Persisted, Restored, Taken

_P = ParamSpec("_P")


@define(eq=False)
class Judges:
    """What holds all nodes to the rules, and where it says so."""

    invariants: Invariants
    durability: Durability
    transcript: Transcript
    on_violation: Callable[[Violation], None]
    not_kept: int = 0
    """How often a state machine's `persist` or `snapshot` has failed."""


class WatchedNode(Node):
    """The node, seen from within: when somebody wants to read, when its timers have fired, and when it carries out what
    its core wants done."""

    watcher: "Watcher"

    def read_index(self) -> "Deferred[int]":
        found = super().read_index()
        if not found.called:
            self.watcher.asks(self._reads.last_id)
        return found

    def change_members(self, changes: Sequence[Change]) -> "Deferred[Configuration]":
        """As Node."""
        membership = self._raft.log.membership
        before = membership.index, membership.configuration
        answer = super().change_members(changes)
        after = membership.index, membership.configuration
        return self.watcher.changes_members(answer, None if after == before else membership.index)

    def peer_lost(self, peer: NodeId) -> None:
        """As Node."""
        self.watcher.evidence.loses(peer, self._raft.view())
        super().peer_lost(peer)

    def _heartbeat_is_due(self) -> None:
        self.watcher.beats(super()._heartbeat_is_due)

    def _election_is_due(self) -> None:
        self.watcher.times_out(super()._election_is_due)

    def _carry_out(self, ready: Ready) -> None:
        self.watcher.carries_out(ready)
        super()._carry_out(ready)


@define(eq=False)
class Watcher:
    """Watches the process of a node from its start on."""

    node: WatchedNode
    judges: Judges
    disk: Disk
    evidence: Evidence
    changing: ChangeEvidence
    seen: Observed
    process: Process
    persisted: int | None = field(init=False, default=None)
    """Up to which entry the state machine has said, in this process, that its disk has everything."""
    _transfers: Transfers = field(init=False)
    _events: list[MachineEvent] = field(init=False, factory=list)
    """What its state machine has done in this turn."""
    _answers: list[tuple[int, int, Configuration]] = field(init=False, factory=list)
    """Changes of the membership that were answered: index and term of the entry, and what it led to."""

    def __attrs_post_init__(self) -> None:
        self._transfers = Transfers(self.seen.node_id)

    def say(self, what: str) -> None:
        """Add a line to the transcript."""
        if self.judges.transcript.on:
            self.judges.transcript.add(f"n{self.seen.node_id}", what)

    def receives(self, sender: NodeId, message: Message) -> None:
        """A message arrives: give it to the node, and see what the node makes of it."""
        node, evidence = self.node, self.evidence
        if self.judges.transcript.on:
            view = node.view
            self.say(f"[{view.role.value} {view.current_term}] <- n{sender}  {in_words(message)}")
        raft, now = node._raft, node._clock.seconds()
        before = evidence.before(sender, message, raft, now)
        node.receive(sender, message)
        self._hold(evidence.after, before, sender, message, raft, now)
        self.changing.hears(sender, message)

    def sends(self, to: NodeId, message: Message) -> None:
        """A message is about to leave."""
        self._hold(self.judges.durability.sends, self.seen.node_id, self.disk.synced.log, to, message)
        self._hold(self.evidence.sends, to, message, self.node.configuration, self.node._clock.seconds())

    def message_lost(self, to: NodeId, message: Message) -> None:
        """A copy of a message does not arrive."""
        if self.judges.transcript.on:
            self.say(f"lost on the way to n{to}: {in_words(message)}")

    def connects(self, peer: NodeId) -> None:
        """There is a connection to a peer, whose directory this process has written down (hazard S6)."""
        disk, node_id = self.disk, self.seen.node_id
        self._hold(self.judges.invariants.memberships.connects, node_id, peer)
        if disk.original is not None:
            self._violated("Directory", f"node {peer} lets in node {node_id}, whose disk has forgotten")
        if disk.synced.history is not None and peer not in disk.synced.peers:
            self._violated("Directory", f"node {node_id} lets in node {peer}, and its disk does not know it")

    def asks(self, read_id: int) -> None:
        """Somebody wants to read."""
        self.evidence.asks(read_id)

    def changes_members(self, answer: "Deferred[Configuration]", index: int | None) -> "Deferred[Configuration]":
        """Somebody has asked for a change of the membership, which is in the log as entry `index`, if it is."""
        if index is not None:
            term = self.node._raft.log.term_at(index)
            answer.addCallbacks(self._change_done, self._change_fails, (index, term), errbackArgs=(index, term))
        elif not answer.called:
            self._violated("Acknowledged", f"node {self.seen.node_id} makes somebody wait for a change that is none")
        return answer

    def _change_done(self, result: Configuration, index: int, term: int) -> Configuration:
        self._answers.append((index, term, result))
        return result

    def _change_fails(self, failure: Failure, index: int, term: int) -> Failure:
        if failure.check(NotApplied, ChangeRefused):
            self._hold(self.judges.invariants.memberships.answered_not_applied, index, term)
        return failure

    def beats(self, beat: Callable[[], None]) -> None:
        """The heartbeat timer has fired: let the node act on it, and see what it does."""
        raft, now, leader = self.node._raft, self.node._clock.seconds(), self.node._raft._leader
        due = leader._beat_at + self.evidence.options.heartbeat_interval if leader is not None else None
        members = raft.configuration
        beat()
        if due is not None:
            self._hold(self.evidence.beats, raft, members, now, now - due, self.process.unread)

    def times_out(self, time_out: Callable[[], None]) -> None:
        """The election timer has fired: let the node act on it, and see what it does."""
        raft, now, due = self.node._raft, self.node._clock.seconds(), self.node._raft.election_deadline
        before = raft.view()
        time_out()
        if due is not None and due <= now:
            acts = raft.view() != before
            self._hold(self.evidence.times_out, acts, now - due, self.process.unread)

    def carries_out(self, ready: Ready) -> None:
        """The core has said what it wants done."""
        self._hold(self.evidence.confirms, ready, (self.seen.members.last[1], self.node.configuration))

    def snapshot_begun(self, offset: int, sender: NodeId, term: int, file: SnapshotFile) -> int:
        """An offer was accepted. Gives back `offset`, from which on the node wants it."""
        self._hold(self._transfers.begun, offset, sender, term, file)
        return offset

    def snapshot_got_on(self, _: None, file: SnapshotFile, offset: int, size: int) -> None:
        """A piece was accepted."""
        self._hold(self._transfers.got_on, file, offset, size)

    def snapshot_ended(self, _: None, file: SnapshotFile) -> None:
        """All of it is said to be here."""
        self._hold(self._transfers.ended, file)

    def machine_did(self, event: MachineEvent) -> None:
        """The state machine has done something."""
        if isinstance(event, Restored | Persisted):
            self.disk.synced.held = max(self.disk.synced.held, event.index)
        self._events.append(event)

    def synced(self, saves: Sequence[Save], before: TermAndVote, entries: Sequence[Entry]) -> None:
        """A write has become durable; `before` and `entries` are what it took the place of."""
        synced, disk = self.disk.synced.log, self.disk
        removed = [entry for entry in _may_be_gone(saves, entries) if not disk.has(entry.index, entry.term)]
        promises = disk.original is None
        self._hold(self.judges.durability.synced, self.seen.node_id, saves, before, synced, removed, promises)
        self.disk_changed()
        if self.judges.transcript.on:
            last = synced.entries[-1] if synced.entries else None
            end = f"{last.index}/{last.term}" if last is not None else "0/0"
            start, vote = synced.start, synced.term_and_vote
            self.say(f"disk: term {vote.current_term}, vote {vote.voted_for}, log after {start} ends {end}")

    def disk_changed(self) -> None:
        """What the log does not have must be elsewhere on the disk."""
        disk = self.disk
        rule = self.judges.durability.has_what_its_log_has_not
        self._hold(rule, self.seen.node_id, disk.synced.log.log_start, disk.synced.held, disk.whole_snapshots())

    def turn_ended(self) -> None:
        """Something has happened to the process: the node may have reached another state."""
        view, seen = self.node.view, self.seen
        if view is not seen.view:
            self._hold(self._node_changed, seen.view, view)
        if self._answers and self.node._raft.view().commit_index == view.commit_index:  # or it has not been seen yet
            answers, self._answers = self._answers, []
            for answer in answers:
                self._hold(self.judges.invariants.memberships.answered_done, *answer)
        if self._events:
            events, self._events = self._events, []
            for event in events:
                self._hold(self._machine_changed, event)

    def _node_changed(self, before: View | None, view: View) -> None:
        log = self.node._raft.log
        added, removed = self.judges.invariants.observe(self.seen, view, log)
        self.judges.durability.takes_for_durable(view, log, self.disk.synced.log)
        if added:
            self.evidence.appends(view, log)
        if view.role is Role.LEADER and (before is None or before.leadership[:2] != view.leadership[:2]):
            self.evidence.elected(view, self.node.configuration)
        self.changing.turn_ended(view, self.seen.members.steps)
        if self.judges.transcript.on and (what := what_changed(before, view, added, removed)):
            self.say(what)

    def _machine_changed(self, event: MachineEvent) -> None:
        invariants, seen = self.judges.invariants, self.seen
        match event:
            case Applied(entries, results, state):
                invariants.applied(seen, entries)
                invariants.results_are(seen, entries[0].index, results)
                invariants.state_is(seen, state)
            case Restored(index, last_applied, state):
                self.say(f"state machine: restored at {index}")
                if last_applied != index:
                    what = f"has restored a snapshot of {index}, and its `last_applied` is {last_applied}"
                    raise Violation("Restore", f"the state machine of node {seen.node_id} {what}")
                invariants.restored(seen, index)
                invariants.state_is(seen, state)
                self.nobody_waits_for_ever()
            case Persisted(index):
                self.say(f"state machine: everything up to {index} is on disk")
                self.persisted = index
                if index > seen.applied:
                    raise Violation("Compaction", f"node {seen.node_id} has {index} on disk, of {seen.applied} applied")
            case Taken(index):
                self.say(f"state machine: a snapshot of {index}")
                if not self.disk.synced.held <= index <= seen.applied:
                    what = (
                        f"takes a snapshot of {index}, and has {self.disk.synced.held} on disk, {seen.applied} applied"
                    )
                    raise Violation("Compaction", f"node {seen.node_id} {what}")
            case NotKept(call, traceback):
                self.judges.not_kept += 1
                self.say(f"state machine: `{call}` fails:\n{traceback}")

    def nobody_waits_for_ever(self) -> None:
        """A snapshot has jumped over entries: those who wait for one of them have been told so (hazard C7)."""
        waiting = [key for key in self.node._proposals._waiting if key[0] <= self.seen.applied]
        if waiting:
            raise Violation("Jumped over", f"node {self.seen.node_id} lets wait, at {self.seen.applied}: {waiting}")

    def _violated(self, rule: str, what: str) -> None:
        self.judges.on_violation(Violation(rule, what))

    def _hold(self, rule: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """See to it that a rule holds."""
        try:
            rule(*args, **kwargs)
        except Violation as violation:
            self.judges.on_violation(violation)


def _may_be_gone(saves: Sequence[Save], entries: Sequence[Entry]) -> Sequence[Entry]:
    """Those of the entries on a disk that `saves` may have replaced."""
    if any(save.replaces_log for save in saves):
        return entries
    first = min((save.entries[0].index for save in saves if save.entries), default=None)
    return entries[max(0, first - entries[0].index) :] if entries and first is not None else ()
