"""What must be there before anything is started, since a measurement that fails at its end has taken minutes."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from shutil import disk_usage, which
from tempfile import gettempdir
from typing import Final

PROGRAMS: Final = {"curl": "curl", "etcd": "etcd-server", "ss": "iproute2", "wrk": "wrk"}
"""Debian's packages that bring them. What is named and is not here is a library of Python."""


def missing(names: Iterable[str]) -> str | None:
    """Which of these programs and libraries are not installed, and how to get them, in one line; None if all are."""
    names = list(dict.fromkeys(names))
    programs = [name for name in names if name in PROGRAMS and which(name) is None]
    libraries = [name for name in names if name not in PROGRAMS and find_spec(name) is None]
    said = []
    if programs:
        packages = " ".join(PROGRAMS[name] for name in programs)
        said.append(f"not installed: {', '.join(programs)} (apt install {packages})")
    if libraries:
        said.append(f"not installed: {', '.join(libraries)} (pip install -e '.[test,bench]')")
    return "; ".join(said) or None


def cramped(wanted: int) -> str | None:
    """Why there is no room for so many bytes where directories are made, in one line; None if there is."""
    place = gettempdir()
    free = disk_usage(place).free
    if free >= wanted:
        return None
    return f"{place} has {free / 1e9:.1f} GB left, and this may take {wanted / 1e9:.1f} GB (TMPDIR is where else)"


def unwritable(path: Path) -> str | None:
    """Why no file can be written there, in one line; None if it can. Leaves what is there as it is."""
    is_new = not os.path.lexists(path)
    try:
        path.open("ab").close()
    except OSError as error:
        return f"cannot write {path}: {error.strerror}"
    if is_new:
        path.unlink()
    return None
