"""What is given beside the code: the libraries that it may be installed with, the unit of systemd."""

import configparser
import shutil
import subprocess
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.lacking import do_without
from txraft.cli.process import LAST_WORDS, REMOVED, STOP_WITHIN

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "etc" / "txraft@.service"

LONG_ELECTION_TIMEOUT = 60.0
"""Seconds, slow_coefficient included: what the unit's comment says that there is room for."""


class LibrariesTests(SynchronousTestCase):
    def test_the_oldest_are_tried(self) -> None:
        """Tox has an environment of exactly those from which on pyproject.toml takes each."""
        tox = configparser.ConfigParser(interpolation=None)
        tox.read(ROOT / "tox.ini")
        with (ROOT / "pyproject.toml").open("rb") as file:
            taken = tomllib.load(file)["project"]["dependencies"]
        self.assertEqual([each.replace("==", ">=") for each in tox["testenv:oldest"]["deps"].split()], taken)


class PagesTests(SynchronousTestCase):
    def test_are_of_this_version(self) -> None:
        """pydoctor, which makes them, cannot read it where it is."""
        with (ROOT / "pyproject.toml").open("rb") as file:
            settings = tomllib.load(file)
        self.assertEqual(settings["tool"]["pydoctor"]["project-version"], settings["project"]["version"])


class UnitTests(SynchronousTestCase):
    def setUp(self) -> None:
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation says
        parser.read(UNIT)
        self.service, self.unit = parser["Service"], parser["Unit"]

    def test_starts_for_as_long_as_it_takes(self) -> None:
        """A name that DNS does not know yet is a failed start."""
        self.assertEqual((self.unit["StartLimitIntervalSec"], self.service["Restart"]), ("0", "on-failure"))

    def test_does_not_start_who_was_removed(self) -> None:
        """It would be refused every five seconds, for good (hazard M7)."""
        self.assertEqual(self.service["RestartPreventExitStatus"], str(REMOVED))

    def test_lets_a_node_stop_by_itself(self) -> None:
        """Before systemd kills it, it has ended by force, and said why."""
        self.assertGreater(int(self.service["TimeoutStopSec"]), STOP_WITHIN + LAST_WORDS + LONG_ELECTION_TIMEOUT)

    def test_what_others_may_read(self) -> None:
        self.assertEqual((self.service["UMask"], self.service["StateDirectoryMode"]), ("0077", "0700"))

    def test_what_it_may_do(self) -> None:
        """As systemd judges it, from 0, nothing, to 10, everything: 2 at most."""
        program = shutil.which("systemd-analyze")
        if program is None:
            do_without("systemd-analyze is not installed")
        command = [program, "security", "--offline=true", "--threshold=20", str(UNIT)]
        judged = subprocess.run(command, capture_output=True, text=True, check=False)
        if "nrecognized option" in judged.stderr:
            do_without("this systemd-analyze does not judge files")
        self.assertEqual(judged.returncode, 0, judged.stdout + judged.stderr)
