"""What travels, how it comes, and what is refused when a class is read."""

import enum
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Generic, Literal, NamedTuple, NewType, TypeVar, cast
from uuid import UUID

from attrs import define, field, frozen
from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import BadCommand
from txraft.objects import command
from txraft.objects.commands import Commands
from txraft.objects.encoding import CONVERTER, pack, unpack
from txraft.objects.writing import writer


class Colour(enum.Flag):
    RED = 1
    BLUE = 2


class Somewhere(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        """By what holds there today."""
        return timedelta(hours=1)

    def dst(self, _: datetime | None) -> None:
        """As tzinfo."""

    def tzname(self, _: datetime | None) -> None:
        """As tzinfo."""


class Weight(float, enum.Enum):
    LIGHT = 0.5


class Empty(enum.Flag):
    NOTHING = 0


class Odd(enum.Enum):
    ONE = (1, 2)


@frozen
class Point:
    x: float


@frozen
class Place:
    x: float


@frozen
class Point3(Point):
    z: float = 0.0


@frozen
class Note:
    text: str


@define
class Tree:
    number: int
    below: "list[Tree]" = field(factory=list)


@define
class Computed:
    number: int
    twice: int = field(init=False, default=0)


@define
class Priced:
    price: complex


T = TypeVar("T")


@define
class Box(Generic[T]):
    content: T


class Pair(NamedTuple):
    one: int
    other: int


Name = NewType("Name", str)

TRAVEL: list[tuple[Any, list[Any]]] = [
    (UUID, [UUID(int=5)]),
    (Decimal, [Decimal("1.50"), Decimal("-0"), Decimal("1E+30")]),
    (timedelta, [timedelta(1, 2, 3), -timedelta(3, 4, 5), timedelta.max, timedelta.min]),
    (time, [time(1, 2, 3, 4), time(5, tzinfo=UTC)]),
    (dict[UUID, Decimal | None], [{UUID(int=1): Decimal(2), UUID(int=2): None}]),
    (dict[tuple[int, str], list[Point]], [{(1, "a"): [Point(1.0)]}]),
    (dict[Name, frozenset[int | None]], [{Name("a"): frozenset({1, None})}]),
    (Literal[1, "a"] | None, [1, "a", None]),
    (Colour, [Colour.RED, Colour.RED | Colour.BLUE]),
    (date | int | None, [date(2026, 3, 29), 5, None]),
    (int | float | bool, [1, 1.0, True]),
    (float | int | None, [1, 1.0, None]),
    (Weight | str, [Weight.LIGHT, "a"]),
    (dict[Weight, int], [{Weight.LIGHT: 1}]),
    (Colour, [Colour(0)]),
    (Empty, [Empty.NOTHING]),
    (datetime, [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, tzinfo=timezone(timedelta(hours=1)))]),
    (Point | Note | str, [Point(1.0), Note("a"), "a"]),
    (list[int], [[], [2**64, -(2**63) - 1, 5], [2**64 - 1, -(2**63)]]),
    (dict[int, str], [{}, {2**64: "a", 1: "b"}, {2**64 - 1: ""}]),
    (Tree, [Tree(1, [Tree(2, [Tree(3)])])]),
    (dict[tuple[tuple[int, ...], str], int], [{((1, 2), "a"): 1, ((), "b"): 2}]),
    (set[frozenset[int] | str], [{frozenset({1}), "a"}]),
    (set[tuple[int, Point]], [{(1, Point(1.0)), (2, Point(0.0))}]),
]


