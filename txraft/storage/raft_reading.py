"""Reads `raft.sqlite`, and believes nothing in it that it has not checked.

A flipped bit may have changed anything: a value, its type, a table's definition, where a page belongs. Whatever is not
as it was written is `Damage`, and no entry after the place is used.
"""

import sqlite3
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import le
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attrs import frozen

from txraft import wal
from txraft.core.configuration import Addresses, Configuration, Snapshot
from txraft.core.messages import Entry, EntryKind, NodeId
from txraft.core.ready import TermAndVote
from txraft.errors import REMEDY_FOR_LOST_DATA, CorruptLog
from txraft.file_names import DATA
from txraft.interfaces import Identity, Incarnation, Stored
from txraft.storage import format_4
from txraft.storage.durable import DurableRecord, SaveNumbers
from txraft.storage.identity import History, checksum_of_peer, identity_of
from txraft.storage.raft_rows import FORMAT, TABLES, checksum_of_start, checksum_of_vote, checksums_of_entries
from txraft.storage.snapshot_columns import snapshot_of

ROWS_AT_ONCE = 128
"""So many are read and checked together, in half the time that each takes by itself; more do not stay in the
processor's cache."""

_KINDS = {int(kind): kind for kind in EntryKind}
_TABLES = {FORMAT: TABLES, format_4.FORMAT: format_4.TABLES}


class Damage(Exception):
    """What is wrong with the file; `corrupt` makes an error of it."""


class OtherFormat(Exception):
    """The file is in a format that this txraft cannot read, which is the argument."""

    def __str__(self) -> str:
        return f"{self.args[0]}, this txraft reads formats {format_4.FORMAT} and {FORMAT}"


@frozen
class Owner:
    """Whose a file is, and in which format it says so."""

    identity: Identity
    history: History
    format: int

    @property
    def is_old(self) -> bool:
        return self.format != FORMAT


@frozen
class Contents:
    """What the file holds."""

    owner: Owner
    stored: Stored
    start_save: int
    """The number of the save that says where the log begins."""
    seed: int
    """What the first entry's checksum is seeded with."""
    checksum: int
    """The last entry's; the seed where there is none."""
    saves: SaveNumbers
    peers: Mapping[NodeId, Incarnation]
    """Which directories the other nodes have, as far as they were met."""


def corrupt(path: Path, error: Exception) -> CorruptLog:
    """The line for a file with which something is wrong."""
    return CorruptLog(f"{path} is damaged: {wal.printable(str(error))}; see to the disk, and {REMEDY_FOR_LOST_DATA}")


def is_new(path: Path, durable: DurableRecord) -> bool:
    """Whether no node has been started on the directory of `path`: neither it is there, nor a file that is made later.

    Raises OSError."""
    beside = (path, Path(f"{path}-wal"), *path.parent.glob(f"{DATA}*"), path.parent / "snapshots")
    return not any(each.exists() for each in beside) and (durable.read() or SaveNumbers()).last == 0


def require_there(path: Path) -> None:
    """Raises Damage where the file of a directory that is not new is missing, or empty. Raises OSError."""
    if not path.exists():
        raise Damage("it is missing, while the files beside it are there")
    if wal.is_empty(path):
        raise Damage("it is empty")


def read_owner(connection: sqlite3.Connection) -> Owner:
    """Whose the file is. Raises Damage, OtherFormat, or what SQLite raises."""
    row = connection.execute("SELECT format FROM identity").fetchone()
    if row is None:
        raise Damage("it does not say whose it is")
    if not isinstance(row[0], int):
        raise Damage("it does not say in which format it is")
    (format,) = row
    if format not in _TABLES:
        raise OtherFormat(format)
    if dict(connection.execute("SELECT name, sql FROM sqlite_schema")) != _TABLES[format]:
        raise Damage("its tables are not those that were made")
    _, *columns = connection.execute("SELECT * FROM identity").fetchone()
    found = identity_of(*columns)
    if found is None:
        raise Damage("what it says of whose it is does not match its checksum")
    return Owner(*found, format)


def read_contents(
    connection: sqlite3.Connection, owner: Owner, addresses: Mapping[NodeId, Addresses] = MappingProxyType({})
) -> Contents:
    """All the rest. `addresses` are those of members whose file is too old to say them. Raises Damage, or what SQLite
    raises."""
    ((report,),) = connection.execute("PRAGMA quick_check(1)")
    if report != "ok":
        raise Damage(report.splitlines()[-1])
    term_and_vote, vote_save = _read_vote(connection)
    start, seed, start_save = _read_start(connection, owner.is_old)
    if owner.is_old:
        start = format_4.start_of(start, owner.identity, addresses)
    entries, checksum, last_save = _read_entries(connection, start, seed)
    saves = SaveNumbers(vote_save, log=max(start_save, last_save))
    stored = Stored(term_and_vote, tuple(entries), start)
    return Contents(owner, stored, start_save, seed, checksum, saves, read_peers(connection))


def read_memberships(connection: sqlite3.Connection, owner: Owner) -> Iterator[tuple[int, Configuration]]:
    """All that the log has, with the indexes of their entries, the one in force first, one after the other, since they
    may be many; the last is that of the log's start. Entries are not checked. Raises Damage, ValueError, or what SQLite
    raises."""
    start, _, _ = _read_start(connection, owner.is_old)
    if owner.is_old:
        yield start.index, format_4.start_of(start, owner.identity, {}).configuration
        return
    kind = int(EntryKind.CONFIGURATION)
    for index, data in connection.execute("SELECT idx, data FROM log WHERE kind = ? ORDER BY idx DESC", (kind,)):
        yield index, Configuration.from_bytes(data)
    yield start.index, start.configuration


