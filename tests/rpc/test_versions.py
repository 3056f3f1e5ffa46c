"""Nodes of this release and of the one before, which speaks version 5 alone."""

from functools import partial

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.memory import Cluster, dial, hello_answer, hello_box, met_box, warnings
from tests.rpc.test_link import box, message_box
from tests.rpc.test_snapshot_transfer import source
from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import AppendEntries, Entry, EntryKind, Heartbeat, InstallSnapshot
from txraft.errors import NotApplied
from txraft.interfaces import Identity, Incarnation, SnapshotFile
from txraft.rpc.amp_commands import Hello, OfferSnapshot
from txraft.rpc.handshake import Party, greeting
from txraft.rpc.message_boxes import MESSAGE_BOXES
from txraft.rpc.versions import can_be_sent
from txraft.storage.memory import PeersInMemory

MEMBERS = Configuration({0, 1, 2})
WITH_ADDRESSES = Configuration({0, 1, 2}, addresses={0: ("a",), 1: ("b",), 2: ("c",)})
CHANGED = Configuration({0, 1}, removed={2})
ADDED = AppendEntries(3, 1, 9, 2, (Entry(10, 2, EntryKind.CONFIGURATION, MEMBERS.to_bytes()),), 3)
COMMANDS = AppendEntries(3, 1, 9, 2, (Entry(10, 2, EntryKind.COMMAND, b"x"),), 3)

OWN = Incarnation(b"ABCDEFGH", 3, b"abcdefgh")
HELLO_5 = (
    b"\0\x04_ask\0\x011\0\x08_command\0\x05Hello\0\ncluster_id\0\ta cluster\0\x07from_id\0\x011\0\x0bincarnation\0\x18"
    b"ABCDEFGH\0\0\0\0\0\0\0\x03abcdefgh\0\x05known\0\x017\0\x10protocol_version\0\x015\0\x05to_id\0\x010\0\x06voters"
    b"\0\t\0\x010\0\x011\0\x012\0\0"
)
ANSWER_5 = (
    b"\0\x07_answer\0\x011\0\x05drawn\0\x08ijklmnop\0\x0bincarnation\0\x18ABCDEFGH\0\0\0\0\0\0\0\x03abcdefgh\0\x05known"
    b"\0\x014\0\0"
)
INSTALL_5 = b"\0\x08_command\0\x0fInstallSnapshot\0\x07message\0\x0c\x93\x03\x01\x95\n\x02\x93\0\x01\x02\x90\x90\0\0"
OFFER_5 = (
    b"\0\x04_ask\0\x011\0\x08_command\0\rOfferSnapshot\0\x04file\0-\x93\x95\n\x02\x93\0\x01\x02\x90\x90\x05\xc4 "
    b"\0\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d"
    b"\x1e\x1f\0\x04term\0\x013\0\0"
)
"""Recorded of commit c509a80, the last that spoke version 5 alone."""


@frozen
class Speaker:
    """What AMP knows of a connection."""

    version: int


