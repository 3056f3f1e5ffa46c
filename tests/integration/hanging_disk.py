"""Disks of real nodes that hang and go on, as a test says."""

from pathlib import Path

from tests.integration.cluster import NodeProcess

PATCH = """
import os, sqlite3, time
connect = sqlite3.connect
def patched(path, *arguments, **options):
    flag = os.path.join(os.path.dirname(path), "hangs")
    class Connection(sqlite3.Connection):
        def execute(self, *arguments):
            while os.path.exists(flag):
                time.sleep(0.01)
            return super().execute(*arguments)
    return connect(path, *arguments, **options, factory=Connection)
sqlite3.connect = patched
"""


def make_disks_hang(directory: Path) -> Path:
    """Where a cluster's nodes must look for modules first, so that `hang` works: Python imports a module
    `sitecustomize` before all others."""
    patched = directory / "patched"
    patched.mkdir()
    (patched / "sitecustomize.py").write_text(PATCH)
    return patched


def hang(node: NodeProcess) -> None:
    """From now on no write of this node ends, nor any other statement to its files."""
    (node.data / "hangs").touch()


def go_on(node: NodeProcess) -> None:
    """It hangs no longer."""
    (node.data / "hangs").unlink()
