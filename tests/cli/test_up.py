"""`txraft up`: which cluster it starts, and that its end is the reactor's, and the reactor's is its."""

import os
import shutil
import signal
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from signal import Signals
from typing import Any, cast
from unittest.mock import patch

from treq.testing import RequestTraversalAgent
from twisted.internet.error import ReactorNotRunning
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent

from tests.cli.fakes import FakeNodes, FakeProcesses
from tests.clock import Clock
from tests.storage.disk import storage_in
from txraft.addresses import Address
from txraft.bootstrap import founders_of, founding
from txraft.cli import up
from txraft.cli.cluster import LocalCluster
from txraft.cli.earlier import WITHOUT
from txraft.cli.up import Up, local_cluster, run_until_ended
from txraft.core.configuration import Configuration
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save
from txraft.errors import DirectoryLocked, ListenError, SettingsError, StorageError, TxraftError
from txraft.interfaces import Incarnation
from txraft.settings import BUILT_IN, Settings
from txraft.settings_file import load
from txraft.storage.directory import DirectoryLock
from txraft.storage.forgetting import forget
from txraft.storage.identity import Bootstrap


class FakeReactor:
    """As much of a reactor as `run_until_ended` uses. While it runs, `script` does what the world does."""

    def __init__(self, script: Callable[["FakeReactor"], None]) -> None:
        self.script = script
        self.stops = 0

    def callWhenRunning(self, function: Callable[[], None]) -> None:
        self.when_running = function

    def addSystemEventTrigger(self, phase: str, event: str, function: Callable[[], Any]) -> None:
        assert (phase, event) == ("before", "shutdown")
        self.before_shutdown = function

    def callFromThread(self, function: Callable[[], None]) -> None:
        function()

    def run(self) -> None:
        self.when_running()
        self.script(self)

    def stop(self) -> None:
        """What a signal, or the program, does."""
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning()
        self.waits_for = self.before_shutdown()


class RunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.processes = FakeProcesses()
        agent = cast(IAgent, RequestTraversalAgent(FakeNodes()))
        self.cluster = LocalCluster(BUILT_IN, (), self.processes, Clock(), agent, lambda _: None)
        for number in (signal.SIGINT, signal.SIGTERM):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def end_all(self) -> None:
        for process in self.processes.spawned:
            process.end(by=Signals.SIGTERM)

    def test_a_signal_ends_the_nodes_and_the_reactor_waits_for_them(self) -> None:
        def script(reactor: FakeReactor) -> None:
            reactor.stop()
            self.assertNoResult(reactor.waits_for)
            self.end_all()
            self.successResultOf(reactor.waits_for)

        self.assertEqual(run_until_ended(self.cluster, FakeReactor(script)), 0)
        self.assertEqual([process.signals for process in self.processes.spawned], [["TERM"]] * 3)

    def test_a_second_signal_kills(self) -> None:
        def script(reactor: FakeReactor) -> None:
            reactor.stop()
            signal.raise_signal(signal.SIGINT)
            self.end_all()

        run_until_ended(self.cluster, FakeReactor(script))
        self.assertEqual([process.signals for process in self.processes.spawned], [["TERM", "KILL"]] * 3)

    def test_the_end_of_all_nodes_ends_the_reactor(self) -> None:
        def script(reactor: FakeReactor) -> None:
            self.assertEqual(reactor.stops, 0)
            self.end_all()
            self.assertEqual(reactor.stops, 1)
            self.successResultOf(reactor.waits_for)

        self.assertEqual(run_until_ended(self.cluster, FakeReactor(script)), 1)

    def test_nobody_reads_what_is_printed(self) -> None:
        """The nodes end, and why is told once, by the command."""

        class Closed(StringIO):
            writes = 0

            def write(self, _: str) -> int:
                self.writes += 1
                raise BrokenPipeError(32, "Broken pipe")

        def script(reactor: FakeReactor) -> None:
            with redirect_stdout(Closed()) as out:
                for line in (b"a\n", b"b\n"):
                    self.processes.spawned[0].protocol.childDataReceived(1, line)
            self.assertEqual((out.writes, reactor.stops), (1, 1))
            self.end_all()

        reactor = FakeReactor(script)
        printer = up.Printer(reactor)
        self.cluster.say = printer.say
        with redirect_stdout(StringIO()):
            run_until_ended(self.cluster, reactor)
        self.assertIsInstance(printer.failure, BrokenPipeError)


