"""`txraft restore`: what nodes of a new cluster begin with."""

import os
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from unittest.mock import patch

from tests.cli.restoring import VOTERS, RestoreTestCase
from tests.cli.running import run
from tests.kv.applying import delta
from tests.kv.backed_up import INDEX, ORIGIN, data_file
from tests.lacking import do_without
from txraft.cli.process import acting_as
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.ready import TermAndVote
from txraft.errors import StorageError, WrongDirectory
from txraft.interfaces import Stored
from txraft.kv.backup import describe, require_backup
from txraft.kv.data_file import DataFile
from txraft.kv.records import record_of
from txraft.storage.identity import Bootstrap
from txraft.storage.raft_file import RaftFile

NOBODY = 65534


def peak_of(work: Callable[[], object]) -> int:
    """Bytes of the interpreter's memory that it takes at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class RestoreTests(RestoreTestCase):
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
            self.assertEqual((identity.node_id, identity.founders, dict(file.peers)), (id, VOTERS, {}))
            addresses = {id: (f"h:{10 + id}", f"h:{50 + id}") for id in VOTERS}
            start = Snapshot(INDEX, 1, Configuration(VOTERS, addresses=addresses))
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
            file = RaftFile(path, Bootstrap(0, name, Configuration(VOTERS), named=True))
            file.load()
            self.assertEqual(file.identity.cluster_id, its)
        for name in ("sho", "shop (restored 0123456789abcdef)"):
            self.assertRaises(
                WrongDirectory, RaftFile(path, Bootstrap(0, name, Configuration(VOTERS), named=True)).load
            )

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
        self.assertEqual(self.restore(id=7)[0], 2)
