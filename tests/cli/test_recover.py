"""`txraft recover`: what one node of a cluster that has lost its majority goes on with."""

import shutil
import sqlite3
import zlib
from base64 import b64decode
from contextlib import closing
from io import StringIO
from itertools import count
from pathlib import Path
from unittest.mock import patch

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.running import run
from tests.kv.applying import delta
from tests.storage.contract import FOUNDERS, entries
from tests.storage.disk import BOOTSTRAP, storage_in
from tests.storage.recording import record
from tests.storage.steps import is_killed
from tests.storage.test_format import FILES_OF_FORMAT_4
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save, TermAndVote
from txraft.errors import DirectoryLocked, StorageError, WrongDirectory
from txraft.interfaces import Incarnation, Stored
from txraft.kv.data_file import DataFile
from txraft.kv.records import record_of
from txraft.storage.identity import name_in
from txraft.storage.sqlite import SQLiteStorage

RECORD = record_of(b"v", 2, None)
CHANGED = Configuration({0, 1, 4}, learners={5}, addresses=FOUNDERS.addresses, removed={2, 3})


class Terminal(StringIO):
    """Where somebody types."""

    def isatty(self) -> bool:
        return True


class RecoverTestCase(SynchronousTestCase):
    """Node 0 of the founders 0, 1 and 2, of which 2 was replaced by 4. Its log ends with entry 7, its data with 5."""

    log = (*entries(1, 3), Entry(4, 2, EntryKind.CONFIGURATION, CHANGED.to_bytes()), *entries(5, 7, term=2))

    def setUp(self) -> None:
        self.data = Path(self.mktemp())
        self.directory = self.data / "0"
        storage = storage_in(self.directory)
        storage.load()
        storage.count_start()
        self.successResultOf(storage.save([Save(TermAndVote(3, 1), self.log)]))
        self.successResultOf(storage.meet(6, Incarnation(b"itsfiles", 3, b"itsstart")))
        self.successResultOf(storage.close())
        self.own = storage.own
        self.write_data(5)

    def write_data(self, index: int, cluster_id: str = "ours") -> None:
        for path in self.directory.glob("kv.sqlite*"):
            path.unlink()
        file = DataFile(self.directory / "kv.sqlite", cluster_id)
        file.load()
        file.prepare()
        file.open()
        file.write(delta(index, {b"k": RECORD}))
        file.close()

    def recover(self, *options: object) -> tuple[int, str, str]:
        return run("recover", "--data-dir", self.data, "--force-new-cluster", *(options or ("--yes",)))

    def files(self) -> dict[str, bytes]:
        """Without those that SQLite makes where it only looks."""
        found = {path.name: path.read_bytes() for path in self.directory.iterdir() if path.suffix != ".sqlite-shm"}
        return {name: content for name, content in found.items() if content and name != "lock"}

    def load(self) -> tuple[SQLiteStorage, Stored]:
        """As a start does; the directory is free again then."""
        storage = storage_in(self.directory)
        stored = storage.load()
        storage.unlock()
        return storage, stored

    def assertRecovered(self) -> None:
        """The directory is that of a new cluster, of node 0, which has everything that it had."""
        storage, stored = self.load()
        identity = storage.identity
        self.assertEqual((identity.node_id, identity.founders, name_in(identity.cluster_id)), (0, {0}, "ours"))
        self.assertNotEqual(identity.cluster_id, "ours")
        members = Configuration({0}, addresses={0: ("a:1", "a:2")}, removed={1, 2, 3, 4, 5, 6})
        change = Entry(8, 4, EntryKind.CONFIGURATION, members.to_bytes())
        self.assertEqual(stored, Stored(TermAndVote(4, 0), (*self.log, change), Snapshot(0, 0, FOUNDERS)))
        self.assertEqual([storage.known(peer) for peer in range(7)], [None] * 7)
        self.assertNotEqual(storage.own.directory, self.own.directory)
        self.assertEqual(storage.own.starts, 0)
        contents = DataFile(self.directory / "kv.sqlite", identity.cluster_id).load()
        self.assertEqual((contents.last_applied, contents.records), (5, {b"k": RECORD}))
        self.assertEqual(self.files().keys() - {"kv.sqlite", "raft.sqlite", "raft.sqlite-durable"}, set())
        self.assertEqual(run("inspect", self.directory)[0], 0)

    def refused(self, *options: object) -> str:
        """In one line, and nothing has changed."""
        before = self.files()
        status, _, err = self.recover(*options)
        self.assertEqual((status, err.count("\n"), self.files()), (1, 1, before), err)
        return err


