"""`txraft.core.membership`, by way of the log that moves it: which configuration is in force, and as of which entry."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import entries_of
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.log import RaftLog
from txraft.core.messages import Entry, EntryKind

ONE, TWO, THREE, FOUR = (Configuration(voters=range(1, count + 1)) for count in range(1, 5))


def entry_of(index: int, term: int, configuration: Configuration) -> Entry:
    """An entry with a configuration."""
    return Entry(index, term, EntryKind.CONFIGURATION, configuration.to_bytes())


class MembershipTests(SynchronousTestCase):
    """A log of one voter at first, with configurations at 2 and 4."""

    def setUp(self) -> None:
        one, _, three, _, five = entries_of(1, 1, 1, 1, 1)
        self.log = RaftLog((one, entry_of(2, 1, TWO), three, entry_of(4, 1, THREE), five), Snapshot(0, 0, ONE))

    def in_force(self) -> tuple[int, Configuration]:
        """The index that it is from, and the configuration."""
        return self.log.membership.index, self.log.membership.configuration

    def test_the_last_one_is_in_force(self) -> None:
        """§6: committed or not, durable or not."""
        self.assertEqual(self.in_force(), (4, THREE))
        self.log.append((entry_of(6, 2, FOUR),))
        self.assertEqual(self.in_force(), (6, FOUR))

    def test_a_truncation_brings_back_the_one_before(self) -> None:
        """hazard M5: as far back as the log goes."""
        for index, in_force in [(5, (4, THREE)), (4, (2, TWO)), (3, (2, TWO)), (1, (0, ONE))]:
            self.log.truncate_from(index)
            self.assertEqual(self.in_force(), in_force)

    def test_as_of_an_entry(self) -> None:
        """hazard M6: a snapshot carries the configuration of its index, not the one in force."""
        self.assertEqual([self.log.membership.at(index) for index in range(6)], [ONE, ONE, TWO, TWO, THREE, THREE])
        self.assertEqual([self.log.membership.index_at(index) for index in range(6)], [0, 0, 2, 2, 4, 4])
        self.assertEqual(self.log.snapshot_at(3), Snapshot(3, 1, TWO))

    def test_only_what_is_needed_is_made_of_its_bytes(self) -> None:
        """hazard M7: a configuration has all ids that were ever removed, and a log may have thousands of them. One is
        made at a start, and one where a truncation or a compaction needs another; none for a vote."""
        entries = [entry_of(index, 1, (TWO, THREE)[index % 2]) for index in range(1, 1001)]
        made = []
        from_bytes = Configuration.from_bytes

        def counted(data: bytes) -> Configuration:
            made.append(data)
            return from_bytes(data)

        self.patch(Configuration, "from_bytes", counted)
        for act, most in (
            (lambda: setattr(self, "log", RaftLog(entries, Snapshot(0, 0, ONE))), 1),
            (lambda: self.log.membership.votes_since(1, 0), 0),
            (lambda: self.log.truncate_from(900), 1),
            (lambda: self.log.compact(500), 1),
            (lambda: self.log.snapshot_at(899), 0),
            (lambda: self.log.append([entry_of(900, 2, FOUR), entry_of(901, 2, ONE)]), 1),
            (lambda: self.log.compact(901), 0),
        ):
            made.clear()
            act()
            self.assertEqual(len(made), most)
        self.assertEqual(self.in_force(), (901, ONE))

    def test_votes_since(self) -> None:
        """hazard M4: who had a vote as of an entry, or has one by a later one, and nobody else."""
        last = (entry_of(6, 1, ONE), entry_of(7, 1, Configuration(voters={5})))
        self.log.append(last)
        votes = {server: [self.log.membership.votes_since(server, index) for index in range(8)] for server in (1, 3, 4)}
        self.assertEqual(votes, {1: [True] * 7 + [False], 3: [True] * 6 + [False] * 2, 4: [False] * 8})

    def test_what_is_none_changes_nothing(self) -> None:
        """What is no configuration does not come into a log: it is read before it gets there."""
        bad = Entry(6, 1, EntryKind.CONFIGURATION, b"no configuration")
        self.assertRaises(ValueError, self.log.append, (bad,))
        self.assertEqual((self.in_force(), self.log.last_index), ((4, THREE), 5))

    def test_compaction_moves_the_base(self) -> None:
        """A configuration that is compacted stays in force until a later one comes, also after a truncation."""
        self.log.compact(3)
        self.assertEqual(self.in_force(), (4, THREE))
        self.assertEqual(self.log.snapshot_at(3).configuration, TWO)
        self.log.truncate_from(4)
        self.assertEqual(self.in_force(), (3, TWO))
        self.log.append((entry_of(4, 2, FOUR), *entries_of(2, 2, 2, 2, 2, 2)[4:]))
        for index in (4, 6):
            self.log.compact(index)
            self.assertEqual(self.in_force(), (index, FOUR))

    def test_a_snapshot_takes_the_place_of_all(self) -> None:
        """hazard M6: the whole of a joint configuration, and none of what the log had."""
        joint = Configuration(voters={1, 2, 6}, outgoing={1, 2, 3}, learners={7}, auto_leave=True)
        self.log.restore(Snapshot(9, 3, joint))
        self.assertEqual(self.in_force(), (9, joint))
        self.log.append((entry_of(10, 3, FOUR),))
        self.log.truncate_from(10)
        self.assertEqual(self.in_force(), (9, joint))
