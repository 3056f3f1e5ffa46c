"""What a leader must know before it changes the membership: checked against what it has heard, and against the disks of
those who get a vote."""

from collections import deque
from collections.abc import Callable, Set

from attrs import define, field

from txraft.core.invariants import View
from txraft.core.messages import AppendEntriesReply, HeartbeatReply, Message, NodeId
from txraft.core.roles import Role
from txraft.testing.memberships import Memberships, Step, gets_votes, holds_majorities
from txraft.testing.schedule import Process
from txraft.testing.violation import Violation

SLACK = 0.02
"""Seconds that may pass between what a leader decides and the end of its turn."""


@define(eq=False)
class ChangeEvidence:
    """Of one process, while it leads."""

    node_id: NodeId
    election_timeout: float
    process: Process
    memberships: Memberships
    synced_on: Callable[[int, int], Set[NodeId]]
    """On whose disks an entry is."""
    _term: int = 0
    _answered: dict[NodeId, float] = field(factory=dict)
    """When each has answered last in this term, by the process's clock."""
    _ends: deque[tuple[float, int, int]] = field(factory=deque)
    """When the leader's log ended where: the schedule's time, index and term, since it was elected."""

    def hears(self, sender: NodeId, message: Message) -> None:
        """A message has arrived."""
        if isinstance(message, AppendEntriesReply | HeartbeatReply) and message.term == self._term:
            self._answered[sender] = self.process.seconds()

    def turn_ended(self, view: View, steps: list[Step]) -> None:
        """The node has made these changes in the turn that has ended, if it leads."""
        if view.role is not Role.LEADER:
            return
        if self._term != view.current_term:
            self._term = view.current_term
            self._answered.clear()
            self._ends.clear()
        for step in steps:
            if not step.before.is_joint:  # to leave it, nobody has to be asked again
                self._are_in_contact(step)
                self._have_caught_up(step)
        if not self._ends or self._ends[-1][1] != view.last_index:
            self._ends.append((self.process.schedule.now, view.last_index, view.last_term))

    @property
    def _is_steady(self) -> bool:
        """Whether the clock has gone as all clocks do, for as long as a leader looks back."""
        return self.process.disturbed <= self.process.schedule.now - 2 * self.election_timeout

    def _are_in_contact(self, step: Step) -> None:
        """Those who are to be voters have answered this leader, and lately: a majority has (hazard M9)."""
        now, most = self.process.seconds(), self.election_timeout + SLACK
        recent = {peer for peer, at in self._answered.items() if now - at < most} | {self.node_id}
        if self._is_steady and not holds_majorities(step.after, recent):
            what = f"goes to {step.after}, and has heard lately of {recent}"
            raise Violation("In contact", f"node {self.node_id} {what}")

    def _have_caught_up(self, step: Step) -> None:
        """Who gets a vote has what the log had when the last round of catching up can have begun at the earliest, at
        least the entry by which it came (thesis §4.2.1; hazard M8)."""
        for server in gets_votes(step.before, step.after):
            joined = next((since for since, each in self.memberships.committed if server in each.members), None)
            needs = [] if not joined else [(joined, self.memberships.terms[joined])]
            since = self.process.schedule.now - self.election_timeout - SLACK
            while len(self._ends) > 1 and self._ends[1][0] <= since:
                self._ends.popleft()
            if self._is_steady and self._ends:
                needs.append(self._ends[0][1:])
            if joined is None or any(server not in self.synced_on(*need) for need in needs):
                what = f"gives node {server} a vote, whose disk is to have {needs}"
                raise Violation("Caught up", f"node {self.node_id} {what}")
