"""The power is cut again and again while data are written: what `persist` has promised is there (hazard S3)."""

import os
import shutil
import sqlite3
from itertools import count
from pathlib import Path
from random import Random

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.kv.applying import delta, index_and_records
from tests.storage.power import WAL_HEADER, mixture
from txraft import wal
from txraft.kv.data_file import DataFile
from txraft.testing.quick_disk import quick_directory

Values = dict[bytes, bytes]
Files = tuple[bytes, bytes]
"""The file and its `-wal`."""


@define(eq=False)
class PowerCuts:
    """Write under the path `directory`, persist, checkpoint, and lose power all the time. Now and then another
    connection reads, and no checkpoint is complete meanwhile."""

    directory: Path
    random: Random
    cuts: int = 0
    behind: int = 0
    """Cuts that took something away."""
    read: int = 0
    """Times that `persist` had to do without a complete checkpoint."""
    _synchronous: str = ""
    _was_synced: bool = False
    _states: list[Values] = field(factory=lambda: [{}])
    _numbers: "count[int]" = field(factory=count)

    def run(self, lives: int) -> None:
        """Raises AssertionError where what is found is not what was written up to the index that is found."""
        path = self._place((b"", b""))
        DataFile(path, "ours").prepare()
        image = _read(path)
        for _ in range(lives):
            image = self._live(image)

    def _live(self, image: Files) -> Files:
        """Start, take some steps, and lose power in each. Gives what the last cut leaves."""
        path = self._place(image)
        file = DataFile(path, "ours")
        index = file.load().last_applied
        file.prepare()
        durable = index
        synced = before = _read(path)
        file.open()
        assert file._connection is not None
        file._connection.set_trace_callback(self._traced)
        reader = sqlite3.connect(path, isolation_level=None)
        for _ in range(self.random.randint(1, 25)):
            step = self.random.choice(("write", "write", "write", "persist", "checkpoint", "read"))
            if step == "write":
                index += 1
                file.write(delta(index, self._changes(index)))
            elif step == "persist":
                self._was_synced = False
                assert file.persist() == index
            elif step == "checkpoint":
                ((_, frames, copied),) = file._connection.execute("PRAGMA wal_checkpoint").fetchall()
            elif reader.in_transaction:
                reader.execute("COMMIT")
            else:
                reader.execute("BEGIN")
                reader.execute("SELECT * FROM applied").fetchall()
            after = _read(path)
            if step == "checkpoint" and after[0] != before[0]:  # the `-wal` is synced first
                synced = (synced[0], after[1])
            if after[1][:WAL_HEADER] != before[1][:WAL_HEADER]:  # and so is each new header
                synced = (synced[0], after[1][:WAL_HEADER] + synced[1][WAL_HEADER:])
            image = (mixture(synced[0], after[0], self.random), mixture(synced[1], after[1], self.random))
            if step == "persist":
                self._require(image, durable)
                self.read += reader.in_transaction
                durable = index
                if self._was_synced:
                    synced = (synced[0], after[1])
            elif step == "checkpoint" and frames == copied:
                durable, synced = index, after
            image = (mixture(synced[0], after[0], self.random), mixture(synced[1], after[1], self.random))
            found = self._require(image, durable)
            self.behind += found < index
            before = after
        reader.close()
        file._connection = None
        del self._states[found + 1 :]
        return image

    def _traced(self, statement: str) -> None:
        """A commit at FULL syncs the `-wal`."""
        if statement.startswith("PRAGMA synchronous = "):
            self._synchronous = statement.rsplit(maxsplit=1)[-1]
        elif statement.startswith(("INSERT", "COMMIT")) and self._synchronous == "FULL":
            self._was_synced = True

    def _require(self, image: Files, durable: int) -> int:
        """What a start finds, which is no less than what is durable."""
        self.cuts += 1
        path = self._place(image)
        found, values = index_and_records(DataFile(path, "ours").load())
        assert found >= durable, f"entry {durable} is lost: the data are at {found}"
        assert values == self._states[found]
        shutil.rmtree(path.parent)
        return found

    def _changes(self, index: int) -> dict[bytes, bytes | None]:
        """What entry `index` changes."""
        random = self.random
        changes: dict[bytes, bytes | None] = {
            b"%d" % random.randrange(200): None if random.random() < 0.3 else random.randbytes(random.choice((9, 900)))
            for _ in range(random.choice((1, 3, 20)))
        }
        values = {**self._states[index - 1], **changes}
        assert len(self._states) == index
        self._states.append({key: value for key, value in values.items() if value is not None})
        return changes

    def _place(self, files: Files) -> Path:
        """A directory of its own, with what a power cut left."""
        path = self.directory / str(next(self._numbers)) / "kv.sqlite"
        path.parent.mkdir()
        path.write_bytes(files[0])
        if files[1]:
            path.with_name("kv.sqlite-wal").write_bytes(files[1])
        return path


def _read(path: Path) -> Files:
    wal_path = path.with_name("kv.sqlite-wal")
    return path.read_bytes(), wal_path.read_bytes() if wal_path.exists() else b""


class PowerCutTests(SynchronousTestCase):
    def test_persisted(self) -> None:
        """What is durable is found, whole, whether another connection reads the file or not; some of the rest is not,
        and what is found is right up to its index (hazard S5)."""
        seed = int(os.environ.get("POWER_SEED", "0")) or Random().randrange(1, 2**32)
        print(f"POWER_SEED={seed}")
        self.patch(wal, "CHECKPOINT_SIZE", 1 << 30)  # checkpoints are steps of their own
        with quick_directory() as directory:
            cuts = PowerCuts(Path(directory), Random(seed))
            cuts.run(lives=15)
        self.assertGreater(cuts.cuts, 50)
        self.assertGreater(cuts.behind, 5)
        self.assertGreater(cuts.read, 0)

    def test_syncs(self) -> None:
        """Without `persist`, what was written is not durable: there is something to test."""
        with quick_directory() as directory:
            cuts = PowerCuts(Path(directory), Random(1))
            self.patch(DataFile, "persist", lambda file: file._index)
            self.assertRaises(AssertionError, cuts.run, lives=50)
