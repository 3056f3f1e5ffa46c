"""The state machine, in memory."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.kv.test_commands import commands
from txraft.interfaces import IStateMachine
from txraft.kv import Command, CompareAndSet, Delete, KeyValueStore, Result, Set, encode


class StoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = KeyValueStore()
        self.index = 0

    def apply(self, command: Command) -> Result:
        """Apply the next entry."""
        self.index += 1
        return Result(self.store.apply(self.index, encode(command)))

    def test_provides_the_interface(self) -> None:
        """It is an IStateMachine."""
        self.assertTrue(verifyObject(IStateMachine, self.store))

    def test_set(self) -> None:
        """A key has the value that it was last given; an empty one is a value too."""
        self.assertIsNone(self.store.get(b"k"))
        self.assertIs(self.apply(Set(b"k", b"v")), Result.DONE)
        self.assertEqual(self.store.get(b"k"), b"v")
        self.assertIs(self.apply(Set(b"k", b"")), Result.DONE)
        self.assertEqual(self.store.get(b"k"), b"")

    def test_delete(self) -> None:
        """A key is deleted once."""
        self.apply(Set(b"k", b"v"))
        self.assertIs(self.apply(Delete(b"k")), Result.DONE)
        self.assertIsNone(self.store.get(b"k"))
        self.assertIs(self.apply(Delete(b"k")), Result.NOT_FOUND)

    def test_compare_and_set(self) -> None:
        """The value changes where it is the expected one, and not otherwise, and not where there is none."""
        self.assertIs(self.apply(CompareAndSet(b"k", b"", b"w")), Result.NOT_FOUND)
        self.assertIsNone(self.store.get(b"k"))
        self.apply(Set(b"k", b"v"))
        self.assertIs(self.apply(CompareAndSet(b"k", b"x", b"w")), Result.MISMATCH)
        self.assertEqual(self.store.get(b"k"), b"v")
        self.assertIs(self.apply(CompareAndSet(b"k", b"v", b"w")), Result.DONE)
        self.assertEqual(self.store.get(b"k"), b"w")

    def test_nonsense(self) -> None:
        """Bytes that are no command change nothing but the applied index, and say so."""
        self.apply(Set(b"k", b"v"))
        self.assertEqual(self.store.apply(7, b"nonsense"), Result.INVALID.value)
        self.assertEqual(self.store.get(b"k"), b"v")
        self.assertEqual(self.store.last_applied, 7)

    @given(st.lists(commands))
    def test_deterministic(self, history: list[Command]) -> None:
        """Two stores that apply the same entries give the same results."""
        one, other = KeyValueStore(), KeyValueStore()
        for index, command in enumerate(history, 1):
            data = encode(command)
            self.assertEqual(one.apply(index, data), other.apply(index, data))
            self.assertEqual(one.last_applied, index)
