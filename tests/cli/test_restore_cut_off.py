"""`txraft restore`: what a crash in the middle leaves, or a disk without room."""

import shutil
from itertools import count
from types import SimpleNamespace
from unittest.mock import patch

from tests.cli.restoring import RestoreTestCase
from tests.cli.running import run
from tests.storage.recording import record
from tests.storage.steps import is_killed
from txraft.errors import DirectoryLocked, StorageError
from txraft.snapshot_writing import RESERVE


class CutOffTests(RestoreTestCase):
    def test_crash(self) -> None:
        """Wherever it is cut off, a start is refused with a line that says so, and changes nothing; so are the commands
        that look into a node; and it can be run again."""
        for number, step in enumerate(
            (
                "txraft.cli.restore.copy_backup",
                "txraft.cli.restore.make_data",
                "txraft.kv.restoring.applied_row",
                "txraft.kv.restoring.read_data",
                "txraft.cli.restore.begin_log",
                "txraft.storage.raft_file.write_start",
                "txraft.storage.raft_file.require_durable",  # which the check of the log ends with
            )
        ):
            data = f"data-{number}"
            with patch(step, side_effect=KeyboardInterrupt):
                self.assertEqual(self.restore(data=data)[0], 130)
            left = self.files_of(data=data)
            self.assertEqual("raft.sqlite" in left, step == "txraft.storage.raft_file.require_durable")
            directory = self.directory / data / "0"
            lines = [str(self.assertRaises(StorageError, self.start, data=data))]
            commands: list[tuple[object, ...]] = [("inspect", directory)]
            if "raft.sqlite" in left:
                commands.append(("forget", "--id", 1, "--data-dir", directory))
            for command in commands:
                status, out, err = run(*command)
                self.assertEqual((status, out), (1, ""))
                lines.append(err)
            for line in lines:
                self.assertIn(f"{directory} is only half made: `txraft restore` was cut off, or failed; run that", line)
            self.assertEqual({**self.files_of(data=data), "lock": b""}, {**left, "lock": b""})
            self.assertEqual(self.restore(data=data)[0], 0, step)
            self.log_of(data=data)
            self.start(data=data)

    def test_killed(self) -> None:
        """Wherever the process is killed, where there is no directory and where there is an empty one: a start on what
        it left is refused, and the same command is not. What is not refused is whole, or nothing was done."""
        directory = self.directory / "data" / "0"
        for was_there in (False, True):
            for steps in count():
                shutil.rmtree(directory.parent, ignore_errors=True)
                if was_there:
                    directory.mkdir(parents=True)
                if not is_killed(self, steps, lambda: self.assertEqual(self.restore()[0], 0)):
                    break
                left = {path.name for path in directory.parent.glob("*/*")} - {"lock"}
                if "raft.sqlite" in left and "restoring" not in left:
                    self.assertEqual(run("inspect", directory)[0], 0)
                    continue
                if left or (not was_there and list(directory.parent.glob("*"))):
                    self.assertIn("is only half made", str(self.assertRaises(StorageError, self.start)))
                    if is_killed(self, 5, lambda: self.assertEqual(self.restore()[0], 0)):
                        self.assertIn("is only half made", str(self.assertRaises(StorageError, self.start)))
                status, _, err = self.restore()
                self.assertEqual((status, err), (0, ""), f"killed after {steps} steps")
                self.start()
            self.assertEqual([path.name for path in directory.parent.iterdir()], ["0"])
            self.assertGreater(steps, 15)

    def test_room(self) -> None:
        """Where there is none for all of the file, the line says how large it is, nothing is copied, and whoever makes
        as much room as it says has made enough."""
        self.make_backup(20 << 20)
        size = self.backup.stat().st_size
        copy = self.directory / "data" / "0" / "kv.sqlite"
        free = size + RESERVE

        def left(_: object) -> SimpleNamespace:
            return SimpleNamespace(free=free - (copy.stat().st_size if copy.exists() else 0))

        self.patch(shutil, "disk_usage", left)
        free -= 1
        status, _, err = self.restore()
        self.assertEqual((status, err.count("\n"), copy.exists()), (1, 1, False))
        self.assertIn(f"it takes {size:,} bytes more, and {RESERVE:,} have to stay free; the disk has {free:,}", err)
        free += 1
        self.assertEqual(self.restore()[0], 0)

    def test_begun_again(self) -> None:
        """It has nothing of what an earlier attempt left, with another file too."""
        with patch("txraft.storage.raft_file.require_durable", side_effect=KeyboardInterrupt):
            self.assertEqual(self.restore()[0], 130)
        (self.directory / "data" / "0" / "raft.sqlite-wal").write_bytes(b"of the log that was there")
        self.make_backup(11)
        self.assertEqual(self.restore()[0], 0)
        self.assertEqual(self.restore(data="elsewhere")[0], 0)
        self.assertEqual(self.files_of().keys(), self.files_of(data="elsewhere").keys())
        for name in ("kv.sqlite", "raft.sqlite-wal"):
            self.assertEqual(self.files_of()[name], self.files_of(data="elsewhere")[name])
        self.assertEqual(run("inspect", self.directory / "data" / "0")[0], 0)

    def test_syncs(self) -> None:
        """A power cut leaves what a crash does (hazards S3, S18): the mark is there before anything else, the data and
        their names are before the log, the log is before the mark goes, and all of it is when the command ends."""
        directory = (self.directory / "data" / "0").absolute()
        aside = f"{directory}.restoring"
        mark, data, log = (str(directory / name) for name in ("restoring", "kv.sqlite", "raft.sqlite"))
        self.directory = self.directory.absolute()
        events = record(self)
        self.assertEqual(self.restore()[0], 0)
        self.assertEqual(
            [event for event in events if event[1] != str(directory.parent.parent)],
            [
                ("sync", aside),
                ("rename", aside, str(directory)),
                ("sync", str(directory.parent)),
                ("sync", str(directory)),
                ("sync", data),
                ("sync", data),  # what it says of the cluster
                ("sync", str(directory)),
                ("sync", f"{log}-durable"),
                ("sync", str(directory)),
                ("sync", f"{log}.new"),
                ("rename", f"{log}.new", log),
                ("sync", str(directory)),
                ("unlink", mark),
                ("sync", str(directory)),
            ],
        )

    def test_locked(self) -> None:
        """While one makes a directory, another one, or a node, does not."""
        refused: list[str] = []

        def begin_log(*_: object) -> None:
            refused.append(self.restore()[2])
            refused.append(str(self.assertRaises(DirectoryLocked, self.start)))

        with patch("txraft.cli.restore.begin_log", begin_log):
            self.assertEqual(self.restore()[0], 0)
        for line in refused:
            self.assertIn(f"{self.directory / 'data' / '0'} is in use by process", line)
