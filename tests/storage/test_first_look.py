"""What a few rows of a directory tell before a node starts on it, and that a node was removed."""

import weakref
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import FOUNDERS
from tests.storage.disk import BOOTSTRAP, storage_in
from txraft.core.configuration import Configuration
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save
from txraft.errors import CorruptLog, DirectoryLocked, MemberRemoved, StorageError
from txraft.interfaces import Incarnation
from txraft.storage.directory import DirectoryLock
from txraft.storage.half_made import RESTORING
from txraft.storage.inspection import FirstLook, first_look
from txraft.storage.removal import mark_removed, require_not_removed

LATER = (
    Configuration({0, 1}, learners={7}, addresses={7: ("h:1", "h:2")}),
    Configuration({0, 1, 7}, addresses={7: ("h:3", "h:4")}),
    Configuration({0, 1}, removed={7}),
)


class FirstLookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())

    def start(self, *entries: Entry) -> None:
        """A node that writes these."""
        storage = storage_in(self.directory)
        storage.load()
        self.successResultOf(storage.save([Save(None, entries)]))
        self.successResultOf(storage.close())

    def look(self) -> FirstLook:
        look = first_look(self.directory)
        assert look is not None
        return look

    def test_new(self) -> None:
        """Also where a start has taken the lock, and no more."""
        self.assertIsNone(first_look(self.directory))
        self.directory.mkdir()
        lock = DirectoryLock(self.directory)
        lock.acquire()
        lock.release()
        self.assertIsNone(first_look(self.directory))

    def test_which_membership_and_whom_it_met(self) -> None:
        """The entry of the one in force, and the nodes whose directories are remembered."""
        self.start()
        self.assertEqual((self.look().index, set(self.look().peers)), (0, set()))
        storage = storage_in(self.directory)
        storage.load()
        entries = (Entry(1, 1, EntryKind.CONFIGURATION, LATER[0].to_bytes()), Entry(2, 1, EntryKind.NOOP, b""))
        self.successResultOf(storage.save([Save(None, entries)]))
        self.successResultOf(storage.meet(2, Incarnation(b"itsfiles", 1, b"itsstart")))
        self.successResultOf(storage.close())
        self.assertEqual((self.look().index, set(self.look().peers)), (1, {2}))

    def test_founders(self) -> None:
        self.start()
        look = self.look()
        self.assertEqual((look.identity, look.configuration), (BOOTSTRAP.identity, FOUNDERS))
        self.assertEqual(look.addresses, dict(FOUNDERS.addresses))

    def test_later(self) -> None:
        """The one in force is told. The last addresses of a member are known, also where it is none any more."""
        entries = [Entry(2 * i + 2, 1, EntryKind.CONFIGURATION, each.to_bytes()) for i, each in enumerate(LATER)]
        noops = [Entry(2 * i + 1, 1, EntryKind.NOOP, b"") for i in range(4)]
        self.start(*sorted([*entries, *noops], key=lambda entry: entry.index))
        look = self.look()
        self.assertEqual(look.configuration, LATER[-1])
        self.assertEqual(look.addresses, {**dict(FOUNDERS.addresses), 7: ("h:3", "h:4")})

    def test_many(self) -> None:
        """hazard M7: of the memberships that a log has, each with all ids that were ever removed, no two are kept that
        do not count."""
        each_removed = (Configuration({0, 1}, removed=range(2, last)) for last in range(100, 400))
        self.start(*(Entry(i, 1, EntryKind.CONFIGURATION, c.to_bytes()) for i, c in enumerate(each_removed, 1)))
        made: list[weakref.ref[Configuration]] = []
        alive: list[int] = []
        from_bytes = Configuration.from_bytes

        def counted(data: bytes) -> Configuration:
            made.append(weakref.ref(configuration := from_bytes(data)))
            alive.append(sum(each() is not None for each in made))
            return configuration

        self.patch(Configuration, "from_bytes", counted)
        self.assertEqual(self.look().configuration.removed, set(range(2, 399)))
        self.assertLessEqual(max(alive), 4)

    def test_changes_nothing(self) -> None:
        """It is no start: a directory that is damaged is evidence."""
        self.start(Entry(1, 1, EntryKind.NOOP, b""))
        before = {path: path.read_bytes() for path in self.directory.iterdir() if path.is_file()}
        self.look()
        self.assertEqual({path: path.read_bytes() for path in self.directory.iterdir() if path.is_file()}, before)

    def test_runs(self) -> None:
        self.start()
        lock = DirectoryLock(self.directory)
        lock.acquire()
        self.addCleanup(lock.release)
        self.assertRaises(DirectoryLocked, first_look, self.directory)

    def test_damaged(self) -> None:
        """The lock is free again."""
        self.start()
        (self.directory / "raft.sqlite").write_bytes(b"")
        self.assertRaises(CorruptLog, first_look, self.directory)
        lock = DirectoryLock(self.directory)
        lock.acquire()
        lock.release()

    def test_half_restored(self) -> None:
        self.directory.mkdir()
        (self.directory / RESTORING).touch()
        self.assertIn("only half made", str(self.assertRaises(StorageError, first_look, self.directory)))


class RemovalTests(SynchronousTestCase):
    def test_mark(self) -> None:
        """A node that was removed is not started again (hazard M7)."""
        directory = Path(self.mktemp())
        require_not_removed(directory, 7)
        directory.mkdir()
        require_not_removed(directory, 7)
        mark_removed(directory)
        self.assertIn("node 7 was removed", str(self.assertRaises(MemberRemoved, require_not_removed, directory, 7)))