class RecoverTests(RecoverTestCase):
    def test_recovered(self) -> None:
        """It says what stays and what may be lost, and what to do next. The configuration file's name still goes with
        it, and every other cluster's does not."""
        status, out, err = self.recover()
        self.assertEqual((status, err), (0, ""))
        self.assertRecovered()
        storage, _ = self.load()
        for line in (
            f'{self.directory}: node 0 of cluster "ours", with the voters 0, 1, 4 and the learners 5\n',
            "Its log ends with entry 7 of term 2, and its data with entry 5. All of that stays:\n",
            "  - 2 entries are after those of the data. The old cluster may have dropped some of them, and told",
            "  - everything that the others acknowledged after entry 7. How much that is, this node does not know;",
            f'It becomes the cluster "{storage.identity.cluster_id}", of node 0 alone.\n',
            "No other node has a part in it: the ids 1, 2, 3, 4, 5, 6 are never used again.\n",
            f"    twistd txraft --id 0 --data-dir {self.data}\n",
        ):
            self.assertIn(line, out)
        with self.assertRaises(WrongDirectory):
            storage_in(self.directory, evolve(BOOTSTRAP, cluster_id="theirs")).load()

    def test_again(self) -> None:
        """One that is recovered is whole, and stays as it is. When its new cluster has lost a majority too, it can be
        recovered again: its cluster is another one then, of the same name."""
        self.recover()
        first = self.load()[0].identity.cluster_id
        self.assertIn("is of node 0, which decides alone in its cluster already, so there is nothing", self.refused())
        storage = storage_in(self.directory)
        grown = evolve(storage.load().configuration, voters={0, 7})
        self.successResultOf(storage.save([Save(None, (Entry(9, 4, EntryKind.CONFIGURATION, grown.to_bytes()),))]))
        self.successResultOf(storage.close())
        self.assertEqual(self.recover()[0], 0)
        storage, stored = self.load()
        self.assertNotEqual(storage.identity.cluster_id, first)
        self.assertEqual(name_in(storage.identity.cluster_id), "ours")
        self.assertEqual(stored.configuration.removed, {1, 2, 3, 4, 5, 6, 7})

    def test_compacted(self) -> None:
        """Who was removed before the log begins is not used again either; without data behind the log, or with none of
        it in the log, it goes on all the same."""
        storage = storage_in(self.directory)
        storage.load()
        before = evolve(CHANGED, removed={2, 3, 9})
        self.successResultOf(
            storage.save([Save(None, (), Snapshot(5, 2, before)), Save(None, (), Snapshot(7, 2, before))])
        )
        self.successResultOf(storage.close())
        self.assertIn("goes up to entry 5, and the log begins behind entry 7: start the node once", self.refused())
        self.write_data(7)
        self.assertEqual(self.recover()[0], 0)
        _, stored = self.load()
        self.assertEqual((stored.last_index, stored.entries[-1].term), (8, 4))
        self.assertEqual(stored.configuration.removed, {1, 2, 3, 4, 5, 6, 9})

    def test_no_data(self) -> None:
        """They are rebuilt from a log that begins at 1."""
        for path in self.directory.glob("kv.sqlite*"):
            path.unlink()
        status, out, _ = self.recover()
        self.assertEqual(status, 0)
        self.assertIn("and its data with entry 0. All", out)
        self.assertEqual(self.files().keys(), {"raft.sqlite", "raft.sqlite-durable"})

    def test_joint(self) -> None:
        """A change that had not ended is over: the voters are this node alone."""
        storage = storage_in(self.directory)
        storage.load()
        joint = Configuration({0, 7}, {0, 1}, learners={8}, auto_leave=True, addresses={0: ("x:1", "x:2")})
        change = Entry(8, 3, EntryKind.CONFIGURATION, joint.to_bytes())
        self.successResultOf(storage.save([Save(None, (change,))]))
        self.successResultOf(storage.close())
        self.assertIn("with the voters 0, 1, 7 and the learners 8\n", self.recover()[1])
        found = self.load()[1].configuration
        self.assertEqual(found, Configuration({0}, addresses={0: ("x:1", "x:2")}, removed={1, 2, 3, 4, 5, 6, 7, 8}))

    def test_asks(self) -> None:
        """On a terminal, whoever types anything but yes has changed nothing; without one, it has to be said."""
        for answer in ("no\n", "y\n", "", "\n"):
            with patch("sys.stdin", Terminal(answer)):
                self.assertIn("nothing was changed: the answer was not yes", self.refused("--id", 0))
        with patch("sys.stdin", Terminal("yes\n")):
            status, out, _ = self.recover("--id", 0)
        self.assertEqual(status, 0)
        self.assertIn("Type yes to go on: ", out)
        self.assertRecovered()

    def test_no_terminal(self) -> None:
        """A script that does not say --yes is refused, in a line that says so."""
        before = self.files()
        with patch("sys.stdin", StringIO("yes\n")):
            status, _, err = self.recover("--id", 0)
        self.assertEqual((status, err.count("\n"), self.files()), (2, 1, before))
        self.assertIn("there is no terminal to ask on whether to go on: add --yes", err)

    def test_command_line(self) -> None:
        """What is missing, or cannot be meant, is said."""
        for words, part in (
            (["--yes"], "--force-new-cluster is missing: what the lost nodes alone had is gone then"),
            (["--force-new-cluster", "--id", "x"], "--id takes a whole number"),
            (["--force-new-cluster", "--data-dir", ""], "--data-dir is empty"),
            (["--force-new-cluster", "1"], "write --id 1"),
        ):
            status, _, err = run("recover", *words)
            self.assertEqual(status, 2)
            self.assertIn(part, err)

    def test_which(self) -> None:
        """The only node, the one that is named, or the one whose directory is given."""
        nothing, other = Path(self.mktemp()), self.data / "1"
        nothing.mkdir()
        shutil.copytree(self.directory, other)
        self.assertIn("has the directories of several nodes: say which, with --id", self.recover()[2])
        self.assertIn(f"{other} is of node 0, not of node 1", self.recover("--yes", "--id", 1)[2])
        self.assertIn("is not the directory of a node", self.recover("--yes", "--id", 2)[2])
        self.assertIn("has no directory of a node", self.recover("--yes", "--data-dir", nothing)[2])
        shutil.rmtree(other)
        self.assertEqual(self.recover("--yes", "--data-dir", self.directory)[0], 0)
        self.assertRecovered()

    def test_running(self) -> None:
        """The directory of a node that runs is left to it."""
        storage = storage_in(self.directory)
        storage.load()
        self.assertIn(f"{self.directory} is in use by process", self.refused())
        storage.unlock()

    def test_while_it_asks(self) -> None:
        """No node starts meanwhile."""
        with patch("txraft.cli.recover._confirm", lambda: self.assertRaises(DirectoryLocked, self.load)):
            self.assertEqual(self.recover("--id", 0)[0], 0)

    def test_removed(self) -> None:
        """A node that was removed does not have what came later."""
        storage = storage_in(self.directory)
        storage.load()
        removed = Configuration({1, 4}, removed={0})
        self.successResultOf(storage.save([Save(None, (Entry(8, 3, EntryKind.CONFIGURATION, removed.to_bytes()),))]))
        self.successResultOf(storage.close())
        self.assertIn("of node 0, which was removed from its cluster", self.refused())

    def test_alone_soon(self) -> None:
        """A node that is to decide alone, once the old voters have agreed to that, needs them yet."""
        storage = storage_in(self.directory)
        storage.load()
        joint = Configuration({0}, outgoing={0, 1, 4}, auto_leave=True, addresses={0: ("a:1", "a:2")})
        self.successResultOf(storage.save([Save(None, (Entry(8, 3, EntryKind.CONFIGURATION, joint.to_bytes()),))]))
        self.successResultOf(storage.close())
        self.assertEqual(self.recover()[0], 0)

    def test_damaged(self) -> None:
        """Files that no node would start on, or that do not go together, are left as they are (hazards S4, S15)."""
        whole = self.files()
        for name, change, part in (
            ("raft.sqlite", "UPDATE log SET data = x'00' WHERE idx = 2", "entry 2 does not match its checksum"),
            ("raft.sqlite", "DELETE FROM log", "its last entries are lost"),
            ("raft.sqlite", "UPDATE identity SET founders = '0, 1'", "whose it is does not match"),
            ("kv.sqlite", "UPDATE data SET record = x'00'", "the row of key b'k' does not match its checksum"),
            ("kv.sqlite", "UPDATE applied SET last_applied = 6", "do not match"),
        ):
            with closing(sqlite3.connect(self.directory / name, isolation_level=None)) as connection:
                connection.execute(change)
            self.assertIn(part, self.refused())
            for path, content in whole.items():
                (self.directory / path).write_bytes(content)
        (self.directory / "raft.sqlite").unlink()
        self.assertIn("missing, while the files beside it are there", self.refused("--yes", "--id", 0))

    def test_earlier_format(self) -> None:
        """A directory without addresses is not made a cluster that could not be joined: a start gives it some."""
        for path in self.directory.iterdir():
            path.unlink()
        for name, content in FILES_OF_FORMAT_4.items():
            (self.directory / name).write_bytes(zlib.decompress(b64decode(content)))
        self.assertIn("is of an earlier txraft: start the node once, which needs no other node", self.refused())

    def test_not_together(self) -> None:
        """Data of another cluster, or that go further than the log; or that are none of txraft's own."""
        self.write_data(5, "theirs")
        self.assertIn('has data of the cluster "theirs", and the log is of "ours"', self.refused())
        self.write_data(8)
        self.assertIn("goes up to entry 8, and the log to 7", self.refused())
        (self.directory / "state").touch()
        self.assertIn("of an application's own state machine", self.refused())

    def test_restore_cut_off(self) -> None:
        """What is only half made by another command is not taken for a node."""
        (self.directory / "restoring").touch()
        self.assertIn("`txraft restore` was cut off", self.refused())

    def test_as_root(self) -> None:
        """What root has made in it becomes the node's user's."""
        with patch("txraft.cli.recover.give_to_its_owner") as given:
            self.recover()
        given.assert_called_once_with(self.directory)


