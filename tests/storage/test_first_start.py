"""A first start that is killed at any step leaves what the next one starts on (hazards S3, S19)."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import entry, save_of
from tests.storage.disk import IDENTITY
from txraft.storage.raft_file import RaftFile


class Steps:
    """Kills this process in place of a call of `os` that changes something, after `count` of them."""

    def __init__(self, count: int) -> None:
        self.left = count
        for name in ("fsync", "rename", "unlink"):
            setattr(os, name, self._counting(getattr(os, name)))

    def _counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            return function(*args, **kwargs)

        return call


class FirstStartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "raft.sqlite"

    def file(self) -> RaftFile:
        return RaftFile(self.path, IDENTITY, True)

    def is_killed(self, steps: int) -> bool:
        """Start in another process. Whether that was killed before it was done; AssertionError where it failed."""
        child = os.fork()
        if child == 0:
            try:
                Steps(steps)
                file = self.file()
                file.load()
                file.open()
                file.write(save_of(entry(1)))
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        self.assertTrue(os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0)
        return os.WIFSIGNALED(status)

    def test_killed(self) -> None:
        """Before each sync that it asks for itself, and each name that it gives or takes away."""
        steps = 0
        while self.is_killed(steps):
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
