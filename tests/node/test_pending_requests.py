"""Those who wait. What a node does with them is tested in `test_node`."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from txraft.node.pending_requests import SharedBarriers


class SharedBarriersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.found: list[Deferred[int]] = []
        """A barrier each that has been looked for, in their order."""
        self.barriers = SharedBarriers(self.look)

    def look(self) -> "Deferred[int]":
        self.found.append(Deferred())
        return self.found[-1]

    def test_shared(self) -> None:
        """Who comes while one is looked for shares the next one, which begins when that is found, with all who came
        meanwhile (hazard C2)."""
        first, *later = (self.barriers.join() for _ in range(10))
        self.assertEqual(len(self.found), 1)
        self.found[0].callback(7)
        self.assertEqual(self.successResultOf(first), 7)
        self.assertEqual(len(self.found), 2)
        for one in later:
            self.assertNoResult(one)
        self.found[1].callback(8)
        self.assertEqual([self.successResultOf(one) for one in later], [8] * 9)
        self.assertEqual(len(self.found), 2)

    def test_failure(self) -> None:
        """All who share it fail, and the next ones do not."""
        first, second = self.barriers.join(), self.barriers.join()
        self.found[0].errback(ValueError())
        self.failureResultOf(first, ValueError)
        self.found[1].callback(8)
        self.assertEqual(self.successResultOf(second), 8)

    def test_whoever_is_told(self) -> None:
        """May give up another, which is passed over, and come again, for a barrier that begins later."""
        self.barriers.join()
        told, other = self.barriers.join(), self.barriers.join()
        again: list[Deferred[int]] = []

        def when_told(_: int) -> None:
            other.cancel()
            again.append(self.barriers.join())

        told.addCallback(when_told)
        self.found[0].callback(7)
        self.found[1].callback(8)
        self.failureResultOf(other, CancelledError)
        self.assertNoResult(again[0])
        self.found[2].callback(9)
        self.assertEqual(self.successResultOf(again[0]), 9)

    def test_given_up(self) -> None:
        """For those who do not wait any more, none is looked for."""
        self.barriers.join()
        given_up = self.barriers.join()
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.found[0].callback(7)
        self.assertEqual(len(self.found), 1)
