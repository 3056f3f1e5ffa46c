"""`txraft restore`: what nodes of a new cluster begin with, and what a crash in the middle leaves."""

import os
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout
from io import StringIO
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.kv.applying import delta
from tests.kv.backed_up import INDEX, ORIGIN, data_file
from tests.lacking import do_without
from tests.storage.disk import storage_in
from tests.storage.recording import record
from tests.storage.steps import is_killed
from txraft.cli import main
from txraft.cli.process import acting_as
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.ready import TermAndVote
from txraft.errors import DirectoryLocked, StorageError, WrongDirectory
from txraft.interfaces import Identity, Stored
from txraft.kv.backup import describe, require_backup
from txraft.kv.data_file import DataFile
from txraft.kv.records import record_of
from txraft.snapshot_writing import RESERVE
from txraft.storage.raft_file import RaftFile

NOBODY = 65534
VOTERS = frozenset({0, 1, 2})


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        status = main(list(map(str, arguments)))
    return status, out.getvalue(), err.getvalue()


def peak_of(work: Callable[[], object]) -> int:
    """Bytes of the interpreter's memory that it takes at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class RestoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.backup = self.directory / "a.backup"
        self.make_backup(10)
        self.config = self.directory / "txraft.toml"
        self.write_config(base=10)

    def make_backup(self, size: int) -> None:
        self.backup.unlink(missing_ok=True)
        data_file(self.backup, size)
        describe(self.backup, ORIGIN)

    def write_config(self, base: int, head: str = "") -> None:
        members = (f'[[cluster]]\nid = {id}\naddress = "h:{base + id}"\nkvaddr = "h:{50 + id}"\n' for id in VOTERS)
        self.config.write_text(head + "".join(members))

    def restore(self, id: int = 0, data: str = "data") -> tuple[int, str, str]:
        where = ("--config", self.config, "--data-dir", self.directory / data)
        return run("restore", self.backup, "--id", id, *where)

    def files_of(self, id: int = 0, data: str = "data") -> dict[str, bytes]:
        directory = self.directory / data / str(id)
        return {path.name: path.read_bytes() for path in directory.iterdir()}

    def log_of(self, id: int = 0, data: str = "data") -> tuple[RaftFile, Stored]:
        file = RaftFile(self.directory / data / str(id) / "raft.sqlite", None, named=False)
        return file, file.load()

    def start(self, id: int = 0, data: str = "data") -> None:
        """As a node does. Raises StorageError."""
        storage_in(self.directory / data / str(id), Identity(id, "ours", VOTERS), named=False).load()

    def cluster_id(self, data: str) -> str:
        self.assertEqual(self.restore(data=data)[0], 0)
        return self.log_of(data=data)[0].identity.cluster_id

    def test_restored(self) -> None:
        """Each node has the data and a log that begins behind them; all are of one cluster, which is none that was, in
        directories that nobody has met."""
        drawn = set()
        ids = set()
        for id in VOTERS:
            status, out, err = self.restore(id)
            self.assertEqual((status, err), (0, ""))
            file, stored = self.log_of(id)
            identity = file.identity
            self.assertEqual((identity.node_id, identity.voters, dict(file.peers)), (id, VOTERS, {}))
            start = Snapshot(INDEX, 1, Configuration(VOTERS))
            self.assertEqual(stored, Stored(TermAndVote(1, None), (), start))
            drawn.add(file.history.directory)
            ids.add(identity.cluster_id)
            directory = self.directory / "data" / str(id)
            self.assertIn(f'{directory}: node {id} of the new cluster "{identity.cluster_id}", of cluster "ours"', out)
            self.assertNotIn("restoring", self.files_of(id))
            self.assertEqual(run("inspect", directory)[0], 0)
            contents = DataFile(directory / "kv.sqlite", identity.cluster_id).load()
            self.assertEqual((contents.last_applied, list(contents.records)), (INDEX, [b"k"]))
        self.assertEqual((len(drawn), len(ids), "ours" in ids), (3, 1, False))

    def test_identity(self) -> None:
        """It follows from the file and the members, and a name stays in it."""
        first = self.cluster_id("first")
        self.assertEqual(self.cluster_id("again"), first)
        self.make_backup(11)
        second = self.cluster_id("another file")
        self.write_config(base=20)
        third = self.cluster_id("other members")
        self.write_config(base=20, head='name = "shop"\n')
        named = self.cluster_id("named")
        self.assertEqual(len({first, second, third, named}), 4)
        self.assertEqual(named, f"shop (restored {third})")

    def test_start_with_its_name(self) -> None:
        """The configuration still says `name = "shop"`; one that says another is refused, also another restored one."""
        self.write_config(base=20, head='name = "shop"\n')
        its = self.cluster_id("data")
        path = self.directory / "data" / "0" / "raft.sqlite"
        for name in ("shop", its):
            file = RaftFile(path, Identity(0, name, VOTERS), named=True)
            file.load()
            self.assertEqual(file.identity.cluster_id, its)
        for name in ("sho", "shop (restored 0123456789abcdef)"):
            self.assertRaises(WrongDirectory, RaftFile(path, Identity(0, name, VOTERS), named=True).load)

    def test_not_empty(self) -> None:
        """A directory that has anything in it stays as it is: one that was restored before, and one of a node."""
        self.restore()
        for damage in ("kv.sqlite", "raft.sqlite", None):
            before = self.files_of()
            status, _, err = self.restore()
            self.assertEqual((status, err.count("\n"), self.files_of()), (1, 1, before))
            self.assertIn("is not empty, and nothing in it was changed", err)
            if damage:
                (self.directory / "data" / "0" / damage).unlink()

    def test_replaced(self) -> None:
        """The identity is of what was copied: where the file is replaced by another one meanwhile, the nodes that have
        the one and those that have the other do not meet."""
        first = self.cluster_id("first")
        look = require_backup

        def replaced(path: Path) -> int:
            size = look(path)
            self.make_backup(11)
            return size

        with patch("txraft.cli.restore.require_backup", replaced):
            second = self.cluster_id("second")
        self.assertNotEqual(first, second)
        self.assertEqual(self.cluster_id("third"), second)
        for name, size in (("first", 10), ("second", 11), ("third", 11)):
            path = self.directory / name / "0" / "kv.sqlite"
            contents = DataFile(path, first if name == "first" else second).load()
            self.assertEqual(contents.records[b"k"], record_of(bytes(size), 2, None))

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

    def test_flipped_bits(self) -> None:
        """A bit that flips anywhere in the backup is found, or was of no use (hazards S4, S14)."""
        self.make_backup(20_000)
        content = self.backup.read_bytes()
        chance = Random(10)
        refused = 0
        for number in range(40):
            flipped = bytearray(content)
            byte, bit = chance.randrange(len(content)), chance.randrange(8)
            flipped[byte] ^= 1 << bit
            self.backup.write_bytes(flipped)
            data = f"data-{number}"
            status, _, err = self.restore(data=data)
            where = f"bit {bit} of byte {byte}"
            if status:
                self.assertEqual((status, err.count("\n"), err[:8]), (1, 1, "txraft: "), where)
                refused += 1
                continue
            path = self.directory / data / "0" / "kv.sqlite"
            contents = DataFile(path, self.log_of(data=data)[0].identity.cluster_id).load()
            self.assertEqual(contents.records, {b"k": record_of(bytes(20_000), 2, None)}, where)
        self.assertGreater(refused, 5)

    def test_not_a_backup(self) -> None:
        """What is no backup is told from one that is damaged, in a line that says what it is, before any directory is
        made."""
        elsewhere = self.directory / "elsewhere"
        data_file(self.directory / "kv.sqlite")
        with closing(sqlite3.connect(self.directory / "other.sqlite")) as connection:
            connection.execute("CREATE TABLE t (x)")
        (self.directory / "text").write_text("no database" * 100)
        (self.directory / "empty").touch()
        os.mkfifo(self.directory / "pipe")
        for name, reason in (
            ("none", "No such file or directory"),
            ("", "is a directory, and no backup"),
            ("pipe", "is neither a file nor a directory, and no backup"),
            ("kv.sqlite", "is the data of a node, and no backup"),
            ("other.sqlite", "is another SQLite file, and no backup"),
            ("empty", "is another SQLite file, and no backup"),
            ("text", "is no backup, which is an SQLite file"),
        ):
            path = self.directory / name
            before = {each: each.stat().st_mtime_ns for each in self.directory.iterdir()}
            status, _, err = run("restore", path, "--id", 0, "--config", self.config, "--data-dir", elsewhere)
            self.assertEqual((status, err.count("\n")), (1, 1))
            self.assertIn(f"{path}", err)
            self.assertIn(f"{reason}; give a file that `txraft backup` has made", err.replace(":", ""))
            self.assertEqual({each: each.stat().st_mtime_ns for each in self.directory.iterdir()}, before)

    def test_damaged(self) -> None:
        """A backup that is not whole is refused with a line, whether that is seen before its data are read or then; a
        whole one can be restored there afterwards. No copy of it stays."""
        whole = self.backup.read_bytes()
        for change in ("UPDATE backup SET made = 7", "DELETE FROM applied", "UPDATE data SET record = x'00'"):
            with closing(sqlite3.connect(self.backup, isolation_level=None)) as connection:
                connection.execute(change)
            status, _, err = self.restore()
            self.assertEqual((status, err.count("\n")), (1, 1), err)
            self.assertIn("is damaged", err)
            self.assertEqual((self.directory / "data").exists(), "data" in change)
            if "data" in change:
                self.assertEqual(self.files_of().keys(), {"lock", "restoring"})
            self.backup.write_bytes(whole)
        self.backup.write_bytes(whole[: len(whole) // 2])
        self.assertIn("is damaged", self.restore()[2])
        self.backup.write_bytes(whole)
        self.assertEqual(self.restore()[0], 0)

    def test_another_user(self) -> None:
        """Restored as another user than the node runs as, which only root can do, it does not start, and one line says
        whose the files have to be."""
        if os.geteuid() != 0:
            do_without("only root can restore for another user")
        self.restore()
        directory = self.directory / "data" / "0"
        for path in (directory, None):
            if path is not None:
                os.chown(path, NOBODY, NOBODY)  # as of a directory that was made for the node
            with acting_as(NOBODY, NOBODY):
                line = str(self.assertRaises(StorageError, self.start))
            self.assertIn("Permission denied; it has to be a directory that the user nobody may write, with all", line)
            self.assertNotIn("\n", line)

    def test_memory(self) -> None:
        """The data are held once: a node that can be restored can be started."""
        self.backup.unlink()
        file = DataFile(self.backup, "ours")
        file.load()
        file.prepare()
        file.open()
        file.write(delta(INDEX, {b"%04d" % number: record_of(bytes(1000), 2, None) for number in range(5000)}))
        file.close()
        describe(self.backup, ORIGIN)
        self.assertEqual(self.restore(id=1)[0], 0)  # with this, what is imported when it is needed is there
        restoring = peak_of(lambda: self.assertEqual(self.restore()[0], 0))
        path, cluster_id = self.directory / "data" / "0" / "kv.sqlite", self.log_of()[0].identity.cluster_id
        starting = peak_of(lambda: self.assertEqual(len(DataFile(path, cluster_id).load().records), 5000))
        self.assertLess(restoring, 1.3 * starting)

    def test_usage(self) -> None:
        """What cannot be meant is refused."""
        self.assertEqual(run("restore", self.backup)[0], 2)
        self.assertEqual(run("restore", "--id", "1")[0], 2)
        self.assertEqual(self.restore(id=7)[0], 1)
