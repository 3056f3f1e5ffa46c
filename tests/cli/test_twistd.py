"""`twistd txraft` and `twist txraft`: their options, and the node that is made of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from twisted.application.service import MultiService
from twisted.application.twist._options import TwistOptions
from twisted.python.usage import Options as AnyOptions
from twisted.scripts._twistd_unix import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from txraft.addresses import Address
from txraft.cli import node, twistd
from txraft.cli.process import REMOVED, STOP_WITHIN, Ending, FilesOfUser
from txraft.errors import MemberRemoved, SettingsError, StorageError
from txraft.joining import Joiner
from txraft.ports import Ports
from txraft.settings import BUILT_IN
from txraft.storage.directory import DirectoryLock


def parsed(*arguments: str, runner: type[AnyOptions] = ServerOptions) -> Any:
    """The options of `twistd`, or `twist`, with those of txraft as `subOptions`."""
    options = runner()
    options.parseOptions(list(arguments))
    return options


class OptionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(os.chdir, Path.cwd())
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        os.chdir(self.directory)

    def refused(self, *arguments: str) -> str:
        """The line that a command line ends in."""
        line = str(self.assertRaises(SystemExit, parsed, *arguments).code)
        self.assertEqual(len(line.splitlines()), 1)
        return line

    def test_defaults(self) -> None:
        options = parsed("txraft", "--id", "7").subOptions
        self.assertEqual(
            {**options},
            {"id": 7, "kvaddr": None, "address": None, "config": None, "join": None, "single": 0, "data-dir": "data"},
        )
        self.assertEqual(options.directory, self.directory / "data" / "7")
        self.assertEqual(options.user, (None, None))

    def test_files_of_nodes_in_one_directory_do_not_collide(self) -> None:
        """Names that were given, and what is in the foreground, stay as they are."""
        for arguments, pidfile, logfile in [
            ([], "txraft-7.pid", "txraft-7.log"),
            (["--pidfile", "p", "--logfile", "l"], "p", "l"),
            (["--nodaemon"], "txraft-7.pid", None),
            (["--pidfile="], "", "txraft-7.log"),
        ]:
            options = parsed(*arguments, "txraft", "--id", "7")
            self.assertEqual(
                (options["pidfile"], options["logfile"]), (pidfile and f"{self.directory}/{pidfile}", logfile)
            )

    def test_no_node_for_the_options(self) -> None:
        """--help is answered without what a node consists of, which takes longer to load than all the rest."""
        program = "import sys, txraft.cli.twistd; print('txraft.settings_file' in sys.modules, 'cattrs' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "False False\n")

    def test_rundir(self) -> None:
        """twistd goes there later, and the data is there."""
        options = parsed("--rundir", "elsewhere", "txraft", "--id", "1", "--data-dir", "d").subOptions
        self.assertEqual(options.directory, self.directory / "elsewhere" / "d" / "1")

    def test_of_twist(self) -> None:
        """It has no pid file, log file, user or directory to run in."""
        options = parsed("txraft", "--id", "7", runner=TwistOptions)
        self.assertEqual(options.subOptions.directory, self.directory / "data" / "7")
        self.assertEqual(options.subOptions.user, (None, None))
        self.assertNotIn("pidfile", options)
        self.assertNotIn("logfile", options)

    def test_user(self) -> None:
        """twistd takes the user's own group where none is given."""
        self.assertEqual(parsed("--uid", "0", "txraft", "--id", "0").subOptions.user, (0, 0))
        self.assertEqual(parsed("--uid", "5", "--gid", "6", "txraft", "--id", "0").subOptions.user, (5, 6))
        for group in ([], ["--gid", "6"]):  # twistd wants the user's name in either case
            options = parsed("--uid", "4000000000", *group, "txraft", "--id", "0").subOptions
            with self.assertRaisesRegex(SettingsError, "knows no user 4000000000"):
                _ = options.user
        Path("txraft-0.pid").write_text("1")
        Path("data/0").mkdir(parents=True)
        self.assertIn("knows no user 4000000000", self.refused("--uid", "4000000000", "txraft", "--id", "0"))

    def test_files(self) -> None:
        """Those that twistd writes, and no others."""
        log, pid_file = self.directory / "txraft-0.log", self.directory / "txraft-0.pid"
        for arguments, files in [
            ([], [log, pid_file]),
            (["--logfile", "/x/l", "--pidfile", "p"], [Path("/x/l"), self.directory / "p"]),
            (["-n"], [pid_file]),
            (["-n", "--logfile", "-", "--pidfile="], []),
            (["--syslog"], [pid_file]),
            (["--logger", "twisted.logger.globalLogPublisher"], [pid_file]),
        ]:
            self.assertEqual([*parsed(*arguments, "txraft", "--id", "0").subOptions.files], files)

    def test_wrong_command_lines(self) -> None:
        for arguments, problem in [
            ([], "--id is missing: which node of the cluster this is"),
            (["--id", "x"], "--id takes a whole number, not 'x'"),
            (["--id", ""], "--id takes a whole number, not ''"),
            (["--id", "0", "--kvaddr", ""], "--kvaddr is empty: give it a value, or leave it out"),
            (["--id", "0", "--address="], "--address is empty: give it a value, or leave it out"),
            (["--id", "0", "--join="], "--join is empty: give it a value, or leave it out"),
            (
                ["--id", "0", "--join", "h:1", "--single"],
                "--single begins a cluster, and --join joins one: give one",
            ),
            (["--id", "0", "--config="], "--config is empty: give it a value, or leave it out"),
            (["--id", "0", "--data-dir="], "--data-dir is empty: give it a value, or leave it out"),
            (["--od", "0"], "option --od not recognized"),
            (["now"], "'now' belongs to no option"),
            (["1"], "'1' belongs to no option: write --id 1"),
        ]:
            self.assertEqual(
                self.refused("txraft", *arguments), f"txraft: {problem}; twistd txraft --help lists the options"
            )

    def test_wrong_command_line_of_twist(self) -> None:
        line = str(self.assertRaises(SystemExit, parsed, "txraft", runner=TwistOptions).code)
        self.assertTrue(line.endswith("; twist txraft --help lists the options"), line)

    def test_version(self) -> None:
        with patch("importlib.metadata.version", {"txraft": "1.2.3"}.__getitem__), redirect_stdout(StringIO()) as out:
            self.assertEqual(self.assertRaises(SystemExit, parsed, "txraft", "--version").code, 0)
        self.assertEqual(out.getvalue(), "txraft 1.2.3\n")

    def test_help(self) -> None:
        for flag in ("--help", "-h"):
            with redirect_stdout(StringIO()) as out:
                self.assertEqual(self.assertRaises(SystemExit, parsed, "txraft", flag).code, 0)
            for option in ("--id=", "--kvaddr=", "--address=", "--config=", "--join=", "--single", "--data-dir="):
                self.assertIn(option, out.getvalue())

    # The pid file that is there already

    def test_pid_file_of_a_node_that_was_killed(self) -> None:
        """It is removed, whether the node came as far as to make a directory or not."""
        for made in (False, True):
            Path("txraft-0.pid").write_text(str(os.getpid()))
            if made:
                Path("data/0").mkdir(parents=True)
            parsed("txraft", "--id", "0")
            self.assertFalse(Path("txraft-0.pid").exists())
        with_lock = DirectoryLock(Path("data/0"))
        with_lock.acquire()  # which was let go of
        with_lock.release()

    def test_pid_file_of_a_node_that_runs(self) -> None:
        """It stays, and the line says who has the directory."""
        Path("txraft-0.pid").write_text("1")
        Path("data/0").mkdir(parents=True)
        lock = DirectoryLock(Path("data/0"))
        lock.acquire()
        self.addCleanup(lock.release)
        self.assertIn(f"is in use by process {os.getpid()}", self.refused("txraft", "--id", "0"))
        self.assertTrue(Path("txraft-0.pid").exists())

    def test_pid_file_of_another_name(self) -> None:
        """It is twistd's own to judge."""
        Path("mine.pid").write_text("1")
        parsed("--pidfile", "mine.pid", "txraft", "--id", "0")
        self.assertTrue(Path("mine.pid").exists())