def require_durable(found: SaveNumbers, durable: SaveNumbers | None) -> None:
    """Raises Damage where a file that holds the saves `found` has lost some that were `durable` (hazard S15)."""
    if durable is None:
        raise Damage("raft.sqlite-durable, which says what it has to hold, is missing or damaged itself")
    if found.log < durable.log:
        raise Damage(f"its last entries are lost: it ends with save {found.log}, and save {durable.log} was durable")
    if found.vote < durable.vote:
        raise Damage(f"its last vote is lost: it is of save {found.vote}, and save {durable.vote} was durable")


def _read_vote(connection: sqlite3.Connection) -> tuple[TermAndVote, int]:
    row = connection.execute("SELECT current_term, voted_for, save, checksum FROM term_and_vote").fetchone()
    if row is None:
        raise Damage("term and vote are missing")
    current_term, voted_for, save, checksum = row
    if not _matches(checksum, checksum_of_vote, current_term, voted_for, save):
        raise Damage("term and vote do not match their checksum")
    return TermAndVote(current_term, voted_for), save


def _read_start(connection: sqlite3.Connection, is_old: bool) -> tuple[Snapshot, int, int]:
    """What the log begins after, the seed of the first entry, and the number of the save."""
    row = connection.execute("SELECT * FROM log_start").fetchone()
    if row is None:
        raise Damage("it does not say where the log begins")
    _, *columns, checksum = row
    if not _matches(checksum, format_4.checksum_of_start if is_old else checksum_of_start, *columns):
        raise Damage("what it says of where the log begins does not match its checksum")
    *snapshot, seed, save = columns
    return (format_4.snapshot_of if is_old else snapshot_of)(*snapshot), seed, save


def _read_entries(connection: sqlite3.Connection, start: Snapshot, seed: int) -> tuple[list[Entry], int, int]:
    """All entries behind `start`, the checksum of the last one and the number of its save; `seed` and 0 where there is
    none. `seed` is what the first is seeded with."""
    index, term = start.index, start.term
    entries: list[Entry] = []
    before, save = seed, 0
    cursor = connection.execute("SELECT * FROM log ORDER BY idx")
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        indexes, terms, kinds, data, saves, checksums = zip(*rows, strict=True)
        befores = (before, *checksums[:-1])
        if (
            indexes != tuple(range(index + 1, index + 1 + len(rows)))
            or not _matches(checksums, checksums_of_entries, befores, indexes, terms, kinds, data, saves)
            or not all(map(le, (term, *terms[:-1]), terms))
            or not _KINDS.keys() >= (found := set(kinds))
            or (EntryKind.CONFIGURATION in found and not all(map(_has_its_kind, kinds, data)))
        ):
            raise _wrong_entry(rows, index, term, before)
        entries += map(Entry, indexes, terms, map(_KINDS.__getitem__, kinds), data)
        index, term, before, save = indexes[-1], terms[-1], checksums[-1], saves[-1]
    return entries, before, save


def _wrong_entry(rows: Sequence[tuple[Any, ...]], last_index: int, last_term: int, before: Any) -> Damage:
    """Which of `rows` is wrong, where one is; the others are of the entry before them."""
    for index, term, kind, data, save, checksum in rows:
        if index <= last_index:
            return Damage(f"it has entry {index}, and its log begins after entry {last_index}")
        if index != last_index + 1:
            return Damage(f"entries are missing between {last_index} and {index}")
        if not _matches((checksum,), checksums_of_entries, (before,), (index,), (term,), (kind,), (data,), (save,)):
            return Damage(f"entry {index} does not match its checksum")
        if term < last_term:
            return Damage(f"entry {index} is of term {term}, entry {last_index} of term {last_term}")
        if kind not in _KINDS:
            return Damage(f"entry {index} is of kind {kind}, which does not exist")
        if not _has_its_kind(kind, data):
            return Damage(f"entry {index} is to change the membership, and says none")
        last_index, last_term, before = index, term, checksum
    raise AssertionError("each of these entries is right")


def _has_its_kind(kind: int, data: bytes) -> bool:
    """Whether an entry that is to be a membership is one."""
    if kind == EntryKind.CONFIGURATION:
        try:
            Configuration.from_bytes(data)
        except ValueError:
            return False
    return True


def read_peers(connection: sqlite3.Connection) -> dict[NodeId, Incarnation]:
    """Which directories the other nodes have, as far as they were met. Raises Damage, or what SQLite raises."""
    peers = {}
    for peer, *columns, checksum in connection.execute("SELECT * FROM peers"):
        incarnation = Incarnation(*columns)
        if not _matches(checksum, checksum_of_peer, peer, incarnation):
            raise Damage(f"what it says of the directory of node {peer} does not match its checksum")
        peers[peer] = incarnation
    return peers


def _matches(checksum: object, compute: Callable[..., object], *columns: Any) -> bool:
    """Whether columns are what was written. A flipped bit may also have changed a column's type."""
    try:
        return compute(*columns) == checksum
    except (TypeError, AttributeError, struct.error, UnicodeError):
        return False
