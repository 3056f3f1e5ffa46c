import sqlite3
from contextlib import closing
from pathlib import Path

from tests.storage.contract import BEGINNING, compaction, entries, entry, install, save_of, snapshot
from tests.storage.disk import SQLiteTestCase
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save, TermAndVote
from txraft.errors import REMEDY_FOR_LOST_DATA, CorruptLog, StorageError
from txraft.interfaces import Stored
from txraft.storage.durable import DurableRecord, SaveNumbers
from txraft.storage.raft_rows import checksum_of_vote


class DamageTests(SQLiteTestCase):
    """What cannot be trusted is refused, by a line that says what it is (hazard S4)."""

    def test_data(self) -> None:
        """hazard S4: a bit of an entry's data."""
        self.execute("UPDATE log SET data = ? WHERE idx = 3", b"dati")
        self.assertRefused(CorruptLog, "entry 3", REMEDY_FOR_LOST_DATA)

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

    def test_start(self) -> None:
        """hazard S4: a bit of where the log begins, or of the membership as of there; or nothing that says it."""
        self.save(compaction(3))
        kept = self.path.read_bytes()
        for column, value in (("idx", 2), ("term", 2), ("configuration", "{}"), ("seed", 1), ("configuration", b"{}")):
            with self.subTest(column=column):
                self.execute(f"UPDATE log_start SET {column} = ?", value)
                self.assertRefused(CorruptLog, "where the log begins does not match its checksum")
                self.path.write_bytes(kept)
        self.execute("DELETE FROM log_start")
        self.assertRefused(CorruptLog, "it does not say where the log begins")

    def test_start_and_entries(self) -> None:
        """Entries that do not belong to the start: the first is missing, or one that was deleted has come back."""
        old, columns = self.path.read_bytes(), "idx, term, configuration, seed, save, checksum"
        self.save(compaction(3))
        with closing(sqlite3.connect(self.path)) as connection:
            start = connection.execute(f"SELECT {columns} FROM log_start").fetchone()
        kept = self.path.read_bytes()
        self.execute("DELETE FROM log WHERE idx = 4")
        self.assertRefused(CorruptLog, "missing between 3 and 5")
        self.path.write_bytes(kept)
        self.execute("UPDATE log SET checksum = 1 WHERE idx = 4")
        self.assertRefused(CorruptLog, "entry 4 does not match its checksum")
        self.path.write_bytes(old)
        self.execute(f"UPDATE log_start SET ({columns}) = (?, ?, ?, ?, ?, ?)", *start)
        self.assertRefused(CorruptLog, "it has entry 1, and its log begins after entry 3")

    def test_terms_go_back(self) -> None:
        """Each entry is as it was written, and they do not belong together."""
        self.save(save_of(entry(6, term=2), entry(7, term=1)))
        self.assertRefused(CorruptLog, "entry 7 is of term 1, entry 6 of term 2")

    def test_terms_go_back_behind_a_snapshot(self) -> None:
        """The first entry too has one to follow."""
        self.save(install(snapshot(9, term=3), entry(10, term=2)))
        self.assertRefused(CorruptLog, "entry 10 is of term 2, entry 9 of term 3")

    def test_membership(self) -> None:
        """An entry that is to be a membership and is none, whatever its checksum says."""
        for data in (b"", b"data", b"[]", b'{"voters": [0]}', b'{"voters":[0],"learners":[0]}'):
            self.setUp()
            self.save(save_of(Entry(6, 2, EntryKind.CONFIGURATION, data), *entries(7, 9, term=2)))
            self.assertRefused(CorruptLog, "entry 6 is to change the membership, and says none")

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

    def test_only_what_was_durable_is_left(self) -> None:
        """The file is gone, while saves are known to have been in it: not a new directory."""
        self.path.unlink()
        self.assertRefused(CorruptLog, "missing")

    def test_only_the_data_is_left(self) -> None:
        """All that the log had is gone, while the state machine's data are there, which are made later: not a new
        directory, and it may have acknowledged what nobody else has (hazard R23)."""
        for name in ("kv.sqlite", "kv.sqlite-wal", "snapshots"):
            self.setUp()
            for path in self.directory.glob("raft.sqlite*"):
                path.unlink()
            (self.directory / name).touch()
            self.assertRefused(CorruptLog, "missing")

    def test_foreign_journal(self) -> None:
        """SQLite would roll it back into the file, or say that it cannot."""
        self.path.with_name("raft.sqlite-journal").write_text("junk")
        self.assertRefused(StorageError, "raft.sqlite-journal is no file of txraft's", "; move it elsewhere")

    def test_cut_short(self) -> None:
        """Where the format was, there is something else."""
        self.execute("UPDATE identity SET format = 'two'")
        self.assertRefused(CorruptLog, "it does not say in which format it is")

    def test_tables(self) -> None:
        """A bit of a table's definition, which SQLite may still make sense of."""
        for old, new in (("INTEGER NOT NULL", "INTEGES NOT NULL"), ("data BLOB", "data TEXT")):
            with self.subTest(new=new):
                self.setUp()
                with closing(sqlite3.connect(self.path)) as connection, connection:
                    connection.execute("PRAGMA writable_schema = ON")
                    connection.execute("UPDATE sqlite_schema SET sql = replace(sql, ?, ?)", (old, new))
                self.assertRefused(CorruptLog, "its tables are not those that were made")

    def test_text_that_is_none(self) -> None:
        """A value that SQLite itself cannot read, with a line break in what it says of it: one line all the same."""
        self.execute("UPDATE identity SET cluster_id = CAST(? AS TEXT)", b"\xff\n\xfe")
        self.assertRefused(CorruptLog, "Could not decode")

    def test_no_identity(self) -> None:
        """Nobody's."""
        self.execute("DELETE FROM identity")
        self.assertRefused(CorruptLog, "does not say whose")

    def test_identity(self) -> None:
        """hazard S4: a bit of whose it is, above all of who votes."""
        for column, value in (("node_id", 1), ("cluster_id", "ourt"), ("founders", "0, 1, 3"), ("checksum", 0)):
            with self.subTest(column=column):
                self.setUp()
                self.execute(f"UPDATE identity SET {column} = ?", value)
                self.assertRefused(CorruptLog, "whose it is does not match its checksum")


