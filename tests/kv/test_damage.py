"""What SQLite alone would read, or find only later: the start is refused (hazard S14)."""

from itertools import pairwise
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.kv.applying import delta
from txraft.errors import CorruptLog
from txraft.kv.data_file import DataFile
from txraft.wal import PAGE_SIZE

INTERIOR, LEAF = 2, 10
"""What a page of the b-tree begins with."""


class DamageTests(SynchronousTestCase):
    """A file of many rows, all of the same length."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "kv.sqlite"
        self.old = {b"key-%04d" % number: b"old" * 30 for number in range(2000)}
        self.write(1, self.old)

    def write(self, index: int, values: dict[bytes, bytes]) -> None:
        file = DataFile(self.path, "ours")
        file.load()
        file.prepare()
        file.open()
        file.write(delta(index, values))
        file.close()

    def pages(self) -> list[bytearray]:
        content = self.path.read_bytes()
        return [bytearray(content[start : start + PAGE_SIZE]) for start in range(0, len(content), PAGE_SIZE)]

    def assert_refused(self, pages: list[bytearray], reason: str) -> None:
        self.path.write_bytes(b"".join(pages))
        line = str(self.assertRaises(CorruptLog, DataFile(self.path, "ours").load))
        self.assertIn(reason, line)
        self.assertIn("; move it and the -wal and -shm files beside it elsewhere and start the node again: ", line)
        self.assertNotIn("\n", line)

    def test_pages_of_two_moments(self) -> None:
        """Every row is whole and every key in its place, and some values are older than the applied index says: what a
        checkpoint that was cut off leaves, where a bit of the `-wal` flips then."""
        before = self.pages()
        self.write(2, dict.fromkeys(list(self.old)[50::200], b"new" * 30))
        after = self.pages()
        changed = [number for number, page in enumerate(after) if page[0] == LEAF and page != before[number]]
        self.assertGreater(len(changed), 5)
        for number in changed:
            mixed = [*after[:number], before[number], *after[number + 1 :]]
            self.assert_refused(mixed, "the data and their applied index do not match")

    def test_tables_that_cannot_be_quoted(self) -> None:
        """SQLite quotes the text of a table that it cannot read, and the quotation is no text."""
        pages = self.pages()
        null = pages[0].index(b"NULL")
        pages[0][null + 2] |= 0x80
        self.assert_refused(pages, "its tables are not as they were made")

    def test_forgotten_children(self) -> None:
        """An inner page says that it has half as many children: half of the keys are on pages without a parent."""
        pages = self.pages()
        inner = next(page for page in pages if page[0] == INTERIOR)
        inner[3:5] = (int.from_bytes(inner[3:5]) // 2).to_bytes(2)
        self.assert_refused(pages, "is damaged: ")

    def test_free_page_in_use(self) -> None:
        """All can be read, and a later write would take a page with rows for a free one."""
        pages = self.pages()
        used = next(number for number, page in enumerate(pages, 1) if page[0] == LEAF)
        pages[0][32:40] = used.to_bytes(4) + (1).to_bytes(4)
        self.assert_refused(pages, "is damaged: ")

    def test_out_of_order(self) -> None:
        """Two rows have changed places: a scan finds both, a look-up neither."""
        pages = self.pages()
        leaf = next(page for page in pages if page[0] == LEAF)
        leaf[8:10], leaf[10:12] = leaf[10:12], leaf[8:10]
        self.assert_refused(pages, "order")

    def test_twice(self) -> None:
        """A row stands also where the next one should: a scan finds it twice, and the other one never."""
        pages = self.pages()
        leaf = next(page for page in pages if page[0] == LEAF)
        starts = [int.from_bytes(leaf[at : at + 2]) for at in range(8, 8 + 2 * int.from_bytes(leaf[3:5]), 2)]
        rows = [slice(start, min(end for end in (*starts, PAGE_SIZE) if end > start)) for start in starts]
        row, following = next(two for two in pairwise(rows) if len(leaf[two[0]]) == len(leaf[two[1]]))
        leaf[following] = leaf[row]
        self.assert_refused(pages, " is out of order")
