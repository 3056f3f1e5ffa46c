"""Commands and results as bytes."""

import contextlib

import msgpack  # type: ignore[import-untyped]  # msgpack ships no type information
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import OutcomeUnknown, UnknownCommand
from txraft.kv.commands import (
    Batch,
    Command,
    CompareAndSet,
    Condition,
    Conditional,
    Delete,
    Get,
    Once,
    Refused,
    Request,
    Result,
    Set,
    decode,
    decode_batch_result,
    decode_result,
    encode,
    encode_batch_result,
)

commands = st.one_of(
    st.builds(Set, st.binary(), st.binary()),
    st.builds(Delete, st.binary()),
    st.builds(CompareAndSet, st.binary(), st.binary(), st.binary()),
)
operations = st.one_of(commands, st.builds(Get, st.binary()))
numbers = st.integers(0, 2**63)
conditions = st.builds(Condition, st.lists(numbers).map(tuple), st.booleans())
requests = st.one_of(
    commands,
    st.builds(Conditional, commands, st.lists(conditions, max_size=2).map(tuple)),
    st.builds(Batch, st.lists(operations).map(tuple), numbers),
)


class CommandsTests(SynchronousTestCase):
    @given(st.one_of(requests, st.builds(Once.of, st.binary(), requests)))
    def test_round_trip(self, command: Command) -> None:
        """What is encoded is what is decoded."""
        self.assertEqual(decode(encode(command)), command)

    def test_bytes_are_fixed(self) -> None:
        """The encoding stands in logs on disk: it does not change."""
        self.assertEqual(encode(Set(b"k", b"v")), b"\x94\x01\x01\xc4\x01k\xc4\x01v")
        self.assertEqual(encode(Delete(b"k")), b"\x93\x01\x02\xc4\x01k")
        self.assertEqual(encode(CompareAndSet(b"k", b"o", b"v")), b"\x95\x01\x03\xc4\x01k\xc4\x01o\xc4\x01v")
        created = Conditional(Set(b"k", b"v"), (Condition((0,), True), Condition((5, 7), False)))
        encoded = b"\x06\x92\x92\xc3\x00\x93\xc2\x05\x07\x93\x01\xc4\x01k\xc4\x01v"
        self.assertEqual(encode(created), b"\x94\x01" + encoded)
        digest = b"!?\xff\xb8]JEvOc\x01.\xdf\x85I9"
        self.assertEqual(encode(Once.of(b"i", created)), b"\x95\x01\x07\xc4\x01i\xc4\x10" + digest + b"\x93" + encoded)

    @given(st.binary())
    @example(b"")
    @example(b"\x91" * 5000)  # nested deeper than the decoder goes
    @example(b"\xdd\xff\xff\xff\xff")  # an array of four thousand million
    @example(b"\xd7\xff" + b"\xff" * 8)  # a timestamp out of range
    @example(b"\x81\x90\x90")  # a list as the key of a map
    def test_anything_may_arrive(self, data: bytes) -> None:
        """No bytes raise; those that mean nothing are no command."""
        with contextlib.suppress(UnknownCommand):
            decoded = decode(data)
            self.assertTrue(decoded is None or isinstance(decoded, Command))

    def test_not_understood(self) -> None:
        """A field too many or too few, a text for bytes, a known kind where it makes no sense: no command, never half
        of one."""
        digest = bytes(16)
        wrong: list[object] = [
            [1, 1, b"k"],
            [1, 1, b"k", b"v", b"lease"],
            [1, 1, "k", b"v"],
            [1, 2, None],
            [1, 5, b"k"],
            [1, 4, 9, [[1, b"k", b"v"], [4, 9, []]]],
            [1, 4, 9, [[2, b"k", b"v"]]],
            [1, 4, 9, [1, 2]],
            [1, 4, b"9", []],
            [1, 4, 9],
            [1, 4, 9, [], 0],
            [1, 6, [[True, 5]], [5, b"k"]],
            [1, 6, [[True, 5]], [4, 9, []]],
            [1, 6, [[1, 5]], [2, b"k"]],
            [1, 6, [[True, b"5"]], [2, b"k"]],
            [1, 6, [5], [2, b"k"]],
            [1, 7, b"i", digest, [5, b"k"]],
            [1, 7, b"i", digest, [7, b"i", digest, [2, b"k"]]],
            [1, 7, b"i", b"short", [2, b"k"]],
            [1, 7, b"i", [2, b"k"]],
            [1, []],
            [1],
            [],
            [b"1", 2, b"k"],
            {},
        ]
        for fields in wrong:
            self.assertIsNone(decode(msgpack.packb(fields)), fields)

    def test_unknown(self) -> None:
        """Another version or another kind, wherever it stands: only later nodes know what it is."""
        digest = bytes(16)
        later: list[object] = [
            [2, 2, b"k"],
            [2],
            [0, "?"],
            [1, 9, b"k"],
            [1, 0],
            [1, 4, 9, [[1, b"k", b"v"], [9, b"k"]]],
            [1, 6, [[True, 5]], [9, b"k"]],
            [1, 7, b"i", digest, [9, b"k"]],
        ]
        for fields in later:
            self.assertRaises(UnknownCommand, decode, msgpack.packb(fields))
        line = str(self.assertRaises(UnknownCommand, decode, b"\x92\x01\x63"))
        self.assertIn(
            "the log has a command of kind 99, which this txraft does not know; if other nodes run a later", line
        )

    def test_digests(self) -> None:
        """The same request has the same digest, and no other one has."""
        made: list[Request] = [
            Set(b"k", b"v"),
            Set(b"kv", b""),
            Delete(b"k"),
            Conditional(Delete(b"k"), ()),
            Batch((Delete(b"k"),), 9),
        ]
        self.assertEqual(len({Once.of(b"i", each).digest for each in made}), len(made))
        self.assertEqual(Once.of(b"i", made[0]).digest, Once.of(b"j", Set(b"k", b"v")).digest)

    def test_results(self) -> None:
        """Every result is one byte and comes back as itself."""
        for result in Result:
            self.assertEqual(len(result.value), 1)
            self.assertIs(decode_result(result.value), result)

    def test_results_of_batches(self) -> None:
        """What came of each comes back; of one that nobody understood, nothing is known (hazard C5)."""
        for results in ((), (True, False, None, b"\xff", b"")):
            self.assertEqual(decode_batch_result(encode_batch_result(results)), results)
        refused = Refused(7, Result.MISMATCH)
        self.assertEqual(decode_batch_result(encode_batch_result(refused)), refused)
        for data in (*(result.value for result in Result), b"", b"\x92\xc4\x01\xfe\x00", b"\x91\xc4\x01\x00", b"\xc1"):
            self.assertRaises(OutcomeUnknown, decode_batch_result, data)

    def test_unknown_result(self) -> None:
        """A result of a later version: something came of the command, and what is not known (hazard C5)."""
        self.assertRaises(OutcomeUnknown, decode_result, b"\xfe")
        self.assertRaises(OutcomeUnknown, decode_result, b"")
