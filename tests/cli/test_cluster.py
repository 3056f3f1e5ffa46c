"""A cluster of child processes: how it starts, what is said of it, and that none of it is left behind."""

import errno
import os
import signal
import sys
from signal import Signals
from typing import Any, cast

from treq.testing import RequestTraversalAgent
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent

from tests.cli.fakes import FakeNodes, FakeProcess, FakeProcesses
from tests.clock import Clock
from txraft.cli import cluster
from txraft.cli.cluster import PATIENCE, POLL, STARTING, LocalCluster
from txraft.cli.earlier import WITHOUT
from txraft.cli.up import local_cluster
from txraft.settings import BUILT_IN, Settings

GREETING = [
    "node 2 leads. To try it:",
    "  curl 'http://localhost:27004/set?key=greeting&val=hello'",
    "  curl 'http://localhost:27006/get?key=greeting'",
]


class LocalClusterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.nodes = FakeNodes()
        self.start(BUILT_IN)

    def start(
        self,
        settings: Settings,
        processes: FakeProcesses | None = None,
        joining: frozenset[int] = frozenset(),
        was_there: bool = False,
        left_out: int = 0,
    ) -> None:
        self.processes = processes or FakeProcesses()
        self.said: list[str] = []
        agent = cast(IAgent, RequestTraversalAgent(self.nodes))
        self.cluster = LocalCluster(
            settings,
            ("--data-dir", "there"),
            self.processes,
            self.clock,
            agent,
            self.said.append,
            joining,
            was_there,
            left_out,
        )
        self.ended = self.cluster.start()
        self.addresses = self.said.copy()
        self.said.clear()

    @property
    def children(self) -> list[FakeProcess]:
        return self.processes.spawned

    def signals(self) -> list[list[str]]:
        return [child.signals for child in self.children]

    def elect(self) -> None:
        self.nodes.answers[27005] = {"id": 1, "leader_id": 2}
        self.clock.advance(POLL)
        self.said.clear()

    # Starting

    def test_says_the_addresses_at_once(self) -> None:
        self.assertEqual(
            self.addresses,
            ["node 0: http://localhost:27004", "node 1: http://localhost:27005", "node 2: http://localhost:27006"],
        )

    def test_runs_twistd_for_each_node_with_this_interpreter_and_environment(self) -> None:
        for id, child in enumerate(self.children):
            self.assertEqual((child.executable, child.env), (sys.executable, None))
            self.assertEqual(
                " ".join(child.arguments),
                f"{sys.executable} -m txraft.cli.child --nodaemon --pidfile= txraft --id {id} --data-dir there",
            )
        self.assertEqual(len(self.children), 3)

    def test_ctrl_c_does_not_reach_a_node_before_it_can_ignore_it(self) -> None:
        self.assertEqual([child.blocked for child in self.children], [{Signals.SIGINT}] * 3)
        self.assertEqual(signal.pthread_sigmask(signal.SIG_BLOCK, ()), set())

    def test_a_process_that_the_system_refuses(self) -> None:
        """The others are ended, and the last line says why."""
        for code, why in [
            (errno.EACCES, "Permission denied"),
            (errno.EMFILE, "Too many open files; raise the limit of open files (ulimit -n), or start fewer nodes"),
            (
                errno.EAGAIN,
                "Resource temporarily unavailable; raise the limit of processes (ulimit -u), or start fewer nodes",
            ),
        ]:
            for most in (0, 2):
                self.start(BUILT_IN, FakeProcesses(most, OSError(code, os.strerror(code))))
                self.assertEqual(self.signals(), [["TERM"]] * most)
                for child in self.children:
                    self.assertNoResult(self.ended)
                    child.end(by=Signals.SIGTERM)
                self.successResultOf(self.ended)
                self.assertEqual((self.addresses + self.said)[3:], [f"node {most} could not start: {why}"])
                self.assertEqual(self.cluster.exit_status, 1)
                self.successResultOf(self.cluster.stop())

    # The leader

    def test_greets_once_when_any_node_knows_a_leader(self) -> None:
        self.nodes.answers = {27004: {"id": 0, "leader_id": None}}
        self.clock.pump([POLL] * 4)
        self.assertEqual(self.said, [])
        self.nodes.answers[27006] = {"id": 2, "leader_id": 2}
        self.clock.advance(POLL)
        self.assertEqual(self.said, GREETING)
        asked = self.nodes.asked
        self.clock.pump([POLL] * 4)
        self.assertEqual((self.said, self.nodes.asked), (GREETING, asked))

    def test_is_not_misled_by_what_is_not_a_node(self) -> None:
        for answer in [
            "hello",
            [],
            {},
            {"id": 0},
            {"leader_id": 2},
            {"id": 1, "leader_id": 2},
            {"id": 0, "leader_id": "2"},
        ]:
            self.nodes.answers = {27004: answer}
            self.clock.advance(POLL)
        self.assertEqual(self.said, [])
        self.nodes.answers = {27004: {"id": 0, "leader_id": 2}}
        self.clock.advance(POLL)
        self.assertEqual(self.said, [line.replace("27006", "27004") for line in GREETING], "what answers is named")

    def test_a_cluster_of_one_is_written_to_and_read_from_at_one_address(self) -> None:
        self.start(Settings(BUILT_IN.cluster[:1]))
        self.nodes.answers = {27004: {"id": 0, "leader_id": 0}}
        self.clock.advance(POLL)
        self.assertEqual(self.said[2], "  curl 'http://localhost:27004/get?key=greeting'")

    def test_new_nodes(self) -> None:
        """They are told to join the cluster, which consists of the others, and are added once it has a leader."""
        added: list[Any] = []

        class Growing:
            def __init__(self, *given: Any) -> None:
                *_, self.say = given

            async def add(self, *given: object) -> None:
                added.append(given)
                self.say("it grows")

        self.patch(cluster, "Growing", Growing)
        self.clock = Clock()  # the other cluster's has stopped
        self.start(BUILT_IN, joining=frozenset({1, 2}))
        self.assertNotIn("--join", self.children[0].arguments)
        for child in self.children[1:]:
            self.assertIn("--join localhost:27004", " ".join(child.arguments))
        self.nodes.answers = {27005: {"id": 1, "leader_id": 1}}
        self.clock.advance(POLL)
        self.assertEqual(added, [])
        self.nodes.answers = {27004: {"id": 0, "leader_id": 0}}
        self.clock.advance(POLL)
        self.assertEqual(added, [([*BUILT_IN.cluster[1:]], BUILT_IN.cluster[0].kvaddr)])
        self.assertEqual(self.said[-1], "it grows")

    # Output

    def test_prefixes_whole_lines(self) -> None:
        """Two nodes, and the two streams of one, do not get mixed within a line."""
        zero, one, _ = self.children
        zero.protocol.childDataReceived(1, b"a\nhal")
        one.protocol.childDataReceived(1, b"b\n")
        zero.protocol.childDataReceived(2, b"error\n")
        zero.protocol.childDataReceived(1, b"f\n\n\xff\n")
        self.assertEqual(
            self.said, ["[0] a", "[1] b", "[0] error", "[0] half", "[0] ", "[0] \N{REPLACEMENT CHARACTER}"]
        )

    def test_a_last_line_without_an_end_is_not_lost(self) -> None:
        self.elect()
        self.children[0].protocol.childDataReceived(2, b"no space left")
        self.children[0].end(by=Signals.SIGABRT)
        self.assertEqual(self.said, ["[0] no space left", "node 0 was ended by SIGABRT"])

    # Nodes that end by themselves

    def test_a_node_that_cannot_start_takes_the_others_down(self) -> None:
        """Why it could not is said last, below all that the others write while they end."""
        zero, one, two = self.children
        one.protocol.childDataReceived(2, b"a warning\ntxraft: data/1 is in use\n")
        one.protocol.childDataReceived(1, b"main loop terminated\n")
        self.said.clear()
        one.end(status=1)
        self.assertEqual(self.said, ["node 1 ended with status 1 while the cluster was starting; ending the others"])
        self.assertEqual(self.signals(), [["TERM"], [], ["TERM"]])
        self.assertNoResult(self.ended)
        zero.protocol.childDataReceived(2, b"stopping\n")
        zero.end(status=0)
        two.protocol.childDataReceived(1, b"stopping")
        two.end(status=0)
        self.successResultOf(self.ended)
        self.assertEqual(self.cluster.exit_status, 1)
        self.assertEqual(self.said[-2:], ["[2] stopping", "node 1 could not start: data/1 is in use"])

    def test_a_node_that_cannot_start_and_says_nothing(self) -> None:
        for child in reversed(self.children):
            child.end(status=1)
        self.assertEqual(self.said[-1], "node 2 could not start: ended with status 1")

    def test_a_node_that_cannot_start_is_one_also_when_the_others_have_elected(self) -> None:
        self.elect()
        self.clock.advance(STARTING - POLL - 0.1)
        self.children[1].end(status=1)
        self.assertEqual((self.signals(), self.cluster.exit_status), ([["TERM"], [], ["TERM"]], 1))

    def test_a_node_that_ends_before_anyone_leads_could_not_start(self) -> None:
        """However long that takes."""
        self.clock.advance(2 * STARTING)
        self.children[1].end(status=1)
        self.assertEqual((self.signals(), self.cluster.exit_status), ([["TERM"], [], ["TERM"]], 1))

    def test_a_cluster_that_was_there_goes_on_without_a_node_that_cannot_start(self) -> None:
        """A line says why, and what to do. Where no majority is left, the others are ended."""
        self.start(BUILT_IN, was_there=True)
        self.children[1].protocol.childDataReceived(2, b"txraft: data/1 is damaged\n")
        self.said.clear()
        self.children[1].end(status=1)
        self.assertEqual(self.said, [f"node 1 could not start: data/1 is damaged; {WITHOUT}"])
        self.assertEqual(self.signals(), [[], [], []])
        self.children[2].end(status=1)
        self.assertEqual(self.said[1], "node 2 ended with status 1 while the cluster was starting; ending the others")
        self.assertEqual((self.signals(), self.cluster.exit_status), ([["TERM"], [], []], 1))

    def test_nodes_that_are_not_started_count(self) -> None:
        """Of four of which one is left out, two are no majority."""
        self.start(BUILT_IN, was_there=True, left_out=1)
        self.children[1].end(status=1)
        self.assertEqual(self.signals(), [["TERM"], [], ["TERM"]])

    def test_nodes_that_join_do_not_count(self) -> None:
        """The one that is there already serves by itself."""
        self.start(BUILT_IN, joining=frozenset({1, 2}), was_there=True)
        for child in self.children[1:]:
            child.end(status=1)
        self.assertEqual(self.signals(), [[], [], []])

    def test_the_others_go_on_without_a_node_that_was_removed(self) -> None:
        """However soon (hazard M7); and its vote counts no more."""
        for was_there in (False, True):
            self.start(BUILT_IN, was_there=was_there)
            self.children[1].end(status=3)
            self.assertEqual(self.said, ["node 1 ended with status 3, because it was removed from the cluster"])
            self.assertEqual(self.signals(), [[], [], []])
        self.start(local_cluster(5, None), was_there=True)
        for child, status in zip(self.children, (3, 3, 1), strict=False):
            child.end(status=status)
        self.assertEqual(self.signals(), [[]] * 5)
        self.children[3].end(status=1)
        self.assertEqual(self.signals()[4], ["TERM"])

    def test_the_others_go_on_without_a_node_that_ends_later(self) -> None:
        self.elect()
        self.clock.advance(STARTING)
        self.children[1].end(status=1)
        self.assertEqual((self.said, self.signals()), (["node 1 ended with status 1"], [[], [], []]))

    def test_the_others_go_on_without_a_node_that_is_killed(self) -> None:
        """Somebody wants to see how the cluster takes it."""
        self.elect()
        self.children[1].end(by=Signals.SIGKILL)
        self.assertEqual((self.said, self.signals()), (["node 1 was ended by SIGKILL"], [[], [], []]))
        self.check_stop([0, 2], status=0)

    def test_when_all_nodes_have_ended_so_has_the_cluster(self) -> None:
        for child in self.children:
            self.assertNoResult(self.ended)
            child.end(by=Signals.SIGKILL)
        self.successResultOf(self.ended)
        self.assertEqual((self.cluster.exit_status, self.clock.getDelayedCalls()), (1, []))

    # Stopping

    def check_stop(self, running: list[int], status: int) -> None:
        stopped = self.cluster.stop()
        for id in running:
            self.assertNoResult(stopped)
            self.assertEqual(self.children[id].signals, ["TERM"])
            self.children[id].end(by=Signals.SIGTERM)
        self.successResultOf(stopped)
        self.successResultOf(self.ended)
        self.assertEqual((self.cluster.exit_status, self.clock.getDelayedCalls()), (status, []))

    def test_stops_all_and_waits_for_them(self) -> None:
        self.check_stop([0, 1, 2], status=0)
        self.assertEqual(self.said, [])

    def test_kills_what_does_not_stop(self) -> None:
        stopped = self.cluster.stop()
        self.children[0].end(by=Signals.SIGTERM)
        self.clock.advance(PATIENCE + BUILT_IN.timing.election_seconds - 0.1)
        self.assertEqual(self.said, [])
        self.children[1].exited = True  # but its pipes are still open
        self.clock.advance(0.1)
        self.assertEqual(self.said, ["node 1 has not ended; killing it", "node 2 has not ended; killing it"])
        self.assertEqual(self.signals(), [["TERM"], ["TERM"], ["TERM", "KILL"]])
        for child in self.children[1:]:
            self.assertNoResult(stopped)
            child.end(by=Signals.SIGKILL)
        self.successResultOf(stopped)
        self.assertEqual(self.cluster.exit_status, 0)

    def test_stopping_twice_signals_once(self) -> None:
        self.cluster.stop()
        again = self.cluster.stop()
        self.assertEqual(self.signals(), [["TERM"]] * 3)
        for child in self.children:
            child.end(status=0)
        self.successResultOf(again)
        self.successResultOf(self.cluster.stop())
