"""Who is let in."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from txraft.interfaces import Identity
from txraft.rpc.amp_commands import PROTOCOL_VERSION
from txraft.rpc.handshake import Refusal, check, greeting

VOTERS = frozenset({0, 1, 2})
HERE = Identity(0, "ours", VOTERS)
HELLO = greeting(Identity(1, "ours", VOTERS), 0)


class CheckTests(SynchronousTestCase):
    """The checks, in their order."""

    def test_peer_is_let_in(self) -> None:
        """What a peer says is accepted."""
        self.assertIsNone(check(HERE, HELLO))

    def test_refusals(self) -> None:
        """Each thing that does not match has its refusal. The log says both sides; the caller is told nothing of this
        one (hazard N5)."""
        for changes, refusal, parts in (
            ({"protocol_version": 99}, Refusal.VERSION, (f"version {PROTOCOL_VERSION}", "99")),
            ({"cluster_id": "theirs"}, Refusal.CLUSTER, ("'ours'", "'theirs'")),
            ({"voters": (0, 1, 2, 3, 4)}, Refusal.VOTERS, ("(0, 1, 2)", "(0, 1, 2, 3, 4)")),  # hazard E14
            ({"voters": (0, 1)}, Refusal.VOTERS, ("(0, 1, 2)", "(0, 1)")),
            ({"to_id": 2}, Refusal.NOT_MEANT, ("node 0", "node 2")),
            ({"from_id": 0}, Refusal.MYSELF, ("this node, 0",)),
            ({"from_id": 5}, Refusal.STRANGER, ("node 5",)),
        ):
            hello = attrs.evolve(HELLO, **changes)
            self.assertIs(check(HERE, hello), refusal)
            for part in parts:
                self.assertIn(part, refusal.describe(HERE, hello))
            self.assertNotRegex(refusal.told, "[0-9{}]|ours")

    def test_another_cluster_learns_nothing_else(self) -> None:
        """One that does not know the name of the cluster cannot try out ids."""
        for to_id in (0, 1, 2):
            for from_id in (0, 1, 5):
                hello = attrs.evolve(HELLO, cluster_id="", to_id=to_id, from_id=from_id, voters=(from_id,))
                self.assertIs(check(HERE, hello), Refusal.CLUSTER)

    def test_name_in_the_log(self) -> None:
        """A cluster's name is text, and no format; it is escaped, and shortened: hazard N5."""
        hello = attrs.evolve(HELLO, cluster_id="{here.peers}\n" + "x" * 1000)
        line = Refusal.CLUSTER.describe(HERE, hello)
        self.assertIn(r"'{here.peers}\nxxx", line)
        self.assertLess(len(line), 300)
