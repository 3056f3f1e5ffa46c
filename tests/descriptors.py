"""Which files this process has open. Others of the process's own come and go, so only those of one directory count."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path


def open_files(directory: Path) -> set[str]:
    """The names of the files in `directory` that are open. Linux."""
    descriptors = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    files = [Path(os.readlink(descriptor)) for descriptor in descriptors if descriptor.is_symlink()]
    return {file.name for file in files if file.parent == directory.resolve()}


@contextlib.contextmanager
def forbidden_to_open() -> Iterator[None]:
    """No file can be opened: the table of descriptors is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
