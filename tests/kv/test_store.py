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
        self.assertEqual(self.store.last_applied, 0)

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
    def test_as_a_dict_would(self, history: list[Command]) -> None:
        """Results and values are those of the dullest store there is. Nodes that start later apply it again."""
        store, values = KeyValueStore(), dict[bytes, bytes]()
        for index, command in enumerate(history, 1):
            result = dullest(values, command)
            self.assertEqual((store.apply(index, encode(command)), store.last_applied), (result.value, index))
            self.assertEqual(store.get(command.key), values.get(command.key))

    def test_every_release_agrees(self) -> None:
        """What is in a log has the same results and gives the same data for ever, on nodes of whatever release."""
        log = [
            (b"\x94\x01\x01\xc4\x01a\xc4\x011", b"\0"),
            (b"\x95\x01\x03\xc4\x01a\xc4\x011\xc4\x012", b"\0"),
            (b"\x95\x01\x03\xc4\x01a\xc4\x011\xc4\x013", b"\2"),
            (b"\x94\x01\x01\xc4\x00\xc4\x01\xff", b"\0"),
            (b"\x93\x01\x02\xc4\x01b", b"\1"),
            (b"\x93\x02\x02\xc4\x01a", b"\3"),
            (b"\x94\x01\x01\xc4\x01c\xc4\x00", b"\0"),
            (b"\x93\x01\x02\xc4\x01c", b"\0"),
            (b"\x95\x01\x03\xc4\x01c\xc4\x00\xc4\x013", b"\1"),
        ]
        results = [self.store.apply(index, command) for index, (command, _) in enumerate(log, 1)]
        self.assertEqual(results, [result for _, result in log])
        self.assertEqual([self.store.get(key) for key in (b"a", b"", b"b", b"c")], [b"2", b"\xff", None, None])


def dullest(values: dict[bytes, bytes], command: Command) -> Result:
    """What a command does to a dict, and its result."""
    present = command.key in values
    if isinstance(command, Delete):
        values.pop(command.key, None)
        return Result.DONE if present else Result.NOT_FOUND
    if isinstance(command, CompareAndSet) and not present:
        return Result.NOT_FOUND
    if isinstance(command, CompareAndSet) and values[command.key] != command.old:
        return Result.MISMATCH
    values[command.key] = command.value
    return Result.DONE