class WritingTests(SynchronousTestCase):
    def test_comes_as_it_was_given(self) -> None:
        """In value and in class."""
        for kind, values in TRAVEL:
            for value in values:
                come = CONVERTER.structure(unpack(pack(writer(kind)(value))), kind)
                self.assertEqual((come, repr(come)), (value, repr(value)))

    def test_not_as_annotated(self) -> None:
        """cattrs would make another value of each of these: it is refused, however deep it is."""
        values: list[tuple[Any, Any]] = [
            (list[int], [1, "a"]),
            (list[str], "ab"),
            (list[int], (1, 2)),
            (list[int], {1: 2}),
            (set[int], [1]),
            (tuple[int, str], (1,)),
            (tuple[int, ...], Pair(1, 2)),
            (dict[str, int], defaultdict(int)),
            (dict[str, int], OrderedDict(a=1)),
            (dict[int, int], {True: 1}),
            (dict[int, int], {1: 2, 3: "4"}),
            (Point, Place(1.0)),
            (Point, Point3(1.0)),
            (list[Point | None], [Place(1.0)]),
            (Tree, Tree(1, [Tree(2, ["x"])])),  # type: ignore[list-item]  # that is what is wrong
            (date, datetime(2026, 3, 29)),
            (Literal[1], True),
            (int, True),
            (Colour, 1),
            (datetime, datetime(2026, 3, 29, tzinfo=Somewhere())),  # of which an hour would come
            (time, time(5, tzinfo=Somewhere())),
        ]
        for kind, value in values:
            self.assertRaises(TypeError, writer(kind), value)

    def test_other_names_of_types(self) -> None:
        """As `type Number = int` of Python 3.12 makes one, and NewType."""

        class TypeAliasType:
            __value__ = int

        for kind in (TypeAliasType(), NewType("Number", int)):
            self.assertEqual(writer(kind)(5), 5)
            self.assertRaises(TypeError, writer(kind), "5")

    def test_does_not_travel(self) -> None:
        """The line says what, and what to use instead."""
        kinds: list[tuple[Any, str]] = [
            (complex, "complex does not travel: use numbers, texts, "),
            (Callable[[], int], "Callable[[], int] does not travel: use "),
            (Pair, "Pair does not travel: use "),
            (Sequence[int], "Sequence[int] does not travel: use "),
            (Any, "Any does not travel: say what it is, int | str for instance"),
            (list, "list does not travel: say of what, list[int] for instance"),
            (dict, "dict does not travel: say of what, dict[str, int] for instance"),
            (list[tuple[int, complex]], "complex does not travel: "),
            (Odd, "Odd does not travel: make its values numbers or texts"),
            (Priced | None, "Priced.price: complex does not travel: "),
            (Computed, "Computed.twice is no argument of its class, and would be lost: make it one"),
            (dict[Point, int], "Point does not travel as the key of a dict: use texts, numbers, and tuples of such"),
            (
                dict[tuple[tuple[list[int]], int], int],
                "does not travel as the key of a dict: use texts, numbers, and tuples of such",
            ),
            (
                dict[tuple[Point, int], int],
                "does not travel as the key of a dict: use texts, numbers, and tuples of such",
            ),
            (set[list[int]], "list[int] cannot be in a set: use a tuple, a frozenset or a @frozen class"),
            (list[frozenset[tuple[int, set[int]]]], "set[int] cannot be in a set: use "),
            (dict[str, set[int | dict[str, int]]], "dict[str, int] cannot be in a set: use "),
            (set[frozenset[Tree] | None], "Tree cannot be in a set: use "),
            (date | str, "does not travel, for date and str look the same"),
            (timedelta | int, "does not travel, for timedelta and int look the same"),
            (list[int] | set[int], "look the same"),
            (Box, "Box.content: ~T does not travel: use "),
            (Point | Place, "does not travel: TypeError: "),
            (Point | Place | None, "does not travel: TypeError: "),
            (Point | list[int] | str, "beside numbers, texts, bytes and None, use one other, or attrs classes alone"),
            (float | timedelta, "does not travel, for float and timedelta look the same"),
            (float | Colour, "does not travel, for float and Colour look the same"),
            (Literal[Colour.RED, 1], "does not travel, for two of it look the same"),
            (
                dict[tuple[Point, int], int],
                "Point does not travel as the key of a dict: use texts, numbers, and tuples",
            ),
            (dict[tuple[frozenset[int], ...], int], "frozenset[int] does not travel as the key of a dict: use texts"),
            (cast(Any, dict)[str], "dict[str] does not travel: say of what, dict[str, int] for instance"),
            (cast(Any, list)[int, str], "list[int, str] does not travel: say of what, list[int] for instance"),
            (tuple[()], "tuple[()] does not travel: say of what, tuple[int, ...] for instance"),
        ]
        for kind, line in kinds:
            self.assertIn(line, str(self.assertRaises(TypeError, writer, kind)))


