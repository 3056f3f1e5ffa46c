"""`txraft backup`, against servers on loopback that send what a node would: which file it makes, and what it says."""

import os
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import evolve

from tests.cli.backing_up import NOBODY, BackupTestCase, Node, run
from tests.kv.backed_up import ORIGIN
from txraft.cli import download, main
from txraft.cli.backup import described
from txraft.kv.backup import read_backup


class BackupTests(BackupTestCase):
    def test_taken(self) -> None:
        """The file has its name when it is whole, and a line says what it is of."""
        with Node(self.content).serving() as address:
            status, out, err = run(self.target, "--node", str(address))
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(
            out,
            f'{self.target}: cluster "ours" up to entry 5, revision 1, 1 keys, made by node 1 at 2026-11-26T12:00:00,'
            f" {len(self.content):,} bytes\n",
        )
        self.assertEqual((self.target.read_bytes(), self.names()), (self.content, {"a.backup"}))

    def test_hostile_words(self) -> None:
        """What a file says of itself does no harm to a terminal."""
        self.target.write_bytes(self.content)
        hostile = evolve(read_backup(self.target), cluster_id="\x1b[31m", origin=evolve(ORIGIN, made="\n\x9b"))
        self.assertIn(r'cluster "\x1b[31m" up to entry 5', described(hostile))
        self.assertTrue(described(hostile).isprintable())

    def test_two_at_once(self) -> None:
        """The second is told in a line, and the first goes on as if there were none."""
        told: list[tuple[int, str, str]] = []

        def take_another(*arguments: Any) -> None:
            told.append(run(self.target, "--node", str(address)))
            download.download(*arguments)

        with Node(self.content).serving() as address, patch("txraft.cli.backup.download", take_another):
            self.assertEqual(run(self.target, "--node", str(address))[0], 0)
        self.assertEqual(
            told,
            [
                (
                    1,
                    "",
                    f"txraft: another `txraft backup` is writing {self.target}: wait for it, or give another name\n",
                )
            ],
        )
        self.assertEqual((self.target.read_bytes(), self.names()), (self.content, {"a.backup"}))

    def test_disk_fails(self) -> None:
        """Whatever this disk refuses is said in one line, and nothing else comes out of the command."""
        full = OSError(28, "No space left on device")
        with Node(self.content).serving() as address:
            for owner, name in (
                ("fcntl", "flock"),
                ("pathlib.Path", "stat"),
                ("pathlib.Path", "open"),
                ("txraft.cli.part", "Part._note"),
                ("txraft.cli.part", "hashlib.sha256"),
                ("os", "fsync"),
                ("os", "replace"),
            ):
                with patch(f"{owner}.{name}", side_effect=full):
                    status, out, err = run(self.target, "--node", str(address))
                self.assertEqual((status, out, err.count("\n")), (1, "", 1), name)
                self.assertIn("No space left on device", err)
                self.assertFalse(self.target.exists(), name)
            for impossible in (self.directory, self.directory / ("x" * 300), "/", ".", self.directory / "x" / ".."):
                status, out, err = run(impossible, "--force", "--node", str(address))
                self.assertEqual((status, out, err.count("\n")), (1, "", 1), impossible)
            self.assertEqual(run(self.target, "--node", str(address))[0], 0)

    def test_damaged(self) -> None:
        """What came is not what was sent, or is no backup: it is removed."""
        node = Node(self.content)
        node.digest = "1" * 64
        for wrong in (node, Node(b"no database" * 1000)):
            with wrong.serving() as address:
                status, _, err = run(self.target, "--node", str(address))
            self.assertEqual((status, err.count("\n"), self.names()), (1, 1, set()), err)

    def test_not_overwritten(self) -> None:
        """A file that is there stays, unless it is said."""
        self.target.write_bytes(b"precious")
        with Node(self.content).serving() as address:
            status, _, err = run(self.target, "--node", str(address))
            self.assertEqual((status, self.target.read_bytes()), (1, b"precious"))
            self.assertIn("--force", err)
            self.assertEqual(run(self.target, "--force", "--node", str(address))[0], 0)
        self.assertEqual(read_backup(self.target).origin, ORIGIN)

    def test_no_file(self) -> None:
        """Only a file is replaced, whatever is said: no device, pipe or directory, and no name that only a directory
        can have; nor is one of these taken for the unfinished file. Nobody is asked."""
        special = self.directory / "special"
        for make, reason in (
            (os.mkfifo, "neither a file nor a directory"),
            (os.mkdir, "a directory"),
            (lambda path: path.symlink_to("pipe"), "neither a file nor a directory"),
            (lambda path: path.symlink_to("nowhere"), "a link to nowhere, where nothing is"),
        ):
            for target, in_the_way in (
                (special, special),
                (self.target, self.part),
                (self.target, self.directory / "a.backup.txraft-part-of"),
            ):
                (self.directory / "pipe").unlink(missing_ok=True)
                os.mkfifo(self.directory / "pipe")
                make(in_the_way)
                before = in_the_way.lstat()
                status, out, err = run(target, "--force", "--node", str(NOBODY))
                line = (
                    f"txraft: cannot use {in_the_way}: it is {reason}, and has to be a file; give the name of another"
                )
                self.assertEqual((status, out, err.count("\n")), (1, "", 1))
                self.assertIn(line, err)
                self.assertEqual(in_the_way.lstat().st_ino, before.st_ino)
                in_the_way.rmdir() if in_the_way.is_dir() else in_the_way.unlink()
        for name in ("bk/a/", "bk/a/.", "bk/.."):
            for command in (["--force", "--node", str(NOBODY)], []):
                status, _, err = run(f"{self.directory}/{name}", *command)
                self.assertEqual((status, err.count("\n")), (1, 1))
                self.assertIn("is the name of a directory: give that of a file", err)
        self.assertEqual(self.names(), {"pipe"})

    def test_no_file_any_more(self) -> None:
        """What has come there meanwhile stays, too, and so does what has come from the node."""
        made = patch("txraft.cli.backup.checked", side_effect=lambda _: os.mkfifo(self.target))
        with Node(self.content).serving() as address, made:
            status, _, err = run(self.target, "--force", "--node", str(address))
        self.assertEqual((status, err.count("\n"), self.target.is_fifo()), (1, 1, True))
        self.assertTrue(self.part.exists())

    def test_link(self) -> None:
        """The file that it leads to is meant, which may be on another disk; the link stays."""
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "file").write_bytes(b"old")
        self.target.symlink_to("elsewhere/file")
        with Node(self.content, cuts=[10_000] * 5).serving() as address:
            self.assertIn("is there already, and stays", run(self.target, "--node", str(address))[2])
            run(self.target, "--force", "--node", str(address))
            self.assertTrue((elsewhere / "file.txraft-part").exists())
            self.assertEqual(run(self.target, "--force", "--node", str(address))[0], 0)
        self.assertEqual(self.target.readlink(), Path("elsewhere/file"))
        self.assertEqual((elsewhere / "file").read_bytes(), self.content)
        self.assertEqual({path.name for path in elsewhere.iterdir()}, {"file"})

    def test_long_name(self) -> None:
        """Also one that is too long with what is added to it meanwhile."""
        for length in (250, 300):
            status, _, err = run(self.directory / ("x" * length), "--node", str(NOBODY))
            self.assertEqual((status, err.count("\n")), (1, 1))
            self.assertIn("File name too long; give a shorter name\n", err)

    def test_stopped(self) -> None:
        """Ctrl-C: the line says whether anything is kept."""
        with patch("txraft.cli.backup.download", side_effect=KeyboardInterrupt):
            self.assertEqual(run(self.target, "--node", str(NOBODY)), (130, "", "txraft: stopped\n"))
        node = Node(self.content, cuts=[10_000])
        with node.serving() as address:
            with patch.object(download, "sleep", side_effect=KeyboardInterrupt):
                stopped = run(self.target, "--node", str(address))
            self.assertEqual(stopped, (130, "", "txraft: stopped; what has come is kept: run this again\n"))
            self.assertEqual(run(self.target, "--node", str(address))[0], 0)
        self.assertEqual(node.ranges, [None, "bytes=10000-"])

    def test_config_of_up(self) -> None:
        """Where the built-in nodes are not there, and `txraft up` has started others, the line says how to ask them."""
        hint = "; `txraft up` has written where its nodes are: add --config data/cluster.toml\n"
        target = self.target.absolute()
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.directory)
        Path("data").mkdir()
        with patch("txraft.cli.asking.HTTPConnection.connect", side_effect=ConnectionRefusedError):
            self.assertNotIn("--config", run(target)[2])
            Path("data/cluster.toml").touch()
            self.assertTrue(run(target)[2].endswith(hint))
            self.assertNotIn("--config", run(target, "--node", str(NOBODY))[2])
            for command in (["transfer", "--to", "2"], ["backup", str(target)]):
                with redirect_stderr(StringIO()) as err:
                    self.assertEqual(main(command), 3)
                self.assertTrue(err.getvalue().endswith(hint), err.getvalue())

    def test_usage(self) -> None:
        """What cannot be meant is refused."""
        self.assertEqual(run()[0], 2)
        self.assertEqual(run("a", "b")[0], 2)
        self.assertEqual(run("a", "--node", "")[0], 2)
        self.assertEqual(run("a", "--node", "a:1", "--config", "c")[0], 2)
        self.assertEqual(run("a", "--node", "a")[0], 2)
        self.assertEqual(run(self.directory / "no" / "a", "--node", str(NOBODY))[0], 1)
