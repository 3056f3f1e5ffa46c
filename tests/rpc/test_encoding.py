"""Values longer than AMP's, and messages as bytes."""

import tracemalloc
from typing import Any

import attrs
import msgpack  # type: ignore[import-untyped]  # msgpack has no annotations
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.memberships import NO_CONFIGURATIONS, SNAPSHOT, configurations, numbers, over_the_wire, snapshots, terms
from txraft.core import messages
from txraft.core.configuration import Configuration
from txraft.core.log import MESSAGE_OVERHEAD
from txraft.core.messages import MAX_BATCH_SIZE, AppendEntries, Entry, EntryKind, InstallSnapshot, Message
from txraft.core.state import RaftOptions
from txraft.errors import MalformedMessage
from txraft.rpc.amp_commands import COMMAND_OF, COMMANDS, Propose
from txraft.rpc.arguments import MAX_INTEGER, MAX_TERM, MAX_VALUE
from txraft.rpc.encoding import PackedMessage

what_entries_hold = st.one_of(
    st.tuples(st.sampled_from((EntryKind.NOOP, EntryKind.COMMAND)), st.binary()),
    st.tuples(st.just(EntryKind.CONFIGURATION), configurations().map(Configuration.to_bytes)),
)


@st.composite
def messages_of(draw: st.DrawFn, message_class: type[Message]) -> Message:
    """Any message of a class that a server could send."""
    term = draw(terms)
    values: dict[str, Any] = {"term": term}
    for field in attrs.fields(message_class):
        if field.name.endswith("_term"):
            values[field.name] = draw(st.integers(0, term))
        elif field.type is bool:
            values[field.name] = draw(st.booleans())
        elif field.type is int and field.name != "term":
            values[field.name] = draw(numbers)
    if message_class is AppendEntries:
        prev = values["prev_log_index"] = draw(st.integers(0, MAX_INTEGER - 100))
        parts = draw(st.lists(st.tuples(st.integers(values["prev_log_term"], term), what_entries_hold)))
        parts.sort(key=lambda part: part[0])
        values["entries"] = tuple(Entry(prev + 1 + i, at, *held) for i, (at, held) in enumerate(parts))
    if message_class is InstallSnapshot:
        values["snapshot"] = draw(snapshots(configurations(), term))
    return message_class(**values)


def sent(message: Message) -> Message:
    """The message as it arrives."""
    arrived: Message = over_the_wire(COMMAND_OF[type(message)], {"message": message})["message"]
    return arrived


def batch(count: int, size: int) -> AppendEntries:
    """A message with `count` entries of `size` bytes."""
    entries = tuple(Entry(11 + i, 3, EntryKind.COMMAND, bytes([i % 256]) * size) for i in range(count))
    return AppendEntries(3, 1, 10, 2, entries, 9)


