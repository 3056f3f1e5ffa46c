from tests.storage.contract import entries, entry, save_of
from tests.storage.disk import SQLiteTestCase
from txraft.core.ready import Save, TermAndVote
from txraft.errors import CorruptLog


class DamageTests(SQLiteTestCase):
    """What cannot be trusted is refused, by a line that says what it is (hazard S4)."""

    def test_data(self) -> None:
        """hazard S4: a bit of an entry's data."""
        self.execute("UPDATE log SET data = ? WHERE idx = 3", b"dati")
        self.assertRefused(CorruptLog, "entry 3", "replace it by a node with an id never used before")

    def test_columns(self) -> None:
        """hazard S4: a bit of any number of an entry, or a value that has become one of another type."""
        for column, value in (("term", 3), ("kind", 0), ("checksum", 0), ("term", "one"), ("data", "data")):
            with self.subTest(column=column, value=value):
                self.setUp()
                self.execute(f"UPDATE log SET {column} = ? WHERE idx = 5", value)
                self.assertRefused(CorruptLog, "entry 5")

    def test_term_and_vote(self) -> None:
        """hazard S4: a bit of the term or the vote, or of their checksum; no vote is not node 0's."""
        for column, value in (("current_term", 3), ("voted_for", 0), ("voted_for", None), ("checksum", 0)):
            with self.subTest(column=column, value=value):
                self.setUp()
                self.execute(f"UPDATE term_and_vote SET {column} = ?", value)
                self.assertRefused(CorruptLog, "term and vote do not match their checksum")

    def test_no_vote_is_not_node_0(self) -> None:
        """hazard E1: a vote for node 0 cannot pass for none."""
        self.save(Save(TermAndVote(2, 0), ()))
        self.execute("UPDATE term_and_vote SET voted_for = NULL")
        self.assertRefused(CorruptLog, "term and vote")

    def test_term_and_vote_missing(self) -> None:
        """hazard E1: a server that forgot its vote is not one that has not voted."""
        self.execute("DELETE FROM term_and_vote")
        self.assertRefused(CorruptLog, "term and vote are missing")

    def test_gap(self) -> None:
        """An entry in the middle is missing, or the first."""
        self.execute("DELETE FROM log WHERE idx = 4")
        self.assertRefused(CorruptLog, "missing between 3 and 5")
        self.execute("DELETE FROM log WHERE idx = 1")
        self.assertRefused(CorruptLog, "missing between 0 and 2")

    def test_terms_go_back(self) -> None:
        """Each entry is as it was written, and they do not belong together."""
        self.save(save_of(entry(6, term=2), entry(7, term=1)))
        self.assertRefused(CorruptLog, "entry 7 is of term 1, entry 6 of term 2")

    def test_bit_in_the_file(self) -> None:
        """hazard S4: one bit of the file itself, in the bytes of an entry."""
        content = bytearray(self.path.read_bytes())
        content[content.rindex(b"data")] ^= 1  # SQLite fills a page from its end
        self.path.write_bytes(content)
        self.assertRefused(CorruptLog, "entry 1 does not match its checksum")

    def test_page(self) -> None:
        """hazard S4: a page that SQLite itself cannot read."""
        self.save(save_of(*entries(6, 2000)))
        content = bytearray(self.path.read_bytes())
        content[-4096:] = bytes(4096)
        self.path.write_bytes(content)
        self.assertRefused(CorruptLog, "raft.sqlite is damaged")

    def test_shortened(self) -> None:
        """A file that has lost its end, down to an empty one, is not a new one."""
        self.save(save_of(*entries(6, 500)))
        content = self.path.read_bytes()
        for size in (len(content) - 4096, 4096, 100, 1, 0):
            with self.subTest(size=size):
                self.path.write_bytes(content[:size])
                self.assertRefused(CorruptLog, "raft.sqlite is damaged")

    def test_no_database(self) -> None:
        """A file of another sort."""
        self.path.write_text("dear diary\n" * 1000)
        self.assertRefused(CorruptLog, "not a database")

    def test_only_the_wal_is_left(self) -> None:
        """The file is gone, while what was to be written to it is there: not a new directory."""
        self.path.rename(self.path.with_name("raft.sqlite-wal"))
        self.assertRefused(CorruptLog, "missing")

    def test_no_identity(self) -> None:
        """Nobody's."""
        self.execute("DELETE FROM identity")
        self.assertRefused(CorruptLog, "does not say whose")

    def test_identity(self) -> None:
        """hazard S4: a bit of whose it is, above all of who votes."""
        for column, value in (("node_id", 1), ("cluster_id", "ourt"), ("voters", "0, 1, 3"), ("checksum", 0)):
            with self.subTest(column=column):
                self.setUp()
                self.execute(f"UPDATE identity SET {column} = ?", value)
                self.assertRefused(CorruptLog, "whose it is does not match its checksum")
