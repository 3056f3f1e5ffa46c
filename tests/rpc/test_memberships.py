"""Configurations, changes of them, and snapshots, as bytes."""

from typing import Any

import msgpack  # type: ignore[import-untyped]  # msgpack has no annotations
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.memberships import (
    NO_CONFIGURATIONS,
    SNAPSHOT,
    configurations,
    lists,
    numbers,
    over_the_wire,
    snapshots,
    terms,
)
from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import InstallSnapshot
from txraft.errors import MalformedMessage
from txraft.interfaces import SnapshotFile
from txraft.rpc.amp_commands import ChangeMembers, OfferSnapshot
from txraft.rpc.arguments import MAX_INTEGER, MAX_TERM, MAX_VALUE
from txraft.rpc.encoding import PackedMessage
from txraft.rpc.memberships import PackedChanges, PackedConfiguration, PackedSnapshotFile, configuration_of

changes = st.builds(
    Change, st.sampled_from(ChangeKind), numbers, st.lists(st.text()).map(tuple), st.booleans(), st.none() | numbers
)


class ConfigurationTests(SynchronousTestCase):
    """Memberships, in entries, snapshots and answers."""

    @given(configurations())
    def test_round_trip(self, configuration: Configuration) -> None:
        """Each arrives as it was."""
        packed = PackedConfiguration()
        self.assertEqual(packed.from_bytes(packed.to_bytes(configuration)), configuration)

    def test_wrong(self) -> None:
        """What no server writes is refused."""
        for data in NO_CONFIGURATIONS:
            with self.assertRaises(MalformedMessage, msg=repr(data[:100])):
                configuration_of(data)

    @given(st.binary(max_size=60))
    def test_noise(self, noise: bytes) -> None:
        """Arbitrary bytes are refused, or are a configuration."""
        try:
            configuration = configuration_of(noise)
        except MalformedMessage:
            return
        self.assertEqual(configuration.to_bytes(), noise)


class ChangesTests(SynchronousTestCase):
    """What a follower passes on to the leader."""

    @given(st.lists(changes).map(tuple))
    def test_round_trip(self, asked: tuple[Change, ...]) -> None:
        """Changes arrive as they were, in their order."""
        self.assertEqual(over_the_wire(ChangeMembers, {"changes": asked}), {"changes": asked})

    def test_wrong(self) -> None:
        """What is no list of changes is refused: other shapes, other types, numbers out of range, far too many."""
        good: list[Any] = ["remove", 3, [], False, None]
        self.assertEqual(PackedChanges().from_bytes(msgpack.packb([good])), (Change(ChangeKind.REMOVE, 3),))
        for value in (
            5,
            b"abc",
            {},
            [5],
            [[]],
            [good[:4]],
            [[*good, 1]],
            *(
                [[*good[:at], wrong, *good[at + 1 :]]]
                for at, wrong in (
                    (0, "no such kind"),
                    (0, b"remove"),
                    (0, 5),
                    (1, -1),
                    (1, MAX_INTEGER + 1),
                    (1, True),
                    (1, "3"),
                    (1, None),
                    (2, "localhost"),
                    (2, [5]),
                    (2, [b"localhost"]),
                    (2, [["localhost"]]),
                    (3, 1),
                    (3, None),
                    (4, -1),
                    (4, MAX_INTEGER + 1),
                    (4, False),
                    (4, "3"),
                )
            ),
            [good] * MAX_VALUE,
        ):
            with self.assertRaises(MalformedMessage, msg=repr(value)[:100]):
                PackedChanges().from_bytes(msgpack.packb(value))
        for noise in (b"", b"\xc1", msgpack.packb([good]) * 2, b"\x91" * 5000):
            with self.assertRaises(MalformedMessage):
                PackedChanges().from_bytes(noise)


