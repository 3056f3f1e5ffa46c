"""Membership (§6): who is a member, and whose votes and acknowledgements count."""

import json

from attrs import fields
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster
from txraft.core.configuration import MOST_IDS, Configuration
from txraft.core.messages import Heartbeat, RequestVote
from txraft.core.roles import Role

ids = st.integers(0, 20) | st.integers(0, 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)
hostile = st.dictionaries(st.sampled_from([each.name for each in fields(Configuration)]), json_values)
many = settings(max_examples=200, deadline=None, database=None)

JOINT = Configuration(voters={1, 4, 5}, outgoing={1, 2, 3}, learners={6})


class ConfigurationTests(SynchronousTestCase):
    def test_who_is_what(self) -> None:
        """Members are all three kinds; a voter of either set votes, a learner does not."""
        self.assertEqual(JOINT.members, {1, 2, 3, 4, 5, 6})
        self.assertEqual([JOINT.is_voter(server) for server in range(1, 8)], [True] * 5 + [False] * 2)
        self.assertEqual(set(JOINT.voter_sets), {frozenset({1, 4, 5}), frozenset({1, 2, 3})})

    def test_it_is_a_value(self) -> None:
        """However it was written down, it is the same configuration, and nobody changes it in place."""
        self.assertEqual(Configuration(voters=range(1, 4)), Configuration(voters=(3, 2, 1, 1)))
        self.assertEqual(hash(Configuration(voters={1, 2})), hash(Configuration(voters=(1, 2))))
        with self.assertRaises(AttributeError):
            JOINT.voters = frozenset({1})  # type: ignore[misc]  # that it is frozen is what is tested


@st.composite
def sound_configurations(draw: st.DrawFn) -> Configuration:
    """All that a server may be, for up to ten of them."""
    parts: dict[str, list[int]] = {}
    may_be = ["voters", "voters outgoing", "outgoing", "outgoing learners_next", "learners", "removed"]
    for server, names in draw(st.dictionaries(ids, st.sampled_from(may_be), max_size=10)).items():
        for name in names.split():
            parts.setdefault(name, []).append(server)
    learners = [*parts.get("learners", []), *parts.get("learners_next", [])]
    return Configuration(
        voters=parts.get("voters", ()),
        outgoing=parts.get("outgoing", ()),
        learners=parts.get("learners", ()),
        learners_next=parts.get("learners_next", ()),
        auto_leave="outgoing" in parts and draw(st.booleans()),
        joining=draw(st.dictionaries(st.sampled_from(learners), st.none() | ids)) if learners else (),
        addresses=draw(st.dictionaries(ids, st.lists(st.text(), max_size=3).map(tuple), max_size=5)),
        removed=parts.get("removed", ()),
    )


