"""What a person is shown of an entry."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.kv import Batch, CompareAndSet, Condition, Conditional, Delete, Get, Once, Set, encode
from txraft.kv.commands import Command
from txraft.kv.readable import readable


class ReadableTests(SynchronousTestCase):
    def test_commands(self) -> None:
        """Each kind says what it does."""
        change = Set(b"k", b"v")
        cases: tuple[tuple[Command, str], ...] = (
            (change, "set 'k' to 'v'"),
            (Delete("ä".encode()), "delete 'ä'"),
            (CompareAndSet(b"k", b"\xff", b""), "set 'k' from b'\\xff' to ''"),
            (Conditional(change, (Condition((7, 9), True),)), "set 'k' to 'v', where its mod_revision is 7 or 9"),
            (Conditional(change, (Condition((0,), False),)), "set 'k' to 'v', where its mod_revision is not 0"),
            (Once.of(b"id", change), "set 'k' to 'v', with Idempotency-Key 'id'"),
            (Batch((change, Get(b"k")), 10), "batch of 2: set 'k' to 'v'; get 'k'"),
            (Batch((Get(b"k"),) * 11, 10), "batch of 11: " + "get 'k'; " * 10 + "..."),
        )
        for command, shown in cases:
            self.assertEqual(readable(encode(command)), shown)

    def test_long(self) -> None:
        """A long value is shortened, and says how long it is."""
        self.assertEqual(readable(encode(Set(b"k", b"v" * 2000))), f"set 'k' to '{'v' * 60}'... (2,000 bytes)")

    @given(st.binary(max_size=200))
    def test_anything(self, data: bytes) -> None:
        """Whatever an entry has in it is one line, of characters that can be printed."""
        self.assertTrue(readable(data).isprintable())
