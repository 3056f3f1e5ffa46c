"""The format on disk: files that an earlier txraft wrote, byte for byte, must load.

Where one of these fails, data that is on disks already would be refused, or misread: raise FORMAT with every change.
Files in format 4 are read, and made ones of the present format at the first start. A file in another format is refused
in one line.
"""

import sqlite3
import zlib
from base64 import b64decode
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import FOUNDERS, after, snapshot
from tests.storage.disk import BOOTSTRAP, FailingConnection, connect_to_failing, storage_in
from tests.storage.steps import is_killed
from tests.storage.worker import InlineWorker
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save, TermAndVote
from txraft.errors import CorruptLog, StorageError
from txraft.interfaces import Incarnation, Stored
from txraft.storage.durable import DurableRecord, SaveNumbers
from txraft.storage.forgetting import forget
from txraft.storage.inspection import inspect_log
from txraft.storage.raft_rows import FORMAT, TABLES
from txraft.storage.snapshot_files import SnapshotFiles
from txraft.storage.sqlite import SQLiteStorage

FILES_OF_FORMAT_5 = {
    "raft.sqlite": (
        "eNrt3EFvE0cUB/AZex3bgTiggCyBI0ZbVRi6Asc5IBmBSCKrRZgAxojSNHI2u4OzYO+i2V2LgDgkAaTeuPEBeqiE1A/Qz9Br1VtV9dBze0BV"
        "j327dgJOTKLCAQH/X9aO983M7rzZuTzJ8vVrNSeQ4ranOmYgptkBlkiwC0IwxhL0GmGvpOilvXbO2d4S7JTFx6LB+35m4wdzS2NP939HHwEA"
        "AAAA4N2snU2l8xMTfH0xMJfbsu216BiZq1dnGlXRmJmtVQUFRHFUEMe+Ly7ON6pfVuviav3i5Zn6LXGpessQgVSdrZb5Kw0xf6NWM8Rdx7WH"
        "hG0zMMVs7crsazHf7MqdXeO7WivSuuuHO28wemLtgZbOHzvGN+Y2Z9/0A1MFWx9S2zPphbfyGZaOmPuqOndJFKn1nCidMAbSfjXjN+Rsee5t"
        "pxUqM3A8VzSqXze2peNLOWxRhi/ArsnfTKbzx4/z9U6cfDSfpunaza4XDJ5oA4sw0PT/FsIKlZJu0HxD6tEF7SZVhZttb/1YTyXS+Xyer5+N"
        "M7snpfLjt+RAJnFo1wxorzlKWoGnVndsuGgf+MMeRLxBBnvvOeE2T+cnJ/nGF/GEHZtWyQlWN/8nBqa9Ge3PvF9F75yI69my6QzbK1Y79OkZ"
        "RI2DG4wuFrp2tCpDNt5eS7Etuku6UW3Ox39ldAAAAAAAAADAB6XIMzxz+GihoKW8UPklQ0wZovy8M1H49t/i963PL/9e+Oaf+sqh9Ite/f8H"
        "owMAAAAAAAAAPlSTfIQVeCHV+8qAWk33vhTheoy9PP2k0Kv//2Z0AAAAAAAAAMBHIsdGGGc8pWmM/Tk6+axX/xcZHQAAAAAAAACfvLUbLMt4"
        "diOb4qnEQz36fQTl65WFKaNsTC8auhcGLc9xWxQqGRSkUFuayu33KtG5GQZek4JdqVcCFUpDv0MjemOoB42JOtm2kr4vo1F0pQXdrEzpFK6U"
        "dWqm2y3oy3FkuR8pU8SKI1Y/Mk0RO47YcYSuqmTH60qbrnlm8RFjf/3yQ4bq/8fNn9TY+GcskVtiuW5uKfrDkwYAAAAAAIC3cUhLU9l8hGua"
        "6XrBilTJ8o8vymsnkxnG+fosxYdV09tL5/dQKJcMKpWTlWv56Cfvf2NZvpHJfhyVP+Uzls3sz2o1cb77H3kCEe4="
    ),
    "raft.sqlite-durable": "eNrtxTENwCAQAMAPoIixE0NdVAEGkYOWJhBMkLvlIpa0i/y9tQcAAABwo3Iez2w/CjgDVg==",
}
"""Of node 0 of the cluster "ours", with the founders 0, 1, 2: zlib, base64."""

