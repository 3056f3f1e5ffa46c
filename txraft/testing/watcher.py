"""Sees everything that happens to one process, and holds it to every rule: what the node is told, concludes, says and
writes."""

from collections.abc import Callable, Sequence
from typing import ParamSpec

from attrs import define, field
from twisted.internet.defer import Deferred

from txraft.core.messages import Entry, Message, NodeId
from txraft.core.ready import Ready, Save, TermAndVote
from txraft.node.driver import Node
from txraft.testing.disk import Disk
from txraft.testing.durability import Durability
from txraft.testing.evidence import Evidence
from txraft.testing.invariants import Invariants, Observed, Violation
from txraft.testing.schedule import Process
from txraft.testing.transcript import Transcript, in_words, what_changed

_P = ParamSpec("_P")


@define(eq=False)
class Judges:
    """What holds all nodes to the rules, and where it says so."""

    invariants: Invariants
    durability: Durability
    transcript: Transcript
    on_violation: Callable[[Violation], None]


class WatchedNode(Node):
    """The node, seen from within: when somebody wants to read, when its timers have fired, and when it carries out what
    its core wants done."""

    watcher: "Watcher"

    def read_index(self) -> "Deferred[int]":
        found = super().read_index()
        if not found.called:
            self.watcher.asks(self._reads.last_id)
        return found

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
    seen: Observed
    process: Process
    _applied: list[tuple[int, bytes]] = field(init=False, factory=list)

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

    def sends(self, to: NodeId, message: Message) -> None:
        """A message is about to leave."""
        self._hold(self.judges.durability.sends, self.seen.node_id, self.disk.synced, to, message)
        self._hold(self.evidence.sends, to, message)

    def message_lost(self, to: NodeId, message: Message) -> None:
        """A copy of a message does not arrive."""
        if self.judges.transcript.on:
            self.say(f"lost on the way to n{to}: {in_words(message)}")

    def asks(self, read_id: int) -> None:
        """Somebody wants to read."""
        self.evidence.asks(read_id)

    def beats(self, beat: Callable[[], None]) -> None:
        """The heartbeat timer has fired: let the node act on it, and see what it does."""
        raft, now, leader = self.node._raft, self.node._clock.seconds(), self.node._raft._leader
        due = leader._beat_at + self.evidence.options.heartbeat_interval if leader is not None else None
        beat()
        if due is not None:
            self._hold(self.evidence.beats, raft, now, now - due, self.process.unread)

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
        self._hold(self.evidence.confirms, ready)

    def applies(self, index: int, command: bytes) -> None:
        """The state machine is given a command."""
        self._applied.append((index, command))

    def synced(self, saves: Sequence[Save], before: TermAndVote, entries: Sequence[Entry]) -> None:
        """A write has become durable; `before` and `entries` are what it took the place of."""
        synced = self.disk.synced
        kept = min((save.entries[0].index - 1 for save in saves if save.entries), default=len(entries))
        removed = [entry for entry in entries[kept:] if not self.disk.has(entry.index, entry.term)]
        self._hold(self.judges.durability.synced, self.seen.node_id, saves, before, synced, removed)
        if self.judges.transcript.on:
            last = synced.entries[-1] if synced.entries else None
            end = f"{last.index}/{last.term}" if last is not None else "0/0"
            vote = synced.term_and_vote
            self.say(f"disk: term {vote.current_term}, vote {vote.voted_for}, log ends {end}")

    def turn_ended(self) -> None:
        """Something has happened to the process: the node may have reached another state."""
        view, seen, log = self.node.view, self.seen, self.node._raft.log
        if view is seen.view:
            return
        before = seen.view
        try:
            added, removed = self.judges.invariants.observe(seen, view, log)
            self.judges.durability.takes_for_durable(view, log, self.disk.synced)
            if added:
                self.evidence.appends(view, log)
            for index, command in self._applied:
                self.judges.invariants.applied(seen, index, command)
        except Violation as violation:
            self.judges.on_violation(violation)
        else:
            if self.judges.transcript.on and (what := what_changed(before, view, added, removed)):
                self.say(what)
        self._applied.clear()

    def _hold(self, rule: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """See to it that a rule holds."""
        try:
            rule(*args, **kwargs)
        except Violation as violation:
            self.judges.on_violation(violation)
