"""What every `IStorage` must do, whichever it is.

Imported as a module, so that test runners do not find the class of this name in the modules of its subclasses.
"""

from abc import abstractmethod

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save, TermAndVote
from txraft.errors import InvariantViolated
from txraft.interfaces import IStorage, Stored

NOTHING = Stored(TermAndVote(0, None), ())


def entry(index: int, term: int = 1, data: bytes = b"data") -> Entry:
    return Entry(index, term, EntryKind.COMMAND, data)


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(entry(index, term) for index in range(first, last + 1))


def save_of(*entries: Entry) -> Save:
    return Save(None, entries)


terms_and_votes = st.builds(TermAndVote, st.integers(0, 2**62), st.none() | st.integers(0, 2**62))


@st.composite
def valid_saves(draw: st.DrawFn) -> list[list[list[Save]]]:
    """Restarts, calls of `save` between them, and the saves of each call."""
    last, term = 0, 1
    lives = []
    for calls in draw(st.lists(st.lists(st.integers(1, 4), max_size=4), max_size=4)):
        life = []
        for count in calls:
            call = []
            for _ in range(count):
                first = draw(st.integers(max(1, last - 6), last + 1))
                size = draw(st.integers(0, 7))
                term += draw(st.integers(0, 1))
                kind = draw(st.sampled_from(EntryKind))
                data = draw(st.binary(max_size=4))
                new = tuple(Entry(index, term, kind, data) for index in range(first, first + size))
                call.append(Save(draw(st.none() | terms_and_votes), new))
                last = first + size - 1 if size else last
            life.append(call)
        lives.append(life)
    return lives


