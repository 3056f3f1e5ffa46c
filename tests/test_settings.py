"""Settings: the rules for each value, and the one line that a wrong file ends in."""

import pathlib

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import SettingsError
from txraft.settings import BUILT_IN, Address, Member, Settings, SizeLimits, Timing, load

SAMPLE = pathlib.Path(__file__).parent.parent / "etc" / "txraft.toml"

CLUSTER = """
[[cluster]]
id = 0
address = "a:1"
kvaddr = "a:2"
[[cluster]]
id = 1
address = "b:1"
kvaddr = "b:2"
"""


class AddressTests(SynchronousTestCase):
    def test_reads_and_writes_host_and_port(self) -> None:
        for text, host, port in [("localhost:8080", "localhost", 8080), ("[::1]:65535", "::1", 65535), ("h:1", "h", 1)]:
            address = Address.parse(text)
            self.assertEqual((address.host, address.port, str(address)), (host, port, text))

    def test_host_names_have_no_case(self) -> None:
        self.assertEqual(Address.parse("LocalHost:1"), Address.parse("localhost:1"))

    def test_refuses_what_is_not_host_and_port(self) -> None:
        for text in ["", "localhost", ":8080", "::1:8080", "http://localhost:80", "a b:1", "[]:1", "u@h:1", "[::1]"]:
            with self.assertRaisesRegex(SettingsError, "is not host:port"):
                Address.parse(text)

    def test_refuses_ports_that_are_none(self) -> None:
        for port in ["", "0", "65536", "-1", "x", "80.0", "²", "9" * 5000]:
            with self.assertRaisesRegex(SettingsError, "from 1 to 65535"):
                Address.parse(f"localhost:{port}")


class MemberTests(SynchronousTestCase):
    def test_listens_where_it_is_reached_unless_told_otherwise(self) -> None:
        member = Member(0, Address("a", 1), Address("a", 2))
        self.assertEqual((member.listens_on, member.kv_listens_on), (Address("a", 1), Address("a", 2)))
        bound = evolve(member, bind=Address("0.0.0.0", 3), kvbind=Address("0.0.0.0", 4))
        self.assertEqual((bound.listens_on, bound.kv_listens_on), (Address("0.0.0.0", 3), Address("0.0.0.0", 4)))


class TimingTests(SynchronousTestCase):
    def test_properties_are_seconds_and_slowed(self) -> None:
        timing = Timing(slow_coefficient=10, election_timeout=150, heartbeat_interval=30, request_timeout=2000)
        self.assertAlmostEqual(timing.election_seconds, 1.5)
        self.assertAlmostEqual(timing.heartbeat_seconds, 0.3)
        self.assertAlmostEqual(timing.request_seconds, 20)

    def test_a_third_of_the_election_timeout_is_the_longest_heartbeat(self) -> None:
        Timing(election_timeout=300, heartbeat_interval=100)
        with self.assertRaisesRegex(SettingsError, "^heartbeat_interval: must be at most a third"):
            Timing(election_timeout=300, heartbeat_interval=101)


class SettingsTests(SynchronousTestCase):
    def test_finds_members_by_id(self) -> None:
        self.assertEqual(BUILT_IN.member(2).kvaddr, Address("localhost", 27006))
        with self.assertRaisesRegex(SettingsError, "^no node 3 in the configuration; its ids are 0, 1, 2$"):
            BUILT_IN.member(3)

    def test_identity_is_that_of_the_ids_and_addresses(self) -> None:
        """Who serves clients where, and the order in the file, do not make another cluster; other addresses do."""
        first, *others = BUILT_IN.cluster
        self.assertRegex(BUILT_IN.cluster_id, "^[0-9a-f]{16}$")
        for same in [(*others, first), (evolve(first, kvaddr=Address("x", 1), bind=Address("y", 1)), *others)]:
            self.assertEqual(Settings(same).cluster_id, BUILT_IN.cluster_id)
        for other in [(evolve(first, address=Address("x", 1)), *others), (evolve(first, id=7), *others), (first,)]:
            self.assertNotEqual(Settings(other).cluster_id, BUILT_IN.cluster_id)

    def test_a_name_is_the_identity(self) -> None:
        self.assertEqual(Settings(BUILT_IN.cluster[:1], name="mine").cluster_id, "mine")
        for name in ["", "a\nb", "x" * 256]:
            with self.assertRaisesRegex(SettingsError, "^name: must be"):
                evolve(BUILT_IN, name=name)


