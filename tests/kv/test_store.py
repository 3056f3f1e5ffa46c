"""The state machine, in memory."""

from random import Random
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.kv.applying import apply_command
from tests.kv.model import Model
from tests.storage.worker import InlineWorker
from txraft.core.messages import Entry, EntryKind
from txraft.errors import CommandFailed, UnknownCommand
from txraft.interfaces import IStateMachine
from txraft.kv import (
    Batch,
    Command,
    CompareAndSet,
    Condition,
    Conditional,
    Delete,
    Get,
    KeyValueStore,
    Once,
    Result,
    Set,
    WriteBehind,
    answers,
    encode,
)
from txraft.kv import store as store_module
from txraft.kv.commands import Operation, OperationResult, Refused, decode_batch_result
from txraft.kv.records import numbers_of
from txraft.testing.data import Copy, CopyBehind


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

    def test_no_memory(self) -> None:
        """Where one node has no memory for a change that others make, it ends: the data would differ from then on."""

        def outcome(*_: object) -> None:
            raise MemoryError

        self.patch(store_module, "_outcome", outcome)
        self.assertRaises(MemoryError, self.store.apply, [Entry(1, 1, EntryKind.COMMAND, encode(Set(b"k", b"v")))])
        self.assertEqual(self.store.last_applied, 0)

    def test_conditions(self) -> None:
        """A key changes where its mod_revision is one of these, or none of those; 0 is that of no key."""
        absent, present, second = Condition((0,), True), Condition((0,), False), Condition((7, 2), True)
        for conditions, change, result in (
            ((present,), Set(b"k", b"v"), Result.PRECONDITION),
            ((second,), Delete(b"k"), Result.PRECONDITION),
            ((absent,), Set(b"k", b"v"), Result.DONE),
            ((absent,), Set(b"k", b"w"), Result.PRECONDITION),
            ((second, absent), Delete(b"k"), Result.PRECONDITION),
            ((second,), CompareAndSet(b"k", b"w", b"x"), Result.MISMATCH),
            ((second, present), CompareAndSet(b"k", b"v", b"w"), Result.DONE),
            ((second,), Delete(b"k"), Result.PRECONDITION),
            ((), Delete(b"k"), Result.DONE),
        ):
            self.assertIs(self.apply(Conditional(change, conditions)), result)
        self.assertEqual(self.store.revision, 4)

    def test_batch_is_one_revision(self) -> None:
        """However much it changes; and none where it changes nothing in the end. A key that was deleted in between
        begins anew."""
        many: list[Operation] = [
            Set(b"k", b"1"),
            Set(b"k", b"2"),
            Set(b"l", b"1"),
            Delete(b"l"),
            Set(b"l", b"2"),
            Set(b"gone", b""),
        ]
        apply_command(self.store, 1, encode(Batch((*many, Delete(b"gone")), 0)))
        records = [self.store.record(key) for key in (b"k", b"l", b"gone")]
        self.assertEqual([each and numbers_of(each) for each in records], [(2, 2, 2), (2, 2, 1), None])
        for nothing in ((), (Get(b"k"),), (Delete(b"gone"),), (Set(b"gone", b""), Delete(b"gone"))):
            apply_command(self.store, 2, encode(Batch(nothing, 100)))
        self.assertEqual(self.store.revision, 2)

    def test_once(self) -> None:
        """Sent again, a request is answered as the first time and not done again, whatever came of it; and another one
        with its key is refused (hazard C5)."""
        lock = Once.of(b"i", Conditional(Set(b"k", b"v"), (Condition((0,), True),)))
        other = Once.of(b"i", Set(b"k", b"w"))
        batch = Once.of(b"j", Batch((Get(b"k"), CompareAndSet(b"k", b"v", b"w"), Get(b"k")), 100))
        missing, refused = Once.of(b"l", Delete(b"none")), Once.of(b"m", CompareAndSet(b"k", b"x", b"y"))
        first = [self.apply(each) for each in (lock, missing, refused)]
        self.assertEqual(first, [Result.DONE, Result.NOT_FOUND, Result.MISMATCH])
        done = apply_command(self.store, 7, encode(batch))
        self.apply(Set(b"none", b""))
        self.apply(Set(b"k", b"x"))
        self.assertEqual([self.apply(each) for each in (lock, missing, refused)], first)
        self.assertEqual(apply_command(self.store, 8, encode(batch)), done)
        self.assertEqual(decode_batch_result(done), (b"v", True, b"w"))
        self.assertIs(self.apply(other), Result.OTHER_REQUEST)
        self.assertEqual((self.store.get(b"k"), self.store.get(b"none"), self.store.revision), (b"x", b"", 5))

    def test_nonsense(self) -> None:
        """Bytes that are no command change nothing but the applied index, and say so."""
        self.apply(Set(b"k", b"v"))
        self.store.check(b"nonsense")
        self.assertEqual(apply_command(self.store, 7, b"nonsense"), Result.INVALID.value)
        self.assertEqual(self.store.get(b"k"), b"v")
        self.assertEqual(self.store.last_applied, 7)

    def test_unknown_command(self) -> None:
        """What a later version may know ends the node: to pass it over would make its data differ from the others'. It
        says what to do, and has not applied the entry."""
        self.apply(Set(b"k", b"v"))
        for command in (b"\x93\x02\x02\xc4\x01k", b"\x93\x01\x63\xc4\x01k"):
            error = self.assertRaises(UnknownCommand, apply_command, self.store, 2, command)
            self.assertIn("which this txraft does not know", str(error))
            self.assertRaises(UnknownCommand, self.store.check, command)
            self.assertEqual((self.store.last_applied, self.store.revision), (1, 2))

    def test_every_release_agrees(self) -> None:
        """What is in a log has the same results and gives the same data for ever, on nodes of whatever release."""
        log = [
            (b"\x94\x01\x01\xc4\x01a\xc4\x011", b"\0"),
            (b"\x95\x01\x03\xc4\x01a\xc4\x011\xc4\x012", b"\0"),
            (b"\x95\x01\x03\xc4\x01a\xc4\x011\xc4\x013", b"\2"),
            (b"\x94\x01\x01\xc4\x00\xc4\x01\xff", b"\0"),
            (b"\x93\x01\x02\xc4\x01b", b"\1"),
            (b"\x93\x01\x02\xc4\x01a\x00", b"\3"),
            (b"\x94\x01\x01\xc4\x01c\xc4\x00", b"\0"),
            (b"\x93\x01\x02\xc4\x01c", b"\0"),
            (b"\x95\x01\x03\xc4\x01c\xc4\x00\xc4\x013", b"\1"),
            (b"\x94\x01\x04\x09\x92\x93\x01\xc4\x01d\xc4\x014\x92\x05\xc4\x01d", b"\x92\xc4\x01\0\x92\xc3\xc4\x014"),
            (b"\x94\x01\x04\x09\x91\x94\x03\xc4\x01d\xc4\x00\xc4\x00", b"\x92\xc4\x01\2\0"),
            (b"\x94\x01\x06\x91\x92\xc3\x00\x92\x02\xc4\x01d", b"\5"),
            (b"\x94\x01\x06\x91\x92\xc3\x07\x93\x01\xc4\x01d\xc4\x015", b"\0"),
            (b"\x95\x01\x07\xc4\x01i\xc4\x10" + bytes(16) + b"\x92\x02\xc4\x01b", b"\1"),
            (b"\x95\x01\x07\xc4\x01i\xc4\x10" + bytes(16) + b"\x92\x02\xc4\x01a", b"\1"),
            (b"\x95\x01\x07\xc4\x01i\xc4\x10" + bytes(15) + b"\1\x92\x02\xc4\x01a", b"\6"),
        ]
        results = [apply_command(self.store, index, command) for index, (command, _) in enumerate(log, 1)]
        self.assertEqual(results, [result for _, result in log])
        values = [self.store.get(key) for key in (b"a", b"", b"b", b"c", b"d")]
        self.assertEqual(values, [b"2", b"\xff", None, None, b"5"])
        records = [self.store.record(key) for key in (b"a", b"", b"d")]
        numbers = [(2, 3, 2), (4, 4, 1), (7, 8, 2)]
        self.assertEqual([numbers_of(record) for record in records if record is not None], numbers)
        self.assertEqual(self.store.revision, 8)