class VersionFiveTests(SynchronousTestCase):
    """To the byte what the release before said."""

    def test_hello(self) -> None:
        """A node that speaks version 5 alone says no more than one of that release; one of this release says the same
        and two fields more, which that passes over."""
        for newest, more in ((5, frozenset()), (6, {b"newest_version", b"configuration_index"})):
            party = Party(Identity(1, "a cluster", frozenset({0, 1, 2})), newest_version=newest)
            said = Hello.makeArguments(greeting(party, 0, OWN, 7).arguments(), None)
            (old,) = amp.parseString(HELLO_5)
            self.assertEqual(
                {key: said[key] for key in said.keys() - more},
                {key: value for key, value in old.items() if not key.startswith(b"_")},
            )
            self.assertEqual(said.keys() - old.keys(), more)

    def test_answer(self) -> None:
        """Of a node of that release the answer is understood, and the one that it gets is its own."""
        self.assertEqual(amp.parseString(hello_answer(OWN, b"ijklmnop", 4, None)), amp.parseString(ANSWER_5))
        (answer,) = amp.parseString(ANSWER_5)
        self.assertEqual(Hello.parseResponse(answer, None)["version"], None)
        cluster = Cluster().start(1)
        protocol, transport = dial(cluster.networks[0])
        protocol.dataReceived(hello_box(newest_version=None, configuration_index=None))
        cluster.clock.advance(0)
        (answer,) = amp.parseString(transport.value())
        self.assertEqual(answer.keys(), amp.parseString(ANSWER_5)[0].keys())

    def test_snapshots(self) -> None:
        """Their members are three lists, whatever addresses they have here."""
        for members in (MEMBERS, WITH_ADDRESSES):
            snapshot = Snapshot(10, 2, members)
            self.assertEqual(MESSAGE_BOXES[5].write(InstallSnapshot(3, 1, snapshot)), INSTALL_5)
            arguments = {"term": 3, "file": SnapshotFile(snapshot, 5, bytes(range(32)))}
            said = OfferSnapshot.makeArguments(arguments, Speaker(5))
            (old,) = amp.parseString(OFFER_5)
            self.assertEqual(said.items(), {pair for pair in old.items() if not pair[0].startswith(b"_")})
        (old,) = amp.parseString(OFFER_5)
        file = OfferSnapshot.parseArguments(old, Speaker(5))["file"]
        self.assertEqual(file, SnapshotFile(Snapshot(10, 2, MEMBERS), 5, bytes(range(32))))
        (old,) = amp.parseString(INSTALL_5)
        self.assertEqual(MESSAGE_BOXES[5].read(old), InstallSnapshot(3, 1, Snapshot(10, 2, MEMBERS)))

    def test_what_can_be_sent(self) -> None:
        """All but what has a change of the membership in it."""
        for message, can in (
            (COMMANDS, True),
            (ADDED, False),
            (InstallSnapshot(3, 1, Snapshot(10, 2, WITH_ADDRESSES)), True),
            (InstallSnapshot(3, 1, Snapshot(10, 2, CHANGED)), False),
            (Heartbeat(1, 2, 1, 3), True),
        ):
            self.assertEqual(can_be_sent(message, 5), can)
            self.assertTrue(can_be_sent(message, 6))


