"""Nodes of an earlier release beside those of this one."""

import subprocess
from pathlib import Path

from tests.integration.commands import TREE

BEFORE_CHANGES = "c509a80"
"""The last commit whose nodes speak version 5 of the protocol alone: they know no changes of the membership."""

PATCH = """
import functools
import txraft.rpc
txraft.rpc.Network = functools.partial(txraft.rpc.Network, newest_version=5)
"""


def speaks_version_5_alone(directory: Path) -> Path:
    """Where a node must look for modules first, so that it speaks the protocol of the release before: Python imports a
    module `sitecustomize` before all others."""
    patched = directory / "version-5"
    patched.mkdir()
    (patched / "sitecustomize.py").write_text(PATCH)
    return patched


def release_before(directory: Path) -> Path | None:
    """The same, so that a node is one of the release before. None where the clone that these tests are run in has not
    got that: it is shallow, or no clone at all."""
    archive = ["git", "-C", str(TREE), "archive", BEFORE_CHANGES]
    release = directory / BEFORE_CHANGES
    release.mkdir()
    try:
        packed = subprocess.run(archive, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    subprocess.run(["tar", "-x", "-C", str(release)], input=packed, check=True)
    return release
