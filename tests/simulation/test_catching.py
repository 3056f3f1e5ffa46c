"""The simulator finds what it is there to find: rules of `hazards.md`, broken one at a time."""

from collections.abc import Callable, Sequence
from itertools import islice

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from txraft.core import follower
from txraft.core.messages import AppendEntries, NodeId
from txraft.core.reads import Reads
from txraft.core.ready import ReadReady, Save
from txraft.core.state import State
from txraft.errors import NotApplied
from txraft.kv import KeyValueStore
from txraft.node.pending_requests import Proposals
from txraft.node.replica import Replica
from txraft.storage.raft_file import RaftFile
from txraft.testing.disk import DiskStorage
from txraft.testing.plan import plan_of
from txraft.testing.report import Report
from txraft.testing.shrink import shrink
from txraft.testing.simulation import run_of


class CatchingTests(SynchronousTestCase):
    def first_failure(self, seeds: int) -> Report:
        """The first run that breaks a rule."""
        for seed in range(1, seeds + 1):
            report = run_of(plan_of(seed))
            if report.violation is not None:
                return report
        raise self.failureException(f"{seeds} seeds find nothing")

    def test_vote_before_it_is_durable(self) -> None:
        """hazard E1"""
        self.patch(State, "answer", State.send)
        report = self.first_failure(5)
        self.assertEqual(str(report.violation).split(":")[0], "Durability")

    def test_commit_beyond_what_is_verified(self) -> None:
        """hazard R4"""
        original: Callable[..., None] = follower.on_append_entries

        def greedy(state: State, leader: NodeId, request: AppendEntries) -> None:
            original(state, leader, request)
            state.commit_to(min(request.leader_commit, state.log.last_index))

        self.patch(follower, "on_append_entries", greedy)
        self.first_failure(50)

    def test_answer_of_the_store(self) -> None:
        """All nodes are equal, and what clients read is wrong: their history is judged."""
        self.patch(KeyValueStore, "get", lambda *_: None)
        report = self.first_failure(2)
        self.assertEqual(str(report.violation).split(":")[0], "Linearizability")

    def test_read_without_a_round(self) -> None:
        """A leader that answers reads without asking whether it still leads, or what is committed (hazard C1)."""
        original = Reads.start_round

        def hasty(self: Reads) -> bool:
            for read_id in self._waiting:
                self._state.reads.append(ReadReady(read_id, self._state.commit_index))
            self._waiting.clear()
            return original(self)

        self.patch(Reads, "start_round", hasty)
        report = self.first_failure(40)
        self.assertEqual(str(report.violation).split(":")[0], "ReadIndex")

    def test_unknown_answered_as_not_applied(self) -> None:
        """hazard C5"""

        def stop(self: Proposals) -> None:
            for key in self._waiting:
                self._waiting.fail(key, NotApplied("it stops"))

        self.patch(Proposals, "stop", stop)
        report = self.first_failure(150)
        self.assertEqual(str(report.violation).split(":")[0], "Not applied")

    def test_exception_that_gets_out(self) -> None:
        """Of a run that ends in an exception there is a report like of any other."""

        def raise_(*_: object) -> None:
            raise KeyError("a bug")

        self.patch(Replica, "propose", raise_)
        violation = str(self.first_failure(1).violation)
        self.assertEqual(violation.split(":", maxsplit=1)[0], "Exception")
        self.assertIn("raise KeyError", violation)

    def test_control_c(self) -> None:
        """It ends the run, and says which one."""

        def raise_(*_: object) -> None:
            raise KeyboardInterrupt

        self.patch(Replica, "propose", raise_)
        error = self.assertRaises(KeyboardInterrupt, self.first_failure, 1)
        self.assertEqual(error.__notes__, ["in the simulation of seed 1"])

    def test_file_that_differs(self) -> None:
        """A log file that does not have what was written to it. A plan in which no node starts again cannot see it."""
        self.patch(RaftFile, "write", lambda *_: None)
        plans = (plan for seed in range(1, 1000) if (plan := plan_of(seed)).files and len(plan.faults) > 10)
        violations = (run_of(plan).violation for plan in islice(plans, 5))
        self.assertEqual(str(next(filter(None, violations), None)).split(":")[0], "Storage")

    def test_write_that_is_not_waited_for(self) -> None:
        """hazard R10"""
        save = DiskStorage.save

        def hasty(self: DiskStorage, saves: Sequence[Save]) -> "Deferred[None]":
            if self.disk.under_way is None:
                save(self, saves).addErrback(lambda _: None)
            return succeed(None)

        self.patch(DiskStorage, "save", hasty)
        report = self.first_failure(5)
        self.assertEqual(str(report.violation).split(":")[0], "Durability")


class ShrinkTests(SynchronousTestCase):
    def test_smaller(self) -> None:
        """What needs no fault and one client is found to need no more."""
        self.patch(State, "answer", State.send)
        report = next(
            found
            for seed in range(1, 50)
            if len((found := run_of(plan_of(seed))).plan.faults) > 3 and found.violation is not None
        )
        assert report.violation is not None
        smallest = shrink(report)
        assert smallest.violation is not None
        self.assertEqual(smallest.violation.rule, report.violation.rule)
        self.assertEqual(smallest.plan.faults, ())
        self.assertEqual(smallest.plan.clients, 1)
