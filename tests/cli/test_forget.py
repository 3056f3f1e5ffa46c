"""`txraft forget`, on directories that nodes have left."""

import errno
import os
import sqlite3
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.storage.disk import BOOTSTRAP, storage_in
from txraft.cli import main
from txraft.cli.forget import give_to_its_owner
from txraft.core.configuration import Configuration
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save
from txraft.errors import StorageError
from txraft.interfaces import Incarnation
from txraft.storage import inspection
from txraft.storage.identity import Bootstrap
from txraft.storage.inspection import has_node

PEER = Incarnation(b"itsfiles", 3, b"itsstart")


class ForgetTests(SynchronousTestCase):
    """Which directory is meant, and what comes of it (hazard S6)."""

    def setUp(self) -> None:
        """Nodes 0 and 1 have met node 2."""
        self.data = Path(self.mktemp())
        for id in (0, 1):
            storage = storage_in(self.data / str(id), evolve(BOOTSTRAP, node_id=id))
            storage.load()
            self.successResultOf(storage.meet(2, PEER))
            self.successResultOf(storage.close())

    def known(self, id: int) -> Incarnation | None:
        """What node `id` knows of node 2."""
        storage = storage_in(self.data / str(id), evolve(BOOTSTRAP, node_id=id))
        storage.load()
        self.successResultOf(storage.close())
        return storage.known(2)

    def run_main(self, data: Path, lost: int = 2) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
            status = main(["forget", "--data-dir", str(data), "--id", str(lost)])
        return status, output.getvalue(), errors.getvalue()

    def test_a_node_s_own_directory(self) -> None:
        """That node forgets, the other does not; again, there is nothing to do."""
        status, output, errors = self.run_main(self.data / "1")
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(output, "node 1 has forgotten node 2, and lets it in with whatever directory it has next\n")
        self.assertEqual((self.known(0), self.known(1)), (PEER, None))
        status, output, errors = self.run_main(self.data / "1")
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(output, "node 1 remembers nothing of node 2, so there was nothing to forget\n")

    def test_as_the_node_is_started(self) -> None:
        """Where one node has its directory there, or the lost one beside it."""
        self.assertEqual(self.run_main(self.data, lost=1)[0], 0)
        (self.data / "1").rename(self.data / "elsewhere")
        self.assertEqual(self.run_main(self.data)[0], 1)
        (self.data / "elsewhere").rename(self.data.with_name("elsewhere"))
        self.assertEqual(self.run_main(self.data)[0], 0)
        self.assertIsNone(self.known(0))

    def test_beside_others(self) -> None:
        """What else is beside it, as backups may be in a directory of that name, is no sign of a node that has lost its
        log; nor is what may not be read."""
        (self.data / "1").rename(self.data.with_name("elsewhere"))
        for other in ("snapshots", "lost+found"):
            (self.data / other).mkdir()

        def read(directory: Path) -> bool:
            if directory.name == "lost+found":
                raise StorageError(f"cannot use {directory}: Permission denied")
            return has_node(directory)

        self.patch(inspection, "has_node", read)
        self.assertEqual(self.run_main(self.data)[::2], (0, ""))
        with redirect_stderr(StringIO()) as errors:
            self.assertEqual(main(["inspect", str(self.data)]), 1)
        self.assertIn(
            f"{self.data} is not a node's directory, but has some: inspect {self.data / '0'}", errors.getvalue()
        )

    def test_several_nodes(self) -> None:
        """One of them has to be named."""
        status, output, errors = self.run_main(self.data)
        self.assertEqual((status, output), (1, ""))
        self.assertIn(f"give one of them as --data-dir: {self.data / '0'}, {self.data / '1'}\n", errors)
        self.assertEqual((self.known(0), self.known(1)), (PEER, PEER))

    def test_refused(self) -> None:
        """One line, and nothing has changed."""
        running = storage_in(self.data / "1", evolve(BOOTSTRAP, node_id=1))
        running.load()
        nothing, empty = Path(self.mktemp()), Path(self.mktemp())
        empty.mkdir()
        for data, lost, part in (
            (self.data / "1", 2, "is in use by process"),
            (self.data / "0", 0, "node 0, which can forget any of the nodes 1, 2, and not node 0"),
            (self.data / "0", 7, "and not node 7"),
            (empty, 2, f"{empty} has no directory of a node: give the --data-dir of another node"),
            (nothing, 2, f"cannot use {nothing}: No such file or directory"),
        ):
            status, output, errors = self.run_main(data, lost)
            self.assertEqual((status, output, errors.count("\n")), (1, "", 1))
            self.assertIn(part, errors)
            self.assertTrue(errors.startswith("txraft: "))
        running.unlock()
        self.assertFalse(nothing.exists())
        self.assertEqual((self.known(0), self.known(1)), (PEER, PEER))

    def test_who_is_not_to_start_anew(self) -> None:
        """One that was removed is let in with no directory, and one that began the cluster alone would begin another.
        Nothing is forgotten."""
        storage = storage_in(self.data / "0")
        storage.load()
        after = Configuration({0, 1}, removed={2})
        self.successResultOf(storage.save([Save(None, (Entry(1, 1, EntryKind.CONFIGURATION, after.to_bytes()),))]))
        self.successResultOf(storage.close())
        alone = Bootstrap(3, "ours", Configuration({2}))
        storage = storage_in(self.data / "3", alone)
        storage.load()
        self.successResultOf(storage.meet(2, PEER))
        self.successResultOf(storage.close())
        for id, line in (
            (0, "node 2 was removed from the cluster, and is let in with no directory, as node 0 knows: add a node"),
            (3, "node 2 began this cluster alone, so with an empty directory it would begin another one: replace it"),
        ):
            status, output, errors = self.run_main(self.data / str(id))
            self.assertEqual((status, output, errors.count("\n")), (1, "", 1))
            self.assertTrue(errors.startswith(f"txraft: {line}"), errors)
        self.assertEqual(self.known(0), PEER)
        storage = storage_in(self.data / "3", alone)
        storage.load()
        self.successResultOf(storage.close())
        self.assertEqual(storage.known(2), PEER)

    def test_many_others(self) -> None:
        """A line has ten of them; or none, where the node has none."""
        storage = storage_in(self.data / "7", Bootstrap(7, "ours", Configuration(range(40))))
        storage.load()
        self.successResultOf(storage.close())
        errors = self.run_main(self.data / "7", lost=99)[2]
        self.assertIn("any of the nodes 0, 1, 2, 3, 4, 5, 6, 8, 9, 10 and 29 more, and not node 99\n", errors)
        storage = storage_in(self.data / "8", Bootstrap(8, "ours", Configuration({8})))
        storage.load()
        self.successResultOf(storage.close())
        self.assertIn("can forget no other node: it has met none, and not", self.run_main(self.data / "8")[2])

    def test_a_full_disk(self) -> None:
        """The command is to be run again: a start would refuse the lost node once more."""
        full = sqlite3.OperationalError("disk I/O error")
        for error in (full, OSError(errno.ENOSPC, "No space left on device")):
            with patch("txraft.wal._is_full", return_value=True), patch("txraft.wal.connect", side_effect=error):
                status, output, errors = self.run_main(self.data / "0")
            self.assertEqual((status, output), (1, ""))
            self.assertTrue(errors.endswith("; the disk is full: make room on it and run the command again\n"), errors)
        with patch("txraft.storage.raft_file.delete_peer", return_value=("SELECT nothing", ())):
            self.assertIn(": see to that first, and then run the command again", self.run_main(self.data / "0")[2])
        self.assertEqual(self.known(0), PEER)

    def test_the_lost_one_s(self) -> None:
        """Beside which there is none."""
        (self.data / "0").rename(self.data.with_name("elsewhere"))
        self.assertIn(f"{self.data} has no directory of a node but of node 1", self.run_main(self.data, lost=1)[2])

    def test_command_line(self) -> None:
        """What is missing is said."""
        for words, part in (
            ([], "--id is missing"),
            (["--id", "x"], "--id takes a whole number"),
            (["--id", "1", "--data-dir", ""], "--data-dir is empty"),
            (["1"], "write --id 1"),
        ):
            with redirect_stderr(StringIO()) as errors:
                self.assertEqual(main(["forget", *words]), 2)
            self.assertIn(part, errors.getvalue())

    def test_as_root(self) -> None:
        """What root has made in it becomes the node's user's; others change nothing."""
        with patch("os.geteuid", return_value=1000), patch("os.fchown") as given:
            give_to_its_owner(self.data / "0")
        given.assert_not_called()
        status = os.stat_result((0o40700, 0, 0, 0, 1234, 5678, 0, 0, 0, 0))
        directory = self.data / "0"
        with (
            patch("os.geteuid", return_value=0),
            patch("os.fchown") as given,
            patch.object(Path, "stat", return_value=status),
        ):
            give_to_its_owner(directory)
        self.assertEqual({call.args[1:] for call in given.call_args_list}, {(1234, 5678)})
        self.assertEqual(given.call_count, len(list(directory.iterdir())))
