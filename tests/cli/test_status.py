"""`txraft status`: how all nodes are doing."""

import json
import socket
from unittest.mock import patch

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.fake_cluster import NOBODY, FakeCluster, fake_cluster
from tests.cli.running import run
from txraft.cli import status as module
from txraft.statuses import Members


class StatusTests(SynchronousTestCase):
    def look(self, cluster: FakeCluster, *words: object) -> tuple[int, list[dict[str, object]]]:
        """Exit status, and the nodes."""
        status, out, err = run("status", "--json", "--node", cluster.node, *words)
        self.assertEqual((err, out.count("\n")), ("", 1))
        overview = json.loads(out)
        self.assertEqual(overview["healthy"], status == 0)
        return status, overview["nodes"]

    def errors(self, cluster: FakeCluster, status: int = 1) -> list[object]:
        """What is wrong with each node."""
        seen, nodes = self.look(cluster)
        self.assertEqual(seen, status)
        return [node["errors"] for node in nodes]

    def test_table(self) -> None:
        """A line a node, under the names of the columns."""
        with fake_cluster() as cluster:
            status, out, err = run("status", "--node", cluster.node)
        self.assertEqual((status, err), (0, ""))
        first, leader, *others = [line.split() for line in out.splitlines()]
        self.assertEqual(
            first, ["id", "address", "version", "role", "term", "commit", "applied", "lag", "data", "contact", "errors"]
        )
        address = str(cluster.addresses[0])
        self.assertEqual(leader, ["0", address, "1.2.3", "leader", "4", "100", "100", "0", "3.0", "MiB"])
        self.assertEqual(others[1][3:], ["follower", "4", "100", "98", "2", "3.0", "MiB", "0.5", "s", "ago"])

    def test_json(self) -> None:
        """The fields that programs go by."""
        with fake_cluster() as cluster:
            _, nodes = self.look(cluster)
        self.assertEqual(
            nodes[1],
            {
                "id": 1,
                "address": cluster.node,
                "version": "1.2.3",
                "role": "follower",
                "term": 4,
                "commit": 100,
                "applied": 99,
                "lag": 1,
                "data_size": 3 * 2**20,
                "last_contact": 0.25,
                "errors": "",
            },
        )
        self.assertIsNone(nodes[0]["last_contact"])

    def test_a_node_that_is_gone(self) -> None:
        """Is a row with its error, and since when the leader has not heard of it."""
        with fake_cluster() as cluster:
            cluster.have(3, kvaddr=str(NOBODY))
            status, nodes = self.look(cluster)
        self.assertEqual(status, 1)
        self.assertEqual(
            (nodes[3]["errors"], nodes[3]["last_contact"], nodes[3]["role"]), ("cannot be reached", 9.0, None)
        )

    def test_a_node_that_says_nothing(self) -> None:
        """All are asked at once, so one that hangs costs its timeout, and no more (hazard C5)."""
        self.patch(module, "TIMEOUT", 0.2)
        with fake_cluster() as cluster, socket.create_server(("127.0.0.1", 0)) as silent:
            host, port = silent.getsockname()
            cluster.have(3, kvaddr=f"{host}:{port}")
            self.assertEqual(self.errors(cluster)[3], f"{host}:{port} did not answer within 0.2 s")

    def test_no_address(self) -> None:
        """As of a member that was written down by an earlier version."""
        with fake_cluster() as cluster:
            cluster.have(3, kvaddr="")
            self.assertEqual(self.errors(cluster)[3], "its address is not known")

    def test_never_heard(self) -> None:
        """Where a node is in trouble, that the leader has heard nothing from it tells that it may never have run."""
        with fake_cluster() as cluster:
            cluster.have(2, last_contact=None)
            cluster.have(3, kvaddr=str(NOBODY), last_contact=None)
            errors = self.errors(cluster)
        self.assertEqual(errors[2:], ["", "cannot be reached; the leader has not heard from it yet"])

    def test_problem(self) -> None:
        """Why a member does not catch up, as the leader knows it."""
        with fake_cluster() as cluster:
            cluster.have(2, problem="could not be sent a snapshot:\x1b no room")
            self.assertEqual(self.errors(cluster)[2], "could not be sent a snapshot: no room")

    def test_a_node_that_knows_no_members(self) -> None:
        """Its line says whom to ask."""
        self.assert_told("status")
        self.assert_told("members")

    def assert_told(self, command: str) -> None:
        with fake_cluster() as cluster:
            self.patch(cluster, "answer", lambda *_: (503, "node 1 has not received the members yet", "not-applied"))
            status, out, err = run(command, "--node", cluster.node)
        self.assertEqual((status, out, err.count("\n")), (3, "", 1))
        self.assertIn(f"{cluster.node} answered 503: node 1 has not received the members yet", err)

    def test_leaders(self) -> None:
        """All have to know the same one."""
        with fake_cluster() as cluster:
            cluster.statuses = {1: {"leader_id": None}, 2: {"leader_id": 1}}
            self.assertEqual(self.errors(cluster), ["", "knows no leader", "takes node 1 for the leader"])
            cluster.statuses = {2: {"role": "leader", "term": 3, "leader_id": 2}}  # it has not heard of the later term
            self.assertEqual(self.errors(cluster), ["", "", "takes node 2 for the leader"])
            cluster.statuses = {id: {"leader_id": None, "role": "candidate"} for id in range(3)}
            cluster.members = evolve(cluster.members, leader_id=None)
            status, nodes = self.look(cluster)
            self.assertEqual((status, {node["errors"] for node in nodes}), (1, {"knows no leader"}))
            self.assertEqual({node["lag"] for node in nodes}, {None})

    def test_others_at_its_address(self) -> None:
        """A node of another cluster, another node of this one, or something else."""
        with fake_cluster() as cluster:
            cluster.statuses = {0: {"cluster": "theirs"}, 1: {"id": 7}, 2: None}
            self.assertEqual(
                self.errors(cluster),
                [
                    "belongs to another cluster",
                    "node 7 answers at its address",
                    f"{cluster.addresses[2]} answered 404: there is no such path",
                ],
            )

    def test_an_earlier_version(self) -> None:
        """What it does not say is left out."""
        with fake_cluster() as cluster:
            answer = cluster.status
            self.patch(
                cluster,
                "status",
                lambda id, /, **parts: {k: v for k, v in answer(id, **parts).items() if k != "data_size"},
            )
            status, nodes = self.look(cluster)
            self.assertEqual((status, nodes[0]["data_size"]), (0, None))
            self.assertEqual(run("status", "--node", cluster.node)[0], 0)

    def test_the_leader_knows_the_members(self) -> None:
        """Not the node that happens to be asked, which may be far behind."""
        with fake_cluster() as cluster:
            seen_by = cluster._as_seen_by

            def as_seen_by(id: int) -> Members:
                seen = seen_by(id)
                return seen if id == 0 else evolve(seen, members=seen.members[:2])

            self.patch(cluster, "_as_seen_by", as_seen_by)
            self.assertEqual(self.errors(cluster, status=0), ["", "", ""])

    def test_hostile_words(self) -> None:
        """What nodes say of themselves does no harm to a terminal."""
        with fake_cluster() as cluster:
            cluster.statuses[2] = {"version": "\x1b[31m\n", "role": "\0\ud800"}
            cluster.have(3, kvaddr="\x9b1m")
            status, out, err = run("status", "--node", cluster.node)
        self.assertEqual((status, err, len(out.splitlines())), (1, "", 5))
        self.assertTrue(out.replace("\n", "").isprintable(), out)
        self.assertIn(r"\x1b[31m\n", out)

    def test_absurd_numbers(self) -> None:
        """A node that says them is a row with its error."""
        with fake_cluster() as cluster:
            for absurd in (float("inf"), 10**400, -1, True, "7"):
                cluster.statuses[2] = {"data_size": absurd}
                self.assertIn("did not answer as a node of this version", str(self.errors(cluster)[2]))
            cluster.statuses[0] = {"followers": [{"id": 1, "match_index": 1, "last_contact": 10**400}]}
            self.assertIn("did not answer as a node of this version", str(self.errors(cluster)[0]))

    def test_nobody_there(self) -> None:
        """One line, and status 3."""
        status, out, err = run("status", "--node", NOBODY)
        self.assertEqual((status, out), (3, ""))
        self.assertIn("txraft: no node can tell the members: 127.0.0.1:1: ", err)

    def test_watch(self) -> None:
        """Again and again until Ctrl-C, also while nobody answers; the status is that of the last look."""
        with fake_cluster() as cluster:
            for words, seconds in ((["--watch"], 2), (["--watch", "7"], 7)):
                with patch.object(module, "sleep", side_effect=[None, KeyboardInterrupt]) as slept:
                    status, out, _ = run("status", "--node", cluster.node, *words)
                self.assertEqual((status, out.count("leader"), slept.call_args.args), (0, 2, (seconds,)))
        with patch.object(module, "sleep", side_effect=[None, KeyboardInterrupt]):
            status, out, err = run("status", "--node", NOBODY, "--watch")
        self.assertEqual((status, out, err.count("no node can tell the members")), (1, "", 2))

    def test_wrong_command_lines(self) -> None:
        """Status 2."""
        for words in (["7"], ["--watch", "x"], ["--watch", "0"], ["--watch", "1", "2"]):
            status, _, err = run("status", *words)
            self.assertEqual(status, 2, words)
            self.assertIn("; see txraft status --help\n", err)
