"""One bit flips in the files of a node that does not run: the start is refused, or everything is right for ever after.

FLIPS and FLIP_SEED in the environment try more of them, or others.
"""

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txraft import wal
from txraft.errors import StorageError
from txraft.kv import answers as answers_module
from txraft.kv.answers import Answers
from txraft.kv.contents import Contents, Delta
from txraft.kv.data_file import DataFile

FLIPS = int(os.environ.get("FLIPS", "60"))
SEED = int(os.environ.get("FLIP_SEED", "1"))

State = tuple[int, int, dict[bytes, bytes], Answers]


def history(chance: random.Random) -> list[Delta]:
    """What a few batches change: records of all lengths, on one page or on several, removals, and answers."""
    keys = [b"key-%d" % number for number in range(120)]
    answers = Answers()
    return [
        Delta(
            index,
            {
                key: None if chance.random() < 0.2 else chance.randbytes(chance.choice((0, 9, 300, 2000, 9000)))
                for key in chance.sample(keys, 40)
            },
            chance.randrange(2**40),
            [answers.keep(chance.randbytes(20), chance.randbytes(chance.choice((17, 300)))) for _ in range(20)],
        )
        for index in range(1, 13)
    ]


def state_of(contents: Contents) -> State:
    return contents.last_applied, contents.revision, dict(contents.records), deepcopy(contents.answers)


def states(batches: list[Delta]) -> list[State]:
    """All that is there after each number of batches."""
    contents = Contents()
    found = [state_of(contents)]
    for batch in batches:
        contents.take(batch)
        found.append(state_of(contents))
    return found


class FlippedBitTests(SynchronousTestCase):
    """Hazard S14; of the `-wal`, S15. What is older than it was is right: the log has the rest."""

    def setUp(self) -> None:
        self.patch(answers_module, "MAX_ANSWERS", 60)
        self.chance = random.Random(SEED)
        self.batches = history(self.chance)
        self.states = states(self.batches)
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        connect = wal.connect

        def connect_quickly(path: Path, _: object, shrinks: bool = False) -> sqlite3.Connection:
            """It is not the machine that loses its power."""
            connection = connect(path, "NORMAL", shrinks)
            connection.execute("PRAGMA synchronous = OFF")
            return connection

        self.patch(wal, "connect", connect_quickly)

    def directories(self) -> Iterator[Path]:
        """As a clean stop leaves it; as a kill does, with all that followed the last checkpoint in the `-wal`; and as a
        kill in the middle of a checkpoint does."""
        path = self.directory / "kv.sqlite"
        file = DataFile(path, "ours")
        file.load()
        file.prepare()
        file.open()
        for batch in self.batches[:4]:
            file.write(batch)
        connection = file._connection
        assert connection is not None
        wal.checkpoint(connection, "TRUNCATE")
        before = path.read_bytes()
        for batch in self.batches[4:8]:
            file.write(batch)
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
        contents = file.load()
        found = contents.last_applied
        self.assertEqual(state_of(contents), self.states[found])
        file.prepare()
        file.open()
        for batch in self.batches[found:]:
            file.write(batch)
        file.close()
        self.assertEqual(state_of(DataFile(path, "ours").load()), self.states[-1])
        return found
