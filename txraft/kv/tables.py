"""The tables of the data file, and the checksums of their rows.

`data` has the record of each key. `answers` has what came of requests with an Idempotency-Key. Both stand on their own:
a table with older revisions needs no change to them. The one row of `applied` says up to which entry of the log all of
that goes, and which revision the store has.

A record is one blob (`txraft.kv.records`), because the start reads all of them, and a million rows of three columns
more take it a second longer. To look at it:

    sqlite3 kv.sqlite 'SELECT key, record, hex(substr(record, -24)) FROM data'

There is no view that would do so: quick_check of SQLite 3.40 looks for lost pages no more where there is one.
"""

import struct
from collections.abc import Sequence
from zlib import crc32

FORMAT = 4
"""The `user_version` of the file; 0 is a new file."""


SCHEMA = [
    (
        "data",
        "CREATE TABLE data (key BLOB PRIMARY KEY, checksum INTEGER NOT NULL, record BLOB NOT NULL) WITHOUT ROWID",
    ),
    (
        "answers",
        "CREATE TABLE answers (number INTEGER PRIMARY KEY, key BLOB NOT NULL, checksum INTEGER NOT NULL,"
        " answer BLOB NOT NULL)",
    ),
    (
        "applied",
        "CREATE TABLE applied (id INTEGER PRIMARY KEY CHECK (id = 0), cluster_id TEXT NOT NULL,"
        " last_applied INTEGER NOT NULL, revision INTEGER NOT NULL, row_count INTEGER NOT NULL,"
        " row_checksums INTEGER NOT NULL, checksum INTEGER NOT NULL)",
    ),
]
"""Name and text of each table, as SQLite keeps them."""

_APPLIED = struct.Struct(">qqqq")
_ANSWER = struct.Struct(">qq")


def checksum_of(key: bytes, record: bytes) -> int:
    """CRC-32 of a row of `data`. It begins with the key's length, so that a byte cannot move from the key to the
    record."""
    return crc32(record, crc32(key, len(key)))


def checksums_of(keys: Sequence[bytes], records: Sequence[bytes]) -> tuple[int, ...]:
    """`checksum_of` of each of them, in half the time."""
    return tuple(map(crc32, records, map(crc32, keys, map(len, keys))))


def checksum_of_answer(number: int, key: bytes, answer: bytes) -> int:
    """CRC-32 of a row of `answers`."""
    return crc32(answer, crc32(key, crc32(_ANSWER.pack(number, len(key)))))


def checksum_of_applied(cluster_id: str, columns: tuple[int, int, int, int]) -> int:
    """CRC-32 of the row of `applied`: of its texts and numbers, in their order, but for `id` and `checksum`."""
    return crc32(cluster_id.encode(), crc32(_APPLIED.pack(*columns)))


def applied_row(cluster_id: str, columns: tuple[int, int, int, int]) -> tuple[int, str, int, int, int, int, int]:
    """The row of `applied`, with its checksum. `columns` are the index, the revision, and how many rows there are and
    what their checksums add up to."""
    return 0, cluster_id, *columns, checksum_of_applied(cluster_id, columns)
