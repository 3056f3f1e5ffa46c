"""The SQLite file: what is written is what is read, or nothing is."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.descriptors import forbidden_to_open, open_files
from tests.kv.applying import delta
from txraft import wal
from txraft.errors import CorruptLog, StorageError, WriteFailed, WrongDirectory
from txraft.kv import answers as answers_module
from txraft.kv.answers import Answers
from txraft.kv.contents import Delta
from txraft.kv.data_file import ROWS_PER_STATEMENT, DataFile
from txraft.kv.tables import checksum_of_answer


class DataFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "kv.sqlite"

    def open(self) -> DataFile:
        """A file that was loaded and opened, and will be closed."""
        file = DataFile(self.path, "ours")
        file.load()
        file.prepare()
        file.open()
        self.addCleanup(file.close)
        return file

    def load(self) -> tuple[int, dict[bytes, bytes]]:
        """What the next start finds."""
        found = DataFile(self.path, "ours").load()
        return found.last_applied, found.records

    def execute(self, statement: str) -> None:
        """Change the file behind its back."""
        connection = sqlite3.connect(self.path)
        with connection:
            connection.execute(statement)
        connection.close()

    def test_new(self) -> None:
        """Where there is no file, there are no data."""
        self.assertEqual(self.load(), (0, {}))

    def test_batches(self) -> None:
        """Values and removals of several statements' length arrive, with the index; the last batch wins."""
        file = self.open()
        many = {b"%d" % number: b"v" * number for number in range(2 * ROWS_PER_STATEMENT + 1)}
        file.write(delta(5, many))
        self.assertEqual(self.load(), (5, many))
        gone = dict.fromkeys(list(many)[1:])
        file.write(delta(9, {**gone, b"0": b"new", b"never": None}))
        self.assertEqual(self.load(), (9, {b"0": b"new"}))

    def test_answers(self) -> None:
        """They arrive in the same transaction as the data, with the store's revision; those that are dropped go; and
        the numbers go on (hazards C5, S5)."""
        answers = Answers()
        self.patch(answers_module, "MAX_ANSWERS", 2 * ROWS_PER_STATEMENT)
        file = self.open()
        for index in (1, 2):
            kept = [answers.keep(b"%d %d" % (index, each), bytes(20)) for each in range(ROWS_PER_STATEMENT + 1)]
            file.write(Delta(index, {b"k": b"%d" % index}, 7 * index, kept))
        file.close()
        found = DataFile(self.path, "ours").load()
        self.assertEqual((found.last_applied, found.revision, found.records), (2, 14, {b"k": b"2"}))
        self.assertEqual(found.answers, answers)
        self.assertEqual((answers.first, len(answers)), (3, 2 * ROWS_PER_STATEMENT))

    def test_wrong_answer(self) -> None:
        """An answer that changed on disk, or is not where it should be, stops the start (hazards C5, S4)."""
        answers = Answers()
        file = self.open()
        file.write(Delta(1, {}, 1, [answers.keep(key, bytes(20)) for key in (b"a", b"b", b"c")]))
        file.close()
        intact = self.path.read_bytes()
        checksum = checksum_of_answer(1, b"c", bytes(20))
        for statement, reason in (
            ("UPDATE answers SET answer = x'77' WHERE number = 2", "the row of answer 2 does not match its checksum"),
            ("UPDATE answers SET key = 'b' WHERE number = 2", "the row of answer 2 does not match its checksum"),
            ("UPDATE answers SET number = 4 WHERE number = 3", "the row of answer 4 does not match its checksum"),
            ("DELETE FROM answers WHERE number = 2", "answer 3 is out of order"),
            ("DELETE FROM answers WHERE number = 1", "the data and their applied index do not match"),
            (f"UPDATE answers SET key = 'c', checksum = {checksum} WHERE number = 1", "does not match"),
            (f"UPDATE answers SET key = x'63', checksum = {checksum} WHERE number = 1", "answer 3 is out of order"),
            ("UPDATE applied SET revision = 2", "the data and their applied index do not match"),
        ):
            self.execute(statement)
            self.assertIn(reason, str(self.assertRaises(CorruptLog, self.load)), statement)
            self.path.write_bytes(intact)

    def test_opened(self) -> None:
        """Nothing is open after `load` and `prepare`, since the process may fork then; `open` opens everything, and a
        batch of any size nothing more (hazard S19); `close` leaves the file alone."""
        file = DataFile(self.path, "ours")
        file.load()
        self.assertEqual(open_files(self.path.parent), set())
        file.prepare()
        self.assertEqual(open_files(self.path.parent), set())
        file.open()
        self.addCleanup(file.close)
        everything = {f"kv.sqlite{suffix}" for suffix in ("", "-shm", "-wal")}
        self.assertEqual(open_files(self.path.parent), everything)
        for index in range(1, 4):
            with forbidden_to_open():
                file.write(
                    delta(index, {b"%d" % number: bytes(index * 10_000) for number in range(ROWS_PER_STATEMENT + 1)})
                )
            self.assertEqual(open_files(self.path.parent), everything)
        file.close()
        self.assertEqual(open_files(self.path.parent), set())
        self.assertEqual([path.name for path in self.path.parent.iterdir()], ["kv.sqlite"])

    def test_all_or_nothing(self) -> None:
        """Data and applied index change together or not at all (hazard S5)."""
        file = self.open()
        file.write(delta(1, {b"k": b"old"}))
        self.execute("CREATE TRIGGER fail BEFORE INSERT ON applied BEGIN SELECT RAISE(FAIL, 'disk'); END")
        error = self.assertRaises(WriteFailed, file.write, delta(2, {b"k": b"new", b"other": b"v"}))
        self.assertIn(f"cannot write {self.path}: disk; the disk may be failing", str(error))
        self.execute("DROP TRIGGER fail")
        self.assertEqual(self.load(), (1, {b"k": b"old"}))

    def test_wrong_value(self) -> None:
        """A value that changed on disk stops the start; the line says what to do (hazard S4)."""
        file = self.open()
        file.write(delta(1, {b"k": b"v"}))
        file.close()
        self.execute("UPDATE data SET record = x'77'")
        error = self.assertRaises(CorruptLog, self.load)
        self.assertIn("the row of key b'k' does not match", str(error))
        self.assertIn("move it", str(error))
        self.assertIn("rebuilt from the log", str(error))

    def test_wrong_index(self) -> None:
        """An applied index that changed on disk, or is gone, stops the start (hazards S4, S5)."""
        file = self.open()
        file.write(delta(3, {b"k": b"v"}))
        file.close()
        self.execute("UPDATE applied SET last_applied = 4")
        self.assertIn("applied index", str(self.assertRaises(CorruptLog, self.load)))
        self.execute("DELETE FROM applied")
        self.assertIn("applied index", str(self.assertRaises(CorruptLog, self.load)))

    def test_another_cluster(self) -> None:
        """Its entries have done something else, so its data are refused and left alone. The line names both clusters
        and says what to do. What a batch in the `-wal` says counts too."""
        file = self.open()
        file.write(delta(3, {b"k": b"v"}))
        line = str(self.assertRaises(WrongDirectory, DataFile(self.path, "theirs").load))
        self.assertIn(f'{self.path} has data of the cluster "ours", and this node is of "theirs": move it and', line)
        self.assertEqual(self.load(), (3, {b"k": b"v"}))

    def test_wrong_cluster(self) -> None:
        """The name of the cluster is within the checksum (hazard S4)."""
        DataFile(self.path, "ours").prepare()
        for name in ("'oors'", "cast(x'6f750aff73' AS TEXT)"):
            self.execute(f"UPDATE applied SET cluster_id = {name}")
            line = str(self.assertRaises(CorruptLog, self.load))
            self.assertTrue(line.isprintable(), line)

    def test_damaged_pages(self) -> None:
        """A file that SQLite finds damaged, or is none of its own, stops the start with one line (hazard S4)."""
        file = self.open()
        file.write(delta(1, {b"%d" % number: b"v" * 100 for number in range(1000)}))
        file.close()
        intact = self.path.read_bytes()
        for damaged in (b"x" * len(intact), intact[:8192] + b"\xff" * 8192 + intact[16384:]):
            self.path.write_bytes(damaged)
            line = str(self.assertRaises(CorruptLog, self.load))
            self.assertIn(str(self.path), line)
            self.assertNotIn("\n", line)

    def test_newer_format(self) -> None:
        """The file of another version is left alone."""
        DataFile(self.path, "ours").prepare()
        self.execute("PRAGMA user_version = 99")
        error = self.assertRaises(StorageError, self.load)
        self.assertNotIsInstance(error, CorruptLog)
        self.assertIn("format 99", str(error))

    def test_evidence(self) -> None:
        """A `-wal` that is damaged is there after a start that only looked, whether or not anything in it was found
        (hazard S15)."""
        file = self.open()
        file.write(delta(1, {b"k": b"v"}))
        path = self.path.with_name("kv.sqlite-wal")
        whole = path.read_bytes()
        for place in (18, 40, len(whole) // 2, len(whole) - 9):
            directory = Path(self.mktemp())
            directory.mkdir()
            copy = directory / "kv.sqlite"
            copy.write_bytes(self.path.read_bytes())
            damaged = whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]
            copy.with_name(path.name).write_bytes(damaged)
            self.assertEqual(DataFile(copy, "ours").load().last_applied, 0)
            self.assertEqual(
                (copy.read_bytes(), copy.with_name(path.name).read_bytes()), (self.path.read_bytes(), damaged)
            )

    def test_cut_off_in_prepare(self) -> None:
        """What was about to become a file with a write-ahead log is one in the end, with its data."""
        file = self.open()
        file.write(delta(1, {b"k": b"v"}))
        file.close()
        self.execute("PRAGMA journal_mode = DELETE")
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            connection.execute("DELETE FROM data")
            connection.execute("PRAGMA cache_spill = 1")
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("INSERT INTO data VALUES (x'00', 0, zeroblob(1000000))")
            left = {path: path.read_bytes() for path in self.path.parent.iterdir()}
        self.assertGreater(len(left[self.path.with_name("kv.sqlite-journal")]), 512)
        for path, content in left.items():
            path.write_bytes(content)
        self.assertEqual(self.load(), (1, {b"k": b"v"}))

    def test_no_directory(self) -> None:
        """A path that cannot be opened is one line, not a damaged file."""
        error = self.assertRaises(StorageError, DataFile(self.path / "no" / "kv.sqlite", "ours").prepare)
        self.assertNotIsInstance(error, CorruptLog)
        self.assertIn("cannot use", str(error))

    def test_not_a_file(self) -> None:
        """The line says what is in the file's place, and that it can be removed."""
        self.path.mkdir()
        line = str(self.assertRaises(StorageError, self.load))
        self.assertIn(f"cannot use {self.path}: it is a directory, and has to be a file; move it", line)

    def test_full_disk(self) -> None:
        """Its errors do not say so, and what to do is to make room."""
        self.patch(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
        error = self.assertRaises(StorageError, DataFile(self.path / "no" / "kv.sqlite", "ours").prepare)
        self.assertIn("the disk is full: make room on it and start the node again", str(error))

    def test_pragmas(self) -> None:
        """A write-ahead log that is synced at checkpoints only, which are ours, and no other file."""
        connection = self.open()._connection
        assert connection is not None
        pragmas = ("journal_mode", "synchronous", "wal_autocheckpoint", "temp_store")
        values = [connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas]
        self.assertEqual(values, ["wal", 1, 0, 2])

    def test_checkpoints(self) -> None:
        """The `-wal` is begun again (hazard S16)."""
        self.patch(wal, "CHECKPOINT_SIZE", 1 << 18)
        file = self.open()
        for index in range(1, 31):
            file.write(delta(index, {b"%d" % index: bytes(1 << 16)}))
        self.assertLess(self.path.with_name("kv.sqlite-wal").stat().st_size, 1 << 19)
        self.assertGreater(self.path.stat().st_size, 3 << 19)

    def test_shrinks(self) -> None:
        """What was removed gives its room back, at the checkpoint that it makes due, also where others are behind it in
        the file; a quarter may stay free."""
        self.patch(wal, "CHECKPOINT_SIZE", 1 << 18)
        file = self.open()
        many = {b"%03d" % number: bytes(1 << 12) for number in range(500)}
        file.write(delta(1, many))
        self.assertGreater(self.path.stat().st_size, 500 << 12)
        file.write(delta(2, dict.fromkeys(sorted(many)[:400])))
        self.assertLess(self.path.stat().st_size, (100 << 13) * 4 // 3)
        self.assertEqual(self.load(), (2, dict(sorted(many.items())[400:])))

    def test_moved(self) -> None:
        """A file that is not where it was opened any more ends the writing at the next checkpoint, and at the close."""
        file, closed = self.open(), DataFile(self.path, "ours")
        closed.open()
        self.path.parent.rename(self.mktemp())
        file.write(delta(1, {b"k": b"v"}))
        line = f"cannot write {self.path}: kv.sqlite is not where it was opened any more"
        self.assertIn(
            line, str(self.assertRaises(WriteFailed, file.write, delta(2, {b"k": bytes(wal.CHECKPOINT_SIZE)})))
        )
        self.assertIn(line, str(self.assertRaises(WriteFailed, closed.close)))

    def test_checkpoint_fails(self) -> None:
        """It ends the writing as a write that fails does (hazards S1, S16), also the one at the end."""

        def fail(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        file, closed = self.open(), DataFile(self.path, "ours")
        closed.open()
        self.patch(wal, "checkpoint", fail)
        line = f"cannot write {self.path}: disk I/O error; the disk may be failing"
        error = self.assertRaises(WriteFailed, file.write, delta(1, {b"k": bytes(wal.CHECKPOINT_SIZE)}))
        self.assertIn(line, str(error))
        self.assertIn(line, str(self.assertRaises(WriteFailed, closed.close)))
