"""What a node says in its log: each change once, and nothing where nothing has changed."""

from attrs import evolve
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import provider

from txraft.core.invariants import View
from txraft.core.roles import Role
from txraft.node.reporting import report_change

FOLLOWER = View(
    node_id=1,
    role=Role.FOLLOWER,
    current_term=4,
    voted_for=None,
    leader_id=None,
    commit_index=0,
    last_applied=0,
    durable_index=0,
    first_index=1,
    last_index=0,
    last_term=0,
)


class ReportTests(SynchronousTestCase):
    def lines(self, before: View, after: View) -> list[str]:
        """What is logged of a change."""
        lines: list[str] = []

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        report_change(Logger(observer=observe), before, after)
        return lines

    def test_nothing_has_changed(self) -> None:
        following = evolve(FOLLOWER, voted_for=2, leader_id=2)
        overtaken = evolve(FOLLOWER, role=Role.LEADER, leader_id=1, is_overtaken=True, transfer_target=2)
        for view in (FOLLOWER, following, overtaken):
            self.assertEqual(self.lines(view, evolve(view, commit_index=1, last_index=1)), [])

    def test_votes_and_leaders(self) -> None:
        voted = evolve(FOLLOWER, voted_for=2)
        self.assertEqual(self.lines(FOLLOWER, voted), ["term 4: this node votes for node 2"])
        self.assertEqual(self.lines(voted, evolve(voted, leader_id=2)), ["term 4: node 2 leads"])
        self.assertEqual(self.lines(evolve(voted, leader_id=2), voted), [])

    def test_roles(self) -> None:
        """A candidate's vote for itself, and that a leader leads, are said by its role."""
        candidate = evolve(FOLLOWER, role=Role.CANDIDATE, current_term=5, voted_for=1)
        leader = evolve(candidate, role=Role.LEADER, leader_id=1)
        lines = self.lines(FOLLOWER, candidate) + self.lines(candidate, leader)
        self.assertEqual(
            lines,
            [
                "term 5: this node is candidate (was follower in term 4)",
                "term 5: this node is leader (was candidate in term 5)",
            ],
        )

    def test_handing_over(self) -> None:
        leader = evolve(FOLLOWER, role=Role.LEADER, voted_for=1, leader_id=1)
        overtaken = evolve(leader, is_overtaken=True)
        (line,) = self.lines(leader, overtaken)
        self.assertIn("this node's disk hangs", line)
        handing_over = evolve(overtaken, transfer_target=2)
        self.assertEqual(self.lines(overtaken, handing_over), ["term 4: this node hands leadership to node 2"])
        self.assertEqual(self.lines(handing_over, overtaken), [])
