"""What pytest needs beside trial."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """trial's `mktemp` makes directories where the test runs."""
    monkeypatch.chdir(tmp_path)
