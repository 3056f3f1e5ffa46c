"""What a connection may make a node hold: hazard N3."""

import weakref
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.collecting import no_collections
from tests.rpc.memory import Cluster, dial, handshake, hello_box, warnings
from txraft.core.messages import MAX_COMMAND_SIZE, AppendEntries, Entry, EntryKind
from txraft.rpc import amp_commands
from txraft.rpc.arguments import MAX_INTEGER, MAX_TERM, MAX_VALUE
from txraft.rpc.boxes import GREETING_KEYS, GREETING_VALUE, MAX_KEYS
from txraft.settings import MAX_MEMBERS


def pair(key: bytes, value: bytes) -> bytes:
    """A key and its value, on the wire."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in (key, value))


def held(protocol: Any) -> int:
    """Bytes that the parser holds."""
    size: int = protocol._parser.size
    return size


class StrangerTests(SynchronousTestCase):
    """Before the handshake."""

    def setUp(self) -> None:
        """Node 0 listens, and a stranger has dialled it."""
        self.cluster = Cluster().start(1)
        self.protocol, self.transport = dial(self.cluster.networks[0])

    def send(self, data: bytes, most: int) -> int:
        """Send byte by byte until the node hangs up, and how many it took; it holds at most `most` of them."""
        for count, byte in enumerate(data):
            if self.transport.disconnected:
                return count
            self.protocol.dataReceived(bytes([byte]))
            self.assertLessEqual(held(self.protocol), most)
        return len(data)

    def test_box_without_end(self) -> None:
        """A box that never ends is given up after some 50 KiB, with one line."""
        most = (GREETING_KEYS + 1) * (GREETING_VALUE + 10)
        box = b"".join(pair(b"k%d" % number, bytes(GREETING_VALUE)) for number in range(100))
        with capturedLogs() as events:
            self.assertLess(self.send(box, most), most + 100)
        self.assertLess(most, 64 * 1024)
        self.assertEqual(warnings(events), ["a stranger at 127.0.0.1:8080 does not speak txraft's protocol"])

    def test_the_same_key_for_ever(self) -> None:
        """A key that comes again and again is given up when it comes again."""
        self.assertEqual(self.send(pair(b"k", b"v") * 1000, 10), 9)
        self.assertTrue(self.transport.disconnected)

    def test_long_value(self) -> None:
        """A value is refused when its length arrives, before it does."""
        self.assertEqual(self.send(b"\0\1k" + (GREETING_VALUE + 1).to_bytes(2, "big") + bytes(70_000), 10), 5)

    def test_after_a_refusal(self) -> None:
        """A stranger who was refused may go on sending until the connection has closed. Nothing of it is kept."""
        self.protocol.dataReceived(hello_box(to_id=1))
        self.assertEqual(self.send(pair(b"k", b"v") * 100, 0), 600)

    def test_longest_greeting(self) -> None:
        """The longest Hello that a node could say is read: of the most members, with the longest ids."""
        name, voters = "\U0001f600" * 255, tuple(range(MAX_INTEGER - MAX_MEMBERS + 1, MAX_INTEGER + 1))
        numbers = dict.fromkeys(("newest_version", "from_id", "to_id", "known", "configuration_index"), MAX_INTEGER)
        longest = {"cluster_id": name, "voters": voters, **numbers}
        self.protocol.dataReceived(hello_box(**longest))
        (answer,) = amp.parseString(self.transport.value())
        self.assertEqual(answer[b"_error_code"], b"HANDSHAKE_REFUSED")
        keys = len(amp.parseString(hello_box(**longest))[0])
        self.assertLessEqual(keys + 3, GREETING_KEYS)
        self.assertLessEqual(keys, 12)  # a node of version 5 takes no more

    def test_after_the_handshake(self) -> None:
        """A peer's box is bounded, too."""
        self.protocol.dataReceived(handshake())
        with capturedLogs() as events:
            for number in range(MAX_KEYS + 1):
                self.assertFalse(self.transport.disconnected)
                self.protocol.dataReceived(pair(b"k%d" % number, b"v"))
        self.assertTrue(self.transport.disconnected)
        (line,) = warnings(events)
        self.assertIn("node 1, which sent nonsense: a box of more than", line)


class LargestTests(SynchronousTestCase):
    """The largest boxes that nodes send."""

    def test_largest(self) -> None:
        """A proposal, and entries, of the longest command have no more keys than a peer takes: hazard R20."""
        longest = bytes(MAX_COMMAND_SIZE)
        entry = Entry(MAX_INTEGER, MAX_TERM, EntryKind.COMMAND, longest)
        message = AppendEntries(MAX_TERM, MAX_INTEGER, MAX_INTEGER - 1, MAX_TERM, (entry,), MAX_INTEGER)
        for command, arguments in (
            (amp_commands.Propose, {"command": longest}),
            (amp_commands.AppendEntries, {"message": message}),
        ):
            self.assertLessEqual(len(command.makeArguments(arguments, None)) + 2, MAX_KEYS)
        self.assertLess(MAX_KEYS * MAX_VALUE, 1.02 * MAX_COMMAND_SIZE)


class NothingStaysTests(SynchronousTestCase):
    """When a connection has closed, nothing of it is left."""

    def test_stranger(self) -> None:
        """Also where half a box had come, and whoever hung up."""
        cluster = Cluster().start(1)
        endless = b"".join(pair(b"k%d" % number, bytes(GREETING_VALUE)) for number in range(100))
        with no_collections():
            for said in (b"", b"\0\1k\0\5abc", endless, b"GET / HTTP/1.0\r\n\r\n", hello_box(to_id=1), handshake()):
                protocol, transport = dial(cluster.networks[0])
                protocol.dataReceived(said)
                protocol.connectionLost(Failure(ConnectionDone()))
                gone = weakref.ref(protocol)
                del protocol, transport
                self.assertIsNone(gone(), said[:20])
