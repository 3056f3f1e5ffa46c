"""What may be a command, what it takes, and how it is written into the log."""

import enum
from datetime import UTC, date, datetime
from typing import Any

import msgpack  # type: ignore[import-untyped]  # msgpack has no annotations
from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import BadCommand, UnknownCommand
from txraft.objects import command
from txraft.objects.commands import Commands
from txraft.objects.encoding import unpack


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@frozen
class Point:
    x: float
    y: float = 0.0


@define
class Board:
    """Of points."""

    points: dict[str, Point] = field(factory=dict)

    @command
    def put(
        self, name: str, point: Point, colours: frozenset[Colour] = frozenset(), *, note: bytes | None = None
    ) -> int:
        """Put one there."""
        self.points[name] = point
        return len(self.points) + len(colours) + len(note or b"")

    @command(name="sum", version=2)
    def total(self, numbers: list[int]) -> tuple[int, set[str]]:
        """Of numbers, and what they are written as."""
        return sum(numbers), {str(number) for number in numbers}

    @command(name="sum")
    def total_as_before(self, numbers: list[int]) -> int:
        """Without that."""
        return sum(numbers)

    def count(self) -> int:
        """A read."""
        return len(self.points)


@define
class Wide:
    """What some encodings have not."""

    by_place: dict[tuple[int, int], int] = field(factory=dict)

    @command
    def double(self, place: tuple[int, int], start: int) -> None:
        """Gives nothing."""
        self.by_place[place] = 2 * self.by_place.get(place, start)

    @command
    def read(self) -> dict[tuple[int, int], int]:
        """All of them."""
        return self.by_place


@define
class Echo:
    @command
    def echo(self, texts: set[str]) -> set[str]:
        """The same."""
        return texts


class Size(enum.IntEnum):
    SMALL = 1


class Kind(enum.StrEnum):
    SQUARE = "square"


@define
class Several:
    @command
    def give(self, size: Size, kind: Kind | None, day: date, at: datetime) -> tuple[Size, Kind | None, date, datetime]:
        """The same."""
        return size, kind, day, at


@define
class Chain:
    below: "Chain | None" = None


@define
class Chains:
    @command
    def take(self, chain: Chain) -> int:
        """Gives how long it is."""
        return 1 + (0 if chain.below is None else self.take(chain.below))


COMMANDS = Commands(Board)


