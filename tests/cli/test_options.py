"""The command line: help, version, and one line for what is wrong."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryFile
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli import main
from txraft.cli.options import TxraftOptions
from txraft.cli.subcommand import VersionedOptions
from txraft.cli.up import Up
from txraft.errors import (
    BadRequest,
    ChangeRefused,
    ConditionFailed,
    ListenError,
    NotApplied,
    OutcomeUnknown,
    SettingsError,
    TooLarge,
    TransferFailed,
    Unreachable,
)


class MainTests(SynchronousTestCase):
    def test_nobody_reads_what_is_printed(self) -> None:
        """A pipe that is closed, also where there is no stdout: an exit status as that of `head`, and no more."""
        with patch("txraft.cli.options.run", side_effect=BrokenPipeError), TemporaryFile("w") as printed:
            for stdout in (printed, None):
                with patch.object(sys, "stdout", stdout):
                    self.assertEqual(main(["members"]), 128 + signal.SIGPIPE)

    def run_main(self, *arguments: str) -> tuple[int | str | None, str, str]:
        """Exit status, standard output and standard error."""
        with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
            try:
                status: int | str | None = main(arguments)
            except SystemExit as exit:
                status = exit.code
        return status, output.getvalue(), errors.getvalue()

    def test_each_command_is_found(self) -> None:
        for name, _, make, _ in TxraftOptions.subCommands:
            assert callable(make)
            with self.subTest(name):
                self.assertIsInstance(make(), VersionedOptions)

    def test_imports_what_the_command_needs(self) -> None:
        """So that a script that calls it often does not wait for what another command consists of."""
        for words, unwanted in [
            (["--help"], ["cattrs", "twisted.web", "twisted.internet.defer", "sqlite3", "msgpack"]),
            (
                ["get", "--node", "127.0.0.1:1", "k"],
                ["klein", "treq", "twisted.web", "twisted.internet.reactor", "OpenSSL", "sqlite3", "txraft.kv.store"],
            ),
        ]:
            program = (
                "import sys; from txraft.cli import main\n"
                f"try: main({words})\n"
                f"finally: print([name for name in {unwanted} if name in sys.modules], file=sys.stderr)"
            )
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
            self.assertEqual(done.stderr.splitlines()[-1], "[]", done.stderr)

    def test_help_names_the_commands(self) -> None:
        for word in ("--help", "-h", "help"):
            status, output, errors = self.run_main(word)
            self.assertEqual((status, errors), (0, ""))
            self.assertTrue(output.startswith("Usage: txraft COMMAND [options]\n"), output)
            for command in ("forget", "inspect", "transfer", "up"):
                self.assertIn(f" {command} ", output)

    def test_help_of_a_command_names_its_options(self) -> None:
        for words in (["up", "--help"], ["up", "-h"], ["help", "up"]):
            status, output, errors = self.run_main(*words)
            self.assertEqual((status, errors), (0, ""))
            self.assertTrue(output.startswith("Usage: txraft up [options]\n"), output)
            for option in ("--nodes=", "--base-port=", "--config=", "--data-dir="):
                self.assertIn(option, output)

    def test_the_command_line_of_the_process(self) -> None:
        with patch("sys.argv", ["txraft", "help", "transfer"]), redirect_stdout(StringIO()) as output:
            self.assertRaises(SystemExit, main)
        self.assertTrue(output.getvalue().startswith("Usage: txraft transfer [options]\n"))

    def test_version(self) -> None:
        with patch("importlib.metadata.version", {"txraft": "1.2.3"}.__getitem__):
            for arguments in (["--version"], ["up", "--version"]):
                self.assertEqual(self.run_main(*arguments), (0, "txraft 1.2.3\n", ""))

    def test_wrong_command_lines(self) -> None:
        for arguments, problem, command in [
            ([], "no command was given", "txraft"),
            (["down"], "Unknown command: down", "txraft"),
            (["help", "down"], "Unknown command: down", "txraft"),
            (["--verbose"], "option --verbose not recognized", "txraft"),
            (["up", "--verbose"], "option --verbose not recognized", "txraft up"),
            (["up", "now"], "'now' belongs to no option", "txraft up"),
            (["up", "5"], "'5' belongs to no option: write --nodes 5", "txraft up"),
            (["transfer", "1"], "'1' belongs to no option: write --to 1", "txraft transfer"),
            (["up", "--config"], "option --config requires argument", "txraft up"),
        ]:
            self.assertEqual(self.run_main(*arguments), (2, "", f"txraft: {problem}; see {command} --help\n"))

    def test_wrong_settings(self) -> None:
        missing = self.mktemp()
        self.assertEqual(
            self.run_main("up", "--config", missing),
            (2, "", f"txraft: {missing}: cannot be read: No such file or directory\n"),
        )

    def test_any_error_of_a_command_is_one_line(self) -> None:
        with patch.object(Up, "run", side_effect=ListenError("localhost:8080 is taken", "end it")):
            self.assertEqual(self.run_main("up"), (1, "", "txraft: localhost:8080 is taken; end it\n"))

    def test_exit_statuses(self) -> None:
        """The table: refused, wrong, not done, not known."""
        for error, status in (
            (ConditionFailed("a"), 1),
            (ChangeRefused("a"), 1),
            (BadRequest("a"), 2),
            (TooLarge("a"), 2),
            (SettingsError("a"), 2),
            (NotApplied("a"), 3),
            (Unreachable("a"), 3),
            (OutcomeUnknown("a"), 4),
            (TransferFailed("a"), 4),
        ):
            with patch.object(Up, "run", side_effect=error):
                self.assertEqual(self.run_main("up"), (status, "", "txraft: a\n"))

    def test_ctrl_c_is_no_traceback(self) -> None:
        with patch.object(Up, "run", side_effect=KeyboardInterrupt):
            self.assertEqual(self.run_main("up"), (130, "", ""))

    def test_a_full_stdout_is_one_line(self) -> None:
        """Whether it is told at once or at the end: what was to be printed is not all there, and the status says so."""
        for unbuffered in ("", "1"):
            for arguments in (["--help"], ["up", "--version"]):
                with Path(self.mktemp()).open("wb") as out:
                    finished = subprocess.run(
                        [sys.executable, "-m", "txraft", *arguments],
                        stdout=out,
                        stderr=subprocess.PIPE,
                        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
                        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
                        check=False,
                    )
                line = b"txraft: cannot print: File too large; what was printed is not whole\n"
                self.assertEqual((finished.returncode, finished.stderr), (1, line))

    def test_other_errors_are_not_taken_for_that(self) -> None:
        """Those of files, and of what is no file."""
        for error in (FileNotFoundError(2, "No such file or directory", "x"), OSError(24, "Too many open files")):
            with patch.object(Up, "run", side_effect=error):
                self.assertRaises(OSError, self.run_main, "up")

    def test_a_closed_stdout(self) -> None:
        with patch("sys.stdout", None):
            self.assertRaises(SystemExit, main, ["--help"])

    def test_the_status_of_the_command_is_the_status(self) -> None:
        with patch.object(Up, "run", return_value=7):
            self.assertEqual(self.run_main("up", "--data-dir", "x")[0], 7)
