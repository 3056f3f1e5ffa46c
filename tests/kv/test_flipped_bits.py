"""One bit flips in the files of a node that does not run: the start is refused, or everything is right for ever after.

FLIPS and FLIP_SEED in the environment try more of them, or others.
"""

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txraft import wal
from txraft.errors import StorageError
from txraft.kv.data_file import DataFile

FLIPS = int(os.environ.get("FLIPS", "60"))
SEED = int(os.environ.get("FLIP_SEED", "1"))

Changes = dict[bytes, bytes | None]
Values = dict[bytes, bytes]


def history(chance: random.Random) -> list[Changes]:
    """What a few batches change: values of all lengths, on one page or on several, and removals."""
    keys = [b"key-%d" % number for number in range(120)]
    return [
        {
            key: None if chance.random() < 0.2 else chance.randbytes(chance.choice((0, 9, 300, 2000, 9000)))
            for key in chance.sample(keys, 40)
        }
        for _ in range(12)
    ]


def states(batches: list[Changes]) -> list[Values]:
    """The values after each number of batches."""
    found: list[Values] = [{}]
    for changes in batches:
        values = {**found[-1], **changes}
        found.append({key: value for key, value in values.items() if value is not None})
    return found


class FlippedBitTests(SynchronousTestCase):
    """Hazard S14; of the `-wal`, S15. What is older than it was is right: the log has the rest."""

    def setUp(self) -> None:
        self.chance = random.Random(SEED)
        self.batches = history(self.chance)
        self.states = states(self.batches)
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        connect = wal.connect

        def connect_quickly(path: Path, _: object) -> sqlite3.Connection:
            """It is not the machine that loses its power."""
            connection = connect(path, "NORMAL")
            connection.execute("PRAGMA synchronous = OFF")
            return connection

        self.patch(wal, "connect", connect_quickly)

    def directories(self) -> Iterator[Path]:
        """As a clean stop leaves it; as a kill does, with all that followed the last checkpoint in the `-wal`; and as a
        kill in the middle of a checkpoint does."""
        path = self.directory / "kv.sqlite"
        file = DataFile(path, "ours")
        file.load()
        file.open()
        for index, changes in enumerate(self.batches[:4], 1):
            file.write(index, changes)
        connection = file._connection
        assert connection is not None
        wal.checkpoint(connection, "TRUNCATE")
        before = path.read_bytes()
        for index, changes in enumerate(self.batches[4:8], 5):
            file.write(index, changes)
        yield self.copy()
        killed = self.copy()
        wal.checkpoint(connection)
        after = path.read_bytes()
        pages = [
            (after if self.chance.random() < 0.5 else before)[start : start + wal.PAGE_SIZE]
            or bytes(wal.PAGE_SIZE)  # the file has grown, and not to its end
            for start in range(0, len(after), wal.PAGE_SIZE)
        ]
        (killed / "kv.sqlite").write_bytes(b"".join(pages))
        yield killed
        file.close()
        yield self.copy()

    def copy(self, directory: Path | None = None) -> Path:
        copy = Path(self.mktemp())
        shutil.copytree(directory or self.directory, copy)
        return copy

    def test_flips(self) -> None:
        """Anywhere in any file."""
        refused = 0
        for directory in self.directories():
            self.assertEqual(self.start(self.copy(directory)), 8)
            files = sorted(directory.iterdir())
            sizes = [file.stat().st_size for file in files]
            for _ in range(FLIPS // 3):
                flipped = self.copy(directory)
                file = flipped / self.chance.choices(files, sizes)[0].name
                content = bytearray(file.read_bytes())
                byte, bit = self.chance.randrange(len(content)), self.chance.randrange(8)
                content[byte] ^= 1 << bit
                file.write_bytes(content)
                with self.subTest(seed=SEED, directory=directory, file=file.name, byte=byte, bit=bit):
                    try:
                        self.start(flipped)
                    except StorageError as error:
                        self.assertNotIn("\n", str(error))
                        refused += 1
                shutil.rmtree(flipped)
        self.assertGreater(refused, FLIPS // 3)

    def start(self, directory: Path) -> int:
        """Start, go on from there to the end of the history, and start again. Gives the index that was found.

        Raises StorageError where the first start is refused."""
        path = directory / "kv.sqlite"
        file = DataFile(path, "ours")
        found, values = file.load()
        self.assertEqual(values, self.states[found])
        file.open()
        for index, changes in enumerate(self.batches[found:], found + 1):
            file.write(index, changes)
        file.close()
        self.assertEqual(DataFile(path, "ours").load(), (len(self.batches), self.states[-1]))
        return found
