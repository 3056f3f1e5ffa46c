"""What is seen of nodes from outside."""

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.bench.connections import Answer
from tests.bench.watch import (
    FEWEST,
    LOOK,
    SIZES,
    Pause,
    Pauses,
    Roles,
    Scheduled,
    Taken,
    mib,
    size_of,
    slope,
    verdict,
)

STATUS = "Name:\ttxraft\nVmHWM:\t    3000 kB\nVmRSS:\t    2000 kB\nRssAnon:\t    1500 kB\nRssFile:\t     500 kB\n"


class TakenTests(SynchronousTestCase):
    def test_read(self) -> None:
        """In bytes."""
        self.assertEqual(Taken.read(STATUS, 7), Taken(2000 * 1024, 1500 * 1024, 3000 * 1024, 7))
        self.assertGreater(Taken.of(os.getpid(), Path()).rss, 0)

    def test_most(self) -> None:
        """Each figure by itself."""
        self.assertEqual(Taken.most([Taken(1, 5, 1, 5), Taken(2, 4, 2, 4)]), Taken(2, 5, 2, 5))
        self.assertEqual(Taken.most([]), Taken(0, 0, 0, 0))

    def test_sizes(self) -> None:
        """In the order of their names."""
        sizes = Roles(Taken(1, 0, 0, 2), Taken(3, 0, 0, 4)).sizes()
        self.assertEqual(dict(zip(SIZES, sizes, strict=True))["data of the leader"], 2)
        self.assertEqual(dict(zip(SIZES, sizes, strict=True))["memory of a follower"], 3)

    def test_size_of(self) -> None:
        """What is on the disk: a file that only claims to be long takes nothing."""
        directory = Path(self.mktemp())
        (directory / "below").mkdir(parents=True)
        before = size_of(directory)
        (directory / "below" / "data").write_bytes(b"x" * 100_000)
        with (directory / "hole").open("wb") as hole:
            hole.truncate(10_000_000)
        self.assertTrue(100_000 <= size_of(directory) - before < 200_000)
        self.assertEqual(mib(3 * 1024 * 1024 / 2), "1.5")


class GrowthTests(SynchronousTestCase):
    def test_slope(self) -> None:
        """The first quarter does not count."""
        at = list(range(0, 160, 10))
        self.assertAlmostEqual(slope(at, [1000 + 3 * each for each in at]) or 0, 3)
        self.assertAlmostEqual(slope(at, [min(each, 40) for each in at]) or 0, 0)

    def test_too_few(self) -> None:
        """Nothing is said then."""
        self.assertIsNone(slope([], []))
        self.assertIsNone(slope(range(FEWEST), range(FEWEST)))
        self.assertEqual(verdict(None, 256), "too few samples")

    def test_verdict(self) -> None:
        """By what stays of each write; a size that shrinks is bounded."""
        self.assertEqual([verdict(each, 256) for each in (-5, 12, 13)], ["bounded", "bounded", "not bounded"])

    def test_teeth(self) -> None:
        """What goes up and is compacted again is bounded; the same upon something that grows is not."""
        at = range(0, 5_000_000, 125_000)
        teeth = [256 * (each * 7 % 300_000) for each in at]
        self.assertEqual(verdict(slope(at, teeth), 256), "bounded")
        self.assertEqual(
            verdict(slope(at, [64 * each + tooth for each, tooth in zip(at, teeth, strict=True)]), 256), "not bounded"
        )


class FakeConnection:
    """Answers when it is told."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Answer]] = []
        self.lost = False

    def ask(self, _request: bytes) -> "Deferred[Answer]":
        self.asked.append(Deferred())
        return self.asked[-1]

    def answer(self) -> None:
        while self.asked:
            self.asked.pop(0).callback(Answer(200, b""))

    def close(self) -> None:
        self.lost = True


class PausesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connection = FakeConnection()
        connection: Any = self.connection
        self.pauses = Pauses(self.clock, connection, b"?", None)
        self.pauses.start()

    def go_on(self, seconds: float) -> None:
        self.clock.pump([LOOK] * round(seconds / LOOK))

    def test_longest(self) -> None:
        """It asks on while nothing is answered: what was asked first has waited longest, and all that waited for long
        count."""
        self.connection.answer()
        self.go_on(0.1)
        self.clock.advance(LOOK / 2)
        self.connection.answer()
        self.assertAlmostEqual(self.pauses.longest.took, 0.1 - LOOK / 2)
        self.assertEqual((self.pauses.long, self.pauses.count), (5, 12))
        self.clock.advance(LOOK)
        self.connection.answer()
        self.clock.advance(LOOK)
        self.connection.answer()
        self.assertEqual((self.pauses.long, self.pauses.count), (5, 14))
        self.assertAlmostEqual(self.pauses.lateness, 0)

    def test_again(self) -> None:
        """A new phase knows nothing of the one before."""
        self.go_on(0.1)
        self.connection.answer()
        self.pauses.again()
        self.assertEqual((self.pauses.longest, self.pauses.long, self.pauses.count), (Pause(), 0, 0))

    def test_late_itself(self) -> None:
        """What holds up this process is known."""
        self.clock.advance(0.5)
        self.assertAlmostEqual(self.pauses.lateness, 0.5 - LOOK)

    def test_stopped(self) -> None:
        """It asks nothing any more, nor of a connection that is lost."""
        self.connection.close()
        self.go_on(0.1)
        self.assertEqual(len(self.connection.asked), 1)
        self.pauses.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_the_thread_did(self) -> None:
        """It ran, waited for a processor, or slept."""
        self.assertEqual(Scheduled.read("2000000000 500000000 77\n"), Scheduled(2, 0.5))
        self.assertIsNone(Scheduled.of(0))
        self.assertEqual(str(Pause(0.1, 0.03, 0.05)), "100 ms (ran 30, waited 50, slept 20)")
        self.assertEqual(str(Pause(0.1)), "100 ms")
        own = Pauses(self.clock, self.pauses.connection, b"?", os.getpid())
        own.start()
        self.go_on(0.1)
        self.connection.answer()
        self.assertIsNotNone(own.longest.slept)
