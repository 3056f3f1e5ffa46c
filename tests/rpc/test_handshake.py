"""Who is let in."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from txraft.interfaces import Identity
from txraft.rpc.handshake import News, Refusal, check, describe, greeting

VOTERS = frozenset({0, 1, 2})
HERE = Identity(0, "ours", VOTERS)
HELLO = greeting(Identity(1, "ours", VOTERS), 0)


class CheckTests(SynchronousTestCase):
    """The checks, in their order."""

    def test_peer_is_let_in(self) -> None:
        """What a peer says is accepted."""
        self.assertIsNone(check(HERE, HELLO))

    def test_refusals(self) -> None:
        """Each thing that does not match has its refusal, and its line says both sides."""
        for changes, refusal, parts in (
            ({"protocol_version": 99}, Refusal.VERSION, ("version 1", "99")),
            ({"cluster_id": "theirs"}, Refusal.CLUSTER, ("'ours'", "'theirs'")),
            ({"voters": (0, 1, 2, 3, 4)}, Refusal.VOTERS, ("(0, 1, 2)", "(0, 1, 2, 3, 4)")),  # hazard E14
            ({"voters": (0, 1)}, Refusal.VOTERS, ("(0, 1, 2)", "(0, 1)")),
            ({"to_id": 2}, Refusal.NOT_MEANT, ("node 0", "node 2")),
            ({"from_id": 0}, Refusal.MYSELF, ("node 0",)),
            ({"from_id": 5}, Refusal.STRANGER, ("node 5",)),
        ):
            hello = attrs.evolve(HELLO, **changes)
            self.assertIs(check(HERE, hello), refusal)
            line = describe(refusal, HERE, hello)
            for part in parts:
                self.assertIn(part, line)
            self.assertNotIn("\n", line)

    def test_braces_in_a_name(self) -> None:
        """A cluster's name is text, not a format."""
        hello = attrs.evolve(HELLO, cluster_id="{here.peers}\n")
        self.assertIn(r"'{here.peers}\n'", describe(Refusal.CLUSTER, HERE, hello))


class NewsTests(SynchronousTestCase):
    """What is said twice is said once."""

    def test_news(self) -> None:
        """A value is new when it differs from the last one of its subject, and after it was forgotten."""
        news = News()
        told = [news.is_new("a", 1), news.is_new("a", 1), news.is_new("b", 1), news.is_new("a", 2), news.is_new("a", 1)]
        self.assertEqual(told, [True, False, True, True, True])
        news.forget("a")
        self.assertTrue(news.is_new("a", 1))