class CommandTests(SynchronousTestCase):
    def done(self, board: Board, method: Any, *args: Any, **kwargs: Any) -> Any:
        """What comes of a command on the whole way."""
        call = COMMANDS.of(method)
        found, arguments = COMMANDS.decode(call.encode(args, kwargs))
        self.assertIs(found, call)
        return call.result_of(found.apply(board, arguments))

    def test_called(self) -> None:
        """By place and by name, with values of every kind, and defaults."""
        board = Board()
        self.assertEqual(self.done(board, Board.put, "a", Point(1)), 1)
        all_given = {"point": Point(1.5, 2), "colours": frozenset(Colour), "note": b"\xff"}
        self.assertEqual(self.done(board, Board.put, "b", **all_given), 5)
        self.assertEqual(board.points, {"a": Point(1.0), "b": Point(1.5, 2.0)})
        self.assertEqual(self.done(board, Board.total, [1, 2]), (3, {"1", "2"}))

    def test_defaults_are_in_the_log(self) -> None:
        """One that changes later changes nothing of what was asked for before."""
        data = COMMANDS.of(Board.put).encode(("a", Point(1)), {})
        written = ["put", 1, {"name": "a", "point": {"x": 1, "y": 0.0}, "colours": [], "note": None}]
        self.assertEqual(msgpack.unpackb(data), written)

    def test_versions(self) -> None:
        """They are told apart."""
        self.assertEqual(self.done(Board(), Board.total_as_before, [1, 2]), 3)
        both = (Board.total, Board.total_as_before)
        names = [msgpack.unpackb(COMMANDS.of(each).encode(([],), {}))[:2] for each in both]
        self.assertEqual(names, [["sum", 2], ["sum", 1]])

    @given(st.sets(st.text()))
    def test_sets_have_one_order(self, texts: set[str]) -> None:
        """Results are the same in every process."""
        its = Commands(Echo)
        _, arguments = its.decode(its.of(Echo.echo).encode((texts,), {}))
        results = msgpack.unpackb(its.of(Echo.echo).apply(Echo(), arguments))
        self.assertEqual(results, sorted(texts, key=msgpack.packb))

    def test_numbers_of_any_length(self) -> None:
        """Python has them, so they come about; also as keys, and in tuples that are keys, and beside no result."""
        its, wide = Commands(Wide), Wide()

        def done(method: Any, *args: Any) -> Any:
            call = its.of(method)
            found, arguments = its.decode(call.encode(args, {}))
            return call.result_of(found.apply(wide, arguments))

        edges = [0, 2**63, 2**64 - 1, 2**64, 3**200, -(2**63), -(2**63) - 1, -(2**64), -(3**200)]
        for number in edges:
            self.assertIsNone(done(Wide.double, (number, 1), number))
        self.assertEqual(done(Wide.read), {(number, 1): 2 * number for number in edges})
        self.assertRaises(ValueError, unpack, msgpack.packb(msgpack.ExtType(2, b"")))

    def test_enumerations_and_dates(self) -> None:
        """Enumerations that are numbers or texts too, and times with a time zone and without: they come as they were
        given, whatever time zone a server is in."""
        its, now = Commands(Several), datetime(2026, 3, 29, 2, 30, 0, 1)
        for kind, at in ((Kind.SQUARE, now), (None, now.replace(tzinfo=UTC))):
            call = its.of(Several.give)
            _, arguments = its.decode(call.encode((Size.SMALL, kind, now.date(), at), {}))
            result = call.result_of(call.apply(Several(), arguments))
            self.assertEqual(result, (Size.SMALL, kind, now.date(), at))
            self.assertEqual([*map(type, result)], [Size, type(kind), date, datetime])

    def test_what_makes_no_sense(self) -> None:
        """It is refused where it is called, in a line that says which argument, and what it is."""
        put = COMMANDS.of(Board.put)
        for args, kwargs, line in (
            ((), {}, "Board.put: missing a required argument: 'name'"),
            (("a", Point(1), frozenset(), b""), {}, "Board.put: too many positional arguments"),
            (("a", Point(1)), {"more": 1}, "Board.put: got an unexpected keyword argument 'more'"),
            ((1, Point(1)), {}, "Board.put: name cannot be 1: TypeError: 1 is of the class int, not str"),
            (("a", "b"), {}, "Board.put: point cannot be 'b': "),
            (("a", Point(1)), {"note": "text"}, "Board.put: note cannot be 'text': "),
            ((True, Point(1)), {}, "Board.put: name cannot be True: TypeError: True is of the class bool, not str"),
            (("a", Point(True)), {}, "Board.put: point cannot be Point(x=True"),
            (("\ud800", Point(1)), {}, "Board.put: name cannot be '\\ud800': UnicodeEncodeError"),
        ):
            self.assertIn(line, str(self.assertRaises(BadCommand, put.encode, args, kwargs)))

    def test_nested_deep(self) -> None:
        """A stack is not as high everywhere. What is taken into the log, every server has to be able to read, however
        much of its own stack is in use: each would end on it, at every start (hazard C10)."""
        its, deepest = Commands(Chains), Chain()
        take = its.of(Chains.take)
        for _ in range(99):
            deepest = Chain(deepest)
        line = str(self.assertRaises(BadCommand, take.encode, (Chain(deepest),), {}))
        self.assertTrue(line.endswith(": ValueError: it is nested deeper than 100 levels"), line)
        _, values = its.decode(take.encode((deepest,), {}))
        take.check(values)
        self.assertRaises(UnknownCommand, take.check, {"chain": {"below": values["chain"]}})

        def further_down(calls: int) -> object:
            return further_down(calls - 1) if calls else take.result_of(take.apply(Chains(), values))

        self.assertEqual(further_down(300), 100)

    def test_no_commands(self) -> None:
        """Reads, functions, and commands of another class."""

        @define
        class Other:
            @command
            def put(self, name: str) -> None:
                """Another one."""

        for method in (Board.count, len, Other.put):
            line = str(self.assertRaises(BadCommand, COMMANDS.of, method))
            self.assertIn("is no command of this object: mark it with @command, or use `query` to read", line)
        line = str(self.assertRaises(BadCommand, COMMANDS.of, Board().put))
        self.assertEqual(line, "Board.put is given of one object: give that of the class")

    def test_of_a_later_version(self) -> None:
        """Names, versions and arguments that this program does not know, and what is no command at all."""
        for written in (["put", 2, {}], ["move", 1, {}], ["put", 1], "put", 7, [["put"], 1, {}], ["put", 1, 5]):
            line = str(self.assertRaises(UnknownCommand, COMMANDS.decode, msgpack.packb(written)))
            self.assertIn("which this program does not know; if other nodes run a later one, install it here", line)
            self.assertTrue(line.endswith("put the earlier one back beside it, and give the new one a version"), line)
        for data in (b"", b"\xc1", b"add"):
            self.assertRaises(UnknownCommand, COMMANDS.decode, data)
        for arguments in ({}, {1: [1]}, {"numbers": [1], "more": 1}, {"numbers": ["1"]}, {"numbers": 1}):
            found, values = COMMANDS.decode(msgpack.packb(["sum", 1, arguments]))
            self.assertRaises(UnknownCommand, found.apply, Board(), values)


