"""What a configuration file says of the members, and what of it counts (hazard E14)."""

from twisted.trial.unittest import SynchronousTestCase

from txraft.addresses import Address, Endpoint
from txraft.bootstrap import check_addresses, difference, elsewhere, founders_of
from txraft.core.configuration import Configuration
from txraft.errors import ChangeRefused
from txraft.settings import Member, Settings
from txraft.texts import LONGEST_LINE


def settings(*ids: int, port: int = 1) -> Settings:
    return Settings(tuple(Member(id, Address(f"h{id}", port), Address("::1", id + 100)) for id in ids))


class BootstrapTests(SynchronousTestCase):
    def test_founders(self) -> None:
        """All of them vote, at the addresses for nodes and for clients."""
        addresses = {3: ("h3:1", "[::1]:103"), 0: ("h0:1", "[::1]:100")}
        self.assertEqual(founders_of(settings(3, 0)), Configuration({0, 3}, addresses=addresses))

    def test_same(self) -> None:
        """Nothing is said where nothing differs, also of members whose addresses nobody knows, and of those that were
        removed and are not named any more."""
        given = settings(0, 1, 2)
        for configuration in (
            founders_of(given),
            Configuration({0, 1}, learners={2}, addresses=founders_of(settings(0, 1)).addresses, removed={7}),
        ):
            self.assertIsNone(difference(given, configuration, 0))

    def test_difference(self) -> None:
        """One line says who is a member and who is none, and where the others are, of voters and learners."""
        configuration = Configuration(
            {0, 1}, outgoing={0, 2}, learners={5}, addresses=founders_of(settings(0, 1, 2, 5)).addresses, removed={4}
        )
        line = difference(settings(0, 3, 4, 5, port=9), configuration, 0)
        assert line is not None
        self.assertTrue(line.isprintable())
        self.assertIn("the members are what the log says, and the configuration of this node says otherwise", line)
        self.assertIn("`txraft member` changes members", line)
        self.assertIn(
            "(node 0 is at h0:1 and [::1]:100, not at h0:9 and [::1]:100; node 1 is a member, and not in the"
            " configuration; node 2 is a member, and not in the configuration; node 3 is no member; node 4 was removed;"
            " node 5 is at h5:1 and [::1]:105, not at h5:9 and [::1]:105)",
            line,
        )

    def test_of_one_node(self) -> None:
        """A file of this node alone, as a node has that joins, leaves the others to the cluster. Of itself it says
        what any file does."""
        three = founders_of(settings(0, 1, 2))
        self.assertIsNone(difference(settings(1), three, 1))
        self.assertIn("(node 1 is at h1:1 and [::1]:101, not at h1:9", difference(settings(1, port=9), three, 1) or "")
        self.assertIn("(node 7 is no member)", difference(settings(7), three, 7) or "")
        self.assertIn("node 0 is a member, and not in", difference(settings(1), three, 2) or "")

    def test_elsewhere(self) -> None:
        """A line each says where others look for a node that was told to listen elsewhere, and the command in it
        changes all at once: each address by itself may be refused, as the other one."""
        three, here = founders_of(settings(0, 1, 2)), Address("h1", 1)
        self.assertEqual(
            [*elsewhere(three, 1, Address("h9", 9), Address("k", 8))],
            [
                "the other nodes look for this node at h1:1, as the membership has it, and it listens on h9:9"
                " (--address); if it has moved there, and nobody has told the cluster: txraft member update 1 --address"
                " h9:9 --kvaddr k:8 --node k:8",
                "clients look for this node at [::1]:101, as the membership has it, and it listens on k:8 (--kvaddr);"
                " if it has moved there, and nobody has told the cluster: txraft member update 1 --address h9:9"
                " --kvaddr k:8 --node k:8",
            ],
        )
        (line,) = elsewhere(three, 1, None, here)
        self.assertIn("--kvaddr h1:1 --node h1:1", line)
        (line,) = elsewhere(three, 1, Address("::1", 101), Address("::", 101))
        self.assertIn("--address [::1]:101 --node [::1]:101", line)

    def test_not_elsewhere(self) -> None:
        """Nothing is said of the same addresses, of those that nobody can dial, and of nodes that are no members."""
        three, anywhere = founders_of(settings(0, 1, 2)), Address("0.0.0.0", 9)
        for id, address, kvaddr in (
            (1, None, None),
            (1, Address("h1", 1), Address("::1", 101)),
            (1, anywhere, Address("::", 9)),
            (7, Address("h9", 9), Address("k", 8)),
        ):
            self.assertEqual([*elsewhere(three, id, address, kvaddr)], [])

    def test_long(self) -> None:
        """However many they are."""
        line = difference(settings(*range(100)), founders_of(settings(*range(1000, 1100))), 0)
        self.assertLess(len(line or ""), LONGEST_LINE + 10)

    def test_addresses_of_a_member(self) -> None:
        """Two, as this version writes them, and others can reach it there."""
        here = settings(0)
        for right in (("h:1", "h:2"), ("[::1]:1", "10.0.0.1:65535")):
            check_addresses(right, here, founders_of(here))
        for wrong in (
            *((), ("h:1",), ("h:1", "h:2", "h:3"), ("h:1", "h:1")),
            *((text, "h:2") for text in ("", "h", "h:0", "H:1", "h:01", "0.0.0.0:1", "\x1b[31m\n\0:1", "\ud800:1")),
            *((text, "h:2") for text in ("tcp:h:1", "tcp:1", "tcp:h:1:timeout=-1", "ssl:1:x", "unix:\n", "onion:h")),
            *(
                (text, "h:2")
                for text in ("unix:h", "unix:/h:lockfile=1", "unix:/" + "h" * 107, "tls:h:0", "tls:0.0.0.0:1")
            ),
            *((text, "h:2") for text in ("tls:h:1:timeout=-1", "tls:h:1:30", "tls:h:1:endpoint=tcp", "tls:h:1:x=\\:")),
            *(("h:1", text) for text in ("unix:/run/h", "\x9b1m:1", "[::]:2", "h:02")),
        ):
            line = str(self.assertRaises(ChangeRefused, check_addresses, wrong, here, founders_of(here)))
            self.assertIn("a member has two addresses, Raft's and that of the HTTP API, not ", line)
            self.assertTrue(line.isprintable())

    def test_endpoints_of_a_member(self) -> None:
        """They are like one of the file's, or of another member: or a stranger would say which files the nodes read,
        and at which sockets they call (hazard N9)."""
        tls, unix, plain = "tls:h:1:trustRoots=/etc/ca", "unix:/run/txraft/0", settings(0)
        http, bind = Address("h", 1), Address("h", 9)
        known = Settings((Member(1, Endpoint(tls), http, bind), Member(2, Endpoint(unix), Address("h", 2))))
        for here, membership in ((known, founders_of(plain)), (plain, founders_of(known))):
            for right in ("tls:other:2:trustRoots=/etc/ca", "unix:/run/txraft/1"):
                check_addresses((right, "h:2"), here, membership)
            for wrong in (
                *("tls:h:1", "tls:h:1:trustRoots=/dev", f"{tls}:certificate=/dev/zero", "tls:h:1:certificate=/etc/ca"),
                *("unix:/run/docker.sock", "unix:/run/txraft/1/2", "unix:/0"),
            ):
                line = str(self.assertRaises(ChangeRefused, check_addresses, (wrong, "h:2"), here, membership))
                self.assertIn(f"no member is at an endpoint like {wrong}: to be the first, it has to be in", line)
