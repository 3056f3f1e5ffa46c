"""What the README points to is there: names of modules, files, and its own sections."""

import pkgutil
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


class PointersTests(SynchronousTestCase):
    def test_modules(self) -> None:
        """`txraft.errors`, say, and not the file `txraft.toml`."""
        names = {*re.findall(r"`(txraft(?!\.toml`)(?:\.\w+)+)`", TEXT)}
        self.assertIn("txraft.errors", names)
        for name in names:
            pkgutil.resolve_name(name)  # or it raises

    def test_files(self) -> None:
        """`txraft/core/raft.py`, say."""
        paths = {*re.findall(r"`((?:etc|tests|txraft)/[\w./@]+)`", TEXT)}
        self.assertIn("txraft/core/raft.py", paths)
        self.assertEqual([path for path in paths if not (ROOT / path).exists()], [])

    def test_sections(self) -> None:
        """A link to one is made of its title, in small letters, with hyphens."""
        titles = re.findall(r"^##+ (.*)$", TEXT, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        links = re.findall(r"\]\(#([^)]*)\)", TEXT)
        self.assertIn("members", links)
        self.assertEqual([link for link in links if link not in anchors], [])
