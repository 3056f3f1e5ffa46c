from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import compaction, entries, entry, install, save_of, snapshot
from txraft.core.ready import Save, TermAndVote
from txraft.errors import InvariantViolated
from txraft.storage.merging import merge, require_no_gap


class MergeTests(SynchronousTestCase):
    """Several saves made one."""

    def test_nothing(self) -> None:
        """No saves are an empty save."""
        self.assertEqual(merge([]), Save(None, ()))

    def test_last_vote(self) -> None:
        """Of terms and votes the last is kept; a save that has none does not take it away."""
        saves = [Save(TermAndVote(1, 1), ()), Save(TermAndVote(2, None), ()), Save(None, ())]
        self.assertEqual(merge(saves), Save(TermAndVote(2, None), ()))

    def test_overlaps(self) -> None:
        """A later save replaces from its first index on, within the earlier ones and before them."""
        saves = [save_of(*entries(5, 9)), save_of(*entries(7, 7, term=2))]
        self.assertEqual(merge(saves).entries, entries(5, 6) + entries(7, 7, term=2))
        saves.append(save_of(*entries(3, 3, term=3)))
        self.assertEqual(merge(saves).entries, entries(3, 3, term=3))

    def test_gap(self) -> None:
        """A gap is refused, between two saves and within one (hazard R12)."""
        for saves in ([save_of(*entries(1, 2)), save_of(*entries(4, 4))], [save_of(*entries(1, 2), *entries(4, 4))]):
            self.assertRaises(InvariantViolated, require_no_gap, merge(saves), 0, 0)

    def test_follows(self) -> None:
        """Entries may replace what is stored or follow on it, and nothing else."""
        for first in (1, 5, 6):
            require_no_gap(save_of(entry(first)), 0, 5)
        for first in (0, 7):
            self.assertRaises(InvariantViolated, require_no_gap, save_of(entry(first)), 0, 5)

    def test_starts(self) -> None:
        """The last start is kept, with what follows it. Where it lies within the entries before, or a snapshot is
        installed, that is all there is."""
        saves = [save_of(*entries(7, 9)), compaction(3), compaction(5)]
        self.assertEqual(merge(saves), Save(None, entries(7, 9), snapshot(5)))
        saves.append(compaction(8))
        self.assertEqual(merge(saves), install(snapshot(8), entry(9)))
        saves.append(save_of(*entries(9, 10, term=2)))
        self.assertEqual(merge(saves), install(snapshot(8), *entries(9, 10, term=2)))
        saves.append(install(snapshot(20)))
        self.assertEqual(merge(saves), install(snapshot(20)))
