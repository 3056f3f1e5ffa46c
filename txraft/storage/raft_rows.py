"""The tables of `raft.sqlite` and what goes into their rows, each with its checksum.

A row says which save it is from, so the last entry and the vote say which saves the file holds (`durable`).

The checksums of entries are a chain: each is seeded with the one of the entry before it, as in etcd's write-ahead log.
So the last one stands for the whole log, and pages of different times do not make up a log that never was. A suffix
that replaces another goes on from the entry before it. The first entry's seed is kept with the start of the log: 0 at
first, the checksum of the last entry that was deleted when it is compacted, and 0 again when a snapshot is installed.
"""

import struct
from collections.abc import Iterable
from functools import cache
from typing import TypeAlias
from zlib import crc32

from txraft.core.configuration import Snapshot
from txraft.core.messages import Entry, NodeId
from txraft.core.ready import TermAndVote
from txraft.interfaces import Identity, Incarnation
from txraft.storage.identity import History, checksum_of_peer
from txraft.storage.identity import columns_of as columns_of_identity
from txraft.storage.snapshot_columns import columns_of

FORMAT = 5

ROWS_PER_STATEMENT = 500
"""Six parameters a row; SQLite takes 32,766 (999 before 3.32 of 2020)."""

TABLES = {
    "identity": """CREATE TABLE identity (
    format INTEGER NOT NULL, node_id INTEGER NOT NULL, cluster_id TEXT NOT NULL, founders TEXT NOT NULL,
    directory BLOB NOT NULL, starts BLOB NOT NULL, checksum INTEGER NOT NULL
)""",
    "peers": """CREATE TABLE peers (
    id INTEGER PRIMARY KEY, directory BLOB NOT NULL, starts INTEGER NOT NULL, start BLOB NOT NULL,
    checksum INTEGER NOT NULL
)""",
    "term_and_vote": """CREATE TABLE term_and_vote (
    id INTEGER PRIMARY KEY CHECK (id = 0), current_term INTEGER NOT NULL, voted_for INTEGER, save INTEGER NOT NULL,
    checksum INTEGER NOT NULL
)""",
    "log_start": """CREATE TABLE log_start (
    id INTEGER PRIMARY KEY CHECK (id = 0), idx INTEGER NOT NULL, term INTEGER NOT NULL, configuration TEXT NOT NULL,
    seed INTEGER NOT NULL, save INTEGER NOT NULL, checksum INTEGER NOT NULL
)""",
    "log": """CREATE TABLE log (
    idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, kind INTEGER NOT NULL, data BLOB NOT NULL, save INTEGER NOT NULL,
    checksum INTEGER NOT NULL
)""",
}
"""The statements as SQLite keeps them, which are compared at each start."""

Statement: TypeAlias = tuple[str, tuple[object, ...]]

_ENTRY = struct.Struct(">qqqq")
_VOTE = struct.Struct(">q?qq")
_START = struct.Struct(">qqqq")


def checksum_of_entry(before: int, index: int, term: int, kind: int, data: bytes, save: int) -> int:
    """CRC-32, seeded with the checksum of the entry before, of the four numbers, eight bytes each, and the data."""
    return crc32(data, crc32(_ENTRY.pack(index, term, kind, save), before))


def checksums_of_entries(
    befores: Iterable[int],
    indexes: Iterable[int],
    terms: Iterable[int],
    kinds: Iterable[int],
    data: Iterable[bytes],
    saves: Iterable[int],
) -> tuple[int, ...]:
    """`checksum_of_entry` of each of them, in half the time."""
    return tuple(map(crc32, data, map(crc32, map(_ENTRY.pack, indexes, terms, kinds, saves), befores)))


def checksum_of_vote(current_term: int, voted_for: int | None, save: int) -> int:
    """CRC-32 of the numbers, and of whether there is a vote at all."""
    return crc32(_VOTE.pack(current_term, voted_for is not None, voted_for or 0, save))


def checksum_of_start(index: int, term: int, configuration: str, seed: int, save: int) -> int:
    """CRC-32 of the numbers, and of the membership."""
    return crc32(configuration.encode(), crc32(_START.pack(index, term, seed, save)))


def insert_identity(identity: Identity, history: History) -> Statement:
    """Say whose the file is."""
    return "INSERT INTO identity VALUES (?, ?, ?, ?, ?, ?, ?)", (FORMAT, *columns_of_identity(identity, history))


def refound(identity: Identity, history: History) -> list[Statement]:
    """Say that the file is of another cluster, in a directory that nobody has met, and that has met nobody."""
    return [("DELETE FROM identity", ()), insert_identity(identity, history), ("DELETE FROM peers", ())]


def make_again(identity: Identity, history: History, start: Snapshot, seed: int, save: int) -> list[Statement]:
    """The two tables that an earlier format has otherwise, and what is in them."""
    dropped: list[Statement] = [(f"DROP TABLE {name}", ()) for name in ("identity", "log_start")]
    made: list[Statement] = [(TABLES[name], ()) for name in ("identity", "log_start")]
    return [*dropped, *made, insert_identity(identity, history), write_start(start, seed, save)]


def write_start_of_node(identity: Identity, history: History) -> Statement:
    """A node starts. The rest of its identity stays as it is."""
    *_, starts, checksum = columns_of_identity(identity, history)
    return "UPDATE identity SET starts = ?, checksum = ?", (starts, checksum)


def write_peer(peer: NodeId, incarnation: Incarnation) -> Statement:
    """Take the place of what is known of a peer."""
    columns = (peer, incarnation.directory, incarnation.starts, incarnation.start)
    return "INSERT OR REPLACE INTO peers VALUES (?, ?, ?, ?, ?)", (*columns, checksum_of_peer(peer, incarnation))


def delete_peer(peer: NodeId) -> Statement:
    """Know nothing of a peer any more."""
    return "DELETE FROM peers WHERE id = ?", (peer,)


def write_vote(value: TermAndVote, save: int) -> Statement:
    """Take the place of the term and vote that are there."""
    columns = (value.current_term, value.voted_for, save)
    return "INSERT OR REPLACE INTO term_and_vote VALUES (0, ?, ?, ?, ?)", (*columns, checksum_of_vote(*columns))


def write_start(start: Snapshot, seed: int, save: int) -> Statement:
    """Take the place of what the log begins after. `seed` is the first entry's."""
    columns = (*columns_of(start), seed, save)
    return "INSERT OR REPLACE INTO log_start VALUES (0, ?, ?, ?, ?, ?, ?)", (*columns, checksum_of_start(*columns))


def insert_entries(entries: tuple[Entry, ...], before: int, save: int) -> tuple[list[Statement], int]:
    """Append to the entry whose checksum is `before`. Gives the checksum of the last one too."""
    statements = []
    for start in range(0, len(entries), ROWS_PER_STATEMENT):
        columns: list[object] = []
        chunk = entries[start : start + ROWS_PER_STATEMENT]
        for entry in chunk:
            kind = int(entry.kind)
            before = checksum_of_entry(before, entry.index, entry.term, kind, entry.data, save)
            columns += (entry.index, entry.term, kind, entry.data, save, before)
        statements.append((_insert_of(len(chunk)), tuple(columns)))
    return statements, before


@cache
def _insert_of(rows: int) -> str:
    return f"INSERT INTO log VALUES {','.join(['(?,?,?,?,?,?)'] * rows)}"
