"""Sets of ids, in which those that follow each other count as one."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.id_set import IdSet

sets = st.frozensets(st.integers(0, 20) | st.integers(2**63 - 5, 2**63 - 1))
many = settings(max_examples=200, deadline=None, database=None)


class IdSetTests(SynchronousTestCase):
    @many
    @given(sets, sets)
    def test_as_a_frozenset(self, some: frozenset[int], others: frozenset[int]) -> None:
        """Whatever is asked of it, alone and with another one of either kind."""
        ids = IdSet.of(some)
        self.assertEqual((list(ids), len(ids), hash(ids)), (sorted(some), len(some), hash(some)))
        self.assertEqual([each in ids for each in range(22)], [each in some for each in range(22)])
        self.assertNotIn("1", ids)
        for other in (others, IdSet.of(others)):
            self.assertEqual(ids == other, some == others)
            self.assertEqual((ids | other, ids & other, ids - other), (some | others, some & others, some - others))
            self.assertEqual((other | ids, other & ids, other - ids), (others | some, others & some, others - some))

    @many
    @given(sets)
    def test_plain(self, ids: frozenset[int]) -> None:
        self.assertEqual(IdSet.from_plain(IdSet.of(ids).plain()), ids)

    def test_ranges(self) -> None:
        """An id that is alone is itself, and a million that follow each other are two numbers."""
        self.assertEqual(IdSet.of([7, 0, 2, 1, 9, 10, 2]).plain(), [(0, 2), 7, (9, 10)])
        self.assertEqual(IdSet.of(range(1_000_000)).plain(), [(0, 999_999)])
        ids = IdSet.of([1])
        self.assertIs(IdSet.of(ids), ids)

    def test_not_plain(self) -> None:
        """What nobody writes."""
        for plain in (
            [[0, 0]],
            [[1, 0]],
            [[0, 1.0]],
            [[False, 1]],
            ["ab"],
            [2, 1],
            [1, 1],
            [0, 1],
            [[0, 3], [3, 5]],
            [[0, 3], 4],
        ):
            with self.assertRaises(ValueError, msg=repr(plain)):
                IdSet.from_plain(plain)
        others: list[list[object]] = [[[0]], [[0, 1, 2]], [None], [1.0], [True]]
        for other in others:
            self.assertRaises(TypeError, IdSet.from_plain, other)