class CutOffTests(RecoverTestCase):
    """A crash anywhere leaves what no start takes for whole, and what the same command completes."""

    def assertHalf(self) -> None:
        """No start, and no other command, takes it for whole."""
        for command in (("inspect", self.directory), ("forget", "--id", 1, "--data-dir", self.directory)):
            self.assertIn("half of one cluster and half of another: `txraft recover` was cut off", run(*command)[2])
        self.assertIn("`txraft recover` was cut off", str(self.assertRaises(StorageError, self.load)))

    def test_killed(self) -> None:
        """Wherever it is killed: nothing was done, or all of it, or no start takes it for whole."""
        halves = 0
        for steps in count():
            self.setUp()
            before = self.files()
            if not is_killed(self, steps, lambda: self.assertEqual(self.recover()[0], 0)):
                break
            left = self.files()
            if "recovering" in left:
                halves += 1
                self.assertHalf()
                is_killed(self, 3, self.recover)
                self.assertHalf()
            elif left["raft.sqlite"] == before["raft.sqlite"]:
                self.assertEqual(self.load()[1].entries, self.log)
            else:
                self.assertRecovered()
                continue
            status, out, err = self.recover()
            self.assertEqual((status, err), (0, ""), f"killed after {steps} steps")
            self.assertRecovered()
            self.assertIn("Its log ends with entry 7 of term 2, and its data with entry 5", out)
        self.assertRecovered()
        self.assertGreater(halves, 3)

    def test_steps(self) -> None:
        """Between any two of its own steps; the second attempt makes the same cluster as the first would have."""
        for step, log_is_new in (
            ("txraft.storage.raft_file.refound", False),
            ("txraft.cli.recover.give_to", True),
            ("txraft.kv.recovering.applied_row", True),
        ):
            self.setUp()
            with patch(step, side_effect=KeyboardInterrupt):
                status, out, _ = self.recover()
            self.assertEqual(status, 130)
            self.assertHalf()
            cluster_id = (self.directory / "recovering").read_text()
            self.assertIn(f'It becomes the cluster "{cluster_id}"', out)
            with closing(sqlite3.connect(self.directory / "raft.sqlite")) as connection:
                ((found,),) = connection.execute("SELECT cluster_id FROM identity")
            self.assertEqual(found, cluster_id if log_is_new else "ours")
            self.assertIn("was cut off here, and goes on", self.recover()[1])
            self.assertRecovered()
            self.assertEqual(self.load()[0].identity.cluster_id, cluster_id)

    def test_write_fails(self) -> None:
        """So does a disk that fails."""
        with patch("txraft.cli.recover.give_to", side_effect=StorageError("no room")):
            self.assertEqual(self.recover()[::2], (1, "txraft: no room\n"))
        self.assertHalf()
        self.assertEqual(self.recover()[0], 0)
        self.assertRecovered()

    def test_a_full_disk(self) -> None:
        """The command is to be run again: a start would be one of the old cluster's node."""
        advice = "; the disk is full: make room on it and run the command again\n"
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        for function in ("txraft.wal.connect", "txraft.kv.recovering.read_applied"):
            with patch("txraft.wal._is_full", return_value=True), patch(function, side_effect=error):
                status, _, err = self.recover()
            self.assertEqual((status, err.count("\n"), err[-len(advice) :]), (1, 1, advice))
        self.assertEqual(self.recover()[0], 0)
        self.assertRecovered()

    def test_damaged_mark(self) -> None:
        """A mark that is damaged names no cluster: another one is made."""
        with patch("txraft.cli.recover.give_to", side_effect=KeyboardInterrupt):
            self.recover()
        for content in (b"", b"\xff\n\xfe (recovered 00)"):
            (self.directory / "recovering").write_bytes(content)
            with patch("txraft.cli.recover.give_to", side_effect=KeyboardInterrupt):
                self.recover()
        self.assertEqual(self.recover()[0], 0)
        storage, stored = self.load()
        self.assertEqual(name_in(storage.identity.cluster_id), "ours")
        self.assertEqual((stored.configuration.voters, stored.configuration.removed), ({0}, {1, 2, 3, 4, 5, 6}))
        self.assertEqual(run("inspect", self.directory)[0], 0)

    def test_syncs(self) -> None:
        """A power cut leaves what a crash does (hazards S3, S18): the mark is there before the log is changed, the log
        before the data are, and the data before the mark goes."""
        self.data = self.data.absolute()
        self.directory = self.directory.absolute()
        events = record(self)
        self.assertEqual(self.recover()[0], 0)
        mark, log = str(self.directory / "recovering"), str(self.directory / "raft.sqlite")
        self.assertEqual(
            events,
            [
                ("sync", f"{mark}.new"),
                ("rename", f"{mark}.new", mark),
                ("sync", str(self.directory)),
                ("sync", log),
                ("sync", f"{log}-durable"),
                ("sync", f"{log}-durable"),  # at its end
                ("sync", str(self.directory / "kv.sqlite")),
                ("unlink", mark),
                ("sync", str(self.directory)),
            ],
        )
