"""What is said before anything is started."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.bench import __main__ as command
from tests.bench.needs import missing, unwritable


class NeedsTests(SynchronousTestCase):
    def test_missing(self) -> None:
        """All that is missing in one line, with the way to get it."""
        directory = Path(self.mktemp())
        directory.mkdir()
        program = directory / "wrk"
        program.touch(mode=0o755)
        self.patch(os, "environ", {"PATH": str(directory)})
        self.assertIsNone(missing(["wrk", "json"]))
        self.assertEqual(missing(["wrk", "etcd", "ss"]), "not installed: etcd, ss (apt install etcd-server iproute2)")
        self.assertEqual(
            missing(["curl", "not_there", "curl"]),
            "not installed: curl (apt install curl); not installed: not_there (pip install -e '.[test,bench]')",
        )

    def test_what_commands_need(self) -> None:
        """A system's programs, too, and matplotlib for a picture; and files that can be written."""
        self.patch(os, "environ", {"PATH": ""})
        self.patch(command, "missing", sorted)
        given = command._parser().parse_args(["failover", "--systems", "txraft", "etcd"])
        self.assertEqual(command._lacking(given), ["curl", "curl", "etcd"])
        given = command._parser().parse_args(["grow", "--picture", "x"])
        self.assertEqual(command._lacking(given), ["matplotlib", "ss", "tabulate", "wrk"])
        self.patch(command, "missing", lambda _names: None)
        for option in ("--json", "--picture"):
            given = command._parser().parse_args(["compare", option, self.mktemp() + "/x"])
            self.assertIn("cannot write", command._lacking(given) or "")

    def test_unwritable(self) -> None:
        """Nothing is left of the try, and what was there stays."""
        path = Path(self.mktemp())
        self.assertIsNone(unwritable(path))
        self.assertFalse(path.exists())
        path.write_text("old")
        self.assertIsNone(unwritable(path))
        self.assertEqual(path.read_text(), "old")
        self.assertEqual(unwritable(path / "x"), f"cannot write {path / 'x'}: Not a directory")