FILES_OF_FORMAT_4 = {
    "raft.sqlite": (
        "eNrt201PE0EYB/CZ7fTV1mKINJE2nYNJIakIciQYoW6QUEFqjXKQZtldYKXsmt1tI0fqS/gGnky8ePETGBJvfgIPHvDEB/BCPOnF2ZYCfYFGTm"
        "L+v8725Znd9HmezmWS7cPFvOHqfNWyNxWXj5M+IknkDueEEEkcAXLMLw524jMlvUlkRKUx7+JL70m8//JKbCe6LN4CAAAAAEAX2xP+YKK/n9ae"
        "uspKWS9ba2IEcgV5qijz4tR0XuYiwIciXDC0F3x2vijPyAX+oDB7f6qwxOfkpSx3dXvzaGZ+ocjnH+XzWb5hmFqXsKa4Cp/OL0yfiDlKVe88tf"
        "6t6rqubjiVzi+IDNcyLJhIp+mrVDP7kuMqtnv0xt9eSSN8VE+3cnjunpyb40NidpKPDmdbyj7O+JSaq5aYcHhRflJsq8OquGuWYa61zfGyrthm"
        "5zXc0fVu3Ttfp7Yf+4KJTIbWNuud8pIvKaZW8tJt+cBaOtYy9XddUyu2rZtu6Yw+aSWxL2zOnbuyESmYSCRobaJe2XNdtLL+5GuppB46swKxMA"
        "1bV13L3upYnd6icbr9GPXV1Hp2z4Sf0WAilaIvM/WEDU10yXC3mq9SS9rN6GHmh/vozkRMS9NLRrf1opYrjvgNvMm2BXb6Uu3ViLboGcV6e3Ma"
        "/0bEAAAAAAAAAIALZYiGaOjqYDLJmFWxndEsH8vyWzN3l8MHqrz4dmAm8m7vQMm9+aU19v/7RAwAAAAAAAAAuKhSNECSNOlv3DJgbwUbt0SYFi"
        "E/b75ONvb/B0QMAAAAAAAAAPhvREmAUEIZk6LGpw+N/f8eEQMAAAAAAAAALpzrJEJoeHDwCqNM8m7/z/Lxwz8CjI3e+Lj3nU3upH/H4vtEiu+S"
        "+Nf4rvdA3wAAAAAAAAD+JQMsKPb316ifKablruu2j5AfX/o+x3wiHopSxnwZf7UmzkyHwwNhtmrYjuvt+0UkFg5FwyzPb1f/AATBiZo="
    ),
    "raft.sqlite-durable": "eNpjYAADJgjFwBztYpTJMApGwSgYBaNgFIyCUTAKRsEoGAWjYBSMguEIYP1/lqMKy08BAAooA5w=",
}
"""Of the same node."""

FILES_OF_FORMAT_4_AT_ENTRY_1 = {
    "raft.sqlite": (
        "eNrt2c9P02AYB/C3pWPd2NgiMY0RwnvbSBYCckSJ21KVMDedMwpGlrK+YmVrte0WOTI9+Adw4GLixbN/gMY/w7v/gb/i2bcdG3QbLHKDfD9pu/"
        "Z52/R5nr6XN3twv2C4jD6z7Ibm0iWSJKJIblJKCBH5Pk6OhPguHbsWyGgima8Jce/hiQ8kMTW5FX8X2+SnAAAAAAAwxN5yKKxMTQntp662VWd1"
        "a5tv4/mymq2otJLNFVTKAzQdpZyhv6arxYp6Wy3Te+XVu9nyOl1T1zPUZXajN1IsVWjxYaGQoTuGqQ8J65qr0VyhlDsWc7QWG7zVf2vtOavtOM"
        "3BF0Tn2ikprMzOCm9nutlXHVez3d5JqL+STrhXz7ByaP6Oml+jaT56gy7MZQJlH2V8Qs0tiw84tKI+rvTVYTXdbcswt/vGaJ1ptjn4DHUYG9a9"
        "s3Vq79FYWEmlhHbD75SXfFUz9aqXbuBCCnQsMPR/Xas1bZuZbvWUPulVvi7sjp25snkxrCiK0F72K3vJeCv9w1igEj90agV8Yho2q7mWvTswO7"
        "1J4wz7GP5sCt49MuEXQliZmRHepPyEDZ13yXB3u79iIO1u9DDzw3X0YCKmpbOqMWy+1OpNh38Db7Bvgp08VUc1oi96SrHe2lxIfCN8AwAAAAAA"
        "AIBzJS3Ignz56vS0JFlN21nI0MUMvbZU3rylbRyUkgefsl/2f1559fH9orf+J0l0DAAAAAAAAOAi6/z//4vwDQAAAAAAAAAujBgZJxE5EiLk7/"
        "X85876/wfhGwAAAAAAAABcEJMkSmQ5Ho/LsvRkrfHVW/+Lie8k8ZsfAAAAAAAAAOB8SophEolcioQskxHyZ25/ZULgETkWkQp0pfUPothvSA=="
    ),
    "raft.sqlite-durable": "eNrtxUENwCAABLBD397owAIC5ggBmEEECUEFaT9NjpL7P1sPAAAA8LQ1vroBXvEEjA==",
}
"""Of the same node, whose log was never compacted."""

