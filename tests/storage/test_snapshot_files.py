import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.descriptors import forbidden_to_open, open_files
from tests.storage import snapshot_contract
from tests.storage.contract import snapshot
from tests.storage.snapshot_contract import DATA, file_of
from tests.storage.worker import HandWorker, InlineWorker
from txraft import snapshot_writing
from txraft.errors import CorruptLog, SnapshotFailed, StorageError
from txraft.interfaces import ISnapshotFiles
from txraft.storage.snapshot_files import SnapshotFiles


class SnapshotFilesTests(snapshot_contract.SnapshotContract):
    """The real ones, under the contract."""

    def new_disk(self) -> None:
        self.directory = Path(self.mktemp())

    def open(self) -> ISnapshotFiles:
        return SnapshotFiles(self.directory, InlineWorker())


class FileTests(SynchronousTestCase):
    """What lies in the directory, and what becomes of it when something fails."""

    file = file_of(snapshot(5))

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.files = SnapshotFiles(self.directory, InlineWorker())
        self.files.open()

    def names(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "snapshots").iterdir())

    def received(self) -> Path:
        """The file of one that is whole."""
        self.successResultOf(self.files.offered(self.file))
        self.successResultOf(self.files.received(self.file, 0, DATA))
        self.successResultOf(self.files.finished(self.file))
        return self.directory / "snapshots" / "received-5-1"

    def line_of(self, deferred: "Deferred[Any]") -> str:
        """What is wrong, in one line."""
        line = str(self.failureResultOf(deferred, SnapshotFailed).value)
        self.assertNotIn("\n", line)
        self.assertIn(str(self.directory), line)
        return line

    def test_names(self) -> None:
        """hazard S10: a half one never has the name of a whole one."""
        self.successResultOf(self.files.offered(self.file))
        self.assertEqual(self.names(), ["receiving"])
        self.successResultOf(self.files.received(self.file, 0, DATA))
        self.assertEqual(self.names(), ["receiving"])
        self.successResultOf(self.files.finished(self.file))
        self.assertEqual(self.names(), ["received-5-1"])
        for _ in range(2):
            self.successResultOf(self.files.make(snapshot(7), [DATA]))
            self.assertEqual(self.names(), ["made", "received-5-1"])

    def test_discarded(self) -> None:
        """What is not needed takes no room: the one that was made, and the half one."""
        self.successResultOf(self.files.make(snapshot(7), [DATA]))
        self.successResultOf(self.files.offered(self.file))
        self.successResultOf(self.files.discard_made())
        self.assertEqual(self.names(), ["receiving"])
        self.successResultOf(self.files.discard(snapshot(5)))
        self.assertEqual(self.names(), [])
        self.assertEqual(open_files(self.directory / "snapshots"), set())

    def test_other_size(self) -> None:
        """A start sees without reading all of it that something is missing, or is too much (hazard S4)."""
        path = self.received()
        content = path.read_bytes()
        for other in (content[:-1], content + b"x"):
            path.write_bytes(other)
            with self.assertRaisesRegex(CorruptLog, f"it has {len(DATA) + len(other) - len(content)} bytes, not"):
                SnapshotFiles(self.directory, InlineWorker()).open()

    def test_leftovers(self) -> None:
        """A start removes what was made and what is half; what txraft has not made stays."""
        for name in ("made", "made.new", "receiving", "notes"):
            (self.directory / "snapshots" / name).touch()
        self.assertEqual(SnapshotFiles(self.directory, InlineWorker()).open(), ())
        self.assertEqual(self.names(), ["notes"])

    def test_flipped_bit(self) -> None:
        """hazard S4: a bit of a whole one, wherever it is, or an end that is lost. The start, or who reads it, is told
        in one line; never are other data read as if they were these."""
        path = self.received()
        content = path.read_bytes()
        damaged = [content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :] for place in range(400)]
        damaged += [content[:-1] + b"\0", content[:-1], content + b"\0", content[:50], b""]
        for each in damaged:
            path.write_bytes(each)
            files = SnapshotFiles(self.directory, InlineWorker())
            line = str(self.assertRaises(CorruptLog, lambda files=files: [*map(list, map(files.chunks, files.open()))]))
            self.assertTrue(line.isprintable())
            self.assertIn(f"{path} is damaged: ", line)
            self.assertEqual(path.read_bytes(), each)

    def test_renamed(self) -> None:
        """A file that has the name of another."""
        path = self.received()
        path.rename(path.with_name("received-6-1"))
        line = str(self.assertRaises(CorruptLog, self.files.open))
        self.assertIn("received-6-1 is not where it was: it is received-5-1", line)

    def test_unusable(self) -> None:
        """Something else has the directory's name."""
        shutil.rmtree(self.directory / "snapshots")
        (self.directory / "snapshots").touch()
        self.assertIn("a file", str(self.assertRaises(StorageError, self.files.open)))

    def test_little_room(self) -> None:
        """hazard S2: an offer for which there is no room is refused before anything is written, so that the log, on
        the same disk, can go on."""
        free = shutil.disk_usage(self.directory).free
        once = snapshot_writing.RESERVE + self.file.size
        self.patch(snapshot_writing, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=once)))
        self.assertIn("; make room on the disk", self.line_of(self.files.offered(self.file)), "and restored once more")
        self.patch(snapshot_writing, "shutil", shutil)
        self.patch(snapshot_writing, "RESERVE", free + 1)
        self.assertIn("; make room on the disk", self.line_of(self.files.make(snapshot(5), [DATA])))
        self.assertEqual(self.names(), [])

    def test_little_room_to_make_one(self) -> None:
        """hazard S2: where its size is known, the line asks for all of it, at the beginning and, where others write
        meanwhile, for all that is left; and not for as much as is written until the next sync."""
        self.patch(snapshot_writing, "SYNC_SIZE", 2000)
        size, reserve = 3 * len(DATA), snapshot_writing.RESERVE

        def chunks() -> Iterator[bytes]:
            yield DATA
            has(size - len(DATA) - 1)
            yield DATA

        def has(free: int) -> None:
            found = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=reserve + free))
            self.patch(snapshot_writing, "shutil", found)

        has(size - 1)
        self.assertIn(f": it takes {size:,} bytes more", self.line_of(self.files.make(snapshot(5), [DATA] * 3, size)))
        has(size)
        line = self.line_of(self.files.make(snapshot(5), chunks(), size))
        self.assertIn(f": it takes {size - len(DATA):,} bytes more", line)
        has(size)
        self.assertEqual(self.successResultOf(self.files.make(snapshot(5), [DATA] * 3, size)).size, size)

    def test_full_while_receiving(self) -> None:
        """hazard S2: the disk becomes full in the middle. What is here is removed, which makes room, and when there is
        enough it begins again."""
        self.successResultOf(self.files.offered(self.file))
        self.successResultOf(self.files.received(self.file, 0, DATA[:1000]))
        with patch.object(os, "write", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            line = self.line_of(self.files.received(self.file, 1000, DATA[1000:]))
        self.assertIn("cannot receive a snapshot in ", line)
        self.assertIn("No space left on device; make room on the disk", line)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.successResultOf(self.files.offered(self.file)), 0)
        self.received()

    def test_full_while_making(self) -> None:
        """The one before stays, and is read on."""
        first = self.successResultOf(self.files.make(snapshot(5), [DATA]))
        with patch.object(os, "write", side_effect=OSError(errno.EDQUOT, "Disk quota exceeded")):
            self.assertIn("cannot make", self.line_of(self.files.make(snapshot(6), [DATA])))
        self.assertEqual(self.names(), ["made"])
        self.assertEqual(self.successResultOf(self.files.read(first, 0, 10)), DATA[:10])

    def test_little_room_in_the_middle(self) -> None:
        """It is looked at again at each sync: the log writes meanwhile."""
        self.patch(snapshot_writing, "SYNC_SIZE", 2000)

        def chunks() -> Iterator[bytes]:
            yield DATA
            self.patch(snapshot_writing, "RESERVE", shutil.disk_usage(self.directory).total)
            yield DATA

        self.assertIn("make room", self.line_of(self.files.make(snapshot(5), chunks())))
        self.assertEqual(self.names(), [])

    def test_sync_fails(self) -> None:
        """hazard S1: where a sync fails, the file's or the directory's, nothing of it is believed."""
        for fails_at in (0, 1):
            self.successResultOf(self.files.offered(self.file))
            self.successResultOf(self.files.received(self.file, 0, DATA))
            outcomes = [None] * fails_at + [OSError(errno.EIO, "Input/output error")]
            with patch.object(os, "fsync", side_effect=outcomes):
                self.assertIn("the disk may be failing", self.line_of(self.files.finished(self.file)))
            self.assertEqual(self.names(), [])
            self.assertEqual(self.successResultOf(self.files.offered(self.file)), 0)

    def test_descriptors(self) -> None:
        """hazard S19: with a full table of descriptors it fails, and is tried again; nothing stays open after close."""
        with forbidden_to_open():
            self.line_of(self.files.offered(self.file))
            self.line_of(self.files.make(snapshot(5), [DATA]))
        self.received()
        made = self.successResultOf(self.files.make(snapshot(5), [DATA]))
        with forbidden_to_open():
            self.successResultOf(self.files.read(made, 0, 10))
        self.successResultOf(self.files.make(snapshot(6), [DATA]))
        self.successResultOf(self.files.offered(file_of(snapshot(8))))
        self.assertEqual(open_files(self.directory / "snapshots"), {"made", "receiving"})
        self.successResultOf(self.files.close())
        self.assertEqual(open_files(self.directory / "snapshots"), set())

    def test_on_the_worker(self) -> None:
        """hazard S11: not a byte is written or read, nor a chunk taken, by who calls."""
        worker = HandWorker()
        files = SnapshotFiles(self.directory, worker)
        taken: list[int] = []

        def chunks() -> Iterator[bytes]:
            for number in range(3):
                taken.append(number)
                yield DATA

        made = files.make(snapshot(5), chunks())
        done: list[Deferred[Any]] = [
            files.offered(self.file),
            files.received(self.file, 0, DATA),
            files.finished(self.file),
            files.discard(snapshot(4)),
            files.read(self.file, 0, 1),
            files.close(),
        ]
        self.assertEqual((taken, self.names()), ([], []))
        for each in (made, *done):
            self.assertNoResult(each)
        done[4].addErrback(lambda _: None)
        worker.work()
        self.assertEqual((taken, self.names()), ([0, 1, 2], ["made", "received-5-1"]))
