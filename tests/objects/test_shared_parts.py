"""What is at two places of one object would be two things on a server that is given a snapshot, and one on others
(hazard C11)."""

from typing import Any

from attrs import define, field, frozen
from twisted.trial.unittest import SynchronousTestCase

from txraft import command
from txraft.objects.machine import _Plain
from txraft.objects.writing import SharedPart, each_part_once, writer
from txraft.testing import Call, simulate


@define
class Account:
    """It may change."""

    balance: int = 0


@frozen
class Price:
    """It may not, but for what is in it."""

    amount: int = 0
    notes: list[str] = field(factory=list)


@define
class Bank:
    """With an index."""

    by_name: dict[str, Account] = field(factory=dict)
    by_owner: dict[str, list[Account]] = field(factory=dict)

    @command
    def open(self, name: str) -> None:
        """At two places."""
        account = Account()
        self.by_name[name] = account
        self.by_owner.setdefault("me", []).append(account)


class SharedPartTests(SynchronousTestCase):
    def test_twice(self) -> None:
        """At any depth, and of any kind that can change."""
        account, row, table = Account(), [1], {"a": 1}
        for kind, value in (
            (list[Account], [account, account]),
            (tuple[list[int], list[int]], (row, row)),
            (dict[str, dict[str, int]], {"a": table, "b": table}),
            (list[tuple[Price, ...]], [(Price(1, notes := ["a"]), Price(2, notes))]),
        ):
            writer(kind)(value)  # of arguments, which travel as they look
            with each_part_once():
                self.assertRaises(SharedPart, writer(kind), value)

    def test_what_cannot_change(self) -> None:
        """Is the same thing, however many there are; and so is what is equal and another."""
        price, text = Price(1), "a" * 100
        values: tuple[tuple[Any, Any], ...] = (
            (list[str], [text, text]),
            (list[tuple[int, ...]], [(1, 2)] * 2),
            (list[frozenset[int]], [frozenset((1,))] * 2),
            (list[list[int]], [[1], [1]]),
        )
        for kind, value in values:
            with each_part_once():
                writer(kind)(value)
        with each_part_once():
            self.assertRaises(SharedPart, writer(list[Price]), [price, price])  # its notes may change

    def test_not_kept(self) -> None:
        """The line says where, and what to do."""
        plain = _Plain(Bank)
        list(plain.dump())
        plain.object.open("a")
        line = str(self.assertRaises(TypeError, lambda: list(plain.dump())))
        self.assertEqual(
            line,
            "by_owner: Account(balance=0) is at two places of the object: let one of them name the other, by a key say",
        )

    def test_simulated(self) -> None:
        """It is found before it is trusted."""
        found = simulate(Bank, lambda random: Call(Bank.open, str(random.random())), range(1, 4), shrinking=0)
        self.assertIn("Account(balance=0) is at two places of the object", str(found))
