"""The power is cut again and again while keys are written, the log is compacted and snapshots are installed, by the
real code and the real SQLite (hazards S3, S15)."""

import os
import shutil
import sqlite3
from itertools import count
from pathlib import Path
from random import Random

import pytest
from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import NOTHING, after, any_save
from tests.storage.disk import BOOTSTRAP
from tests.storage.power import Disk, Files, files_in, write_files
from txraft.core.ready import Save
from txraft.interfaces import Stored
from txraft.storage.raft_file import RaftFile, connect
from txraft.testing.quick_disk import quick_directory


@define(eq=False)
class PowerCuts:
    """Write `keys` keys, each in an entry of its own, under the path `directory`, and lose power all the time."""

    directory: Path
    keys: int
    random: Random
    stored: Stored = NOTHING
    """All that was acknowledged."""
    written: int = 0
    cuts: int = 0
    lost: int = 0
    """Cuts after which the step that was under way had not happened."""
    _numbers: "count[int]" = field(factory=count)
    _connections: list[sqlite3.Connection] = field(factory=list)

    def run(self) -> None:
        """Raises AssertionError where something acknowledged is lost, and what `load` raises where it refuses."""
        file, directory = self._file({})
        file.load()
        files = files_in(directory)
        while self.written < self.keys:
            files = self._live(files, steps=self.random.randint(1, 30))

    def _live(self, files: Files, steps: int) -> Files:
        """Start, take some steps, and lose power in the last. Gives what is left. What a cut in each of the steps
        before would have left is looked at too."""
        file, directory = self._file(files)
        assert file.load() == self.stored
        file.open()
        disk = Disk(self.random, files_in(directory))
        for step in range(steps):
            before = self.stored
            if step > 0 and self.random.random() < 0.2:
                self._connections[-1].execute("PRAGMA wal_checkpoint").fetchall()
            else:
                file.write(self._save())
            after = files_in(directory)
            image = disk.cut(after)
            found = self._found_in(image)
            assert found in (before, self.stored), f"{found} is left of {self.stored}"
            self.lost += found != self.stored
            disk.sync(after)
        file.close(failed=True)
        shutil.rmtree(directory)
        self.stored = found
        return image

    def _found_in(self, image: Files) -> Stored:
        """What a process loads that starts on it."""
        self.cuts += 1
        file, directory = self._file(image)
        found = file.load()
        shutil.rmtree(directory)
        return found

    def _save(self) -> Save:
        """More keys, or fewer, a vote, a compaction, a snapshot; `stored` becomes what it leaves."""
        size = self.random.choice([0, 1, 1, 3, 30, 100])
        save = any_save(self.stored, self.random, size, self.random.randbytes(self.random.choice([10, 100, 2000])))
        self.written += size
        self.stored = after(self.stored, save)
        return save

    def _file(self, files: Files) -> tuple[RaftFile, Path]:
        directory = self.directory / str(next(self._numbers))
        write_files(directory, files)
        return RaftFile(directory / "raft.sqlite", BOOTSTRAP, self._connect), directory

    def _connect(self, path: Path) -> sqlite3.Connection:
        """Checkpoints are steps of their own."""
        connection = connect(path)
        self._connections.append(connection)
        return connection


def cut_power(keys: int) -> PowerCuts:
    """Write them. The seed is printed, and can be given as POWER_SEED."""
    seed = int(os.environ.get("POWER_SEED", "0")) or Random().randrange(1, 2**32)
    print(f"POWER_SEED={seed}")
    with quick_directory() as directory:
        cuts = PowerCuts(Path(directory), keys, Random(seed))
        cuts.run()
    return cuts


class PowerTests(SynchronousTestCase):
    def test_some_keys(self) -> None:
        """A torn tail starts, and everything that was acknowledged is there."""
        cuts = cut_power(keys=1000)
        self.assertGreater(cuts.cuts, 10)


@pytest.mark.simulation
def test_ten_thousand_keys() -> None:
    """No acknowledged key is lost. Some of the cuts take back what was under way, so there is something to lose."""
    cuts = cut_power(keys=10_000)
    assert cuts.cuts > 200
    assert cuts.lost > 20
