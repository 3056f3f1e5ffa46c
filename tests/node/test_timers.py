"""`txraft.node.timers`: when they fire."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txraft.node.timers import Timers


class TimersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.fired: list[tuple[str, float]] = []
        self.timers = Timers(self.clock, 2.0, lambda: self.fire("election"), lambda: self.fire("heartbeat"))
        self.addCleanup(self.timers.stop)

    def fire(self, what: str) -> None:
        self.fired.append((what, self.clock.seconds()))

    def pass_until(self, end: float) -> None:
        while self.clock.seconds() < end:
            self.clock.advance(0.5)
            self.clock.advance(0)  # what has fired is acted upon in the next turn (hazard E13)

    def test_a_deadline_that_is_put_off(self) -> None:
        """The timer fires when it was set to, too early, and is set anew then; not with every message of a leader."""
        self.timers.set(4.0)
        (call,) = self.clock.getDelayedCalls()
        self.timers.set(6.0)
        self.assertEqual((self.clock.getDelayedCalls(), call.getTime()), ([call], 4.0))
        self.pass_until(5)
        self.assertEqual(self.fired, [("election", 4.0)])
        self.timers.set(6.0)
        self.pass_until(9)
        self.assertEqual(self.fired, [("election", 4.0), ("election", 6.0)])

    def test_a_deadline_that_is_brought_forward(self) -> None:
        """It fires at the earlier one, and only then."""
        self.timers.set(6.0)
        self.pass_until(1)
        self.timers.set(3.0)
        self.pass_until(9)
        self.assertEqual(self.fired, [("election", 3.0)])

    def test_a_deadline_that_has_passed(self) -> None:
        """It fires at once."""
        self.pass_until(2)
        self.timers.set(1.0)
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.fired, [("election", 2.0)])

    def test_one_of_the_two(self) -> None:
        """Heartbeats take the place of the election timer, and it takes theirs."""
        self.timers.set(3.0)
        self.timers.set(None)
        self.timers.set(None)
        self.pass_until(5)
        self.assertEqual(self.fired, [("heartbeat", 2.0), ("heartbeat", 4.0)])
        self.timers.set(7.0)
        self.pass_until(9)
        self.assertEqual(self.fired[2:], [("election", 7.0)])