class ClassTests(SynchronousTestCase):
    """What is wrong with a class shows before anything is replicated."""

    def refused(self, kind: type) -> str:
        return str(self.assertRaises(TypeError, Commands, kind))

    def test_no_attrs_class(self) -> None:
        class Plain:
            """Its fields are not known."""

        line = "Plain is no attrs class: mark it with @define, so that its fields are known"
        self.assertEqual(self.refused(Plain), line)

    def test_twice(self) -> None:
        @define
        class Twice:
            @command
            def one(self) -> None:
                """This,"""

            @command(name="one")
            def other(self) -> None:
                """or that."""

        self.assertIn("are one command: give one another name or version", self.refused(Twice))

    def test_in_place_of_a_command(self) -> None:
        """A subclass does not make a read of a command, which the log may have."""

        @define
        class Later(Echo):
            def echo(self, texts: set[str]) -> set[str]:
                """Another."""
                return texts - {""}

        self.assertIn("Later.echo takes the place of a command, so mark it with @command, too", self.refused(Later))

    def test_marks(self) -> None:
        """What is marked, and how."""
        mark: Any = command

        def one(self: object) -> None:
            """Nothing."""

        marked: Any
        wrapped: Any
        for marked in ("one", property(one), staticmethod(one), classmethod(one), Echo):
            line = str(self.assertRaises(TypeError, mark, marked))
            self.assertIn("@command stands right above the `def` of a method, and takes names: not ", line)
        for name, version in (("", 1), (5, 1), ("one", 0), ("one", "2"), ("one", True)):
            line = str(self.assertRaises(TypeError, mark, name=name, version=version))
            self.assertIn("@command takes a text as name and a number from 1 on as version, not ", line)

        for wrapped in (staticmethod(mark(one)), classmethod(mark(one))):
            kind = define(type("Wrapped", (), {"one": wrapped}))
            self.assertIn("one is a command, which is a method of the object: it takes `self`", self.refused(kind))

    def test_without_annotations(self) -> None:
        @define
        class Bare:
            @command
            def one(self, more, less: int):  # type: ignore[no-untyped-def]  # that is what is refused
                """It is not known what these are."""

        self.assertIn("one is a command, and has no annotation for more, return", self.refused(Bare))

    def test_without_names(self) -> None:
        @define
        class Many:
            @command
            def one(self, *more: int) -> None:
                """How many?"""

        self.assertIn("one is a command: its arguments have names, and *more: int has none", self.refused(Many))

    def test_async(self) -> None:
        @define
        class Later:
            @command
            async def one(self) -> None:
                """When?"""

        self.assertIn("it cannot be async, or yield", self.refused(Later))
