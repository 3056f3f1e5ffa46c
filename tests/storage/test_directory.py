import errno
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import evolve

from tests.storage.contract import NOTHING
from tests.storage.disk import BOOTSTRAP, SQLiteTestCase, storage_in
from txraft import wal
from txraft.core.configuration import Configuration
from txraft.core.ready import TermAndVote
from txraft.errors import CorruptLog, DirectoryLocked, StorageError, WrongDirectory
from txraft.storage.directory import make_directory, name_of_user, size_of


class DirectoryTests(SQLiteTestCase):
    """Whose directory it is, and whether it is one."""

    def refused(self, **changes: Any) -> str:
        """Start as somebody else, in vain: nothing has changed, and who it belongs to can start. Gives the line."""
        line = str(self.assertRaises(WrongDirectory, storage_in(self.directory, evolve(BOOTSTRAP, **changes)).load))
        self.assertNotIn("\n", line)
        self.assertEqual(self.load(), self.stored)
        return line

    def test_size(self) -> None:
        """Of all files, those in directories too; what has gone meanwhile does not count."""
        directory = Path(self.mktemp())
        (directory / "snapshots").mkdir(parents=True)
        for name in ("a", "snapshots/b"):
            (directory / name).write_bytes(b"12345")
        self.assertEqual(size_of(directory), 10)
        with patch.object(os, "walk", return_value=[(str(directory), [], ["a", "gone"])]):
            self.assertEqual(size_of(directory), 5)

    def test_wrong_node(self) -> None:
        """Another node's directory."""
        self.assertIn(f"{self.directory} belongs to node 0, not to node 1: ", self.refused(node_id=1))

    def test_wrong_cluster(self) -> None:
        """Another cluster's directory, or its own under a name that it did not have at the first start."""
        line = self.refused(cluster_id="theirs")
        self.assertIn(f'{self.directory} belongs to cluster "ours", not to "theirs": ', line)

    def test_other_members(self) -> None:
        """A configuration that names other members than the first one did, or other addresses, changes nothing (hazard
        E14)."""
        for edited in (Configuration({0, 1, 2, 3, 4}), Configuration({0, 1}), Configuration({0, 1, 10})):
            storage = storage_in(self.directory, evolve(BOOTSTRAP, configuration=edited))
            self.assertEqual(storage.load(), self.stored)
            self.assertEqual(storage.identity, BOOTSTRAP.identity)
            self.successResultOf(storage.close())

    def test_identity_of_the_first_start(self) -> None:
        """An id that was not given as a name may differ, since it is made from addresses: the disk's counts."""
        storage = storage_in(self.directory, evolve(BOOTSTRAP, cluster_id="of other addresses", named=False))
        self.assertEqual(storage.load(), self.stored)
        self.assertEqual(storage.identity, BOOTSTRAP.identity)
        self.successResultOf(storage.close())

    def test_format(self) -> None:
        """Another version's directory."""
        self.execute("UPDATE identity SET format = 1")
        self.assertRefused(StorageError, "is in format 1")

    def test_not_a_directory(self) -> None:
        """A file in its place, or in its parent's; nothing that is damaged."""
        file, link = Path(self.mktemp()), Path(self.mktemp())
        file.touch()
        link.symlink_to("elsewhere")
        for path, kind in ((file, "a file"), (link, "a link to elsewhere, where nothing is")):
            for directory in (path, path / "0"):
                error = self.assertRaises(StorageError, storage_in(directory).load)
                line = f"cannot use {directory}: {path} is {kind}; it has to be a directory that the user "
                self.assertIn(line, str(error))
                self.assertNotIsInstance(error, CorruptLog)

    def test_for_its_user_alone(self) -> None:
        """Every value is in it. One that was there before is as its user made it."""
        directory = Path(self.mktemp()) / "0"
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        make_directory(directory)
        self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
        directory.chmod(0o750)
        make_directory(directory)
        self.assertEqual(directory.stat().st_mode & 0o777, 0o750)

    def test_full_disks(self) -> None:
        """What the system says of a full disk, or of a quota, is advice to make room, also where there is room for
        others."""
        for number, advice in ((errno.ENOSPC, "make room"), (errno.EDQUOT, "make room"), (errno.EIO, "may be failing")):
            self.assertIn(advice, wal.remedy_for_write(Path(self.mktemp()), OSError(number, os.strerror(number))))

    def test_names_of_users(self) -> None:
        """By name where there is one, and else by number."""
        self.assertEqual((name_of_user(0), name_of_user(4_000_000_001)), ("the user root", "the user 4000000001"))

    def test_cannot_be_made(self) -> None:
        """A disk that is full says so, and one that may not be written to says for whom."""
        me = name_of_user(os.geteuid())
        for number, advice in [
            (errno.ENOSPC, "No space left on device; make room there"),
            (errno.EDQUOT, "Disk quota exceeded; make room there"),
            (
                errno.EROFS,
                f"Read-only file system; it has to be a directory that {me} may write, with all that is in it",
            ),
        ]:
            with patch.object(Path, "mkdir", side_effect=OSError(number, os.strerror(number))):
                line = str(self.assertRaises(StorageError, make_directory, Path("here")))
            self.assertEqual(line, f"cannot use here: {advice}")

    def test_not_a_file(self) -> None:
        """The line says what is in the place of a file. That says nothing of what was in it, and nothing is made."""
        for name in ("raft.sqlite", "raft.sqlite-wal", "raft.sqlite-durable", "lock"):
            path = self.directory / name
            for put, kind in ((path.mkdir, "a directory"), (partial(path.symlink_to, "gone"), "a link to gone, where")):
                aside = Path(self.mktemp())
                if path.exists():
                    path.rename(aside)
                put()
                error = self.assertRaises(StorageError, storage_in(self.directory).load)
                self.assertIn(f"cannot use {path}: it is {kind}", str(error))
                self.assertNotIsInstance(error, CorruptLog)
                path.unlink() if path.is_symlink() else path.rmdir()
                if aside.exists():
                    aside.rename(path)
        self.assertEqual(self.load(), self.stored)

    def test_parents_are_made(self) -> None:
        """A directory several levels down."""
        self.assertEqual(self.load(Path(self.mktemp()) / "data" / "0"), NOTHING)

    def test_start_cut_off(self) -> None:
        """The first start was cut off before the file was whole: the next one starts afresh."""
        directory = Path(self.mktemp())
        directory.mkdir()
        shutil.copy(self.path, directory / "raft.sqlite.new")
        self.assertEqual(self.load(directory), NOTHING)

    def test_locked(self) -> None:
        """The second to come is refused, by a line that names the first; not after that has gone."""
        first = storage_in(self.directory)
        first.load()
        line = str(self.assertRaises(DirectoryLocked, storage_in(self.directory).load))
        self.assertIn(
            f"{self.directory} is in use by process {os.getpid()}, which is this one: stop the node that", line
        )
        self.assertNotIn("another --data-dir", line)  # an empty one would make the node forget what it promised
        self.successResultOf(first.close())
        self.assertEqual(self.load(), self.stored)

    def test_locked_by_nobody_known(self) -> None:
        """The one that holds the lock has not written its process id down yet, or had no room for it."""
        first = storage_in(self.directory)
        first.load()
        for content in (b"", b"not a number", b"99999999999"):
            (self.directory / "lock").write_bytes(content)
            line = str(self.assertRaises(DirectoryLocked, storage_in(self.directory).load))
            self.assertIn(f"{self.directory} is in use by another process: ", line)
        self.successResultOf(first.close())

    def test_locked_by_another_process(self) -> None:
        """A process that became a daemon between load and its first save, as twistd does, still holds the lock."""
        script = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from txraft.core.ready import Save, TermAndVote\n"
            "from tests.storage.disk import storage_in\n"
            "storage = storage_in(Path(sys.argv[1]))\n"
            "storage.load()\n"
            "if os.fork():\n"
            "    os._exit(0)\n"
            "storage.save([Save(TermAndVote(9, 1), ())]).addErrback(lambda failure: failure.printTraceback())\n"
            "print(os.getpid(), flush=True)\n"
            "sys.stdin.read()\n"
        )
        command = [sys.executable, "-c", script, str(self.directory.absolute())]
        root = Path(__file__).parent.parent.parent
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as daemon:
            assert daemon.stdout is not None
            pid = daemon.stdout.readline().strip()
            self.assertNotEqual(int(pid), daemon.pid)
            line = str(self.assertRaises(DirectoryLocked, storage_in(self.directory).load))
            self.assertIn(f"in use by process {pid}: ", line)
            daemon.communicate()  # ends both: their standard input closes
        self.assertEqual(self.load().term_and_vote, TermAndVote(9, 1))