class BytesTests(SynchronousTestCase):
    """As an entry of the log, a snapshot or a disk has it."""

    @many
    @given(sound_configurations())
    def test_what_is_written_is_read(self, configuration: Configuration) -> None:
        """The same value, and the same bytes again, whatever the addresses say."""
        configuration.require_sound()
        written = configuration.to_bytes()
        self.assertEqual(Configuration.from_bytes(written), configuration)
        self.assertEqual(Configuration.from_bytes(written).to_bytes(), written)

    def test_how_it_is_written(self) -> None:
        """JSON, in one way only, so that equal configurations are equal bytes."""
        whole = Configuration({2, 10}, {2, 1}, {4}, {1}, True, {4: None, 1: 2}, {10: ("a:1", "b:2"), 2: ()}, {3})
        written = (
            b'{"voters":[2,10],"outgoing":[1,2],"learners":[4],"learners_next":[1],"auto_leave":true,'
            b'"joining":[[1,2],[4,null]],"addresses":[[2,[]],[10,["a:1","b:2"]]],"removed":[3]}'
        )
        self.assertEqual(whole.to_bytes(), written)
        self.assertEqual(Configuration.from_bytes(written), whole)
        self.assertEqual(Configuration(voters=()).to_bytes(), b"{}")

    def test_removed(self) -> None:
        """Ids that follow each other cost nothing."""
        removed = Configuration({1}, removed=[*range(10, 7000), 8000])
        written = b'{"voters":[1],"removed":[[10,6999],8000]}'
        self.assertEqual((removed.to_bytes(), Configuration.from_bytes(written)), (written, removed))

    def assert_refused(self, data: bytes) -> None:
        with self.assertRaises(ValueError, msg=repr(data[:100])):
            Configuration.from_bytes(data)

    def assert_sound_or_refused(self, data: bytes) -> None:
        """That it gives a configuration that writes just these bytes, or ValueError."""
        try:
            configuration = Configuration.from_bytes(data)
        except ValueError:
            return
        configuration.require_sound()
        self.assertEqual(configuration.to_bytes(), data)

    def test_what_is_not_json(self) -> None:
        """Nothing, rubbish, cut off, nested without end, other encodings, numbers without end."""
        for data in (
            b"",
            b"\x00\xff",
            b'{"voters":[1',
            b"[" * 100_000,
            b'{"voters":' + b"[" * 100_000,
            '{"voters":[1]}'.encode("utf-16"),
            b'{"voters":[' + b"9" * 10_000 + b"]}",
        ):
            self.assert_refused(data)

    def test_what_is_another_thing(self) -> None:
        """Each field with a value of another type, fields that there are not, and no object at all."""
        others: list[object] = [
            None,
            5,
            "1",
            True,
            1.5,
            [None],
            ["1"],
            [True],
            [1.5],
            [-1],
            [[1]],
            [[]],
            [{}],
            {"1": 2},
            {},
            [[1, {}]],
        ]
        for field in fields(Configuration):
            for other in others:
                self.assert_refused(json.dumps({field.name: other}, separators=(",", ":")).encode())
        self.assert_refused(b'{"strangers":[1]}')
        for data in (b"null", b"1", b'"voters"', b"[]", b'[["voters",[1]]]', b"true", b"NaN"):
            self.assert_refused(data)

    def test_what_no_server_writes(self) -> None:
        """Other bytes for the same: spaces, another order, an id or a field twice, empty fields, a number that is not
        whole."""
        for data in (
            b'{"voters": [1]}',
            b'{"voters":[1]} ',
            b'{"voters":[2,1]}',
            b'{"voters":[1,1]}',
            b'{"voters":[1.0]}',
            b'{"voters":[1],"learners":[]}',
            b'{"learners":[2],"voters":[1]}',
            b'{"voters":[1],"voters":[1]}',
            b'{"voters":[1],"auto_leave":false}',
            b'{"voters":[1],"addresses":[[1,["a"]],[1,["a"]]]}',
            b'{"voters":[1],"addresses":{"1":["a"]}}',
            b'{"voters":[1],"addresses":[[1,["\\u0061"]]]}',
            b'{"voters":[1],"addresses":[[1,"a"]]}',
            b'{"voters":[1],"addresses":[[1,[5]]]}',
            b'{"voters":[1],"addresses":[[1,["a"],["b"]]]}',
            b'{"voters":[1],"learners":[2],"joining":[[2,[1]]]}',
            b'{"voters":[1],"learners":[2],"joining":[[2]]}',
            b'{"voters":[1],"removed":[2,3]}',
            b'{"voters":[1],"removed":[[2,3],4]}',
            b'{"voters":[1],"removed":[[2,2]]}',
            b'{"voters":[1],"removed":[[3,2]]}',
            b'{"voters":[1],"removed":[[2,3,4]]}',
            b'{"voters":[1],"removed":""}',
        ):
            self.assert_refused(data)

    def test_what_contradicts_itself(self) -> None:
        """Each thing that no change of the membership makes, in words."""
        for contradiction, line in (
            (Configuration({1, 2}, learners={2}), "a server is both voter and learner"),
            (Configuration({1}, {2}, learners={2}), "a server is both voter and learner"),
            (Configuration({1}, {2}, learners_next={1}), "a server that is to become a learner is no outgoing voter"),
            (Configuration({1}, auto_leave=True), "a configuration that is not joint cannot be left"),
            (Configuration({1}, joining={1: None}), "a server that is to become a voter is no learner"),
            (Configuration({1, 2}, removed={2}), "a server that was removed is a member"),
            (Configuration({1}, learners={2}, removed={2}), "a server that was removed is a member"),
            (Configuration({1}, removed=[-1]), "the id of a server is no number"),
            (Configuration({1}, removed=[2**63]), "the id of a server is out of range"),
            (Configuration({0}, removed=range(1, MOST_IDS + 1)), "more than 100,000 servers are members, or were"),
            (Configuration({-1}), "the id of a server is no number"),
            (Configuration({1}, learners={2}, joining={2: -1}), "the id of a server is no number"),
        ):
            with self.assertRaises(ValueError) as caught:
                contradiction.require_sound()
            self.assertEqual(str(caught.exception), line)
            self.assert_refused(contradiction.to_bytes())

    def test_more_than_can_be_counted(self) -> None:
        """A few bytes that say more ids than a memory holds, of which no set is made."""
        self.assert_refused(b'{"voters":[1],"removed":[[2,%d]]}' % (2**63 - 1))
        self.assert_refused(b'{"voters":[1],"removed":[[2,%d]]}' % 10**30)
        most = Configuration({0}, removed=range(1, MOST_IDS))
        self.assertEqual(Configuration.from_bytes(most.to_bytes()), most)

    @many
    @given(st.one_of(st.binary(), hostile.map(lambda value: json.dumps(value, separators=(",", ":")).encode())))
    def test_nothing_else_is_raised(self, data: bytes) -> None:
        """Of whatever bytes."""
        self.assert_sound_or_refused(data)

    @many
    @given(sound_configurations(), st.data())
    def test_a_changed_byte_is_no_trap(self, configuration: Configuration, data: st.DataObject) -> None:
        """One byte of what a server wrote is another: it is refused, or it is another configuration, sound again."""
        written = bytearray(configuration.to_bytes())
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
        self.assert_sound_or_refused(bytes(written))


