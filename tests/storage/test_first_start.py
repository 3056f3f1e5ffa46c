"""A first start that is killed at any step leaves what the next one starts on (hazards S3, S19)."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import entry, save_of
from tests.storage.disk import BOOTSTRAP
from tests.storage.steps import is_killed
from txraft.core.configuration import Configuration
from txraft.storage.identity import Bootstrap
from txraft.storage.raft_file import RaftFile


class FirstStartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "raft.sqlite"

    def file(self) -> RaftFile:
        return RaftFile(self.path, BOOTSTRAP)

    def write(self) -> None:
        """Start, and save something."""
        file = self.file()
        file.load()
        file.open()
        file.write(save_of(entry(1)))

    def test_killed(self) -> None:
        """Before each sync that it asks for itself, and each name that it gives or takes away."""
        steps = 0
        while is_killed(self, steps, self.write):
            stored = self.file().load()
            self.assertIn(len(stored.entries), (0, 1))
            steps += 1
            self.setUp()
        self.assertGreater(steps, 4)

    def test_leftovers(self) -> None:
        """Whatever a start that was cut off left of the file that it was making is removed."""
        for end in ("", "-journal", "-wal", "-shm"):
            (self.directory / f"raft.sqlite.new{end}").write_bytes(b"half of it")
        self.file().load()
        self.assertEqual(list(self.directory.glob("*.new*")), [])

    def test_opened(self) -> None:
        """The first open changes nothing in the file. A change of its mode has a rollback journal, and where the
        process is killed with that on the disk, no start could read the file any more."""
        file = self.file()
        file.load()
        made = self.path.read_bytes(), self.path.stat().st_mtime_ns
        file.open()
        self.assertEqual((self.path.read_bytes(), self.path.stat().st_mtime_ns), made)
        file.close(failed=False)

    def test_identity(self) -> None:
        """A node that begins a cluster alone begins another one on each new directory (hazard S6), which has the same
        name. All others have the identity that they are given."""
        drawn = set()
        for named, pattern in ((True, r"\Aours \(begun [0-9a-f]{16}\)\Z"), (False, r"\A[0-9a-f]{16}\Z")):
            for _ in range(2):
                self.setUp()
                alone = Bootstrap(1, "ours", Configuration({1}), named)
                file = RaftFile(self.path, alone)
                file.load()
                drawn.add(file.identity.cluster_id)
                self.assertRegex(file.identity.cluster_id, pattern)
                again = RaftFile(self.path, alone)
                again.load()
                self.assertEqual(again.identity, file.identity)
        self.assertEqual(len(drawn), 4)
        for node_id, voters in ((1, {1, 2}), (3, {1})):
            self.setUp()
            file = RaftFile(self.path, Bootstrap(node_id, "ours", Configuration(voters)))
            file.load()
            self.assertEqual(file.identity.cluster_id, "ours")