class OptionsTests(SynchronousTestCase):
    """Up to the point at which the processes start."""

    def setUp(self) -> None:
        self.patch(up, "run_until_ended", self.run_until_ended)
        self.bound: list[Ports] = []
        self.patch(up, "bind_ports", self.bind_ports)
        self.data = Path(self.mktemp())

    def run_until_ended(self, cluster: LocalCluster, _: object) -> int:
        self.cluster = cluster
        return 7

    def bind_ports(self, settings: Settings, id: int) -> "Ports":
        self.bound.append(Ports(settings, id))
        return self.bound[-1]

    def run_up(self, *arguments: str) -> tuple[Settings, tuple[str, ...]]:
        """The settings of the cluster that would be started, and what each of its nodes is told."""
        options = Up()
        options.parseOptions(["--data-dir", str(self.data), *arguments])
        self.assertEqual(options.run(), 7)
        return self.cluster.settings, self.cluster.arguments

    def test_built_in(self) -> None:
        """Its nodes need no file, and none is written."""
        self.assertEqual(self.run_up(), (BUILT_IN, ("--data-dir", str(self.data))))
        self.assertFalse(self.data.exists())

    def test_what_could_not_be_printed(self) -> None:
        """It is raised when the nodes have ended."""
        options = Up()
        options.parseOptions(["--data-dir", str(self.data)])
        self.patch(up, "run_until_ended", lambda cluster, _: cluster.say("a line"))
        stopped: list[object] = []
        self.patch(up, "stop", stopped.append)  # the reactor is that of all tests
        with patch("builtins.print", side_effect=BrokenPipeError):
            self.assertRaises(BrokenPipeError, options.run)
        self.assertEqual(len(stopped), 1)

    def test_config(self) -> None:
        path = Path(self.mktemp())
        path.write_text('[[cluster]]\nid = 5\naddress = "h:1"\nkvaddr = "h:2"\n')
        settings, arguments = self.run_up("--config", str(path))
        self.assertEqual([(each.id, each.kvaddr) for each in settings.cluster], [(5, Address("h", 2))])
        self.assertEqual(arguments, ("--data-dir", str(self.data), "--config", str(path)))

    def test_a_file_that_was_given_is_left_as_it_is(self) -> None:
        """The one in the data directory too."""
        self.run_up("--nodes", "2")
        path = self.data / "cluster.toml"
        path.write_text("# mine\n" + path.read_text())
        before = path.read_text()
        self.run_up("--config", str(path))
        self.assertEqual(path.read_text(), before)

    def test_nodes_and_base_port(self) -> None:
        """What their nodes read is what is meant."""
        for given, raft, kv, nodes in [
            (["--nodes", "5"], 8080, 27004, 5),
            (["--base-port", "9000"], 9000, 9100, 3),
            (["--base-port", "65336", "--nodes", "100"], 65336, 65436, 100),
            (["--nodes=1", "--base-port=1"], 1, 101, 1),
        ]:
            self.data = Path(self.mktemp())
            settings, arguments = self.run_up(*given)
            self.assertEqual(
                [(each.id, str(each.address), str(each.kvaddr)) for each in settings.cluster],
                [(id, f"localhost:{raft + id}", f"localhost:{kv + id}") for id in range(nodes)],
            )
            path = str(self.data / "cluster.toml")
            self.assertEqual(arguments, ("--data-dir", str(self.data), "--config", path))
            self.assertEqual(load(path), settings)

    def test_three_nodes_are_the_built_in_cluster(self) -> None:
        self.assertEqual(self.run_up("--nodes", "3")[0], BUILT_IN)

    def test_wrong_options(self) -> None:
        for arguments, problem in [
            (["--nodes", "0"], "--nodes takes a whole number from 1 to 100, not '0'"),
            (["--nodes", "101"], "--nodes takes a whole number from 1 to 100, not '101'"),
            (["--nodes", "9" * 5000], "--nodes takes a whole number from 1 to 100, not '9"),
            (["--nodes", "\N{SUPERSCRIPT TWO}"], "--nodes takes a whole number from 1 to 100, not"),
            (["--base-port", "-1"], "--base-port takes a whole number from 1 to 65336, not '-1'"),
            (["--base-port", "65337"], "--base-port takes a whole number from 1 to 65336, not '65337'"),
            (["--config", ""], "--config is empty"),
            (["--data-dir", ""], "--data-dir is empty"),
            (["--config", "f", "--nodes", "3"], "--config cannot be combined with --nodes or --base-port"),
            (["--config", "f", "--base-port", "3"], "--config cannot be combined with --nodes or --base-port"),
        ]:
            error = self.assertRaises(UsageError, Up().parseOptions, arguments)
            self.assertTrue(str(error).startswith(problem), error)

    def test_directory_that_cannot_be_written(self) -> None:
        self.data.write_text("a file")
        line = str(self.assertRaises(SettingsError, self.run_up, "--nodes", "3"))
        self.assertEqual(line, f"cannot write {self.data}/cluster.toml: File exists; give another --data-dir")

    # Data of an earlier start

    def started_with(self, *arguments: str) -> None:
        """Have nodes in the directory."""
        settings, _ = self.run_up(*arguments)
        for member in settings.cluster:
            self.begin(founding(settings, member.id))

    def begin(self, bootstrap: Bootstrap, *memberships: Configuration, met: Iterable[int] = ()) -> None:
        """The directory of a node that has these in its log, and has met these."""
        storage = storage_in(self.data / str(bootstrap.node_id), bootstrap)
        storage.load()
        entries = (Entry(i, 1, EntryKind.CONFIGURATION, each.to_bytes()) for i, each in enumerate(memberships, 1))
        self.successResultOf(storage.save([Save(None, tuple(entries))]))
        for id in met:
            self.successResultOf(storage.meet(id, Incarnation(b"itsfiles", 1, b"itsstart")))
        self.successResultOf(storage.close())

    def said(self, *arguments: str) -> tuple[list[int], list[str]]:
        """The ids of the nodes that would be started, and the lines of those that would not, or listen elsewhere."""
        with redirect_stdout(StringIO()) as out:
            settings, _ = self.run_up(*arguments)
        return [each.id for each in settings.cluster], out.getvalue().splitlines()

    def test_the_file_is_all_that_is_there(self) -> None:
        """After a start that was cut off early, or where the directories were removed to begin anew: it counts, with
        what was written by hand. Its nodes begin together."""
        self.run_up("--nodes", "2", "--base-port", "9000")
        file = self.data / "cluster.toml"
        file.write_text(file.read_text() + "[timing]\nslow_coefficient = 2\n")
        before = file.read_text()
        for again in ([], ["--nodes", "2"], ["--base-port", "9000"]):
            settings, told = self.run_up(*again)
            self.assertEqual((settings.cluster, settings.timing.slow_coefficient), (local_cluster(2, 9000).cluster, 2))
            self.assertEqual((file.read_text(), told[-1], self.cluster.joining), (before, str(file), frozenset()))
            self.assertFalse(self.cluster.was_there)
        for arguments, line in (
            (["--nodes", "1"], f"{file} has 2 nodes: use txraft up --nodes 2, or remove that file to begin anew"),
            (
                ["--base-port", "9100"],
                f"the nodes of {file} reach each other from port 9000 on: leave out --base-port, or remove that file to"
                " begin anew",
            ),
        ):
            self.assertEqual(str(self.assertRaises(SettingsError, self.run_up, *arguments)), line)
            self.assertEqual(file.read_text(), before)
        settings, _ = self.run_up("--nodes", "4")
        self.assertEqual((settings.cluster, settings.timing.slow_coefficient), (local_cluster(4, 9000).cluster, 2))
        self.assertEqual((load(file), self.cluster.joining), (settings, frozenset()))

    def test_a_directory_is_missing(self) -> None:
        """With another one the node would be refused, which one line says; the others go on. Where they have forgotten
        it, or never met it, it is started (hazard S6)."""
        self.run_up("--nodes", "3")
        founders = local_cluster(3, None)
        self.begin(founding(founders, 1), met=[2])
        self.begin(founding(founders, 2), met=[0])
        ids, lines = self.said()
        self.assertEqual((ids, self.cluster.left_out, self.cluster.was_there), ([1, 2], 1, True))
        self.assertEqual(
            lines,
            [
                f"node 0 is not started: {self.data}/0 is missing, and the other nodes, which have met it, let in no"
                f" other: put it back; {WITHOUT}"
            ],
        )
        forget(self.data / "2", 0)
        self.assertEqual((*self.said(), self.cluster.left_out), ([0, 1, 2], [], 0))

    def test_a_directory_of_the_first_nodes_is_missing(self) -> None:
        """Where there are more by now, another directory would be one of another cluster."""
        self.run_up("--nodes", "4")
        founders = local_cluster(3, None)
        for id in (1, 2, 3):
            self.begin(Bootstrap(id, founders.cluster_id, founders_of(founders)))
        ids, (line,) = self.said()
        self.assertEqual((ids, self.cluster.joining), ([1, 2, 3], frozenset()))
        self.assertIn(f"{self.data}/0 is missing, and with another one it would be a node of another cluster: ", line)

    def test_a_majority_is_missing(self) -> None:
        """Nothing is started: the others could decide nothing."""
        self.run_up("--nodes", "3")
        self.begin(founding(local_cluster(3, None), 1), met=[0, 2])
        line = str(self.assertRaises(StorageError, self.run_up))
        self.assertRegex(line, f"^{self.data}/0 is missing, .*; {self.data}/2 is missing, [^;]*$")

    def test_a_directory_that_is_damaged(self) -> None:
        """The others go on without its node; where there are no others, it is as at every start."""
        self.started_with()
        (self.data / "1" / "raft.sqlite").write_bytes(b"nothing of SQLite's")
        ids, (line,) = self.said()
        self.assertEqual((ids, self.cluster.left_out), ([0, 2], 1))
        self.assertRegex(line, f"^node 1 is not started: {self.data}/1/raft.sqlite is damaged: .*; {WITHOUT}$")
        for id in ("0", "2"):
            shutil.rmtree(self.data / id)
        self.assertIn("/1/raft.sqlite is damaged", str(self.assertRaises(StorageError, self.run_up)))

    def test_moved(self) -> None:
        """By the file a node listens elsewhere than the cluster looks for it, by what the latest of them knows: a line
        says what the file should have. Without a file it listens where its directory says."""
        settings = local_cluster(3, None)
        after = {**dict(founders_of(settings).addresses), 1: ("localhost:8081", "localhost:9999")}
        moved = Configuration({0, 1, 2}, addresses=after)
        for id, memberships in ((0, [moved]), (1, [moved, moved]), (2, [])):
            self.begin(founding(settings, id), *memberships)
        started, arguments = self.run_up()
        self.assertEqual([each.kvaddr.port for each in started.cluster], [27004, 9999, 27006])
        self.assertNotIn("--config", arguments)
        started, _ = self.run_up("--nodes", "4")
        file = self.data / "cluster.toml"
        self.assertEqual([each.kvaddr.port for each in load(file).cluster], [27004, 9999, 27006, 27007])
        self.assertEqual(self.said()[1], [])
        file.write_text(file.read_text().replace("9999", "27005"))
        self.assertEqual(
            self.said()[1],
            [
                f"node 1 listens where {file} says, and the cluster looks for it elsewhere: give it address ="
                ' "localhost:8081" and kvaddr = "localhost:9999" there, and start again'
            ],
        )

    def test_another_cluster(self) -> None:
        """Whose nodes are not those of the file."""
        self.started_with()
        path = Path(self.mktemp())
        path.write_text('[[cluster]]\nid = 5\naddress = "h:1"\nkvaddr = "h:2"\n')
        line = str(self.assertRaises(SettingsError, self.run_up, "--config", str(path)))
        self.assertEqual(
            line, f"{self.data} is of a cluster to which none of the nodes 5 belongs: give another --data-dir"
        )

    def test_all_removed(self) -> None:
        """There is none to start."""
        self.begin(founding(BUILT_IN, 0), Configuration({3}, removed={0, 1, 2}))
        self.assertIn("every node was removed", str(self.assertRaises(SettingsError, self.run_up)))

    def test_fewer_nodes(self) -> None:
        """One line says so, before any port is tried, and the file stays as it was."""
        self.started_with("--nodes", "5")
        self.bound.clear()
        file = self.data / "cluster.toml"
        before = file.read_text()
        for arguments in (["--nodes", "3"], ["--nodes", "1", "--base-port", "9000"]):
            self.assertEqual(
                str(self.assertRaises(SettingsError, self.run_up, *arguments)),
                f"{self.data}/ has 5 nodes: use txraft up --nodes 5, or give another --data-dir",
            )
        self.assertEqual((file.read_text(), self.bound), (before, []))

    def test_as_before(self) -> None:
        """What nothing is said of is as it was, and what is in the file stays."""
        for arguments, again in (
            (["--nodes", "5"], []),
            (["--nodes", "2", "--base-port", "9000"], ["--nodes", "2"]),
            (["--base-port", "9000"], ["--base-port", "9000"]),
        ):
            self.data = Path(self.mktemp())
            self.started_with(*arguments)
            started = self.cluster.settings
            file = self.data / "cluster.toml"
            file.write_text(file.read_text() + "[timing]\nslow_coefficient = 2\n")
            before = file.read_text()
            settings, _ = self.run_up(*again)
            self.assertEqual((settings.cluster, settings.timing.slow_coefficient), (started.cluster, 2))
            self.assertEqual((file.read_text(), self.cluster.joining), (before, frozenset()))

    def test_other_ports(self) -> None:
        """The members are where the log says, so the ports of the first start stay."""
        self.started_with("--base-port", "9000")
        line = str(self.assertRaises(SettingsError, self.run_up, "--base-port", "9100"))
        self.assertEqual(
            line,
            f"the nodes of {self.data}/ reach each other from port 9000 on, where they were first started: leave out"
            " --base-port, or give another --data-dir",
        )
        self.assertEqual(load(self.data / "cluster.toml"), local_cluster(3, 9000))

    def test_more_nodes(self) -> None:
        """They join, and follow on the ports of the others. A node that has its directory goes on as it is."""
        self.started_with("--nodes", "1", "--base-port", "9000")
        file = self.data / "cluster.toml"
        file.write_text(file.read_text() + "[timing]\nslow_coefficient = 2\n")
        settings, arguments = self.run_up("--nodes", "3")
        self.assertEqual(settings.cluster, local_cluster(3, 9000).cluster)
        self.assertEqual((load(file), arguments[-1]), (settings, str(file)))
        self.assertEqual((settings.timing.slow_coefficient, self.cluster.joining), (2, {1, 2}))
        self.begin(Bootstrap(1, settings.cluster_id, founders_of(local_cluster(1, 9000))))
        self.run_up()
        self.assertEqual(self.cluster.joining, {2})

    def test_more_than_built_in(self) -> None:
        """They are written down, with those that are there."""
        self.started_with()
        settings, arguments = self.run_up("--nodes", "4")
        self.assertEqual((settings, self.cluster.joining), (local_cluster(4, None), {3}))
        self.assertEqual((load(self.data / "cluster.toml"), arguments[-2]), (settings, "--config"))

    def test_first_start_cut_off(self) -> None:
        """A node that was to begin the cluster with the others need not join them."""
        settings, _ = self.run_up("--nodes", "3")
        self.begin(founding(settings, 1))
        self.run_up()
        self.assertEqual(self.cluster.joining, frozenset())

    def test_removed(self) -> None:
        """A node that is no member any more is not started, as one line says."""
        self.started_with("--nodes", "2")
        settings, _ = self.run_up("--nodes", "3")
        self.begin(Bootstrap(2, settings.cluster_id, founders_of(settings)), Configuration({0, 2}, removed={1}))
        with redirect_stdout(StringIO()) as out:
            started, _ = self.run_up()
        self.assertEqual([each.id for each in started.cluster], [0, 2])
        self.assertEqual(out.getvalue(), "node 1 was removed from the cluster, and is not started\n")

    def test_the_file_of_a_start_that_was_refused(self) -> None:
        """It is not written."""
        self.started_with("--nodes", "2")
        before = (self.data / "cluster.toml").read_text()
        self.patch(up, "bind_ports", self.bind_the_first)
        self.assertRaises(ListenError, self.run_up, "--nodes", "3")
        self.assertEqual((self.data / "cluster.toml").read_text(), before)
        self.assertEqual(sorted(path.name for path in self.data.iterdir()), ["0", "1", "cluster.toml"])

    def test_something_else_has_the_name_of_the_file(self) -> None:
        """It stays, also where it is a link to nowhere; a link to a file stays too, and the file is written."""
        self.data.mkdir()
        path = self.data / "cluster.toml"
        for make in (os.mkfifo, lambda path: path.symlink_to("nowhere")):
            make(path)
            before = path.lstat()
            error = self.assertRaises(TxraftError, self.run_up, "--nodes", "2")
            self.assertRegex(str(error), "cluster.toml: .*(is not a file|has to be a file)")
            self.assertEqual(path.lstat().st_ino, before.st_ino)
            path.unlink()
        self.run_up("--nodes", "2")
        path.rename(self.data / "mine.toml")
        path.symlink_to("mine.toml")
        self.run_up("--nodes", "3")
        self.assertTrue(path.is_symlink())
        self.assertEqual(len(load(self.data / "mine.toml").cluster), 3)

    def test_nodes_that_run(self) -> None:
        """They are named, and the file that says where they are stays as it is."""
        self.started_with("--base-port", "9000")
        before = (self.data / "cluster.toml").read_text()
        lock = DirectoryLock(self.data / "1")
        lock.acquire()
        self.addCleanup(lock.release)
        line = str(self.assertRaises(DirectoryLocked, self.run_up, "--base-port", "9200"))
        self.assertIn(f"{self.data}/1 is in use by process {os.getpid()}", line)
        self.assertEqual((self.data / "cluster.toml").read_text(), before)

    # Ports, tried before anything starts

    def test_ports_are_free_again_for_the_nodes(self) -> None:
        self.run_up("--nodes", "2")
        self.assertEqual([(each.id, each.closed) for each in self.bound], [(0, True), (1, True)])

    def test_port_that_is_taken(self) -> None:
        """The line names the option that helps, where it does, and no port stays bound."""
        self.patch(up, "bind_ports", self.bind_the_first)
        for arguments, hint in [
            ([], "; end what listens there, or move all nodes elsewhere: --base-port P"),
            (["--base-port", "9000"], "; end what listens there, or move all nodes elsewhere: --base-port P"),
            (["--config", str(Path(__file__).parents[2] / "etc" / "txraft.toml")], "; do something"),
        ]:
            line = str(self.assertRaises(ListenError, self.run_up, *arguments))
            self.assertEqual(line, "it is taken" + hint)
        self.assertEqual([(each.id, each.closed) for each in self.bound], [(0, True)] * 3)
        self.begin(founding(BUILT_IN, 0))
        line = str(self.assertRaises(ListenError, self.run_up))
        self.assertEqual(line, "it is taken; end what listens there, or give another --data-dir and --base-port P")

    def bind_the_first(self, settings: Settings, id: int) -> "Ports":
        if id == 1:
            raise ListenError("it is taken", "do something")
        return self.bind_ports(settings, id)


class Ports:
    """Of a node, not really bound."""

    def __init__(self, settings: Settings, id: int) -> None:
        self.settings, self.id, self.closed = settings, id, False

    def close(self) -> None:
        self.closed = True