class LoadTests(SynchronousTestCase):
    def write(self, text: str) -> str:
        path = self.mktemp()
        pathlib.Path(path).write_text(text, encoding="utf-8")
        return path

    def refused(self, text: str) -> str:
        """The line, without the name of the file, that loading `text` ends in."""
        path = self.write(text)
        line = str(self.assertRaises(SettingsError, load, path))
        self.assertEqual(len(line.splitlines()), 1, line)
        self.assertTrue(line.startswith(f"{path}: "), line)
        return line.removeprefix(f"{path}: ")

    def test_the_sample_is_the_built_in_cluster(self) -> None:
        self.assertEqual(load(str(SAMPLE)), BUILT_IN)

    def test_what_the_sample_comments_out_is_the_default(self) -> None:
        """Uncommented, the lines of [timing] and [limits] say what the code says."""
        head, tables = SAMPLE.read_text(encoding="utf-8").split("[timing]")
        uncommented = self.write(head + "[timing]" + tables.replace("\n# ", "\n"))
        self.assertEqual(load(uncommented), BUILT_IN)
        for key in ("slow_coefficient", "election_timeout", "idle_timeout", "key_size", "connections"):
            self.assertIn(f"\n# {key} = ", tables)

    def test_reads_every_key(self) -> None:
        path = self.write(
            'name = "n"\nallowed_hosts = ["h", "::1"]\n'
            '[[cluster]]\nid = 4\naddress = "a:1"\nkvaddr = "[::1]:2"\nbind = "b:3"\nkvbind = "b:4"\n'
            "[timing]\nslow_coefficient = 2\nelection_timeout = 30\nheartbeat_interval = 1.5\nrequest_timeout = 9\n"
            "receive_timeout = 10\nidle_timeout = 11\n"
            "[limits]\nkey_size = 1\nvalue_size = 2\nuncommitted_size = 3\nconnections = 4\n"
        )
        member = Member(4, Address("a", 1), Address("::1", 2), Address("b", 3), Address("b", 4))
        self.assertEqual(
            load(path), Settings((member,), Timing(2, 30, 1.5, 9, 10, 11), SizeLimits(1, 2, 3, 4), "n", ("h", "::1"))
        )

    def test_files_that_cannot_be_read(self) -> None:
        missing = self.mktemp()
        with self.assertRaisesRegex(SettingsError, f"^{missing}: cannot be read: No such file or directory$"):
            load(missing)
        latin = self.mktemp()
        pathlib.Path(latin).write_bytes(b'name = "\xe9"')
        with self.assertRaisesRegex(SettingsError, "is not UTF-8 text"):
            load(latin)

    def test_files_that_are_not_toml(self) -> None:
        self.assertRegex(self.refused("[[cluster]\n"), r"is not TOML: .*line 1")
        self.assertRegex(self.refused("id = " + "9" * 5000), "is not TOML: ")

    def test_wrong_types(self) -> None:
        """Nothing is converted: not true to 1, not 1.0 to 1, not "500" to 500."""
        for line, problem in [
            ("id = true", "cluster[1].id: must be a whole number, not true"),
            ("id = 1.0", "cluster[1].id: must be a whole number, not 1.0"),
            ('id = "1"', 'cluster[1].id: must be a whole number, not "1"'),
        ]:
            self.assertEqual(self.refused(CLUSTER.replace("id = 1", line)), problem)
        for table, problem in [
            ("timing = 3", "timing: must be a table, not 3"),
            ("allowed_hosts = 3", 'allowed_hosts: must be a list of texts in quotes (["..."]), not 3'),
            ("name = 3", 'name: must be text in quotes ("..."), not 3'),
            ("name = 1979-05-27", 'name: must be text in quotes ("..."), not "1979-05-27"'),
        ]:
            self.assertEqual(self.refused(table + CLUSTER), problem)
        for table, problem in [
            ('[timing]\nelection_timeout = "500"', 'timing.election_timeout: must be a number, not "500"'),
            ("[timing]\nelection_timeout = true", "timing.election_timeout: must be a number, not true"),
            ("[limits]\nkey_size = 1.5", "limits.key_size: must be a whole number, not 1.5"),
        ]:
            self.assertEqual(self.refused(CLUSTER + table), problem)

    def test_a_cluster_that_is_no_list_of_tables(self) -> None:
        self.assertEqual(self.refused("[cluster]"), "cluster: must be a list of tables, each under [[cluster]]")
        self.assertEqual(self.refused("cluster = [1]"), "cluster[0]: must be a table, not 1")

    def test_unknown_keys(self) -> None:
        self.assertEqual(
            self.refused(CLUSTER + "[timing]\nelection_timout = 500"),
            "timing.election_timout: unknown key; did you mean election_timeout?",
        )
        self.assertEqual(
            self.refused("port = 1" + CLUSTER),
            "port: unknown key; known are cluster, timing, limits, name, allowed_hosts",
        )

    def test_missing_keys(self) -> None:
        self.assertEqual(self.refused(""), "cluster: is missing; add it")
        self.assertEqual(self.refused(CLUSTER.replace("id = 1", "")), "cluster[1].id: is missing; add it")

    def test_empty_cluster(self) -> None:
        self.assertEqual(self.refused("cluster = []"), "cluster: has no nodes; add a [[cluster]] table for each")

    def test_duplicates(self) -> None:
        for old, new, problem in [
            ("id = 1", "id = 0", "cluster[1].id: 0 is already cluster[0].id; each must be used once"),
            ("b:1", "a:1", "cluster[1].address: a:1 is already cluster[0].address; each must be used once"),
            ("b:1", "a:2", "cluster[1].address: a:2 is already cluster[0].kvaddr; each must be used once"),
            ("b:2", "A:2", "cluster[1].kvaddr: a:2 is already cluster[0].kvaddr; each must be used once"),
        ]:
            self.assertEqual(self.refused(CLUSTER.replace(old, new)), problem)

    def test_one_node_twice_at_one_address(self) -> None:
        for text in [CLUSTER.replace("b:2", "b:1"), CLUSTER + 'bind = "x:1"\nkvbind = "x:1"']:
            self.assertRegex(self.refused(text), r"^cluster\[1\].kvbind: node 1 cannot listen on .:1 both")

    def test_bad_addresses(self) -> None:
        self.assertRegex(self.refused(CLUSTER.replace("b:1", "b")), r'^cluster\[1\].address: "b" is not host:port')
        self.assertRegex(
            self.refused(CLUSTER + 'kvbind = "b:70000"'), r"^cluster\[1\].kvbind: \"b:70000\" .* from 1 to 65535"
        )

    def test_values_out_of_range(self) -> None:
        for table, problem in [
            ("[timing]\nelection_timeout = 0", "timing.election_timeout: must be above 0, not 0.0"),
            ("[timing]\nslow_coefficient = nan", "timing.slow_coefficient: must be above 0, not nan"),
            ("[timing]\nrequest_timeout = inf", "timing.request_timeout: must be finite, not inf"),
            ("[limits]\nkey_size = -1", "limits.key_size: must be above 0, not -1"),
            ("[limits]\nuncommitted_size = 9", "limits.uncommitted_size: must have room for one key and value"),
        ]:
            self.assertIn(problem, self.refused(CLUSTER + table))
        self.assertEqual(
            self.refused(CLUSTER.replace("id = 1", "id = -1")), "cluster[1].id: must be 0 or above, not -1"
        )

    def test_several_problems_are_told_at_once(self) -> None:
        line = self.refused(CLUSTER.replace("kvaddr = ", "kvadr = ") + "[timing]\nrequest_timeout = 0")
        for key in ("cluster[0].kvadr: unknown", "cluster[1].kvaddr: is missing", "timing.request_timeout: must"):
            self.assertIn(key, line)

    def test_a_key_with_a_line_break_stays_in_one_line(self) -> None:
        self.assertIn("a b: unknown key", self.refused('"a\\nb" = 1' + CLUSTER))
