"""What every `IStorage` must do, whichever it is.

Imported as a module, so that test runners do not find the class of this name in the modules of its subclasses.
"""

from abc import abstractmethod
from random import Random

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save, TermAndVote
from txraft.errors import InvariantViolated
from txraft.interfaces import IStorage, Stored

FOUNDERS = Configuration(voters={0, 1, 2}, addresses={0: ("a:1", "a:2"), 1: ("b:1", "b:2"), 2: ("c:1", "c:2")})
BEGINNING = Snapshot(0, 0, FOUNDERS)
"""Where the log of a new directory begins."""
NOTHING = Stored(TermAndVote(0, None), (), BEGINNING)


def entry(index: int, term: int = 1, data: bytes = b"data") -> Entry:
    return Entry(index, term, EntryKind.COMMAND, data)


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(entry(index, term) for index in range(first, last + 1))


def save_of(*entries: Entry) -> Save:
    return Save(None, entries)


def snapshot(index: int, term: int = 1) -> Snapshot:
    """In the middle of a change from the voters 0, 1, 2 to 1, 2, 3."""
    return Snapshot(index, term, Configuration(voters={1, 2, 3}, outgoing={0, 1, 2}, learners={10}))


def compaction(index: int, term: int = 1) -> Save:
    return Save(None, (), snapshot(index, term))


def install(start: Snapshot, *suffix: Entry) -> Save:
    """What follows the snapshot's last entry is kept, and written again (hazard S8)."""
    return Save(None, suffix, start, replaces_log=True)


def after(stored: Stored, save: Save) -> Stored:
    """What the obvious storage, a dict, has then."""
    log, log_start = {entry.index: entry for entry in stored.entries}, stored.log_start
    if save.log_start is not None:
        log_start = save.log_start
        log = {} if save.replaces_log else {index: kept for index, kept in log.items() if index > log_start.index}
    if save.entries:
        log = {index: kept for index, kept in log.items() if index < save.entries[0].index}
        log |= {new.index: new for new in save.entries}
    return Stored(save.term_and_vote or stored.term_and_vote, tuple(log.values()), log_start)


def any_save(stored: Stored, random: Random, size: int, data: bytes) -> Save:
    """One that may come next, of any kind: `size` entries that follow or replace, a compaction, a snapshot that is
    installed, a vote."""
    start = stored.log_start
    ends = stored.entries[-1] if stored.entries else start
    term, log_start, lowest, replaces_log = ends.term + random.randrange(2), None, start.index, False
    kind = random.random()
    if kind < 0.15 and stored.entries:
        chosen = random.choice(stored.entries)
        log_start, lowest = snapshot(chosen.index, chosen.term), chosen.index
    elif kind < 0.25:
        log_start, replaces_log = snapshot(random.randint(start.index + 1, ends.index + 3), term), True
    first = ends.index + 1
    if log_start is not None and replaces_log:
        first = log_start.index + 1
    elif random.random() < 0.3:
        first = random.randint(max(lowest, ends.index - 50) + 1, first)
    vote = TermAndVote(random.randrange(2**62), random.choice([None, 0, 7])) if random.random() < 0.3 else None
    new = tuple(_any_entry(index, term, random, data) for index in range(first, first + size))
    return Save(vote, new, log_start, replaces_log)