class WiredError(StorageError):
    """It came as far as that."""


class MakeServiceTests(SynchronousTestCase):
    """Only the reactor of a process that twistd runs is changed, and only what is right so far is wired."""

    def setUp(self) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        self.reactor = reactor
        self.happened: list[Any] = []
        self.ports: Any = object()
        self.patch(node, "run_on_monotonic_time", lambda it: self.happened.append(("run_on_monotonic_time", it)))
        self.patch(twistd, "sparing_what_stays", self.sparing)
        self.patch(Ending, "prepare", lambda ending: self.happened.append(ending))  # noqa: PLW0108 - so that it is a method
        for name in ("bind_ports_of", "bind_so_far"):
            self.patch(node, name, partial(self.bind, name))
        for name in ("make_node_service", "make_joining_service"):
            self.patch(node, name, partial(self.make, name))

    @contextmanager
    def sparing(self) -> Iterator[None]:
        before = len(self.happened)
        yield
        self.happened.append(("spared", len(self.happened) - before))

    def bind(self, *arguments: object) -> Ports:
        self.happened.append(arguments)
        ports: Ports = self.ports
        return ports

    def make(self, *arguments: object) -> MultiService:
        self.happened.append(arguments)
        return MultiService()

    def test_built_in(self) -> None:
        """In this order: the clock before anything is scheduled, and all of it without garbage collection."""
        options = parsed("--pidfile=", "txraft", "--id", "1").subOptions
        twistd.makeService(options)
        clock, bound, made, ending, collector = self.happened
        self.assertEqual(clock, ("run_on_monotonic_time", self.reactor))
        self.assertEqual(bound, ("bind_ports_of", BUILT_IN.cluster[1], None, None))
        self.assertEqual(
            made, ("make_node_service", self.reactor, BUILT_IN, 1, self.ports, options.directory, ending.fail, None)
        )
        self.assertEqual((ending.reactor, ending.patience), (self.reactor, STOP_WITHIN + 0.4))
        self.assertEqual(collector, ("spared", 4))

    def test_configuration_and_addresses(self) -> None:
        path = Path(self.mktemp())
        path.write_text(
            '[timing]\nslow_coefficient = 10\n[[cluster]]\nid = 4\naddress = "h:1"\nkvaddr = "h:2"\n', encoding="utf-8"
        )
        arguments = ["--id", "4", "--config", str(path), "--kvaddr", "h:3", "--address", "h:4"]
        twistd.makeService(parsed("--pidfile=", "txraft", *arguments).subOptions)
        _, (_, member, *given), _, ending, _ = self.happened
        self.assertEqual((member.id, member.address, given), (4, Address("h", 1), [Address("h", 3), Address("h", 4)]))
        self.assertEqual(ending.patience, STOP_WITHIN + 4)

    def test_single(self) -> None:
        """It begins a cluster of its own."""
        twistd.makeService(parsed("--pidfile=", "txraft", "--id", "1", "--single").subOptions)
        _, _, (_, _, settings, *_, bootstrap), *_ = self.happened
        self.assertEqual((settings.cluster, bootstrap.configuration.voters), (BUILT_IN.cluster[1:2], {1}))

    def test_join(self) -> None:
        """It listens as far as it knows where."""
        arguments = ["--id", "7", "--join", "h:1", "--kvaddr", "k:2", "--address", "a:3"]
        options = parsed("--pidfile=", "txraft", *arguments).subOptions
        twistd.makeService(options)
        _, bound, made, ending, _ = self.happened
        self.assertEqual(bound, ("bind_so_far", None, Address("k", 2), Address("a", 3)))
        joiner = Joiner(7, Address("h", 1), Address("k", 2), addresses="a:3 k:2", address=Address("a", 3))
        self.assertEqual(
            made,
            ("make_joining_service", self.reactor, BUILT_IN, joiner, self.ports, options.directory, ending.fail),
        )

    def test_another_user(self) -> None:
        """The node hands over what twistd makes as root."""
        options = parsed("--uid", str(os.getuid()), "--pidfile=", "txraft", "--id", "1").subOptions
        (files,) = cast(MultiService, twistd.makeService(options)).services
        self.assertIsInstance(files, FilesOfUser)
        self.assertEqual(
            [*cast(MultiService, twistd.makeService(parsed("--pidfile=", "txraft", "--id", "1").subOptions))], []
        )

    def test_removed(self) -> None:
        """A status of its own, upon which systemd does not start the node again."""
        self.patch(node, "make_node_service", lambda *_: (_ for _ in ()).throw(MemberRemoved(0)))
        options = parsed("--pidfile=", "txraft", "--id", "0").subOptions
        with redirect_stderr(StringIO()) as errors:
            self.assertEqual(self.assertRaises(SystemExit, twistd.makeService, options).code, REMOVED)
        self.assertRegex(errors.getvalue(), r"\Atxraft: node 0 was removed .*\n\Z")

    def test_refused(self) -> None:
        """One line, and the process is left alone from there on."""
        self.patch(node, "make_node_service", lambda *_: (_ for _ in ()).throw(WiredError("it is not ours")))
        for arguments, line in [
            ([], "txraft: it is not ours"),
            (["--config", "nowhere"], "txraft: nowhere: cannot be read: No such file or directory"),
            (
                ["--kvaddr", "nowhere"],
                'txraft: "nowhere" is not host:port; write localhost:8080, or [::1]:8080 for IPv6',
            ),
        ]:
            self.happened.clear()
            options = parsed("--pidfile=", "txraft", "--id", "0", *arguments).subOptions
            self.assertEqual(self.assertRaises(SystemExit, twistd.makeService, options).code, line)
            self.assertEqual(self.happened[-1][0], "bind_ports_of" if not arguments else "run_on_monotonic_time")
