"""The table of hazards, `hazards.md`: each row has a test whose docstring names it, as in `(hazard R4)`."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

TABLE = Path(__file__).parent / "hazards.md"
TESTS = Path(__file__).parent.parent
SOURCES = (TESTS, TESTS.parent / "txraft")

NAMED = re.compile(r"[Hh]azards? ((?:[A-Z]\d+(?:, | and )?)+)")


def rows() -> list[str]:
    """The rows of the table, in its order."""
    return re.findall(r"^\| ([A-Z]\d+) \|", TABLE.read_text(), re.MULTILINE)


def hazards_in(text: str) -> set[str]:
    """The rows that a text names."""
    return {row for match in NAMED.finditer(" ".join(text.split())) for row in re.findall(r"[A-Z]\d+", match[1])}


def docstrings_of_tests() -> Iterator[str]:
    """Those of test methods and functions, and of the classes and modules that they are in. The tests of the judges of
    `txraft.testing` do not count: they test no Raft."""
    for path in sorted(TESTS.rglob("test_*.py")):
        if path == Path(__file__) or path.parent == TESTS / "testing":
            continue
        module = ast.parse(path.read_text())
        for node in [module, *ast.walk(module)]:
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


@cache
def tested() -> frozenset[str]:
    """The rows that have a test."""
    return frozenset().union(*map(hazards_in, docstrings_of_tests()))


class HazardTests(SynchronousTestCase):
    def test_every_row_has_a_test(self) -> None:
        """Shows the rows that have none."""
        self.assertEqual([row for row in rows() if row not in tested()], [])

    def test_only_rows_are_named(self) -> None:
        """Shows what the sources, comments included, name and the table does not have."""
        paths = [path for folder in SOURCES for path in folder.rglob("*.py")]
        named = {row: path for path in paths for row in hazards_in(path.read_text())}
        self.assertEqual({row: path for row, path in named.items() if row not in rows()}, {})

    def test_each_row_is_whole(self) -> None:
        """A number used once, a scenario, and a rule."""
        lines = [line for line in TABLE.read_text().splitlines() if re.match(r"\| [A-Z]\d", line)]
        self.assertEqual([line for line in lines if not re.fullmatch(r"\| [A-Z]\d+ \|( [^|]+ \|){2}", line)], [])
        self.assertEqual(len(set(rows())), len(lines))
        self.assertEqual({row[0] for row in rows()}, set("ERMSCN"))

    def test_how_rows_are_named(self) -> None:
        """One row, several, and over the end of a line."""
        self.assertEqual(hazards_in("Stays (hazard R4). Hazards E1, E2 and\n    C9: no. R5"), {"R4", "E1", "E2", "C9"})
