"""Where an fsync costs nothing: for tests that do thousands, and cut no real power."""

import os
from tempfile import TemporaryDirectory

SHARED_MEMORY = "/dev/shm"


def quick_directory() -> "TemporaryDirectory[str]":
    """A directory in memory where the system has such a place, for a `with` statement."""
    return TemporaryDirectory(dir=SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None)
