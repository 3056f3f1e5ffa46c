"""Records, and the keys in order."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.kv.answers import KeptAnswer
from txraft.kv.contents import Contents, Delta, KeyInfo
from txraft.kv.records import mod_revision_of, numbers_of, record_of, value_of

keys = st.lists(st.sampled_from(b"a\xfe\xff"), max_size=4).map(bytes)


def contents_of(*names: bytes) -> Contents:
    contents = Contents()
    contents.change({name: record_of(b"", 2, None) for name in names})
    return contents


class RecordTests(SynchronousTestCase):
    @given(st.binary(), st.integers(2, 2**63), st.binary(), st.integers(2, 2**63))
    def test_record(self, first: bytes, created: int, second: bytes, changed: int) -> None:
        """The revision that made the key stays, the other one moves, and each set counts."""
        record = record_of(first, created, None)
        self.assertEqual((value_of(record), numbers_of(record)), (first, (created, created, 1)))
        record = record_of(second, changed, record)
        self.assertEqual((value_of(record), numbers_of(record)), (second, (created, changed, 2)))
        self.assertEqual((mod_revision_of(record), mod_revision_of(None)), (changed, 0))


class DeltaTests(SynchronousTestCase):
    def test_size(self) -> None:
        """Keys, records and answers count, as each is memory that waits for the disk."""
        delta = Delta()
        delta.add(1, 2, {b"key": b"record", b"gone": None}, KeptAnswer(1, b"id", b"answer", 1))
        self.assertEqual((delta.count, delta.size), (3, 3 + 6 + 4 + 2 + 6))


class ListingTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        """Each key comes with its numbers, and the whole with the store's revision."""
        contents = contents_of(b"b")
        contents.change({b"a": record_of(b"v", 7, record_of(b"", 5, None))})
        contents.revision = 7
        listing = contents.list_keys(b"", None, 10, 100)
        self.assertEqual(listing.keys, (KeyInfo(b"a", 5, 7, 2), KeyInfo(b"b", 2, 2, 1)))
        self.assertEqual((listing.revision, listing.count, listing.more), (7, 2, False))

    def test_size(self) -> None:
        """It ends where the keys together are too long, and has one in any case."""
        contents = contents_of(b"1234", b"2345", b"3456")
        for most, listed in ((0, 1), (4, 1), (7, 1), (8, 2), (12, 3)):
            listing = contents.list_keys(b"", None, 10, most)
            self.assertEqual((len(listing.keys), listing.count, listing.more), (listed, 3, listed < 3))

    @given(st.lists(keys), st.lists(keys), keys, st.none() | keys, st.integers(1, 5))
    def test_as_a_scan_would(
        self, made: list[bytes], removed: list[bytes], prefix: bytes, after: bytes | None, limit: int
    ) -> None:
        """It has what a scan of all keys finds."""
        contents = contents_of(*made)
        contents.change(dict.fromkeys(removed))
        those = sorted(key for key in set(made) - set(removed) if key.startswith(prefix))
        behind = [key for key in those if after is None or key > after]
        listing = contents.list_keys(prefix, after, limit, 1000)
        self.assertEqual([each.key for each in listing.keys], behind[:limit])
        self.assertEqual((listing.count, listing.more), (len(those), len(behind) > limit))
