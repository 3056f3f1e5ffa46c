"""`txraft up`: its end is the reactor's, and the reactor's is its."""

import signal
from collections.abc import Callable
from signal import Signals
from typing import Any, cast

from treq.testing import RequestTraversalAgent
from twisted.internet.error import ReactorNotRunning
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent

from tests.cli.fakes import FakeNodes, FakeProcesses
from tests.clock import Clock
from txraft.cli.cluster import LocalCluster
from txraft.cli.up import run_until_ended
from txraft.settings import BUILT_IN


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
