"""Commands and results as bytes."""

import msgpack  # type: ignore[import-untyped]  # msgpack ships no type information
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import OutcomeUnknown
from txraft.kv.commands import (
    Batch,
    Command,
    CompareAndSet,
    Delete,
    Get,
    Refused,
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


class CommandsTests(SynchronousTestCase):
    @given(commands)
    def test_round_trip(self, command: Command) -> None:
        """What is encoded is what is decoded."""
        self.assertEqual(decode(encode(command)), command)

    def test_bytes_are_fixed(self) -> None:
        """The encoding stands in logs on disk: it does not change."""
        self.assertEqual(encode(Set(b"k", b"v")), b"\x94\x01\x01\xc4\x01k\xc4\x01v")
        self.assertEqual(encode(Delete(b"k")), b"\x93\x01\x02\xc4\x01k")
        self.assertEqual(encode(CompareAndSet(b"k", b"o", b"v")), b"\x95\x01\x03\xc4\x01k\xc4\x01o\xc4\x01v")

    @given(st.binary())
    @example(b"")
    @example(b"\x91" * 5000)  # nested deeper than the decoder goes
    @example(b"\xdd\xff\xff\xff\xff")  # an array of four thousand million
    @example(b"\xd7\xff" + b"\xff" * 8)  # a timestamp out of range
    @example(b"\x81\x90\x90")  # a list as the key of a map
    def test_anything_may_arrive(self, data: bytes) -> None:
        """No bytes raise; those that mean nothing are no command."""
        decoded = decode(data)
        self.assertTrue(decoded is None or isinstance(decoded, Set | Delete | CompareAndSet | Batch))

    def test_not_understood(self) -> None:
        """A field too many or too few, a text for bytes, a later kind or version: no command, never half of one."""
        wrong: list[object] = [
            [1, 1, b"k"],
            [1, 1, b"k", b"v", b"lease"],
            [1, 1, "k", b"v"],
            [1, 2, None],
            [1, 9, b"k"],
            [1, 5, b"k"],
            [1, 4, 9, [[1, b"k", b"v"], [9, b"k"]]],
            [1, 4, 9, [[1, b"k", b"v"], [4, 9, []]]],
            [1, 4, 9, [[2, b"k", b"v"]]],
            [1, 4, 9, [1, 2]],
            [1, 4, b"9", []],
            [1, 4, 9],
            [1, 4, 9, [], 0],
            [2, 2, b"k"],
            [1],
            {},
        ]
        for fields in wrong:
            self.assertIsNone(decode(msgpack.packb(fields)), fields)

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
