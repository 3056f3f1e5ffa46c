"""Configuration files: what they hold, and the one line that a wrong one ends in."""

import os
import pathlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.addresses import Address, Endpoint
from txraft.errors import SettingsError
from txraft.settings import BUILT_IN, LogLimits, Member, Settings, SizeLimits, Timing
from txraft.settings_file import load, parse
from txraft.texts import one_line

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
        """Uncommented, the lines of [timing], [limits] and [log] say what the code says."""
        head, tables = SAMPLE.read_text(encoding="utf-8").split("[timing]")
        uncommented = self.write(head + "[timing]" + tables.replace("\n# ", "\n"))
        self.assertEqual(load(uncommented), BUILT_IN)
        for key in ("slow_coefficient", "election_timeout", "idle_timeout", "key_size", "connections", "keep_size"):
            self.assertIn(f"\n# {key} = ", tables)

    def test_reads_every_key(self) -> None:
        path = self.write(
            'name = "n"\nallowed_hosts = ["h", "::1"]\n'
            '[[cluster]]\nid = 4\naddress = "a:1"\nkvaddr = "[::1]:2"\nbind = "b:3"\nkvbind = "b:4"\n'
            "[timing]\nslow_coefficient = 2\nelection_timeout = 30\nheartbeat_interval = 1.5\nrequest_timeout = 9\n"
            "receive_timeout = 10\nidle_timeout = 11\n"
            "[limits]\nkey_size = 1\nvalue_size = 2\nuncommitted_size = 8\nuncommitted_entries = 5\nconnections = 4\n"
            "batch_size = 6\nbatch_operations = 7\n"
            "[log]\nkeep_entries = 12\nkeep_size = 13\n"
        )
        member = Member(4, Address("a", 1), Address("::1", 2), Address("b", 3), Address("b", 4))
        limits = SizeLimits(1, 2, 6, 7, 8, 5, 4)
        timing = Timing(2, 30, 1.5, 9, 10, 11)
        self.assertEqual(load(path), Settings((member,), timing, limits, LogLimits(12, 13), "n", ("h", "::1")))

    def test_path(self) -> None:
        """As text or as a Path, which is what a node's directory is given as, too."""
        path = self.write(CLUSTER)
        self.assertEqual(load(pathlib.Path(path)), load(path))

    def test_files_that_cannot_be_read(self) -> None:
        missing = self.mktemp()
        with self.assertRaisesRegex(SettingsError, f"^{missing}: cannot be read: No such file or directory$"):
            load(missing)
        latin = self.mktemp()
        pathlib.Path(latin).write_bytes(b'name = "\xe9"')
        with self.assertRaisesRegex(SettingsError, "is not UTF-8 text"):
            load(latin)

    def test_byte_order_mark(self) -> None:
        """Editors on Windows begin files with one."""
        self.assertEqual(load(self.write("\ufeff" + CLUSTER)), load(self.write(CLUSTER)))

    def test_what_nobody_could_reach(self) -> None:
        """The key is named."""
        self.assertEqual(
            self.refused(CLUSTER.replace("b:1", "0.0.0.0:1")),
            "cluster[1].address: 0.0.0.0:1 is no address at which others reach the node; use bind for where it listens",
        )
        self.assertEqual(
            self.refused('allowed_hosts = ["node:45200"]' + CLUSTER),
            'allowed_hosts[0]: "node:45200" is not a host name or an IP address; write it without a port',
        )

    def test_what_is_no_file(self) -> None:
        """Nobody waits for a pipe, or reads a device to its end."""
        pipe = self.mktemp()
        os.mkfifo(pipe)
        directory = self.mktemp()
        os.mkdir(directory)
        for path, problem in [
            (pipe, "is not a file; a pipe or a device cannot be a configuration"),
            ("/dev/zero", "is not a file; a pipe or a device cannot be a configuration"),
            (directory, "cannot be read: Is a directory"),
            (f"{directory}/a/b", "cannot be read: No such file or directory"),
            ("x" * 300, "cannot be read: File name too long"),
            ("", "cannot be read: No such file or directory"),
        ]:
            self.assertEqual(str(self.assertRaises(SettingsError, load, path)), f"{path}: {problem}")

    def test_file_names(self) -> None:
        """Shown so that they are one line and harm no terminal."""
        for path, shown in [("a\nb", "a\\nb"), ("\x1b[2J", "\\x1b[2J"), ("\udcff", "\\udcff"), ("a\0b", "a\\x00b")]:
            line = str(self.assertRaises(SettingsError, load, path))
            self.assertTrue(line.startswith(f"{shown}: cannot be read: "), line)

    def test_large_files(self) -> None:
        """Read as far as it takes to refuse them."""
        limit = 1024 * 1024
        fitting = CLUSTER + "#" * (limit - len(CLUSTER))
        load(self.write(fitting))
        self.assertEqual(self.refused(fitting + "#"), f"is larger than {limit} bytes, so it is no configuration")

    def test_long_lines(self) -> None:
        """What is told of a file that is all wrong still fits a screen."""
        line = self.refused("".join(f"key{number} = 1\n" for number in range(1000)))
        self.assertEqual(len(line), 1003)
        self.assertEqual((one_line("x" * 1000), one_line("x" * 1001)), ("x" * 1000, "x" * 1000 + "..."))
        self.assertTrue(line.endswith("..."))

    def test_files_that_are_not_toml(self) -> None:
        self.assertRegex(self.refused("[[cluster]\n"), r"is not TOML: .*line 1")
        self.assertRegex(self.refused("id = " + "9" * 5000), "has an absurdly long number, or tables")
        self.assertRegex(self.refused("id = " + "[" * 5000), "nested absurdly deep")

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
            "port: unknown key; known are cluster, timing, limits, log, name, allowed_hosts",
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
            self.assertRegex(self.refused(text), r"^cluster\[1\].kvaddr: node 1 cannot listen on .:1 both")

    def test_endpoints(self) -> None:
        """As Twisted writes them, where nodes reach each other and where they listen. Where it says no more than an
        address does, it is that."""
        for text, place in (
            ("unix:/run/b", Endpoint("unix:/run/b")),
            ("tcp:b:1", Address("b", 1)),
            ("tls:b:1:trustRoots=/etc/ca", Endpoint("tls:b:1:trustRoots=/etc/ca")),
        ):
            bound = CLUSTER.replace("b:1", text) + 'bind = "tcp:7"\nkvbind = "unix:/run/c:mode=600"'
            (*_, member) = load(self.write(bound)).cluster
            self.assertEqual((member.address, str(member.address)), (place, str(place)))
            self.assertEqual(
                (member.listens_on, str(member.kv_listens_on)), (Address("0.0.0.0", 7), "unix:/run/c:mode=600")
            )
        (*_, member) = load(self.write(CLUSTER.replace("b:1", "unix:/b"))).cluster
        self.assertEqual(member.listens_on, Endpoint("unix:/b"))

    def test_endpoints_that_make_no_sense(self) -> None:
        """Each is a line: what can only be listened at, or only be dialled, or is not what clients speak."""
        for address, problem in (
            (
                "ssl:1:privateKey=k",
                'address: "ssl:1:privateKey=k" is no address at which others reach the node',
            ),
            ("tcp:1", "address: 0.0.0.0:1 is no address at which others reach the node; use bind"),
            ("tls:b:1", "bind: is missing: where node 1 listens, which others reach at tls:b:1"),
            ("onion:b", 'address: "onion:b" does not end in a port'),
            ("unix:a\\u0000b", "has characters that cannot be printed"),
            (
                "unix:b",
                'address: "unix:b" is no address at which others reach the node: host:port, unix:/PATH, or tls:',
            ),
            ("tls:b:0", 'address: "tls:b:0" is no address at which others reach the node'),
            ("tcp:80000:interface=1.1.1.1", '"1.1.1.1:80000" does not end in a port'),
        ):
            self.assertIn(problem, self.refused(CLUSTER.replace("b:1", address)))
        for file, problem in (
            (CLUSTER.replace("b:2", "unix:/run/kv"), 'cluster[1].kvaddr: "unix:/run/kv" is an endpoint as Twisted'),
            (CLUSTER + 'kvbind = "ssl:1:privateKey=k"', 'kvbind: "ssl:1:privateKey=k" speaks TLS, and clients of'),
            (CLUSTER + 'bind = "unix:a"\nkvbind = "unix:a"', "kvaddr: node 1 cannot listen on unix:a both for nodes"),
            (
                CLUSTER.replace("a:1", "unix:/a").replace("b:1", "unix:/a"),
                "unix:/a is already cluster[0].address; each",
            ),
        ):
            self.assertIn(problem, self.refused(file))

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
            ("[timing]\nrequest_timeout = 1" + 400 * "0", "timing.request_timeout: must be finite, not inf"),
            ("[limits]\nkey_size = -1", "limits.key_size: must be 1 to 1048576, not -1"),
            ("[log]\nkeep_entries = 0", "log.keep_entries: must be 1 to 1073741824, not 0"),
            ("[limits]\nuncommitted_size = 9", "limits.uncommitted_size: must have room for a key and two values"),
        ]:
            self.assertIn(problem, self.refused(CLUSTER + table))
        self.assertEqual(
            self.refused(CLUSTER.replace("id = 1", "id = -1")),
            "cluster[1].id: must be 0 to 9223372036854775807, not -1",
        )

    def test_several_problems_are_told_at_once(self) -> None:
        line = self.refused(CLUSTER.replace("kvaddr = ", "kvadr = ") + "[timing]\nrequest_timeout = 0")
        for key in ("cluster[0].kvadr: unknown", "cluster[1].kvaddr: is missing", "timing.request_timeout: must"):
            self.assertIn(key, line)

    def test_keys_of_the_whole_file_below_a_table(self) -> None:
        for key in ('allowed_hosts = ["a"]', 'name = "n"'):
            self.assertIn(
                f"cluster[1].{key.split()[0]}: unknown key; it belongs above the first [[cluster]]",
                self.refused(CLUSTER + key),
            )

    def test_a_key_with_a_line_break_stays_in_one_line(self) -> None:
        self.assertIn("a\\nb: unknown key", self.refused('"a\\nb" = 1' + CLUSTER))


NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, 1, 2**31, 2**53, 2**63 - 1, 2**63, 10**400, 1e-320, 0.003, 1e308, -0.0]),
)
TEXTS = st.one_of(
    st.text(max_size=80),
    st.builds("{}:{}".format, st.one_of(st.sampled_from(["a", "a..b", "[::1]", "x" * 64]), st.text()), st.integers()),
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.one_of(NUMBERS, TEXTS, st.booleans(), st.dates(), st.times(), st.datetimes()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)


def table(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One with some of these keys, each with a value of its strategy or with anything."""
    return st.one_of(
        st.fixed_dictionaries({}, optional={key: st.one_of(value, ANYTHING) for key, value in keys.items()}),
        st.fixed_dictionaries(keys),
        ANYTHING,
    )


MEMBERS = table(id=st.integers(0, 3), address=TEXTS, kvaddr=TEXTS, bind=TEXTS, kvbind=TEXTS)
TABLES = st.fixed_dictionaries(
    {},
    optional={
        "cluster": st.one_of(
            st.lists(MEMBERS, max_size=3), st.just([{"id": 0, "address": "a:1", "kvaddr": "a:2"}]), ANYTHING
        ),
        "timing": table(
            slow_coefficient=NUMBERS,
            election_timeout=NUMBERS,
            heartbeat_interval=NUMBERS,
            request_timeout=NUMBERS,
            receive_timeout=NUMBERS,
            idle_timeout=NUMBERS,
        ),
        "limits": table(key_size=NUMBERS, value_size=NUMBERS, uncommitted_size=NUMBERS, connections=NUMBERS),
        "name": TEXTS,
        "allowed_hosts": st.one_of(st.lists(TEXTS, max_size=3), ANYTHING),
    },
)


class FuzzTests(SynchronousTestCase):
    """Settings, or one line: whatever is in the file."""

    @given(TABLES)
    def test_tables(self, table: Any) -> None:
        try:
            made = parse(table)
        except SettingsError as error:
            self.check_line(str(error))
        else:
            timing = made.timing
            for seconds in (timing.election_seconds, timing.heartbeat_seconds, timing.request_seconds):
                self.assertTrue(0.0009 < seconds < 90_000, seconds)

    @given(st.one_of(st.binary(), st.text().map(str.encode)))
    def test_bytes(self, content: bytes) -> None:
        path = pathlib.Path(self.mktemp())
        path.write_bytes(content)
        self.check_line(str(self.assertRaises(SettingsError, load, str(path))))

    def check_line(self, line: str) -> None:
        self.assertTrue(line.isprintable(), ascii(line))