class ConfigurationInForceTests(SynchronousTestCase):
    def test_learners_get_the_log_and_do_not_count(self) -> None:
        """Thesis §4.2.1: with one of two voters gone, a learner's acknowledgement commits nothing."""
        cluster = Cluster(configuration=Configuration(voters={1, 2}, learners={3}))
        leader = cluster.elect(1)
        cluster.isolate(2)
        entry = leader.propose(b"x")
        cluster.settle()
        self.assertEqual(cluster[3].disk_log[-1], entry)
        self.assertLess(leader.view.commit_index, entry.index)
        cluster.heal()
        cluster.run(0.7)
        self.assertEqual(leader.view.commit_index, entry.index)

    def test_a_learner_is_told_of_the_leader_and_is_asked_no_vote(self) -> None:
        """Thesis §4.2.1: heartbeats go to every member, requests for votes to voters."""
        cluster = Cluster(configuration=Configuration(voters={1, 2}, learners={3}))
        cluster[1].time_out()
        cluster[1].write_all()
        self.assertEqual([to for to, _ in cluster[1].sent(RequestVote)], [2])
        cluster.settle()
        cluster[1].beat()
        self.assertEqual([to for to, _ in cluster[1].sent(Heartbeat)], [2, 3])

    def test_a_joint_majority_commits(self) -> None:
        """§6: an entry needs a majority of the old voters and of the new ones, separately."""
        for gone, commits in (({2, 3}, False), ({4, 5}, False), ({3, 5}, True)):
            cluster = Cluster(configuration=JOINT)
            leader = cluster.elect(1)
            cluster.isolate(*gone)
            entry = leader.propose(b"x")
            cluster.settle()
            self.assertEqual(leader.view.commit_index >= entry.index, commits, gone)

    def test_a_joint_majority_elects(self) -> None:
        """§6: a candidate needs a majority of each set, and asks the voters of both."""
        for gone, wins in (({2, 3}, False), ({4, 5}, False), ({3, 5}, True)):
            cluster = Cluster(configuration=JOINT)
            cluster.isolate(*gone)
            cluster[1].time_out()
            self.assertEqual([to for to, _ in cluster[1].sent(RequestVote)], [2, 3, 4, 5])
            cluster.settle()
            self.assertEqual(cluster[1].view.role is Role.LEADER, wins, gone)

    def test_a_joint_majority_keeps_the_leader_and_its_reads(self) -> None:
        """§6: CheckQuorum and reads count as commitment does."""
        for gone, stays in (({2, 3}, False), ({4, 5}, False), ({3, 5}, True)):
            cluster = Cluster(configuration=JOINT)
            leader = cluster.elect(1)
            cluster.isolate(*gone)
            leader.read(7)
            for _ in range(6):
                cluster.beat()
            self.assertEqual(leader.view.role is Role.LEADER, stays, gone)
            self.assertEqual([read.read_id for read in leader.reads], [7] if stays else [])