class StorageContract(SynchronousTestCase):
    """A twin says how to open its storage on a new disk, and again on the same one."""

    @abstractmethod
    def new_disk(self) -> None:
        """Take a disk with nothing on it."""

    @abstractmethod
    def open(self) -> IStorage:
        """What a process that starts on this disk gets; not yet loaded."""

    def setUp(self) -> None:
        self.new_disk()

    def start(self) -> IStorage:
        storage = self.open()
        storage.load()
        return storage

    def save(self, *saves: Save) -> None:
        """In a process that starts, saves and stops."""
        storage = self.start()
        self.successResultOf(storage.save(saves))
        self.successResultOf(storage.close())

    def load(self) -> Stored:
        """As a process that starts would."""
        storage = self.open()
        stored = storage.load()
        self.successResultOf(storage.close())
        return stored

    def test_interface(self) -> None:
        """It is an IStorage in deed."""
        verifyObject(IStorage, self.open())

    def test_new(self) -> None:
        """A new server has promised nothing, and so it is at the second start."""
        self.assertEqual(self.load(), NOTHING)
        self.assertEqual(self.load(), NOTHING)

    def test_round_trip(self) -> None:
        """What was saved is there after a restart: the numbers, the bytes and the kinds."""
        kept = (
            Entry(1, 1, EntryKind.NOOP, b""),
            Entry(2, 1, EntryKind.COMMAND, bytes(range(256))),
            Entry(3, 2**40, EntryKind.COMMAND, b"'; DROP TABLE log; --"),
        )
        self.save(Save(TermAndVote(2**40, 7), kept))
        stored = self.load()
        self.assertEqual(stored, Stored(TermAndVote(2**40, 7), kept))
        self.assertIsInstance(stored.entries[0].kind, EntryKind)

    def test_vote(self) -> None:
        """Term and vote change without entries, together; node 0 is not nobody."""
        self.save(save_of(entry(1)))
        for term_and_vote in (TermAndVote(3, 0), TermAndVote(4, None), TermAndVote(4, 2)):
            self.save(Save(term_and_vote, ()))
            self.assertEqual(self.load(), Stored(term_and_vote, (entry(1),)))

    def test_entries(self) -> None:
        """Entries are saved without term and vote, which stay as they were."""
        self.save(Save(TermAndVote(1, 1), ()))
        self.save(save_of(*entries(1, 2)))
        self.save(save_of(*entries(3, 3)))
        self.assertEqual(self.load(), Stored(TermAndVote(1, 1), entries(1, 3)))

    def test_suffix_replaced(self) -> None:
        """Entries replace everything from the first one's index on, also what is beyond the last one's (§5.3)."""
        self.save(save_of(*entries(1, 9)))
        self.save(save_of(*entries(4, 5, term=2)))
        self.assertEqual(self.load().entries, entries(1, 3) + entries(4, 5, term=2))

    def test_all_replaced(self) -> None:
        """The first entry can be replaced too, in the life in which it was written."""
        storage = self.start()
        self.successResultOf(storage.save([save_of(*entries(1, 3))]))
        self.successResultOf(storage.save([save_of(*entries(1, 1, term=2))]))
        self.successResultOf(storage.close())
        self.assertEqual(self.load().entries, entries(1, 1, term=2))

    def test_several_saves(self) -> None:
        """Several saves in one call are the same as one after the other; later ones reach behind earlier ones."""
        self.save(save_of(*entries(1, 6)))
        self.save(
            Save(TermAndVote(2, 1), entries(7, 9)),
            Save(None, entries(8, 8, term=2)),
            Save(TermAndVote(3, None), entries(9, 11, term=2)),
            Save(None, entries(5, 6, term=3)),
            Save(None, entries(7, 8, term=3)),
            Save(None, ()),
        )
        self.assertEqual(self.load(), Stored(TermAndVote(3, None), entries(1, 4) + entries(5, 8, term=3)))

    def test_no_saves(self) -> None:
        """A call without saves, or without anything in them, changes nothing."""
        self.save()
        self.save(Save(None, ()))
        self.assertEqual(self.load(), NOTHING)

    def test_gap(self) -> None:
        """Entries that would leave a gap are refused as a whole, and what is there stays (hazard R12)."""
        storage = self.start()
        self.successResultOf(storage.save([save_of(*entries(1, 2))]))
        for saves in (
            [save_of(entry(4))],
            [save_of(entry(3), entry(5))],
            [Save(TermAndVote(5, 5), entries(3, 4)), save_of(entry(6))],
            [save_of(entry(0))],
        ):
            self.failureResultOf(storage.save(saves), InvariantViolated)
        self.successResultOf(storage.close())
        self.assertEqual(self.load(), Stored(TermAndVote(0, None), entries(1, 2)))

    def test_gap_at_the_start(self) -> None:
        """The first entry of all has index 1."""
        storage = self.start()
        self.failureResultOf(storage.save([save_of(entry(2))]), InvariantViolated)
        self.successResultOf(storage.close())

    def test_large_entry(self) -> None:
        """An entry of 2 MiB."""
        large = entry(1, data=bytes(range(256)) * 8192)
        self.save(save_of(large))
        self.assertEqual(self.load().entries, (large,))

    def test_many_entries(self) -> None:
        """10,000 entries in one call."""
        many = entries(1, 10_000)
        self.save(save_of(*many))
        self.assertEqual(self.load().entries, many)

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(valid_saves())
    def test_like_a_dict(self, lives: list[list[list[Save]]]) -> None:
        """Any saves, in any groups, with restarts between them, leave what the same saves leave in a dict."""
        self.new_disk()
        term_and_vote, log = TermAndVote(0, None), dict[int, Entry]()
        for life in lives:
            storage = self.start()
            for call in life:
                self.successResultOf(storage.save(call))
                for save in call:
                    term_and_vote = save.term_and_vote or term_and_vote
                    if save.entries:
                        log = {index: kept for index, kept in log.items() if index < save.entries[0].index}
                        log |= {new.index: new for new in save.entries}
            self.successResultOf(storage.close())
            self.assertEqual(self.load(), Stored(term_and_vote, tuple(log.values())))