def _any_entry(index: int, term: int, random: Random, data: bytes) -> Entry:
    kind = random.choice(list(EntryKind))
    if kind is EntryKind.CONFIGURATION:
        data = Configuration({index, index + 1}, addresses={index: ("a:1", "a:2")}).to_bytes()
    return Entry(index, term, kind, data)


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
            Entry(4, 2**40, EntryKind.CONFIGURATION, snapshot(4).configuration.to_bytes()),
        )
        self.save(Save(TermAndVote(2**40, 7), kept))
        stored = self.load()
        self.assertEqual(stored, Stored(TermAndVote(2**40, 7), kept, BEGINNING))
        self.assertIsInstance(stored.entries[0].kind, EntryKind)

    def test_configuration(self) -> None:
        """The membership of the bootstrap, with all that it says, until the log has another one; that of a log's start
        is whole (hazard M6)."""
        self.assertEqual(self.load().configuration, FOUNDERS)
        changed, again = (Configuration({0, 1, each}, removed={2}) for each in (3, 4))
        change = Entry(2, 1, EntryKind.CONFIGURATION, changed.to_bytes())
        self.save(save_of(entry(1), change, entry(3)))
        self.assertEqual(self.load().configuration, changed)
        self.save(save_of(Entry(3, 2, EntryKind.CONFIGURATION, again.to_bytes())))
        self.assertEqual(self.load().configuration, again)
        self.save(save_of(entry(3, term=3)))  # hazard M5
        self.assertEqual(self.load().configuration, changed)
        self.save(save_of(entry(2, term=4)))
        self.assertEqual(self.load().configuration, FOUNDERS)
        whole = Configuration(
            {1, 2}, {0, 1}, {5}, {0}, auto_leave=True, joining={5: 1}, addresses={1: ("a:1", "a:2")}, removed={3, 4}
        )
        self.save(Save(None, (), Snapshot(2, 4, whole)))
        self.assertEqual(self.load(), Stored(TermAndVote(0, None), (), Snapshot(2, 4, whole)))

    def test_vote(self) -> None:
        """Term and vote change without entries, together; node 0 is not nobody."""
        self.save(save_of(entry(1)))
        for term_and_vote in (TermAndVote(3, 0), TermAndVote(4, None), TermAndVote(4, 2)):
            self.save(Save(term_and_vote, ()))
            self.assertEqual(self.load(), Stored(term_and_vote, (entry(1),), BEGINNING))

    def test_entries(self) -> None:
        """Entries are saved without term and vote, which stay as they were."""
        self.save(Save(TermAndVote(1, 1), ()))
        self.save(save_of(*entries(1, 2)))
        self.save(save_of(*entries(3, 3)))
        self.assertEqual(self.load(), Stored(TermAndVote(1, 1), entries(1, 3), BEGINNING))

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
        self.assertEqual(self.load(), Stored(TermAndVote(3, None), entries(1, 4) + entries(5, 8, term=3), BEGINNING))

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
        self.assertEqual(self.load(), Stored(TermAndVote(0, None), entries(1, 2), BEGINNING))

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

    def test_compaction(self) -> None:
        """The log begins later, with the membership as of there; what follows stays, and goes on, in the same life and
        in the next (hazards R13, M6)."""
        self.save(save_of(*entries(1, 9)))
        storage = self.start()
        self.successResultOf(storage.save([compaction(4)]))
        self.successResultOf(storage.save([save_of(*entries(10, 12))]))
        self.successResultOf(storage.close())
        self.assertEqual(self.load(), Stored(TermAndVote(0, None), entries(5, 12), snapshot(4)))
        self.save(compaction(5), save_of(*entries(12, 14, term=2)))
        self.assertEqual(self.load().entries, entries(6, 11) + entries(12, 14, term=2))
        self.save(save_of(entry(6, term=3)))
        self.assertEqual(self.load(), Stored(TermAndVote(0, None), (entry(6, term=3),), snapshot(5)))

    def test_all_compacted(self) -> None:
        """Nothing is left but where it ended, and what is saved then follows on that."""
        self.save(Save(TermAndVote(3, 1), entries(1, 9)), compaction(9))
        self.assertEqual(self.load(), Stored(TermAndVote(3, 1), (), snapshot(9)))
        self.save(save_of(entry(10)))
        self.save(compaction(10))
        self.save(save_of(entry(11)))
        self.assertEqual(self.load(), Stored(TermAndVote(3, 1), (entry(11),), snapshot(10)))

    def test_install_empties(self) -> None:
        """hazard S7: an installed snapshot takes the place of a log that conflicts with it, or that is shorter."""
        for last in (20, 3, 0):
            self.new_disk()
            self.save(save_of(*entries(1, last)))
            self.save(install(snapshot(9, term=2)))
            self.assertEqual(self.load(), Stored(TermAndVote(0, None), (), snapshot(9, term=2)))
            self.save(save_of(entry(10, term=2)))
            self.assertEqual(self.load().entries, (entry(10, term=2),))

    def test_install_keeps_a_suffix(self) -> None:
        """hazard S8: what follows a matching entry is written again in the same transaction, and stays."""
        self.save(save_of(*entries(1, 12)))
        self.save(install(snapshot(9), *entries(10, 12)), save_of(*entries(12, 13)))
        self.assertEqual(self.load(), Stored(TermAndVote(0, None), entries(10, 13), snapshot(9)))
        self.save(install(snapshot(10), *entries(11, 13)), compaction(12))  # compacted before that is durable
        self.assertEqual(self.load(), Stored(TermAndVote(0, None), entries(13, 13), snapshot(12)))

    def test_serialised(self) -> None:
        """hazard S9: a snapshot between appends, and a change of term, of one call: their order counts."""
        self.save(
            save_of(*entries(1, 6)),
            install(snapshot(9, term=2)),
            Save(TermAndVote(3, None), entries(10, 12, term=3)),
            compaction(11, term=3),
            Save(TermAndVote(4, 1), entries(12, 13, term=4)),
        )
        self.assertEqual(self.load(), Stored(TermAndVote(4, 1), entries(12, 13, term=4), snapshot(11, term=3)))

    def test_start_out_of_place(self) -> None:
        """The start of a log never goes back, not beyond its end, and to no entry of another term; entries below it are
        refused; so are those that leave a gap behind it (hazard R12)."""
        self.save(save_of(*entries(1, 9)), compaction(4))
        storage = self.start()
        for saves in (
            [compaction(4)],
            [compaction(3)],
            [compaction(10)],
            [compaction(6, term=2)],
            [install(snapshot(3))],
            [install(snapshot(12), entry(14))],
            [install(snapshot(12), entry(12))],
            [install(snapshot(12)), save_of(entry(12))],
            [Save(None, (), None, replaces_log=True)],
            [compaction(6), save_of(*entries(6, 9))],
            [Save(TermAndVote(5, 5), entries(4, 9))],
        ):
            self.failureResultOf(storage.save(saves), InvariantViolated)
        self.successResultOf(storage.close())
        self.assertEqual(self.load(), Stored(TermAndVote(0, None), entries(5, 9), snapshot(4)))

    def test_like_a_dict(self) -> None:
        """Any saves, in any groups, with restarts between them, leave what the same saves leave in a dict."""
        for seed in range(60):
            self.new_disk()
            random, stored = Random(seed), NOTHING
            for _ in range(random.randrange(5)):
                storage = self.start()
                for _ in range(random.randrange(5)):
                    call = []
                    for _ in range(random.randint(1, 4)):
                        call.append(
                            any_save(stored, random, random.randrange(8), random.randbytes(random.randrange(5)))
                        )
                        stored = after(stored, call[-1])
                    self.successResultOf(storage.save(call))
                self.successResultOf(storage.close())
                self.assertEqual(self.load(), stored, f"seed {seed}")