SNAPSHOT_OF_FORMAT_4 = (
    b'496433b8 {"index": 5, "term": 1, "voters": "1, 2, 3", "outgoing": "0, 1, 2", "learners": "10", "size": 4,'
    b' "sha256": "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"}\n'
    b"data"
)


class FormatTestCase(SynchronousTestCase):
    files: Mapping[str, str]
    stored: Stored

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        for name, content in self.files.items():
            (self.directory / name).write_bytes(zlib.decompress(b64decode(content)))

    def load(self) -> Stored:
        storage = storage_in(self.directory)
        stored = storage.load()
        storage.unlock()
        return stored

    def start(self) -> None:
        """A node starts, and others may hear of it."""
        storage = storage_in(self.directory)
        storage.load()
        storage.count_start()
        storage.unlock()

    def format(self) -> int:
        """That the file says."""
        with closing(sqlite3.connect(self.directory / "raft.sqlite")) as connection:
            ((format,),) = connection.execute("SELECT format FROM identity")
            return int(format)

    def goes_on(self) -> None:
        """What is saved now follows on what was saved then."""
        storage = storage_in(self.directory)
        stored = storage.load()
        storage.count_start()
        index, term = stored.last_index + 1, stored.term_and_vote.current_term + 1
        save = Save(TermAndVote(term, 1), (Entry(index, term, EntryKind.COMMAND, b"new"),))
        compaction = Save(None, (), Snapshot(index, term, Configuration({1, 2, 3})))
        for each in (save, compaction):
            self.successResultOf(storage.save([each]))
            stored = after(stored, each)
        self.successResultOf(storage.close())
        self.assertEqual(self.load(), stored)


class GoldenTests(FormatTestCase):
    """A directory after its first start and four saves: the third replaced two entries, the last deleted two. Node 1
    was met."""

    files = FILES_OF_FORMAT_5
    start_of_log = Configuration(
        {1, 2, 3},
        outgoing={0, 1, 2},
        learners={10},
        auto_leave=True,
        joining={10: 2},
        addresses={**dict(FOUNDERS.addresses), 3: ("d:1", "d:2")},
        removed={7},
    )
    in_force = evolve(start_of_log, outgoing=(), auto_leave=False, removed={0, 7})
    stored = Stored(
        TermAndVote(4, None),
        (
            Entry(3, 4, EntryKind.CONFIGURATION, in_force.to_bytes()),
            Entry(4, 4, EntryKind.COMMAND, b"another"),
        ),
        Snapshot(2, 1, start_of_log),
    )

    def test_loads(self) -> None:
        """It holds what was saved."""
        self.assertEqual(FORMAT, 5)
        self.assertEqual(DurableRecord(self.directory / "raft.sqlite-durable").read(), SaveNumbers(vote=4, log=4))
        storage = storage_in(self.directory)
        self.assertEqual(storage.load(), self.stored)
        self.assertEqual(self.stored.configuration, self.in_force)
        bits = bytes.fromhex("976d131c5cf828a3"), bytes.fromhex("67254ddf1c5af652")
        self.assertEqual((storage.own.directory, storage.drawn_at(1), storage.own.starts), (*bits, 1))
        self.assertEqual(storage.known(1), Incarnation(b"directry", 7, b"start no"))

    def test_goes_on(self) -> None:
        """What is saved now follows on what was saved then."""
        self.goes_on()