keys = st.sampled_from([b"a", b"b", b"c"])
changes = st.one_of(
    st.builds(Set, keys, st.sampled_from([b"1", b"2"])),
    st.builds(Delete, keys),
    st.builds(CompareAndSet, keys, st.sampled_from([b"1", b"2"]), st.sampled_from([b"1", b"2"])),
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


numbers = st.integers(0, 9)
conditions = st.builds(Condition, st.lists(numbers, max_size=2).map(tuple), st.booleans())
requests = st.one_of(
    changes,
    st.builds(Conditional, changes, st.lists(conditions, max_size=2).map(tuple)),
    st.builds(Batch, st.lists(changes | st.builds(Get, keys), max_size=5).map(tuple), st.integers(0, 3)),
)
few_requests = st.one_of(requests, st.builds(Once.of, st.sampled_from([b"i", b"j", b"l"]), requests))


class ModelTests(SynchronousTestCase):
    @given(st.lists(few_requests, max_size=20), st.booleans())
    def test_as_the_model(self, history: list[Command], repeat: bool) -> None:
        """Results, records, revision and order of the keys are those of the dullest store there is (hazard C5). So they
        are where a node begins anew, from what another has kept, and where requests with an Idempotency-Key are sent
        again."""
        self.patch(answers, "MAX_ANSWERS", 2)
        if repeat:
            history = [again for each in history for again in ([each, each] if isinstance(each, Once) else [each])]
        copy, random = Copy(), Random(len(history))

        def store_of_copy() -> KeyValueStore:
            store = KeyValueStore(cast(WriteBehind, CopyBehind(copy, random, InlineWorker())))
            store.load()
            return store

        store, model = store_of_copy(), Model(answers_kept=2)
        log: list[bytes] = []
        for index, command in enumerate(history, 1):
            log.append(encode(command))
            self.assertEqual(apply_command(store, index, log[-1]), model.apply(command))
            self.assertEqual(store.last_applied, index)
            self.check(store, model)
            if index % 5 == 0:
                store = store_of_copy()
                for again in range(store.last_applied + 1, index + 1):
                    apply_command(store, again, log[again - 1])
                self.check(store, model)

    def check(self, store: KeyValueStore, model: Model) -> None:
        listing = store.list_keys(b"", None, 10, 100)
        there = [key for key in (b"a", b"b", b"c") if model.life(key)]
        self.assertEqual((store.revision, listing.revision), (model.revision, model.revision))
        self.assertEqual([each.key for each in listing.keys], there)
        for key in (b"a", b"b", b"c"):
            record = store.record(key)
            self.assertEqual(store.get(key), model.value(key))
            self.assertEqual(None if record is None else numbers_of(record), model.numbers(key))
