"""What a server starts with: its log, and what its state machine has applied of it."""

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.clock import STARTS_AT
from tests.core.cluster import entries_of
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.log import RaftLog
from txraft.core.raft import Raft
from txraft.core.ready import TermAndVote
from txraft.core.state import RaftOptions
from txraft.errors import DataLost


def started(last_applied: int) -> Raft:
    """Server 1 of three, whose log has entries 4 to 6."""
    log = RaftLog(entries_of(1, 1, 1, 1, 1, 1), Snapshot(0, 0, Configuration(voters=(1, 2, 3))))
    log.compact(3)
    return Raft(
        node_id=1,
        log=log,
        term_and_vote=TermAndVote(1, None),
        last_applied=last_applied,
        options=RaftOptions(),
        random=random.Random(1),
        now=STARTS_AT,
    )


class StartTests(SynchronousTestCase):
    def test_within_the_log(self) -> None:
        """What is applied is committed (§5.3), from the entry before the log's first one on to its last."""
        for last_applied in (3, 5, 6):
            view = started(last_applied).view()
            self.assertEqual((view.last_applied, view.commit_index), (last_applied, last_applied))

    def test_a_hole(self) -> None:
        """hazard S18: a state machine that lacks entries which the log does not have any more; the line says which
        entries."""
        for last_applied in (0, 2):
            line = str(self.assertRaises(DataLost, started, last_applied))
            self.assertIn(f"has applied entry {last_applied}, but the log starts at 4", line)

    def test_ahead_of_the_log(self) -> None:
        """A log that has lost entries which are applied."""
        self.assertIn("has lost entries", str(self.assertRaises(DataLost, started, 7)))
