"""Every row of the table of hazards is owed a test, and a test's docstring names its row: `hazard R4`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

TESTS = Path(__file__).parent.parent

EXPECTED = {f"{table}{number}" for table, rows in (("E", 12), ("R", 20), ("C", 9)) for number in range(1, rows + 1)}
"""Elections, replication and commitment, reads and clients. Membership (M) and storage (S) are not complete yet."""

WAITING = {
    "R17": "a follower that needs a compacted entry: there are no snapshots to send yet, so nothing is compacted",
    "C7": "an entry that a snapshot jumped over: the same",
}
"""Rows that cannot be tested yet, and why."""

NAMED = re.compile(r"[Hh]azards? ((?:[A-Z]\d+(?:, | and )?)+)")


def hazards_in(text: str) -> set[str]:
    """The rows that a docstring names."""
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


class HazardTests(SynchronousTestCase):
    def test_every_row_has_a_test(self) -> None:
        """Prints the rows that have none."""
        named = set().union(*map(hazards_in, docstrings_of_tests()))
        self.assertEqual(sorted(EXPECTED - named - set(WAITING)), [])

    def test_what_waits_still_waits(self) -> None:
        """A row that has its test by now is no longer excused."""
        named = set().union(*map(hazards_in, docstrings_of_tests()))
        self.assertEqual(sorted(named & set(WAITING)), [])

    def test_how_rows_are_named(self) -> None:
        """One row, several, and over the end of a line."""
        self.assertEqual(hazards_in("Stays (hazard R4). Hazards E1, E2 and\n    C9: no. R5"), {"R4", "E1", "E2", "C9"})