class MixedTests(SynchronousTestCase):
    """Nodes 0 and 1 in one cluster, of which one or both speak version 5."""

    def test_versions(self) -> None:
        """A connection speaks the newest version that both do, whoever dialled, and the network knows which."""
        for one in (5, 6):
            for other in (5, 6):
                for dialling in ((0,), (1,), (0, 1)):
                    cluster = Cluster(versions=(one, other)).start(*dialling)
                    version = min(one, other)
                    self.assertEqual([network.versions() for network in cluster.networks], [{1: version}, {0: version}])

    def test_upgrade(self) -> None:
        """Where a peer comes back in another version, that counts; the log says who is behind."""
        cluster = Cluster(versions=(6, 5))
        with capturedLogs() as events:
            cluster.start()
        lines = [formatEvent(event) for event in events]
        self.assertIn("connected to node 1, which speaks version 5 of the protocol", lines)
        self.assertNotIn("connected to node 0, which speaks version 5 of the protocol", lines)
        cluster.networks[1].newest_version = 6
        for dialler in (0, 1):
            cluster.cut(dialler)
        self.assertEqual([network.versions() for network in cluster.networks], [{}, {}])
        cluster.advance(2)
        self.assertEqual([network.versions() for network in cluster.networks], [{1: 6}, {0: 6}])

    def test_messages(self) -> None:
        """Messages and snapshots go both ways, as each side can read them; without addresses, where one is older."""
        for versions in ((6, 5), (5, 6), (6, 6)):
            for sender in (0, 1):
                cluster = Cluster(versions=versions).start()
                arrives = WITH_ADDRESSES if versions == (6, 6) else MEMBERS
                for message in (COMMANDS, InstallSnapshot(3, 1, Snapshot(10, 2, WITH_ADDRESSES))):
                    cluster.networks[sender].send(1 - sender, message)
                    cluster.settle()
                received = [message for _, message in cluster.handlers[1 - sender].received]
                self.assertEqual(received, [COMMANDS, InstallSnapshot(3, 1, Snapshot(10, 2, arrives))])
                of = source(10)
                file = SnapshotFile(Snapshot(10, 2, WITH_ADDRESSES), of.file.size, of.file.checksum)
                done = cluster.networks[sender].send_snapshot(1 - sender, file, of.read, 3)
                cluster.settle()
                self.successResultOf(done)
                ((_, _, offered),) = cluster.handlers[1 - sender].offers
                self.assertEqual(offered.snapshot, Snapshot(10, 2, arrives))

    def test_change_for_an_older_node(self) -> None:
        """What a node of version 5 could not read is never sent to it: the connection is closed, and the log says which
        node is to be upgraded, once, however often it comes back."""
        for message in (ADDED, InstallSnapshot(3, 1, Snapshot(10, 2, CHANGED))):
            cluster = Cluster(versions=(6, 5)).start()
            with capturedLogs() as events:
                for _ in range(10):
                    cluster.networks[0].send(1, message)
                    cluster.advance(2)
            lines = warnings(events)
            self.assertIn(len(lines), (1, 2))  # of a connection that it dialled, and of one that it was dialled by
            for line in lines:
                self.assertIn("closing the connection to node 1", line)
                self.assertIn("upgrade it first", line)
            self.assertEqual(cluster.handlers[1].received, [])

    def test_leaving_an_older_node(self) -> None:
        """It can't be told to ask nothing more, but what it asked before is answered."""
        cluster = Cluster(versions=(5, 6)).start()
        answer: Deferred[bytes] = Deferred()
        cluster.handlers[1].on_propose = lambda: answer
        result = cluster.networks[0].propose(1, b"command")
        left = cluster.networks[1].leave()
        cluster.settle()
        self.assertNoResult(left)
        answer.callback(b"done")
        self.successResultOf(left)
        cluster.settle()
        self.assertEqual(self.successResultOf(result), b"done")
        self.assertEqual(cluster.networks[1].versions(), {0: 5})

    def test_snapshot_for_an_older_node(self) -> None:
        """The data of a snapshot that it could not use are not sent either."""
        cluster, of = Cluster(versions=(6, 5)).start(), source(10)
        file = SnapshotFile(Snapshot(10, 2, CHANGED), of.file.size, of.file.checksum)
        failure = self.failureResultOf(cluster.networks[0].send_snapshot(1, file, of.read, 3), NotApplied)
        self.assertIn("upgrade it first", failure.getErrorMessage())
        self.assertEqual(cluster.handlers[1].offers, [])

    def test_change_by_an_older_leader(self) -> None:
        """It is never asked for one."""
        cluster = Cluster(versions=(6, 5)).start()
        asked = cluster.networks[0].change_members(1, [Change(ChangeKind.REMOVE, 2)])
        failure = self.failureResultOf(asked, NotApplied)
        self.assertIn("node 1, which is to change the membership, runs an earlier txraft", failure.getErrorMessage())
        self.assertEqual(cluster.networks[0].versions(), {1: 5})


@define(eq=False)
class Answers(Protocol):
    """Has one answer, whatever it is asked."""

    answer: bytes

    def dataReceived(self, data: bytes) -> None:  # noqa: ARG002  Protocol's signature
        """Give it."""
        assert self.transport is not None
        self.transport.write(self.answer)


class NonsenseTests(SynchronousTestCase):
    """Versions that cannot be."""

    def test_answered_version(self) -> None:
        """A node that answers with a version that this one does not speak is none."""
        for newest, answered in ((6, 7), (6, 4), (6, 2**62), (5, 6)):
            cluster = Cluster(versions=(newest, 6))
            cluster.endpoints[0].target = Factory.forProtocol(partial(Answers, hello_answer(version=answered)))
            cluster.networks[0].start(cluster.handlers[0])
            with capturedLogs() as events:
                cluster.advance(1)
            self.assertEqual(warnings(events), ["what answers at host1:8080 does not speak txraft's protocol"])
            self.assertEqual(cluster.networks[0].versions(), {})

    def test_question_of_a_later_version(self) -> None:
        """On a connection that speaks version 5, what came later is as unknown as it was."""
        cluster = Cluster().start(1)
        cluster.cut(1)
        for noise in (
            box(b"ChangeMembers", changes=b"\x90", _ask=b"9"),
            box(b"Leaving", _ask=b"9"),
            message_box(ADDED),
        ):
            protocol, transport = dial(cluster.networks[0])
            hello = hello_box(newest_version=None, configuration_index=None)
            protocol.dataReceived(hello + met_box(drawn=PeersInMemory().own.start))
            self.assertFalse(transport.disconnected)
            protocol.dataReceived(noise)
            self.assertTrue(transport.disconnected)
        self.assertEqual((cluster.handlers[0].changes, cluster.handlers[0].received), ([], []))
