"""Settings: the rules for each value."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from txraft.addresses import Address
from txraft.core.messages import MAX_COMMAND_SIZE
from txraft.errors import SettingsError
from txraft.kv.commands import CompareAndSet, encode
from txraft.settings import (
    BUILT_IN,
    MAX_BATCH_JSON_SIZE,
    MAX_KEY_SIZE,
    MAX_VALUE_SIZE,
    Member,
    Settings,
    SizeLimits,
    Timing,
)


class AddressTests(SynchronousTestCase):
    def test_reads_and_writes_host_and_port(self) -> None:
        for text, host, port in [("localhost:8080", "localhost", 8080), ("[::1]:65535", "::1", 65535), ("h:1", "h", 1)]:
            address = Address.parse(text)
            self.assertEqual((address.host, address.port, str(address)), (host, port, text))

    def test_host_names_have_no_case(self) -> None:
        self.assertEqual(Address.parse("LocalHost:1"), Address.parse("localhost:1"))

    def test_refuses_what_is_not_host_and_port(self) -> None:
        for text in ["", "localhost", ":8080", "::1:8080", "http://localhost:80", "[]:1", "u@h:1", "[::1]"]:
            with self.assertRaisesRegex(SettingsError, "is not host:port"):
                Address.parse(text)

    def test_refuses_what_no_host_is_called(self) -> None:
        """Resolvers end in errors of many kinds, UnicodeError among them, or ask nobody."""
        for host in ["a..b", ".a", ".", "a b", "\0", "\x1b2J", "ä", "x" * 64, "a." * 127 + "b", "a,b", "\udcff", "*"]:
            for make in (lambda host: Address.parse(f"{host}:1"), lambda host: Address(host, 1)):
                with self.assertRaisesRegex(SettingsError, r"is not a host name; write letters.*\Z"):
                    make(host)
        for host in ["[:]", "[g::1]", "[1:2]", "[127.0.0.1:1]"]:
            with self.assertRaisesRegex(SettingsError, "is not an IPv6 address"):
                Address.parse(f"{host}:1")

    def test_takes_what_hosts_are_called(self) -> None:
        for host in [
            "a",
            "a.",
            "0.0.0.0",
            "x" * 63,
            "a." * 126 + "b",
            "my_host",
            "xn--bcher-kva.example",
        ]:
            self.assertEqual(str(Address.parse(f"{host}:1")), f"{host}:1")

    def test_refuses_addresses_of_one_link(self) -> None:
        """Twisted cannot dial them."""
        with self.assertRaisesRegex(SettingsError, '"fe80::1%eth0" is an address on one link only'):
            Address.parse("[fe80::1%eth0]:1")

    def test_refuses_ports_that_are_none(self) -> None:
        for port in ["", "0", "65536", "-1", "x", "80.0", "²", "9" * 5000]:
            with self.assertRaisesRegex(SettingsError, "from 1 to 65535"):
                Address.parse(f"localhost:{port}")
        for number in (0, -1, 65536):
            self.assertRaises(SettingsError, Address, "localhost", number)


class MemberTests(SynchronousTestCase):
    def test_listens_where_it_is_reached_unless_told_otherwise(self) -> None:
        member = Member(0, Address("a", 1), Address("a", 2))
        self.assertEqual((member.listens_on, member.kv_listens_on), (Address("a", 1), Address("a", 2)))
        bound = evolve(member, bind=Address("0.0.0.0", 3), kvbind=Address("0.0.0.0", 4))
        self.assertEqual((bound.listens_on, bound.kv_listens_on), (Address("0.0.0.0", 3), Address("0.0.0.0", 4)))

    def test_addresses_that_nobody_reaches(self) -> None:
        """Everywhere is a place to listen, and the address of none; neither is an address of many."""
        for host in ("0.0.0.0", "0", "0x0.0", "::", "0:0::0", "255.255.255.255", "224.0.0.1", "ff02::1"):
            everywhere, reachable = Address(host, 1), Address("a", 2)
            for address, kvaddr, name, bind in [
                (everywhere, reachable, "address", "bind"),
                (reachable, everywhere, "kvaddr", "kvbind"),
            ]:
                with self.assertRaisesRegex(SettingsError, f"^{name}: .* others .* use {bind} for where it listens$"):
                    Member(0, address, kvaddr)
            Member(0, reachable, Address("a", 3), everywhere, Address(host, 4))
        for host in ("0.0.0.1", "::1", "0.example"):
            Member(0, Address(host, 1), Address(host, 2))

    def test_ids(self) -> None:
        """What SQLite holds."""
        for id in (0, 2**63 - 1):
            Member(id, Address("a", 1), Address("a", 2))
        for id in (-1, 2**63):
            with self.assertRaisesRegex(SettingsError, f"^id: must be 0 to 9223372036854775807, not {id}$"):
                Member(id, Address("a", 1), Address("a", 2))


class TimingTests(SynchronousTestCase):
    def test_properties_are_seconds_and_slowed(self) -> None:
        timing = Timing(10, 150, 30, 2000, receive_timeout=3000, idle_timeout=4000)
        self.assertAlmostEqual(timing.election_seconds, 1.5)
        self.assertAlmostEqual(timing.heartbeat_seconds, 0.3)
        self.assertAlmostEqual(timing.request_seconds, 20)
        self.assertAlmostEqual(timing.receive_seconds, 30)
        self.assertAlmostEqual(timing.idle_seconds, 40)

    def test_a_third_of_the_election_timeout_is_the_longest_heartbeat(self) -> None:
        Timing(election_timeout=300, heartbeat_interval=100)
        with self.assertRaisesRegex(SettingsError, "^heartbeat_interval: must be at most a third"):
            Timing(election_timeout=300, heartbeat_interval=101)

    def test_what_timers_keep_to(self) -> None:
        """From a millisecond to a day, times slow_coefficient."""
        day = 24 * 3600 * 1000
        Timing(election_timeout=day, request_timeout=1)
        Timing(election_timeout=3, heartbeat_interval=1)
        Timing(slow_coefficient=1000, election_timeout=0.003, heartbeat_interval=0.001, request_timeout=0.001)
        wrongs: list[tuple[dict[str, float], str]] = [
            ({"request_timeout": 0.999}, "request_timeout"),
            ({"request_timeout": day + 1}, "request_timeout"),
            ({"receive_timeout": day + 1}, "receive_timeout"),
            ({"idle_timeout": day + 1}, "idle_timeout"),
            ({"heartbeat_interval": 0.9}, "heartbeat_interval"),
            ({"election_timeout": 0.003, "heartbeat_interval": 0.001}, "election_timeout"),
            ({"election_timeout": day / 2 + 1, "slow_coefficient": 2}, "election_timeout"),
            ({"slow_coefficient": 1e-6}, "election_timeout"),
            ({"slow_coefficient": 1e308}, "election_timeout"),
        ]
        for wrong, name in wrongs:
            with self.assertRaisesRegex(
                SettingsError, f"^{name}: times slow_coefficient it must be 1 to 86400000 ms, "
            ):
                Timing(**wrong)


class SizeLimitsTests(SynchronousTestCase):
    def test_what_fits(self) -> None:
        """In one command: the largest compare-and-set is not longer than one may be."""
        largest = CompareAndSet(bytes(MAX_KEY_SIZE), bytes(MAX_VALUE_SIZE), bytes(MAX_VALUE_SIZE))
        self.assertLessEqual(len(encode(largest)), MAX_COMMAND_SIZE)
        self.assertLess(MAX_BATCH_JSON_SIZE, MAX_COMMAND_SIZE / 2)
        SizeLimits(key_size=2**20, value_size=MAX_VALUE_SIZE, uncommitted_size=2**40)
        SizeLimits(key_size=1, value_size=1, batch_size=3, uncommitted_size=3)
        wrongs: list[dict[str, int]] = [
            {"key_size": 0},
            {"key_size": 2**20 + 1},
            {"value_size": -1},
            {"value_size": MAX_VALUE_SIZE + 1},
            {"uncommitted_size": 2**40 + 1},
            {"connections": 2**20 + 1},
            {"batch_size": 0},
            {"batch_size": MAX_BATCH_JSON_SIZE + 1},
            {"batch_operations": 0},
            {"batch_operations": 100_001},
        ]
        for wrong in wrongs:
            with self.assertRaisesRegex(SettingsError, f"^{next(iter(wrong))}: must be 1 to [0-9]+, not "):
                SizeLimits(**wrong)

    def test_room_for_the_largest_change(self) -> None:
        """A compare-and-set, or a batch: otherwise it would find no room whenever another change waits (hazard R16)."""
        for sizes, change in (((10, 20, 1), "a key and two values"), ((1, 1, 50), "a batch (batch_size)")):
            limits = SizeLimits(*sizes, uncommitted_size=50)
            error = self.assertRaises(SettingsError, evolve, limits, uncommitted_size=49)
            self.assertEqual(str(error), f"uncommitted_size: must have room for {change}, 50 bytes, not 49")


class SettingsTests(SynchronousTestCase):
    def test_finds_members_by_id(self) -> None:
        self.assertEqual(BUILT_IN.member(2).kvaddr, Address("localhost", 27006))
        with self.assertRaisesRegex(SettingsError, "^no node 3 in the configuration; its ids are 0, 1, 2$"):
            BUILT_IN.member(3)

    def test_as_many_as_make_sense(self) -> None:
        members = tuple(Member(id, Address("h", 2 * id + 1), Address("h", 2 * id + 2)) for id in range(101))
        Settings(members[:100])
        with self.assertRaisesRegex(SettingsError, "^cluster: has 101 nodes; 100 are the most$"):
            Settings(members)

    def test_identity_is_that_of_the_ids_and_addresses(self) -> None:
        """Who serves clients where, and the order in the file, do not make another cluster; other addresses do."""
        first, *others = BUILT_IN.cluster
        self.assertRegex(BUILT_IN.cluster_id, "^[0-9a-f]{16}$")
        for same in [(*others, first), (evolve(first, kvaddr=Address("x", 1), bind=Address("y", 1)), *others)]:
            self.assertEqual(Settings(same).cluster_id, BUILT_IN.cluster_id)
        for other in [(evolve(first, address=Address("x", 1)), *others), (evolve(first, id=7), *others), (first,)]:
            self.assertNotEqual(Settings(other).cluster_id, BUILT_IN.cluster_id)

    def test_allowed_hosts(self) -> None:
        """As a Host header has them, without the port and the brackets."""
        given = ("KV.example", "[::1]", "FE80:0::1", "10.0.0.1")
        settings = evolve(BUILT_IN, allowed_hosts=given)
        self.assertEqual(settings.allowed_hosts, ("kv.example", "::1", "fe80::1", "10.0.0.1"))
        for wrong in ("node:45200", "[::1]:80", "[node]", "http://node", "*", "", "10.0.0.1:80"):
            with self.assertRaisesRegex(SettingsError, r"^allowed_hosts\[1\]: .*; write it without a port$"):
                evolve(BUILT_IN, allowed_hosts=("a", wrong))

    def test_a_name_is_the_identity(self) -> None:
        self.assertEqual(Settings(BUILT_IN.cluster[:1], name="mine").cluster_id, "mine")
        for name in ["", "a\nb", "x" * 256]:
            with self.assertRaisesRegex(SettingsError, "^name: must be"):
                evolve(BUILT_IN, name=name)
