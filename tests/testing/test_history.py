from twisted.trial.unittest import SynchronousTestCase

from tests.clock import STARTS_AT, Clock
from txraft.kv import CompareAndSet, Delete, Result, Set
from txraft.testing.history import Get, History, Operation, Outcome

X = b"x"


class HistoryTests(SynchronousTestCase):
    """The recorder."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.history = History(self.clock.seconds)

    def test_outcomes(self) -> None:
        """Each operation is recorded with its times and what came of it."""
        first = self.history.begin(1, Set(X, b"1"))
        self.clock.advance(1)
        second = self.history.begin(2, Get(X))
        self.clock.advance(1)
        self.history.ok(second, b"1")
        self.clock.advance(1)
        third = self.history.begin(2, Delete(X))
        self.clock.advance(1)
        self.history.not_applied(third)
        self.clock.advance(1)
        self.history.unknown(first)
        self.assertEqual(
            self.history.operations(),
            (
                Operation(1, Set(X, b"1"), STARTS_AT, None, Outcome.UNKNOWN),
                Operation(2, Get(X), STARTS_AT + 1, STARTS_AT + 2, Outcome.OK, b"1"),
                Operation(2, Delete(X), STARTS_AT + 3, STARTS_AT + 4, Outcome.NOT_APPLIED),
            ),
        )

    def test_without_end(self) -> None:
        """What has not ended is unknown."""
        self.history.begin(1, Get(X))
        self.assertEqual(self.history.operations(), (Operation(1, Get(X), STARTS_AT, None, Outcome.UNKNOWN),))

    def test_ends_once(self) -> None:
        """Not even as unknown a second time."""
        for end in (self.history.unknown, self.history.not_applied):
            token = self.history.begin(1, Get(X))
            end(token)
            self.assertRaises(KeyError, self.history.unknown, token)
            self.assertRaises(KeyError, self.history.ok, token, None)

    def test_order_within_an_instant(self) -> None:
        """While the clock stands still, or goes back, what is recorded later is later."""
        for _ in range(3):
            self.history.ok(self.history.begin(1, Get(X)), None)
            self.clock.rightNow -= 1
        times = [time for each in self.history.operations() for time in (each.invoked, each.completed)]
        self.assertEqual(len(set(times)), 6)
        self.assertEqual(times, sorted(times, key=lambda time: time or 0))
        self.clock.rightNow = STARTS_AT + 5
        self.history.begin(1, Get(X))
        self.assertEqual(self.history.operations()[-1].invoked, STARTS_AT + 5)

    def test_text(self) -> None:
        """An operation in one line."""
        texts = [
            (Operation(3, Set(X, b"1"), 0), "client 3: set '1' -> unknown"),
            (Operation(3, Delete(X), 0, 1, Outcome.NOT_APPLIED), "client 3: delete -> not applied"),
            (Operation(3, Delete(X), 0, 1, Outcome.OK, Result.NOT_FOUND), "client 3: delete -> not found"),
            (Operation(3, Get(X), 0, 1, Outcome.OK, None), "client 3: get -> none"),
            (Operation(3, Get(X), 0, 1, Outcome.OK, b"\xff" * 41), "client 3: get -> '" + r"\xff" * 37 + "...'"),
            (
                Operation(3, CompareAndSet(X, b"1", b"2"), 0, 1, Outcome.OK, Result.MISMATCH),
                "client 3: cas '1' to '2' -> mismatch",
            ),
        ]
        for operation, text in texts:
            self.assertEqual(str(operation), text)
