"""`txraft members`: who belongs to a cluster."""

import json
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.fake_cluster import NOBODY, FakeCluster, fake_cluster
from tests.cli.running import run
from tests.cli.serving import QuietHandler, serving
from txraft.kv.member_addresses import in_json


class MembersTests(SynchronousTestCase):
    def test_table(self) -> None:
        """A line a member, with what it is, and who leads."""
        with fake_cluster() as cluster:
            cluster.have(3, joining=True)
            cluster.have(4, joining=True, replaces=1)
            cluster.have(5)
            status, out, err = run("members", "--node", cluster.node)
        self.assertEqual((status, err), (0, ""))
        first, *lines = out.splitlines()
        self.assertEqual(first.split(), ["id", "address", "kvaddr", "role"])
        kvaddrs = [*map(str, cluster.addresses), "kv3:1", "kv4:1", "kv5:1"]
        roles = ["voter  leads", "voter", "voter", "joining", "joining, for 1", "learner"]
        self.assertEqual(
            [" ".join(line.split()) for line in lines],
            [
                " ".join(f"{id} raft{id}:1 {kvaddr} {role}".split())
                for id, (kvaddr, role) in enumerate(zip(kvaddrs, roles, strict=True))
            ],
        )

    def test_a_change_and_what_is_gone(self) -> None:
        """While a change has not ended, who is leaving; and ids that nobody may have again (hazard M7)."""
        with fake_cluster() as cluster:
            cluster.have(2, leaving=True)
            cluster.members = evolve(cluster.members, joint=True, removed=(8, 9))
            _, out, _ = run("members", "--node", cluster.node)
        self.assertIn("voter, leaving\n", out)
        self.assertIn("\nA change has not ended: ", out)
        self.assertTrue(out.endswith("\nRemoved, and never used again: 8, 9\n"), out)

    def test_hostile_addresses(self) -> None:
        """What anybody had written into the membership does no harm to a terminal, and is one line."""
        with fake_cluster() as cluster:
            cluster.have(3, address="\x1b[31m\n\0:1", kvaddr="\x9b1m\u202e\ud800\u2028:1")
            status, out, err = run("members", "--node", cluster.node)
        self.assertEqual((status, err, len(out.splitlines())), (0, "", 5))
        self.assertEqual(
            out.splitlines()[4].split(), ["3", r"\x1b[31m\n\x00:1", r"\x9b1m\u202e\ud800\u2028:1", "learner"]
        )

    def test_json(self) -> None:
        """As the node says it."""
        with fake_cluster() as cluster:
            status, out, _ = run("members", "--json", "--node", cluster.addresses[0])
            self.assertEqual(json.loads(out), json.loads(json.dumps(in_json(cluster.members))))
        self.assertEqual(status, 0)

    def config(self, cluster: FakeCluster) -> str:
        """A file that names a node that is not there, and then those of the cluster."""
        path = Path(self.mktemp())
        lines = []
        for id, address in enumerate([NOBODY, *cluster.addresses]):
            lines += ["[[cluster]]", f"id = {id}", f'address = "localhost:{id + 1}"', f'kvaddr = "{address}"']
        path.write_text("\n".join(lines))
        return str(path)

    def test_the_first_node_that_can_tell(self) -> None:
        """One that is not there is passed over."""
        with fake_cluster() as cluster:
            status, _, err = run("members", "--config", self.config(cluster))
        self.assertEqual((status, err), (0, ""))

    def test_nobody_leads(self) -> None:
        """Then what a node remembers is shown, and that it may be old."""
        with fake_cluster() as cluster:
            cluster.has_leader = False
            status, out, err = run("members", "--config", self.config(cluster))
        self.assertEqual((status, len(out.splitlines())), (0, 4))
        self.assertIn(f"txraft: this is what {cluster.addresses[0]} remembers, and may be old: ", err)

    def test_no_node(self) -> None:
        """One line, and status 3: nobody there, or somebody else."""
        status, out, err = run("members", "--node", NOBODY)
        self.assertEqual((status, out), (3, ""))
        self.assertIn(f"txraft: no node can tell the members: {NOBODY}: ", err)

        class Stranger(QuietHandler):
            said = b"<html>"

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.said)

        for said in (
            b"<html>",
            b"[1]",
            b'{"members": 7}',
            b"[" * 100_000,
            self.with_index("Infinity"),
            self.with_index("1" * 400),
        ):
            Stranger.said = said
            with serving(Stranger) as address:
                status, _, err = run("members", "--node", address)
            self.assertEqual(status, 3)
            self.assertIn(f"{address} did not answer as a node of this version of txraft does\n", err)

    def with_index(self, text: str) -> bytes:
        """A membership from an entry of that index."""
        return json.dumps(in_json(FakeCluster().members)).replace('"index": 7', f'"index": {text}').encode()

    def test_an_earlier_version(self) -> None:
        """Which has no such path, as its answer says."""
        with fake_cluster() as cluster:
            self.patch(cluster, "answer", lambda *_: (404, "there is no such path; there are /get", None))
            status, _, err = run("members", "--node", cluster.node)
        self.assertEqual(status, 3)
        self.assertIn("answered 404: there is no such path", err)
