"""Writes at a steady pace, on a clock of the test's own."""

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.bench import pace
from tests.bench.connections import Answer
from tests.bench.pace import Pace, percentile

OK, REFUSED = Answer(200, b""), Answer(503, b"")


class PercentileTests(SynchronousTestCase):
    def test_percentile(self) -> None:
        """One of the values, whatever their order."""
        values = [float(each) for each in range(100, 0, -1)]
        self.assertEqual([percentile(values, each) for each in (50, 99, 100)], [50, 99, 100])
        self.assertEqual([percentile([7.0], 99), percentile([1.0, 2.0], 99), percentile([], 50)], [7, 2, 0])


class PaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[Answer]] = []

    def pace(self, rate: float) -> Pace:
        def ask(number: int) -> Deferred[Answer]:
            self.assertEqual(number, self.number)
            self.number += 1
            self.asked.append(Deferred())
            return self.asked[-1]

        self.number = 0
        started = Pace(self.clock, ask, rate)
        started.start()
        return started

    def test_steady(self) -> None:
        """So many a second, whether or not those before are answered."""
        self.pace(10)
        self.clock.pump([0.01] * 99)
        self.assertEqual(len(self.asked), 10)

    def test_many_a_tick(self) -> None:
        """Where the clock cannot be looked at as often as writes are due."""
        self.pace(5000)
        self.clock.pump([0.002] * 100)
        self.assertIn(len(self.asked), (1000, 1001))

    def test_from_when_it_was_due(self) -> None:
        """A write that this process sends late is not the quicker for it, and how late it was is known."""
        writes = self.pace(10)
        self.asked.pop().callback(OK)
        self.clock.advance(0.5)  # those of 0.1 to 0.5 s are due
        self.assertEqual(len(self.asked), 5)
        self.assertAlmostEqual(writes.lateness, 0.4)
        for each in self.asked:
            each.callback(OK)
        found = writes.period()
        self.assertEqual((found.written, found.failed), (6, 0))
        self.assertAlmostEqual(found.longest, 400)
        self.assertAlmostEqual(found.p50, 100)
        self.assertAlmostEqual(found.rate, 12)

    def test_gap(self) -> None:
        """Between two that were acknowledged, and from the last to the end of the period."""
        writes = self.pace(10)
        self.clock.pump([0.1] * 3)
        self.asked[0].callback(OK)
        self.asked[1].callback(REFUSED)
        self.assertAlmostEqual(writes.period().gap, 300)
        self.clock.advance(0.2)
        self.asked[2].callback(OK)
        self.clock.advance(0.1)
        self.assertAlmostEqual(writes.period().gap, 200)
        self.clock.advance(0.4)
        self.assertAlmostEqual(writes.period().gap, 400)

    def test_failed(self) -> None:
        """Refused, or not answered: counted, and in no latency."""
        writes = self.pace(10)
        self.clock.pump([0.1] * 2)
        for each, answer in zip(self.asked, (OK, REFUSED, None), strict=True):
            each.errback(ConnectionError()) if answer is None else each.callback(answer)
        found = writes.period()
        self.assertEqual((found.written, found.failed, writes.written, writes.failed), (1, 2, 1, 2))
        self.clock.advance(0.1)
        self.asked[-1].callback(OK)
        found = writes.period()  # of this period alone
        self.assertEqual((found.written, found.failed, writes.written, writes.failed), (1, 0, 2, 2))

    def test_too_many_under_way(self) -> None:
        """What is due beyond them is skipped and counted."""
        self.patch(pace, "MOST_UNDER_WAY", 3)
        writes = self.pace(10)
        self.clock.pump([0.1] * 4)
        self.assertEqual((len(self.asked), writes.period().failed), (3, 2))

    def test_stopped(self) -> None:
        """Nothing is sent any more, and what was sent is waited for, but not for ever."""
        writes = self.pace(10)
        stopping = ensureDeferred(writes.stop())
        self.clock.advance(1)
        self.assertEqual(len(self.asked), 1)
        self.assertNoResult(stopping)
        self.asked[0].callback(OK)
        self.successResultOf(stopping)
        writes = self.pace(10)
        stopping = ensureDeferred(writes.stop())
        self.clock.advance(pace.PATIENCE)
        self.successResultOf(stopping)
