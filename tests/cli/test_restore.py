"""`txraft restore`: what nodes of a new cluster begin with, and what a crash in the middle leaves."""

from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.kv.backed_up import INDEX, ORIGIN, data_file
from txraft.cli import main
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.ready import TermAndVote
from txraft.errors import StorageError, WrongDirectory
from txraft.interfaces import Identity, Stored
from txraft.kv.backup import describe
from txraft.kv.data_file import DataFile
from txraft.kv.data_snapshot import remove_leftovers
from txraft.storage.raft_file import RaftFile

VOTERS = frozenset({0, 1, 2})


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        status = main(list(map(str, arguments)))
    return status, out.getvalue(), err.getvalue()


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
            self.assertNotIn("kv.sqlite-restoring", self.files_of(id))
            contents = DataFile(directory / "kv.sqlite", identity.cluster_id).load()
            self.assertEqual((contents.last_applied, list(contents.records)), (INDEX, [b"k"]))
            self.assertEqual(run("inspect", directory)[0], 0)
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

    def test_crash(self) -> None:
        """Wherever it is cut off, a start is refused with a line, or has everything; and it can be run again."""
        steps: Mapping[str, bool] = {
            "txraft.cli.restore.copy_backup": False,
            "txraft.cli.restore.make_data": False,
            "txraft.kv.restoring.applied_row": False,
            "txraft.cli.restore.begin_log": False,
            "txraft.storage.raft_file.write_start": False,
            "txraft.cli.restore.described": True,
        }
        for number, (step, is_done) in enumerate(steps.items()):
            data = f"data-{number}"
            with patch(step, side_effect=KeyboardInterrupt):
                self.assertEqual(self.restore(data=data)[0], 130)
            path = self.directory / data / "0" / "raft.sqlite"
            if is_done:
                self.log_of(data=data)
                continue
            given = RaftFile(path, Identity(0, "ours", VOTERS), named=False)
            self.assertIn("is damaged: it is missing", str(self.assertRaises(StorageError, given.load)), step)
            self.assertFalse(path.exists())
            self.assertEqual(self.restore(data=data)[0], 0, step)
            self.log_of(data=data)

    def test_crash_at_the_end(self) -> None:
        """A mark that is left beside a whole log hinders nobody, and goes at the next start; nothing is restored over a
        node that has started."""
        self.restore()
        mark = self.directory / "data" / "0" / "kv.sqlite-restoring"
        mark.touch()
        self.assertEqual(self.restore()[0], 1)
        self.log_of()
        remove_leftovers(mark.with_name("kv.sqlite"))
        self.assertFalse(mark.exists())

    def test_damaged(self) -> None:
        """A backup that is none, or not whole, is refused with a line, before or while its bytes are checked."""
        content = self.backup.read_bytes()
        for wrong in (b"no database" * 100, content.replace(bytes(10), b"x" * 10, 1), None):
            if wrong is None:
                self.backup.unlink()
            else:
                self.backup.write_bytes(wrong)
            status, _, err = self.restore()
            self.assertEqual((status, err.count("\n")), (1, 1), err)
            self.assertFalse((self.directory / "data" / "0" / "raft.sqlite").exists())

    def test_usage(self) -> None:
        """What cannot be meant is refused."""
        self.assertEqual(run("restore", self.backup)[0], 2)
        self.assertEqual(run("restore", "--id", "1")[0], 2)
        self.assertEqual(self.restore(id=7)[0], 1)