class SnapshotTests(SynchronousTestCase):
    """A snapshot in a message and in an offer, of either version."""

    def refused(self, snapshot: object, version: int) -> None:
        """A snapshot that is msgpack and nothing that could be."""
        with self.assertRaises(MalformedMessage, msg=repr(snapshot)):
            PackedMessage(InstallSnapshot, version).from_bytes(msgpack.packb([MAX_TERM, 1, snapshot]))
        with self.assertRaises(MalformedMessage, msg=repr(snapshot)):
            PackedSnapshotFile().read(msgpack.packb([snapshot, 5, bytes(32)]), version)

    def test_wrong(self) -> None:
        """A snapshot of the wrong shape, of no entry, or of a term that its sender has not entered, is refused; and so
        is one of the other version."""
        in_lists = (10, 1, (1, 2), (), ())
        for version, good, other in ((5, in_lists, SNAPSHOT), (6, SNAPSHOT, in_lists)):
            PackedSnapshotFile().read(msgpack.packb([good, 5, bytes(32)]), version)
            members = good[2:]
            for snapshot in (
                5,
                b"abcde",
                (),
                good[:-1],
                (*good, ()),
                other,
                (0, 2, *members),
                (-1, 2, *members),
                (2**63, 2, *members),
                (True, 2, *members),
                (10, -1, *members),
                (10, MAX_TERM + 1, *members),
            ):
                self.refused(snapshot, version)
            with self.assertRaises(MalformedMessage):
                PackedMessage(InstallSnapshot, version).from_bytes(msgpack.packb([0, 1, good]))

    def test_wrong_members(self) -> None:
        """Members that could not be are refused, as bytes and as lists."""
        for data in NO_CONFIGURATIONS:
            self.refused((10, 2, data), 6)
        for members in (
            ((), (), ()),
            ((), (1, 2), ()),
            ((1, 1), (), ()),
            ((2, 1), (), ()),
            ((1, 2), (5, 5), ()),
            ((1, 2), (), (5, 5)),
            ((1, 2), (), (2, 3)),
            ((-1, 2), (), ()),
            ((1, 2**63), (), ()),
            ((1, True), (), ()),
            ((1, "2"), (), ()),
            ((1, (2,)), (), ()),
            (1, (), ()),
            (b"12", (), ()),
        ):
            self.refused((10, 2, *members), 5)

    @given(snapshots(configurations()), numbers, st.binary(min_size=32, max_size=32), terms)
    def test_offers(self, snapshot: Snapshot, size: int, checksum: bytes, term: int) -> None:
        """What is offered arrives as it was."""
        offer = {"term": term, "file": SnapshotFile(snapshot, size, checksum)}
        self.assertEqual(over_the_wire(OfferSnapshot, offer), offer)

    @given(snapshots(lists()))
    def test_in_lists(self, snapshot: Snapshot) -> None:
        """To a peer of version 5, and from one, go three lists."""
        codec, message = PackedMessage(InstallSnapshot, 5), InstallSnapshot(MAX_TERM, 1, snapshot)
        packed, members = codec.to_bytes(message), snapshot.configuration
        sets = [sorted(each) for each in (members.voters, members.outgoing, members.learners)]
        self.assertEqual(msgpack.unpackb(packed), [MAX_TERM, 1, [snapshot.index, snapshot.term, *sets]])
        self.assertEqual(codec.from_bytes(packed), message)

    def test_wrong_offers(self) -> None:
        """A size or a checksum that could not be is refused."""
        for values in (
            [],
            5,
            [SNAPSHOT, 5],
            [SNAPSHOT, 5, bytes(32), 1],
            [SNAPSHOT, -1, bytes(32)],
            [SNAPSHOT, 2**63, bytes(32)],
            [SNAPSHOT, 5.0, bytes(32)],
            [SNAPSHOT, 5, bytes(31)],
            [SNAPSHOT, 5, bytes(33)],
            [SNAPSHOT, 5, "x" * 32],
        ):
            with self.assertRaises(MalformedMessage, msg=repr(values)):
                PackedSnapshotFile().read(msgpack.packb(values))
