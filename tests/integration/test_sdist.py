"""The source distribution: all that git has, and its tests run from it."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.integration.commands import TREE
from tests.lacking import do_without

BUILD = "import hatchling.build, sys; print(hatchling.build.build_sdist(sys.argv[1]))"


def output(*command: object, cwd: Path, python_path: str = "") -> str:
    """What a program says, which must not fail."""
    words = [str(word) for word in command]
    ran = subprocess.run(
        words,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": python_path, "HOME": str(cwd)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_from_git_to_a_test_that_runs(tmp_path: Path) -> None:
    """What is tracked is in it, and a test module of it passes against its own txraft."""
    if not (TREE / ".git").exists():
        pytest.skip("this is not a clone, so there is nothing to compare with")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", tmp_path / "hatch", "hatchling>=1.27"]
    if subprocess.run(list(map(str, install)), capture_output=True, check=False).returncode != 0:
        do_without("hatchling cannot be installed")
    clone = tmp_path / "clone"
    output("git", "clone", "--quiet", TREE, clone, cwd=tmp_path)
    name = output(sys.executable, "-c", BUILD, tmp_path, cwd=clone, python_path=str(tmp_path / "hatch")).strip()
    with tarfile.open(tmp_path / name) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / name.removesuffix(".tar.gz")
    tracked = output("git", "ls-files", cwd=clone).splitlines()
    files = sorted(str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file())
    assert files == sorted([*tracked, "PKG-INFO"])
    output(
        sys.executable, "-m", "pytest", "-q", "tests/core/test_quorum.py", "tests/test_settings_file.py", cwd=unpacked
    )
