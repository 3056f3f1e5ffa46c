from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import entries, save_of
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
            self.assertRaises(InvariantViolated, require_no_gap, merge(saves).entries, 0)

    def test_follows(self) -> None:
        """Entries may replace what is stored or follow on it, and nothing else."""
        for first in (1, 5, 6):
            require_no_gap(entries(first, first), 5)
        for first in (0, 7):
            self.assertRaises(InvariantViolated, require_no_gap, entries(first, first), 5)