class LostTests(SQLiteTestCase):
    """A start that finds less than was durable is refused (hazard S15)."""

    def setUp(self) -> None:
        super().setUp()
        self.before = self.path.read_bytes()
        storage = self.start()
        for save in (Save(TermAndVote(3, 1), ()), save_of(entry(6, term=3)), Save(TermAndVote(4, 0), ())):
            self.successResultOf(storage.save([save]))
        self.killed = self.copy()
        self.successResultOf(storage.close())

    def crash(self) -> Path:
        """Take the directory back to where the process was killed, with all that it saved in the -wal."""
        self.directory = Path(self.mktemp())
        self.killed.rename(self.directory)
        self.path = self.directory / "raft.sqlite"
        self.killed = self.copy()
        return self.directory / "raft.sqlite-wal"

    def evidence(self) -> list[bytes]:
        """What there is to find out what happened."""
        return [
            (self.directory / name).read_bytes() for name in ("raft.sqlite", "raft.sqlite-wal", "raft.sqlite-durable")
        ]

    def test_whole(self) -> None:
        """Nothing is lost."""
        self.crash()
        self.assertEqual(self.load(), Stored(TermAndVote(4, 0), (*entries(1, 5), entry(6, term=3)), BEGINNING))

    def test_damaged_log_of_writes(self) -> None:
        """hazard S15: a bit of the -wal, wherever it is, which SQLite takes for its end. What there is stays as it is,
        so that every later start is refused too, and somebody can look into it."""
        size = self.crash().stat().st_size
        for offset in range(0, size, 499):
            wal = self.crash()
            content = bytearray(wal.read_bytes())
            content[offset] ^= 16
            wal.write_bytes(content)
            before = self.evidence()
            self.assertRefused(CorruptLog, "lost: it ", REMEDY_FOR_LOST_DATA)
            self.assertEqual(self.evidence(), before)

    def test_no_log_of_writes(self) -> None:
        """hazard S15: the -wal is gone, or cut short by a whole save."""
        self.crash().unlink()
        self.assertRefused(CorruptLog, "its last entries are lost: it ends with save 1, and save 3 was durable")
        wal = self.crash()
        wal.write_bytes(wal.read_bytes()[:-4096])
        self.assertRefused(CorruptLog, "its last vote is lost: it is of save 2, and save 4 was durable")

    def test_older_file(self) -> None:
        """hazard S15: after a clean end too."""
        self.path.write_bytes(self.before)
        self.assertRefused(CorruptLog, "lost: it ends with save 1, and save 3 was durable")

    def test_older_start(self) -> None:
        """hazard S15: the last save was a compaction, or a snapshot that was installed and answered for."""
        for save in (compaction(3), compaction(5), compaction(6, term=3), install(snapshot(20, term=4))):
            with self.subTest(start=save.log_start):
                self.crash()
                before = self.path.read_bytes(), (self.directory / "raft.sqlite-wal").read_bytes()
                self.save(save)
                self.path.write_bytes(before[0])
                self.path.with_name("raft.sqlite-wal").write_bytes(before[1])
                self.assertRefused(CorruptLog, "lost: it ends with save 3, and save 5 was durable")

    def test_older_vote(self) -> None:
        """hazard S15: the vote alone is an old one, whole in itself, as where pages of two times are mixed."""
        checksum = checksum_of_vote(3, 1, 2)
        self.execute("UPDATE term_and_vote SET (current_term, voted_for, save, checksum) = (3, 1, 2, ?)", checksum)
        self.assertRefused(CorruptLog, "its last vote is lost: it is of save 2, and save 4 was durable")

    def test_older_entry(self) -> None:
        """An entry in the middle is an old one, whole in itself, as where pages of two times are mixed."""
        with closing(sqlite3.connect(self.path)) as connection:
            old = connection.execute("SELECT * FROM log WHERE idx = 5").fetchone()
        self.save(save_of(*entries(5, 7, term=4)))
        self.execute("UPDATE log SET (term, kind, data, save, checksum) = (?, ?, ?, ?, ?) WHERE idx = 5", *old[1:])
        self.assertRefused(CorruptLog, "entry 6 does not match its checksum")

    def test_record(self) -> None:
        """What says what was durable is missing, or damaged in both of its places."""
        record = self.directory / "raft.sqlite-durable"
        record.write_bytes(bytes(record.stat().st_size))
        self.assertRefused(CorruptLog, "raft.sqlite-durable, which says what it has to hold, is missing or damaged")
        record.unlink()
        self.assertRefused(CorruptLog, "raft.sqlite-durable, which says what it has to hold, is missing or damaged")

    def test_record_is_behind(self) -> None:
        """hazard S3: a power cut may take the record back, and then it asks for less; the saves count on from the
        file's own numbers."""
        record = self.directory / "raft.sqlite-durable"
        DurableRecord(record).create()
        self.save(save_of(entry(7, term=4)))
        numbers = DurableRecord(record).read()
        self.assertEqual(numbers, SaveNumbers(vote=4, log=5))
