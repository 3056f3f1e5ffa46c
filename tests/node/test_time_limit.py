"""One timer for all who wait."""

from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from txraft.node.time_limit import TimeLimit


class TimeLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.late: list[str] = []
        self.limit = TimeLimit(5.0, self.clock, self.late.append)

    def test_each_at_its_time(self) -> None:
        """Those that began together are late together, and later ones later."""
        self.limit.begin("a")
        self.limit.begin("b")
        self.clock.advance(2)
        self.limit.begin("c")
        self.clock.advance(2.9)
        self.assertEqual(self.late, [])
        self.clock.advance(0.1)
        self.assertEqual(self.late, ["a", "b"])
        self.clock.advance(1.9)
        self.assertEqual(self.late, ["a", "b"])
        self.clock.advance(0.1)
        self.assertEqual(self.late, ["a", "b", "c"])

    def test_ended(self) -> None:
        """What has ended is never late, and moves nobody else's time."""
        for each in "abc":
            self.limit.begin(each)
            self.clock.advance(1)
        self.limit.end("a")
        self.clock.advance(2.9)
        self.assertEqual(self.late, [])
        self.clock.advance(0.1)
        self.assertEqual(self.late, ["b"])
        self.limit.end("b")
        self.limit.end("c")
        self.clock.advance(10)
        self.assertEqual(self.late, ["b"])

    def test_one_timer(self) -> None:
        """There is one for however many, and none where nobody waits: a stopped node leaves nothing behind."""
        for number in range(100):
            self.limit.begin(str(number))
            self.clock.advance(0.01)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for number in range(100):
            self.limit.end(str(number))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.limit.begin("a")
        self.clock.advance(5)
        self.assertEqual(self.late, ["a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_is_late_does_anything(self) -> None:
        """It ends one that is as late, which is passed over, and another that is not, and begins a new one."""

        def too_late(each: str) -> None:
            self.late.append(each)
            if each == "a":
                self.limit.end("a")
                self.limit.end("b")
                self.limit.end("c")
                self.limit.begin("d")

        self.limit = TimeLimit(5.0, self.clock, too_late)
        self.limit.begin("a")
        self.limit.begin("b")
        self.clock.advance(1)
        self.limit.begin("c")
        self.clock.advance(4)
        self.assertEqual(self.late, ["a"])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(4.9)
        self.assertEqual(self.late, ["a"])
        self.clock.advance(0.1)
        self.assertEqual(self.late, ["a", "d"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late_timer(self) -> None:
        """After a pause of the process, all whose time is over are late at once, and nobody else."""
        for each in "abc":
            self.limit.begin(each)
            self.clock.advance(1)
        self.clock.rightNow += 3.5
        self.clock.turn()
        self.assertEqual(self.late, ["a", "b"])
        self.clock.advance(0.5)
        self.assertEqual(self.late, ["a", "b", "c"])
