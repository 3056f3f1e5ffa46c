"""Time in the simulation."""

from random import Random

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txraft.testing.schedule import STARTS_AT, Process, Schedule


class ProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schedule = Schedule()
        self.process = Process(self.schedule, Random(1), lambda: None)
        self.rang: list[object] = []

    def run_until(self, time: float) -> None:
        self.schedule.run(time, lambda: False)

    def ring(self, what: object) -> None:
        self.rang.append(what)

    def test_interfaces(self) -> None:
        """It is what the driver takes for the reactor's clock."""
        verifyObject(IReactorTime, self.process)
        verifyObject(IDelayedCall, self.process.callLater(1, self.ring, 0))

    def test_order(self) -> None:
        """By time, and then by when they were set."""
        for delay, name in ((2, "c"), (1, "a"), (1, "b")):
            self.process.callLater(delay, self.ring, name)
        self.run_until(3)
        self.assertEqual(self.rang, ["a", "b", "c"])
        self.assertEqual(self.schedule.now, 3)

    def test_cancel(self) -> None:
        """A cancelled call does not ring, and cannot be cancelled twice."""
        call = self.process.callLater(1, self.ring, 0)
        call.cancel()
        self.run_until(2)
        self.assertEqual(self.rang, [])
        self.assertRaises(AlreadyCancelled, call.cancel)

    def test_called(self) -> None:
        """What has rung cannot be reset."""
        call = self.process.callLater(1, self.ring, 0)
        self.run_until(2)
        self.assertFalse(call.active())
        self.assertRaises(AlreadyCalled, call.reset, 1)

    def test_reset(self) -> None:
        """Later and earlier, it rings once, when the last reset says."""
        for first, then in ((1.0, 3.0), (3.0, 1.0)):
            call = self.process.callLater(first, lambda: self.ring(self.schedule.now))
            call.reset(then)
            began = self.schedule.now
            self.run_until(began + 5)
            self.assertAlmostEqual(self.rang.pop(), began + then, places=4)
            self.assertEqual(self.rang, [])

    def test_speed(self) -> None:
        """A clock that runs twice as fast rings in half the time, also what was set before."""
        self.process.callLater(2, lambda: self.ring(self.schedule.now))
        self.process.set_clock(rate=2.0)
        self.run_until(2)
        self.assertAlmostEqual(self.rang[0], 1.0, places=4)
        self.assertAlmostEqual(self.process.seconds() - STARTS_AT, 4.0, places=6)

    def test_no_timer_is_set_for_the_past(self) -> None:
        """As a reactor, it refuses."""
        self.assertRaises(AssertionError, self.process.callLater, -0.001, self.fail)

    def test_jump(self) -> None:
        """Forward, what is due by the new time rings; back, it has to wait for longer."""
        for jump, rings_at in ((1.0, 0.0), (-1.0, 3.0)):
            began = self.schedule.now
            self.process.callLater(1 if jump > 0 else 2, lambda: self.ring(self.schedule.now))
            self.process.set_clock(jump=jump)
            self.run_until(began + 5)
            self.assertAlmostEqual(self.rang.pop(), began + rings_at, places=2)

    def test_pause(self) -> None:
        """What happens meanwhile waits, and comes in order."""
        self.process.pause()
        self.process.callLater(1, self.ring, "timer")
        self.schedule.after(0.1, self.process.enter, self.ring, "one")
        self.schedule.after(0.2, self.process.enter, self.ring, "two")
        self.run_until(2)
        self.assertEqual(self.rang, [])
        self.process.resume()
        self.run_until(3)
        self.assertEqual(sorted(map(str, self.rang)), ["one", "timer", "two"])
        self.assertLess(self.rang.index("one"), self.rang.index("two"))

    def test_kill(self) -> None:
        """Nothing happens any more."""
        self.process.callLater(1, self.ring, "timer")
        self.schedule.after(1, self.process.enter, self.ring, "message")
        self.process.kill()
        self.run_until(2)
        self.assertEqual(self.rang, [])
