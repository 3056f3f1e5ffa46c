"""Who is let in."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from txraft.interfaces import Identity
from txraft.rpc.handshake import LONGEST_TOLD, Party, Refusal, check, greeting
from txraft.rpc.limited_log import shown

FOUNDERS = frozenset({0, 1, 2})
HERE = Party(Identity(0, "ours", FOUNDERS), peers={1, 2, 3}, removed={7}, configuration_index=9)
HELLO = greeting(Party(Identity(1, "ours", FOUNDERS)), 0)


class CheckTests(SynchronousTestCase):
    """The checks, in their order."""

    def test_peer_is_let_in(self) -> None:
        """What a peer says is accepted."""
        self.assertIsNone(check(HERE, HELLO))

    def test_refusals(self) -> None:
        """Each thing that does not match has its refusal. The log says both sides; the caller is told nothing of this
        one (hazard N5)."""
        for changes, refusal, parts in (
            ({"protocol_version": 8, "newest_version": 9}, Refusal.VERSION, ("version 5 to 6", "version 8 to 9")),
            ({"protocol_version": 4, "newest_version": 4}, Refusal.VERSION, ("version 5 to 6", "version 4 ")),
            ({"cluster_id": "theirs"}, Refusal.CLUSTER, ("'ours'", "'theirs'")),
            ({"voters": (0, 1, 2, 3, 4)}, Refusal.FOUNDERS, ("(0, 1, 2)", "(0, 1, 2, 3, 4)")),  # hazard E14
            ({"voters": (0, 1)}, Refusal.FOUNDERS, ("(0, 1, 2)", "(0, 1)")),
            ({"from_id": 7}, Refusal.REMOVED, ("node 7", "removed")),
            ({"from_id": 7, "configuration_index": 5}, Refusal.REMOVED, ("node 7", "removed")),
            ({"from_id": 7, "to_id": 2}, Refusal.REMOVED, ("node 7", "removed")),
            ({"to_id": 2}, Refusal.NOT_MEANT, ("node 0", "node 2")),
            ({"from_id": 0}, Refusal.MYSELF, ("this node, 0",)),
            ({"from_id": 5}, Refusal.STRANGER, ("node 5",)),
        ):
            hello = attrs.evolve(HELLO, **changes)
            self.assertIs(check(HERE, hello), refusal)
            for part in parts:
                self.assertIn(part, refusal.describe(HERE, hello))
            self.assertNotRegex(refusal.told, "[0-9{}]|ours")

    def test_what_to_do(self) -> None:
        """Nodes join by --join, with an id of their own: no line sends anybody to a name in a file, or to an old
        directory."""
        for refusal in Refusal:
            said = refusal.told, refusal.describe(HERE, HELLO)
            if refusal in (Refusal.CLUSTER, Refusal.FOUNDERS):
                for line in said:
                    self.assertIn("an id that was never used there, an empty directory, and --join", line)
            for line in said:
                self.assertNotIn("`name`", line)

    def test_told_in_full(self) -> None:
        """The caller's log has the whole of it."""
        for refusal in Refusal:
            self.assertEqual(shown(refusal.told, LONGEST_TOLD), refusal.told)

    def test_members(self) -> None:
        """A member is let in, also where it joined later and has nothing in its log yet."""
        for index in (0, 20):
            self.assertIsNone(check(HERE, attrs.evolve(HELLO, from_id=3, configuration_index=index)))

    def test_unknown_members(self) -> None:
        """(hazard E10) Who is not known here may have been added by an entry that is not here, or be removed by one
        that will be truncated; its vote may be the one that is missing. So it is let in if a leader has ever sent it a
        membership, whether that is later or earlier than the one here, or if it is a founder."""
        fewer = attrs.evolve(HERE, peers={1, 3})
        for index in (1, 8, 9, 10):
            self.assertIsNone(check(HERE, attrs.evolve(HELLO, from_id=5, configuration_index=index)))
        for index in (0, 8, 10):
            self.assertIsNone(check(fewer, attrs.evolve(HELLO, from_id=2, configuration_index=index)))

    def test_versions(self) -> None:
        """The newest that both speak."""
        for oldest, newest, here, version in (
            (5, 5, 6, 5),
            (5, 6, 6, 6),
            (5, 6, 5, 5),
            (5, 9, 6, 6),
            (6, 7, 6, 6),
            (6, 7, 5, None),
            (7, 8, 6, None),
            (0, 4, 6, None),
            (4, 5, 6, 5),
        ):
            hello = attrs.evolve(HELLO, protocol_version=oldest, newest_version=newest)
            party = attrs.evolve(HERE, newest_version=here)
            self.assertEqual(hello.version(party), version, (oldest, newest, here))
            self.assertIs(check(party, hello), None if version else Refusal.VERSION)

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
