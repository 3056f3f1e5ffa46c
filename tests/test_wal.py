"""Whether SQLite takes anything from a `-wal`: it is asked itself."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from txraft import wal
from txraft.wal_frames import has_transaction

SEED = int(os.environ.get("WAL_SEED", "10"))


class TransactionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.wal = Path(f"{self.path}-wal")
        self.random = Random(SEED)

    def contents(self, page_size: int) -> Iterator[tuple[bytes, bytes]]:
        """Files, and their `-wal` in the middle of their lives: one transaction and several, of one page and of many,
        and what is left behind them of an earlier use."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {page_size}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("CREATE TABLE t (x)")
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            for size in (10, 5 * page_size, 20 * page_size):
                connection.execute("INSERT INTO t VALUES (?)", (self.random.randbytes(size),))
                yield self.path.read_bytes(), self.wal.read_bytes()
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            connection.execute("INSERT INTO t VALUES (1)")
            yield self.path.read_bytes(), self.wal.read_bytes()
        self.path.unlink()

    def frames(self, file: bytes, content: bytes) -> int:
        """How many SQLite finds, which keeps none of all this."""
        path = Path(self.mktemp())
        path.write_bytes(file)
        Path(f"{path}-wal").write_bytes(content)
        with closing(sqlite3.connect(path)) as connection:
            ((_, frames, _),) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return int(frames)

    def damaged(self, content: bytes, page_size: int) -> Iterator[bytes]:
        yield content
        for cut in (0, 1, 31, 32, 55, 56, 56 + page_size - 1, 56 + page_size, self.random.randrange(len(content))):
            yield content[:cut]
        header = range(56)
        for place in [*header, *(self.random.randrange(min(len(content), 8 * page_size)) for _ in range(20))]:
            yield content[:place] + bytes([content[place] ^ 1 << self.random.randrange(8)]) + content[place + 1 :]

    def test_like_sqlite(self) -> None:
        """For every header that is damaged, and for frames that are; where nothing counts, it is not there or is left
        alone by those who look into it."""
        found = set()
        for page_size in (512, 4096, 65536):
            for file, whole in self.contents(page_size):
                for content in self.damaged(whole, page_size):
                    path = Path(self.mktemp())
                    path.write_bytes(content)
                    has_one = self.frames(file, content) > 0
                    self.assertEqual(has_transaction(path), has_one, f"WAL_SEED={SEED}")
                    found.add(has_one)
        self.assertEqual(found, {True, False})
        self.assertFalse(has_transaction(Path(self.mktemp())))

    def test_empty_file(self) -> None:
        """SQLite would remove the `-wal` of a file with nothing in it."""
        (_, content), *_ = self.contents(4096)
        for file in (b"", b"x"):
            self.path.write_bytes(file)
            self.wal.write_bytes(content)
            wal.connect_to_inspect(self.path).close()
            with closing(wal.connect_to_inspect(self.path)) as connection, self.assertRaises(sqlite3.Error):
                connection.execute("SELECT * FROM t")
            self.assertEqual((self.path.read_bytes(), self.wal.read_bytes()), (file, content))
