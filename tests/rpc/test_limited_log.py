"""What strangers can do to the log: hazard N5."""

from typing import cast

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.clock import Clock
from txraft.rpc.limited_log import LimitedLog, shown


class ShownTests(SynchronousTestCase):
    """What somebody else chose, in a line."""

    def test_short(self) -> None:
        """What is short and printable stays as it is."""
        self.assertEqual(shown("a cluster"), "a cluster")
        self.assertEqual(shown("x" * 60), "x" * 60)

    def test_long(self) -> None:
        """Nothing is longer than 60 characters, whatever escaping makes of it."""
        for text in ("x" * 61, "\n" * 60, "\U0001f600" * 10, "é" * 100_000, "\x00" * 15 + "x"):
            self.assertLessEqual(len(shown(text)), 60)
            self.assertTrue(shown(text).endswith("...") or len(text) < 20)

    def test_escaped(self) -> None:
        """It is one line of ASCII without control characters, whatever it was."""
        for text in ("\n\r\x1b[2J", "\u2028\x85", "\ud800", "\x7f\x00\x9b"):
            self.assertTrue(shown(text).isascii())
            self.assertTrue(shown(text).isprintable(), shown(text))


class LimitedLogTests(SynchronousTestCase):
    """At most two lines of a kind in ten seconds."""

    def setUp(self) -> None:
        """A log whose lines are remembered."""
        self.clock = Clock()

        self.events: list[LogEvent] = []
        logger = Logger(observer=cast(ILogObserver, self.events.append))
        self.limited = LimitedLog(logger, self.clock, burst=2, interval=10)

    def lines(self) -> list[str]:
        """What was written since the last look."""
        lines = [formatEvent(event) for event in self.events]
        self.events.clear()
        return lines

    def test_limited(self) -> None:
        """The first are written at once; of what follows the last, when there is room, with the number of the rest."""
        for number in range(1000):
            self.limited.warn("kind", "line {number}", number=number)
        self.assertEqual(self.lines(), ["line 0", "line 1"])
        self.clock.advance(9.9)
        self.assertEqual(self.lines(), [])
        self.clock.advance(0.2)
        self.assertEqual(self.lines(), ["line 999 (997 more like it were left out)"])
        self.clock.advance(100)
        self.assertEqual(self.lines(), [])

    def test_steady(self) -> None:
        """However long it goes on, there are two lines in ten seconds, and all are counted."""
        for number in range(1000):
            self.limited.warn("kind", "line {number}", number=number)
            self.clock.advance(0.1)
        lines = self.lines()
        self.assertIn(len(lines), range(18, 22))
        left_out = sum(int(line.partition("(")[2].partition(" ")[0]) for line in lines if "(" in line)
        self.assertIn(len(lines) + left_out, range(900, 1001))

    def test_one_left_out(self) -> None:
        """One that was late, and was the only one, is written as it is."""
        for number in range(3):
            self.limited.info("kind", "line {number}", number=number)
        self.clock.advance(10)
        self.assertEqual(self.lines(), ["line 0", "line 1", "line 2"])

    def test_kinds_and_levels(self) -> None:
        """Each kind has lines of its own, and each line its level."""
        for _ in range(3):
            self.limited.info("a", "of a")
            self.limited.warn("b", "of b")
        self.assertEqual([event["log_level"] for event in self.events], [LogLevel.info, LogLevel.warn] * 2)

    def test_room_again(self) -> None:
        """After a quiet time all is as at first."""
        for _ in range(2):
            self.limited.warn("kind", "line")
        self.clock.advance(10)
        for _ in range(2):
            self.limited.warn("kind", "line")
        self.assertEqual(len(self.lines()), 4)

    def test_forget(self) -> None:
        """What is forgotten is not told, and what comes next is told at once."""
        for _ in range(3):
            self.limited.warn("kind", "line")
        self.limited.forget("kind")
        self.limited.forget("another")
        self.limited.warn("kind", "next")
        self.clock.advance(100)
        self.assertEqual(self.lines(), ["line", "line", "next"])

    def test_stop(self) -> None:
        """No timer is left."""
        for kind in "ab":
            for _ in range(3):
                self.limited.warn(kind, "line")
        self.limited.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
