"""The state machine, in memory."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.kv.applying import apply_command
from tests.kv.test_commands import commands, operations
from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed
from txraft.interfaces import IStateMachine
from txraft.kv import Batch, Command, CompareAndSet, Delete, Get, KeyValueStore, Result, Set, encode
from txraft.kv import store as store_module
from txraft.kv.commands import Operation, OperationResult, Refused, decode, decode_batch_result

Single = Set | Delete | CompareAndSet


class StoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = KeyValueStore()
        self.index = 0

    def apply(self, command: Command) -> Result:
        """Apply the next entry."""
        self.index += 1
        return Result(apply_command(self.store, self.index, encode(command)))

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

    def test_bug(self) -> None:
        """Where a command makes the store itself fail, that is its result, and the next is applied (hazard C10)."""
        self.patch(store_module, "_outcome", lambda *_: 1 // 0)
        bug, fine = Entry(1, 1, EntryKind.COMMAND, encode(Set(b"k", b"v"))), Entry(2, 1, EntryKind.NOOP, b"")
        failed, nothing = self.successResultOf(self.store.apply([bug, fine]))
        self.assertIsInstance(failed, CommandFailed)
        self.assertIn("ZeroDivisionError", str(failed))
        self.assertEqual((nothing, self.store.last_applied, self.store.get(b"k")), (b"", 2, None))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nonsense(self) -> None:
        """Bytes that are no command change nothing but the applied index, and say so."""
        self.apply(Set(b"k", b"v"))
        self.assertEqual(apply_command(self.store, 7, b"nonsense"), Result.INVALID.value)
        self.assertEqual(self.store.get(b"k"), b"v")
        self.assertEqual(self.store.last_applied, 7)

    @given(st.lists(commands))
    def test_as_a_dict_would(self, history: list[Single]) -> None:
        """Results and values are those of the dullest store there is. Nodes that start later apply it again."""
        store, values = KeyValueStore(), dict[bytes, bytes]()
        for index, command in enumerate(history, 1):
            result = dullest(values, command)
            self.assertEqual((apply_command(store, index, encode(command)), store.last_applied), (result.value, index))
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
            (b"\x94\x01\x04\x09\x92\x93\x01\xc4\x01d\xc4\x014\x92\x05\xc4\x01d", b"\x92\xc4\x01\0\x92\xc3\xc4\x014"),
            (b"\x94\x01\x04\x09\x91\x94\x03\xc4\x01d\xc4\x00\xc4\x00", b"\x92\xc4\x01\2\0"),
        ]
        results = [apply_command(self.store, index, command) for index, (command, _) in enumerate(log, 1)]
        self.assertEqual(results, [result for _, result in log])
        values = [self.store.get(key) for key in (b"a", b"", b"b", b"c", b"d")]
        self.assertEqual(values, [b"2", b"\xff", None, None, b"4"])


keys = st.sampled_from([b"a", b"b", b"c"])
few = st.one_of(
    st.builds(Set, keys, st.sampled_from([b"1", b"2"])),
    st.builds(Delete, keys),
    st.builds(CompareAndSet, keys, st.sampled_from([b"1", b"2"]), st.sampled_from([b"1", b"2"])),
    st.builds(Get, keys),
)


class BatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = KeyValueStore()
        self.index = 0

    def apply(self, *operations: Operation, max_answer: int = 100) -> tuple[OperationResult, ...] | Refused:
        """Apply a batch as the next entry."""
        self.index += 1
        return decode_batch_result(apply_command(self.store, self.index, encode(Batch(operations, max_answer))))

    def test_in_order(self) -> None:
        """Each sees what those before it did, also a key that the batch itself has made or removed."""
        done = self.apply(
            Get(b"k"),
            Set(b"k", b"1"),
            Get(b"k"),
            CompareAndSet(b"k", b"1", b"2"),
            Delete(b"k"),
            Delete(b"k"),
            Get(b"k"),
        )
        self.assertEqual(done, (None, True, b"1", True, True, False, None))
        self.assertIsNone(self.store.get(b"k"))
        self.assertEqual(self.apply(), ())
        self.assertEqual(self.store.last_applied, 2)

    def test_nothing(self) -> None:
        """Where one does not compare, none is done."""
        self.apply(Set(b"k", b"1"), Set(b"gone", b""))
        for number, reason, last in (
            (2, Result.MISMATCH, CompareAndSet(b"k", b"1", b"3")),
            (2, Result.NOT_FOUND, CompareAndSet(b"gone", b"", b"3")),
        ):
            refused = self.apply(Set(b"k", b"2"), Delete(b"gone"), last, Set(b"new", b""))
            self.assertEqual(refused, Refused(number, reason))
            self.assertEqual([self.store.get(key) for key in (b"k", b"gone", b"new")], [b"1", b"", None])

    def test_too_much_to_answer(self) -> None:
        """What is read is bounded by the command, so that every node decides alike."""
        self.apply(Set(b"k", b"12345"))
        self.assertEqual(self.apply(Get(b"k"), Get(b"k"), max_answer=10), (b"12345", b"12345"))
        refused = self.apply(Set(b"k", b""), Set(b"k", b"123456"), Get(b"k"), Get(b"k"), max_answer=10)
        self.assertEqual(refused, Refused(3, Result.TOO_MUCH))
        self.assertEqual(self.store.get(b"k"), b"12345")

    @given(st.lists(few), st.lists(few))
    def test_as_one_by_one(self, before: list[Operation], batch: list[Operation]) -> None:
        """A batch gives what its operations give one after another, up to the first that does not compare."""
        store, values = KeyValueStore(), dict[bytes, bytes]()
        for each in before:
            if not isinstance(each, Get):
                apply_command(store, 1, encode(each))
                dullest(values, each)
        wanted: list[OperationResult] = []
        then = dict(values)
        refused = None
        for number, each in enumerate(batch):
            if isinstance(each, Get):
                wanted.append(then.get(each.key))
                continue
            result = dullest(then, each)
            if isinstance(each, CompareAndSet) and result is not Result.DONE:
                refused = Refused(number, result)
                break
            wanted.append(result is Result.DONE)
        result_of_all = decode_batch_result(apply_command(store, 2, encode(Batch(tuple(batch), 1000))))
        self.assertEqual(result_of_all, refused or tuple(wanted))
        for key in (b"a", b"b", b"c"):
            self.assertEqual(store.get(key), (values if refused else then).get(key))

    @given(st.lists(operations))
    def test_encoding(self, batch: list[Operation]) -> None:
        """What is encoded is what is decoded."""
        command = Batch(tuple(batch), 7)
        self.assertEqual(decode(encode(command)), command)


def dullest(values: dict[bytes, bytes], command: Single) -> Result:
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
