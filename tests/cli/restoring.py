"""A backup, and the command that makes nodes of it."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.running import run
from tests.kv.backed_up import ORIGIN, data_file
from tests.storage.disk import storage_in
from txraft.core.configuration import Configuration
from txraft.interfaces import Stored
from txraft.kv.backup import describe
from txraft.storage.identity import Bootstrap
from txraft.storage.raft_file import RaftFile

VOTERS = frozenset({0, 1, 2})


class RestoreTestCase(SynchronousTestCase):
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
        file = RaftFile(self.directory / data / str(id) / "raft.sqlite", None)
        return file, file.load()

    def start(self, id: int = 0, data: str = "data") -> None:
        """As a node does. Raises StorageError."""
        storage_in(self.directory / data / str(id), Bootstrap(id, "ours", Configuration(VOTERS))).load()

    def cluster_id(self, data: str) -> str:
        self.assertEqual(self.restore(data=data)[0], 0)
        return self.log_of(data=data)[0].identity.cluster_id