class MessagesTests(SynchronousTestCase):
    """Every message arrives as it was, or does not arrive."""

    @given(st.one_of(*map(messages_of, COMMAND_OF)))
    def test_round_trip(self, message: Message) -> None:
        """A message equals what arrives, in type too."""
        arrived = sent(message)
        self.assertEqual(arrived, message)
        types = [list(map(type, attrs.astuple(each, recurse=False))) for each in (arrived, message)]
        self.assertEqual(types[0], types[1])

    def test_kinds_are_kinds_again(self) -> None:
        """An entry's kind arrives as an EntryKind."""
        arrived = sent(batch(1, 1))
        assert isinstance(arrived, AppendEntries)
        self.assertIs(arrived.entries[0].kind, EntryKind.COMMAND)

    def test_every_message_has_its_command(self) -> None:
        """Each message class has one command, of its own name."""
        named = {command.__name__: message_class for message_class, command in COMMAND_OF.items()}
        self.assertEqual(set(named.values()), set(messages.Message.__args__))
        for name, message_class in named.items():
            self.assertEqual(name, message_class.__name__)
            self.assertFalse(COMMANDS[name.encode()].requiresAnswer)

    def test_large_entry(self) -> None:
        """An entry of 10 MiB arrives: hazard R20."""
        message = batch(1, 10 * 1024 * 1024)
        self.assertTrue(sent(message) == message)

    def test_memory_after_a_large_entry(self) -> None:
        """hazard C9: what writes messages keeps the memory of a batch, and not that of the largest entry ever."""
        codec, message = PackedMessage(AppendEntries), batch(1, 10 * 1024 * 1024)
        tracemalloc.start()
        try:
            codec.to_bytes(message)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(kept, 2 * MAX_BATCH_SIZE)

    def test_large_batch(self) -> None:
        """A batch of 5,000 entries, more than one value of a box holds, arrives: hazard R20."""
        message = batch(5000, 100)
        self.assertTrue(sent(message) == message)

    def test_gap_is_not_taken(self) -> None:
        """Entries with a gap do not arrive: hazard R12."""
        for indexes in ([12], [11, 13], [12, 11], [11, 11]):
            self.refused(AppendEntries, [3, 1, 10, 2, [[index, 3, 1, b""] for index in indexes], 9])

    def refused(self, message_class: type[Message], values: object) -> None:
        """These values in msgpack are not taken for a message of the class."""
        with self.assertRaises(MalformedMessage, msg=repr(values)):
            PackedMessage(message_class).from_bytes(msgpack.packb(values))

    def test_terms_along_a_log(self) -> None:
        """Entries of terms that go down, or above the leader's own, do not arrive: they would end the node."""
        for prev_log_term, along in ((2, [4]), (2, [3, 4]), (2, [3, 2]), (2, [1]), (0, [-1]), (4, []), (4, [4])):
            entries = [[11 + i, term, 1, b""] for i, term in enumerate(along)]
            self.refused(AppendEntries, [3, 1, 10, prev_log_term, entries, 9])

    def test_index_beyond_what_is_stored(self) -> None:
        """An entry whose index storage could not hold does not arrive."""
        self.refused(AppendEntries, [3, 1, MAX_INTEGER, 2, [[MAX_INTEGER + 1, 3, 1, b""]], 9])

    def test_highest_term(self) -> None:
        """A term from which a server could not go on counting does not arrive, in any message."""
        for message_class in COMMAND_OF:
            fields = attrs.fields(message_class)
            for term, taken in ((MAX_TERM, True), (MAX_TERM + 1, False), (MAX_INTEGER, False), (2**64 - 1, False)):
                parts = {"entries": (), "snapshot": SNAPSHOT}
                values = [parts.get(field.name, field.type is bool or 1) for field in fields]
                values[0] = term
                if taken:
                    arrived = PackedMessage(message_class).from_bytes(msgpack.packb(values))
                    self.assertEqual(arrived.term, MAX_TERM)
                else:
                    self.refused(message_class, values)

    def test_term_of_a_log_beyond_the_senders(self) -> None:
        """Nobody's log has an entry of a term that its server has not entered."""
        self.refused(messages.RequestVote, [3, 10, 4, 1, False, False])
        self.refused(messages.AppendEntriesReply, [3, 1, False, 10, 4])

    def test_wrong_fields(self) -> None:
        """Fields of the wrong number, type or range are refused."""
        for values in (
            [],
            [1],
            [1, 2, 3],
            [1, True],
            [1, None],
            [1, 2.0],
            [1, "2"],
            [1, b"2"],
            [1, -2],
            [-1, 2],
            [1, 2**63],
            {"term": 1, "read_round": 2},
            {1: 2},
            5,
            [[1], 2],
            [1, msgpack.ExtType(5, b"")],
            [1, msgpack.Timestamp(0, 0)],
        ):
            self.refused(messages.HeartbeatReply, values)

    def test_wrong_configurations(self) -> None:
        """An entry that changes the membership has one in it that could be, or does not arrive: its servers would all
        end on it."""
        for data in NO_CONFIGURATIONS:
            self.refused(AppendEntries, [3, 1, 10, 2, [[11, 3, 2, data]], 9])

    def test_version_5(self) -> None:
        """The version before knows no entry that changes the membership."""
        entry = [11, 3, 2, Configuration({1}).to_bytes()]
        with self.assertRaises(MalformedMessage):
            PackedMessage(AppendEntries, 5).from_bytes(msgpack.packb([3, 1, 10, 2, [entry], 9]))

    def test_wrong_entries(self) -> None:
        """Entries of the wrong shape, an unknown kind among them, are refused."""
        for entry in (
            [],
            5,
            None,
            b"abcd",
            [11, 3, 1],
            [11, 3, 1, b"", 0],
            [11, 3, 1, "text"],
            [11, 3, 77, b""],
            [11, 3, True, b""],
            [11, -3, 1, b""],
            [11, 2**63, 1, b""],
            [11.0, 3, 1, b""],
        ):
            self.refused(AppendEntries, [3, 1, 10, 2, [entry], 9])
        self.refused(AppendEntries, [3, 1, 10, 2, b"", 9])
        self.refused(AppendEntries, [3, 1, -1, 2, [[0, 3, 1, b""]], 9])

    @given(st.binary(max_size=60))
    def test_noise(self, noise: bytes) -> None:
        """Arbitrary bytes are refused, or are a message that could have been sent."""
        for message_class in COMMAND_OF:
            packed = PackedMessage(message_class)
            try:
                message = packed.from_bytes(noise)
            except MalformedMessage:
                continue
            self.assertEqual(packed.from_bytes(packed.to_bytes(message)), message)

    def test_deep(self) -> None:
        """What nests too deeply is refused with a reason, which msgpack does not give."""
        with self.assertRaisesRegex(MalformedMessage, r"it is not msgpack \(\w+\)"):
            PackedMessage(messages.Heartbeat).from_bytes(b"\x91" * 2000)

    def test_many_small_things(self) -> None:
        """A long message cannot become many objects: what is longer than a batch has one entry. Measured by what is
        allocated."""
        for made_of in (b"\x90", b"\x91\x90", b"\x94\x0b\x03\x01\xc4\x02ab", b"\xcd\x01\x01", b"\x80", b"\xa2ab"):
            count = 4 * MAX_BATCH_SIZE // len(made_of)
            value = b"\x96\x03\x01\x0a\x02\xdd" + count.to_bytes(4, "big") + count * made_of + b"\x09"
            tracemalloc.start()
            try:
                with self.assertRaises(MalformedMessage):
                    PackedMessage(AppendEntries).from_bytes(value)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertLess(peak, len(value))

    def test_largest_batch(self) -> None:
        """The largest batch that a leader may send, of the smallest entries, is taken in."""
        count = RaftOptions(max_message_size=MAX_BATCH_SIZE).max_message_size // MESSAGE_OVERHEAD
        first = MAX_INTEGER - count
        entries = tuple(Entry(first + 1 + i, MAX_TERM, EntryKind.COMMAND, b"") for i in range(count))
        message = AppendEntries(MAX_TERM, MAX_INTEGER, first, MAX_TERM, entries, MAX_INTEGER)
        self.assertTrue(sent(message) == message)
        with self.assertRaises(ValueError):
            RaftOptions(max_message_size=MAX_BATCH_SIZE + 1)

    def test_bytes_left_over(self) -> None:
        """Two values where one belongs, and half a value, are refused."""
        good = msgpack.packb([1, 2])
        for value in (good + good, good[:-1], b"", b"\xc1", b"\x91" * 5000):
            with self.assertRaises(MalformedMessage):
                PackedMessage(messages.HeartbeatReply).from_bytes(value)


class LongBytesTests(SynchronousTestCase):
    """Bytes of any length in one box: hazard R20."""

    def test_lengths(self) -> None:
        """Every length around the borders of AMP's values arrives."""
        for length in (0, 1, MAX_VALUE - 1, MAX_VALUE, MAX_VALUE + 1, 2 * MAX_VALUE, 2 * MAX_VALUE + 1):
            value = (bytes(range(256)) * (length // 256 + 1))[:length]
            self.assertTrue(over_the_wire(Propose, {"command": value}) == {"command": value}, length)

    def test_missing(self) -> None:
        """A box without the value is malformed."""
        with self.assertRaises(MalformedMessage):
            Propose.parseArguments(amp.Box(), None)
