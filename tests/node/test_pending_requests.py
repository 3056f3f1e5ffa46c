"""Those who wait. What a node does with them is tested in `test_driver`."""

from functools import partial

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.counting import Counted, of_work
from txraft.errors import NotApplied
from txraft.node.pending_requests import AppliedIndex, SharedBarriers


class SharedBarriersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.found: list[Deferred[int]] = []
        """A barrier each that has been looked for, in their order."""
        self.applied = AppliedIndex(100)
        self.barriers = SharedBarriers(self.look, self.applied.reaches)

    def look(self) -> "Deferred[int]":
        self.found.append(Deferred())
        return self.found[-1]

    def test_shared(self) -> None:
        """Who comes while one is looked for shares the next one, which begins when that is found, with all who came
        meanwhile (hazard C2)."""
        first, *later = (self.barriers.join() for _ in range(10))
        self.assertEqual(len(self.found), 1)
        self.found[0].callback(7)
        self.successResultOf(first)
        self.assertEqual(len(self.found), 2)
        for one in later:
            self.assertNoResult(one)
        self.found[1].callback(8)
        for one in later:
            self.successResultOf(one)
        self.assertEqual(len(self.found), 2)

    def test_failure(self) -> None:
        """All who share it fail, and the next ones do not."""
        first, second = self.barriers.join(), self.barriers.join()
        self.found[0].errback(ValueError())
        self.failureResultOf(first, ValueError)
        self.found[1].callback(8)
        self.successResultOf(second)

    def test_whoever_is_told(self) -> None:
        """May give up another, which is passed over, and come again, for a barrier that begins later."""
        self.barriers.join()
        told, other = self.barriers.join(), self.barriers.join()
        again: list[Deferred[None]] = []

        def when_told(_: None) -> None:
            other.cancel()
            again.append(self.barriers.join())

        told.addCallback(when_told)
        self.found[0].callback(7)
        self.found[1].callback(8)
        self.failureResultOf(other, CancelledError)
        self.assertNoResult(again[0])
        self.found[2].callback(9)
        self.successResultOf(again[0])

    def test_not_applied_yet(self) -> None:
        """Who has a read index waits until everything up to it is applied, and meanwhile the next one is found."""
        first, second, given_up = (self.barriers.join() for _ in range(3))
        self.found[0].callback(102)
        self.found[1].callback(101)
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.assertNoResult(second)
        self.applied.advance(101)
        self.successResultOf(second)
        self.assertNoResult(first)
        self.barriers.join()
        self.assertEqual(len(self.found), 3)
        self.applied.stop()
        self.failureResultOf(first, NotApplied)

    def test_given_up(self) -> None:
        """For those who do not wait any more, none is looked for."""
        self.barriers.join()
        given_up = self.barriers.join()
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.found[0].callback(7)
        self.assertEqual(len(self.found), 1)

    def test_given_up_when_found(self) -> None:
        """Nothing is kept for a read index that is not applied, when all who waited for it have given up, before it was
        found or after (hazard C9)."""
        for index in range(200, 300):
            before, after, another = self.barriers.join(), self.barriers.join(), self.barriers.join()
            before.cancel()
            self.found.pop().callback(index)
            self.found.pop().callback(index)
            after.cancel()
            self.assertEqual([*self.applied._waiting], [index])
            another.cancel()
            self.assertEqual([*self.applied._waiting], [])
            for one in (before, after, another):
                self.failureResultOf(one, CancelledError)


class AppliedIndexTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.applied = AppliedIndex(7)

    def test_each_at_its_index(self) -> None:
        """What is applied is reached at once, what is not when it is, in whatever order they came."""
        self.successResultOf(self.applied.reaches(7))
        ninth, eighth, another = self.applied.reaches(9), self.applied.reaches(8), self.applied.reaches(8)
        self.applied.advance(8)
        self.successResultOf(eighth)
        self.successResultOf(another)
        self.assertNoResult(ninth)
        self.applied.advance(20)
        self.successResultOf(ninth)

    def test_stopped(self) -> None:
        """Who waits, and who comes later for what is not applied, is told that nothing happened; what is applied is
        there still."""
        waiting = [self.applied.reaches(index) for index in (9, 8, 9)]
        self.applied.stop()
        for one in [*waiting, self.applied.reaches(8)]:
            self.assertIn("the node stopped", self.failureResultOf(one, NotApplied).getErrorMessage())
        self.successResultOf(self.applied.reaches(7))

    def test_who_is_told_comes_again(self) -> None:
        """Who is told gives another up, or stops the node: each is told once."""
        first, second, third = self.applied.reaches(8), self.applied.reaches(8), self.applied.reaches(9)
        again: list[Deferred[None]] = []

        def when_told(_: None) -> None:
            second.cancel()
            again.extend((self.applied.reaches(8), self.applied.reaches(9)))
            self.applied.stop()

        first.addCallback(when_told)
        self.applied.advance(8)
        self.failureResultOf(second, CancelledError)
        self.failureResultOf(third, NotApplied)
        self.successResultOf(again[0])
        self.failureResultOf(again[1], NotApplied)

    def test_given_up(self) -> None:
        """An index that nobody waits for any more is let go; whoever waits for the others is told at theirs, also who
        comes for the same one again (hazard C9)."""
        for _ in range(10):
            waiting = {index: self.applied.reaches(index) for index in range(8, 108)}
            for index in range(9, 107):
                waiting[index].cancel()
                self.failureResultOf(waiting[index], CancelledError)
            self.assertEqual([*self.applied._waiting], [8, 107])
            self.assertLessEqual(len(self.applied._indexes), 4)
            waiting[107].cancel()
            self.failureResultOf(waiting[107], CancelledError)
        again, given_up = self.applied.reaches(50), self.applied.reaches(50)
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.applied.advance(49)
        self.successResultOf(waiting[8])
        self.assertNoResult(again)
        self.applied.advance(50)
        self.successResultOf(again)
        self.applied.advance(107)
        self.assertEqual(self.applied._indexes, [])

    def test_work(self) -> None:
        """An index that is reached is no work for those who wait for later ones."""
        for index in range(1000, 2000):
            self.applied.reaches(Counted(index))
        self.assertLess(of_work(partial(self.applied.advance, 999)), 3)
        self.assertLess(of_work(partial(self.applied.advance, 1000)), 30)
