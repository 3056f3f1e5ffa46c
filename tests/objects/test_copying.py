"""What a query gives is a copy (hazard C12)."""

from collections import defaultdict
from typing import Any
from unittest.mock import patch

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from txraft.objects.copying import copied


@define
class Account:
    """A part of an object."""

    balance: int = 0
    notes: list[str] = field(factory=list)


class CopyingTests(SynchronousTestCase):
    def test_equal_and_apart(self) -> None:
        """What changes in one does not change in the other, however deep it is, and of the same class."""
        account = Account(1, ["a"])
        values: list[Any] = [
            [1, 2],
            {1, 2},
            {"a": 1},
            {"a": [1]},
            {(1, "a"): account},
            [account, account],
            ([1], 2),
            account,
            defaultdict(int, a=1),
        ]
        for value in values:
            copy = copied(value)
            self.assertEqual((copy, type(copy)), (value, type(value)))
            self.assertIsNot(copy, value)
        copied({"a": [account]})["a"][0].notes.append("b")
        copied([account])[0].balance = 7
        copied((account,))[0].balance = 7
        self.assertEqual(account, Account(1, ["a"]))

    def test_quick(self) -> None:
        """What nobody can change is not copied, and what is in a plain dict, list or set of it is not looked at one
        after the other."""
        with patch("copy.deepcopy") as deepcopy:
            for value in (1, 1.5, "a", b"a", True, None):
                self.assertIs(copied(value), value)
            for plain in ([1, "a"], {1, None}, {"a": 1}, [], {}):
                self.assertEqual(copied(plain), plain)
        deepcopy.assert_not_called()

    def test_refused(self) -> None:
        """What reads later cannot be copied."""
        counts = {"a": 1}
        for later in (iter(counts), map(str, counts), (each for each in counts)):
            self.assertIn("it would read the object later", str(self.assertRaises(TypeError, copied, later)))
        for view in (counts.keys(), {"in": (each for each in counts)}):
            self.assertRaises(TypeError, copied, view)
