"""`value_class`: mypy holds that such a value is never changed, since nothing does at run time."""

from twisted.trial.unittest import SynchronousTestCase

from txraft.values import value_class


@value_class
class Point:
    """A value."""

    x: int
    y: int = 0


def move(point: Point) -> None:
    """For mypy alone, which is strict: where it does not refuse the assignment, it refuses the comment behind it."""
    point.x = 1  # type: ignore[misc]  # a field of a value is not assigned to; see above


class ValueTests(SynchronousTestCase):
    def test_equal(self) -> None:
        """Values of the same fields are one, also in sets and as keys."""
        self.assertEqual(Point(1), Point(1, 0))
        self.assertNotEqual(Point(1), Point(2))
        self.assertEqual(len({Point(1), Point(1), Point(2)}), 2)

    def test_fields(self) -> None:
        """There is no other field than those that are declared."""
        self.assertRaises(AttributeError, setattr, Point(1), "z", 1)