class EarlierTests(FormatTestCase):
    """One in format 4, in the middle of a change of its membership."""

    files = FILES_OF_FORMAT_4
    log = (Entry(3, 4, EntryKind.NOOP, b""), Entry(4, 4, EntryKind.COMMAND, b"another"))
    members = Configuration({1, 2, 3}, {0, 1, 2}, {10}, addresses=FOUNDERS.addresses)
    stored = Stored(TermAndVote(4, None), log, Snapshot(2, 1, members))

    def test_loads(self) -> None:
        """It holds what was saved; the members that the configuration file knows have the addresses that it gives. A
        start that is refused for what else there is, or that looks only, leaves it as it is."""
        path = self.directory / "raft.sqlite"
        before = path.read_bytes()
        storage = storage_in(self.directory)
        self.assertEqual(storage.load(), self.stored)
        self.assertEqual(storage.identity, BOOTSTRAP.identity)
        bits = bytes.fromhex("47445e09f2634551"), bytes.fromhex("9716470a9ddaf261")
        self.assertEqual((storage.own.directory, storage.drawn_at(1), storage.own.starts), (*bits, 1))
        self.assertEqual(storage.known(1), Incarnation(b"directry", 7, b"start no"))
        storage.unlock()
        found = inspect_log(self.directory)
        self.assertEqual(found.stored.log_start, snapshot(2))  # without addresses, which the file does not have
        self.assertEqual(path.read_bytes(), before)

    def test_start(self) -> None:
        """The first start makes it one of the present format, as it was but for the start that counts. From then on, an
        edited configuration file changes no address."""
        self.start()
        self.assertEqual(self.format(), FORMAT)
        with closing(sqlite3.connect(self.directory / "raft.sqlite")) as connection:
            self.assertEqual(dict(connection.execute("SELECT name, sql FROM sqlite_schema")), TABLES)
        edited = Configuration({1, 2, 3, 10}, addresses={1: ("x:1", "x:2"), 10: ("y:1", "y:2")})
        storage = storage_in(self.directory, evolve(BOOTSTRAP, configuration=edited))
        self.assertEqual(storage.load(), self.stored)
        self.assertEqual((storage.own.starts, storage.known(1)), (2, Incarnation(b"directry", 7, b"start no")))
        self.assertEqual(storage.identity, BOOTSTRAP.identity)
        self.assertEqual(storage.drawn_at(1), bytes.fromhex("9716470a9ddaf261"))
        storage.unlock()

    def test_goes_on(self) -> None:
        """What is saved now follows on what was saved then."""
        self.goes_on()

    def test_killed(self) -> None:
        """A start that is killed at any step leaves the one format or the other, whole (hazard S3)."""
        formats: list[int] = []
        while is_killed(self, len(formats), self.start):
            self.assertEqual(self.load(), self.stored)
            formats.append(self.format())
            self.setUp()
        self.assertEqual(formats, sorted(formats))

    def test_failure(self) -> None:
        """A start that cannot write it is none, and changes nothing."""

        for statement in ("BEGIN", "DROP TABLE", "CREATE TABLE", "INSERT INTO identity", "INSERT OR", "COMMIT"):
            storage = SQLiteStorage(self.directory, BOOTSTRAP, InlineWorker(), connect_to_failing)
            storage.load()
            self.patch(FailingConnection, "fails_at", statement)
            self.assertIn("disk I/O error", str(self.assertRaises(StorageError, storage.count_start)))
            storage.unlock()
            self.assertEqual((self.load(), self.format()), (self.stored, 4))

    def test_lost(self) -> None:
        """What was durable is still asked for: the numbers of the saves stay (hazard S15)."""
        self.start()
        DurableRecord(self.directory / "raft.sqlite-durable")
        with closing(sqlite3.connect(self.directory / "raft.sqlite", isolation_level=None)) as connection:
            ((save,),) = connection.execute("SELECT save FROM log_start")
        self.assertEqual(save, 4)

    def test_damage(self) -> None:
        """A bit of the membership is found in this format too (hazard S4)."""
        with closing(sqlite3.connect(self.directory / "raft.sqlite", isolation_level=None)) as connection:
            connection.execute("UPDATE log_start SET learners = '11'")
        line = str(self.assertRaises(CorruptLog, storage_in(self.directory).load))
        self.assertIn("where the log begins does not match its checksum", line)

    def test_forget(self) -> None:
        """`txraft forget` works on it, and leaves its format as it is."""
        self.assertEqual(forget(self.directory, 1), (0, True))
        self.assertEqual((self.load(), self.format()), (self.stored, 4))

    def test_snapshot(self) -> None:
        """A snapshot that was received, and not restored yet when the node stopped, is read too."""
        (self.directory / "snapshots").mkdir()
        (self.directory / "snapshots" / "received-5-1").write_bytes(SNAPSHOT_OF_FORMAT_4)
        files = SnapshotFiles(self.directory, InlineWorker())
        self.assertEqual(files.open(), (snapshot(5),))
        self.assertEqual(b"".join(files.chunks(snapshot(5))), b"data")


class EarlierAtEntry1Tests(FormatTestCase):
    """One in format 4 whose log was never compacted: its members are those that its identity names."""

    files = FILES_OF_FORMAT_4_AT_ENTRY_1
    log = (Entry(1, 1, EntryKind.NOOP, b""), Entry(2, 1, EntryKind.COMMAND, b"one"))
    stored = Stored(TermAndVote(1, 0), log, Snapshot(0, 0, FOUNDERS))

    def test_loads(self) -> None:
        """Whatever the configuration file says, which gives addresses alone (hazard E14)."""
        edited = Configuration({0, 1, 2, 3, 4}, addresses={id: (f"x:{id}",) for id in (1, 3)})
        storage = storage_in(self.directory, evolve(BOOTSTRAP, configuration=edited))
        self.assertEqual(storage.load().configuration, Configuration({0, 1, 2}, addresses={1: ("x:1",)}))
        storage.unlock()

    def test_goes_on(self) -> None:
        """The first start writes them, and what is saved now follows on what was saved then."""
        self.start()
        self.assertEqual((self.load(), self.format()), (self.stored, FORMAT))
        self.goes_on()