class ClassTests(SynchronousTestCase):
    """It is found out when the class is read, and the line says where."""

    def refused(self, kind: type) -> str:
        return str(self.assertRaises(TypeError, Commands, kind))

    def test_fields(self) -> None:
        @define
        class Shop:
            price: complex = 0j

        @define(slots=False)
        class Bare:
            price = field(default=1)  # type: ignore[var-annotated]  # that is what is refused

        @define
        class Unread:
            price: "Money" = 0  # type: ignore[name-defined]  # noqa: F821 - that is what is refused

        self.assertIn("Shop.price: complex does not travel: use numbers, ", self.refused(Shop))
        self.assertEqual(self.refused(Bare), "Bare has no annotation for price: say what is in it")
        self.assertIn(
            "Unread: an annotation cannot be read: NameError: name 'Money' is not defined", self.refused(Unread)
        )

    def test_arguments_and_results(self) -> None:
        @define
        class Shop:
            @command
            def sell(self, price: list[complex]) -> None:
                """One."""

        @define
        class Asked:
            @command
            def ask(self) -> Any:
                """Anything."""

        line = "Shop.sell is a command, and price cannot be so annotated: complex does not travel: use numbers, "
        self.assertIn(line, self.refused(Shop))
        line = "Asked.ask is a command, and its result cannot be so annotated: Any does not travel: say what it is"
        self.assertIn(line, self.refused(Asked))

    def test_unread_arguments(self) -> None:
        @define
        class Shop:
            @command
            def sell(self, price: "Money") -> None:  # type: ignore[name-defined]  # noqa: F821 - that is what is refused
                """One."""

        @define
        class Other:
            @command
            def sell(self, price: "enum.Money") -> None:  # type: ignore[name-defined]  # that is what is refused
                """One."""

        self.assertIn("sell: an annotation cannot be read: NameError: name 'Money' is not defined", self.refused(Shop))
        self.assertIn("sell: an annotation cannot be read: AttributeError: module 'enum' has no", self.refused(Other))


@define
class Lists:
    @command
    def total(self, numbers: list[int]) -> list[int]:
        """Not what it says."""
        return tuple(numbers)  # type: ignore[return-value]  # that is what is wrong


def in_pence(pounds: int) -> int:
    return 100 * pounds


@define
class Price:
    """Comes in pounds, and is kept in pence."""

    amount: int = field(converter=in_pence)


@define
class Till:
    @command
    def pay(self, price: Price) -> None:
        """Nothing."""


class CallTests(SynchronousTestCase):
    def test_nested_values(self) -> None:
        """They never come into the log."""
        total = Commands(Lists).of(Lists.total)
        for wrong in (["a"], "12", (1, 2), [True], [None]):
            line = str(self.assertRaises(BadCommand, total.encode, (wrong,), {}))
            self.assertIn(f"Lists.total: numbers cannot be {wrong!r}: TypeError: ", line)

    def test_classes_that_change_what_they_are_given(self) -> None:
        """It is said where it is called that something else would arrive."""
        line = str(self.assertRaises(BadCommand, Commands(Till).of(Till.pay).encode, (Price(3),), {}))
        self.assertEqual(
            line, "Till.pay: price cannot be Price(amount=300): TypeError: it would arrive as Price(amount=30000)"
        )

    def test_numbers_of_many_digits(self) -> None:
        """Python refuses to write them, also into a line: they travel where they may, and are told where not."""
        number, kind = 10**5000, cast(Any, str | int)
        self.assertEqual(CONVERTER.structure(unpack(pack(writer(kind)(number))), kind), number)
        line = str(self.assertRaises(BadCommand, Commands(Lists).of(Lists.total).encode, (number,), {}))
        self.assertEqual(line, "Lists.total: numbers cannot be <int>: TypeError: <int> is of the class int, not list")

    def test_results(self) -> None:
        """What a command gives that it should not is its failure, on every server alike."""
        commands = Commands(Lists)
        found, arguments = commands.decode(commands.of(Lists.total).encode(([1],), {}))
        line = str(self.assertRaises(TypeError, found.apply, Lists(), arguments))
        self.assertEqual(line, "Lists.total cannot return (1,): TypeError: (1,) is of the class tuple, not list")
