"""A backup: a snapshot of the data that says, besides, what it is a backup of.

It is an SQLite file with the tables of the data's own (`txraft.kv.tables`) and one more, of one row:

    sqlite3 FILE '.mode line' 'SELECT * FROM backup' 'SELECT * FROM applied'

`applied` names the cluster, the last entry and the revision. There is no view here either: quick_check of SQLite 3.40
looks for lost pages no more where there is one.
"""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import Any
from zlib import crc32

from attrs import frozen

from txraft import wal
from txraft.errors import BackupFailed, StorageError
from txraft.kv.data_reading import Damage, OtherFormat, read_applied, read_data, require_format, translated

FORMAT = 1

TABLE = (
    "backup",
    "CREATE TABLE backup (format INTEGER NOT NULL, node_id INTEGER NOT NULL, term INTEGER NOT NULL, members TEXT NOT"
    " NULL, made TEXT NOT NULL, version TEXT NOT NULL, checksum INTEGER NOT NULL)",
)

REMEDY = "make another backup, or use an older one"
_GIVE_ONE = "give a file that `txraft backup` has made"


@frozen
class Origin:
    """What a backup is of, beside what `applied` says."""

    node_id: int
    """The node that made it."""
    term: int
    """In which that node was."""
    members: str
    """Of the cluster, in JSON: as `/status` has them."""
    made: str
    """When, by that node's clock."""
    version: str
    """Of the txraft that made it."""


@frozen
class Backup:
    """What one is."""

    origin: Origin
    cluster_id: str
    last_applied: int
    revision: int
    keys: int
    """How many."""


def describe(path: Path, origin: Origin) -> None:
    """Make a backup of the snapshot at `path`. Blocks. Raises sqlite3.Error."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("PRAGMA synchronous = OFF")  # a start removes it: nobody relies on it after a power cut
        connection.execute(TABLE[1])
        connection.execute("INSERT INTO backup VALUES (?, ?, ?, ?, ?, ?, ?)", _row_of(origin))


def read_backup(path: Path, report: Callable[[int], None] = lambda _: None) -> Backup:
    """All of the backup at `path`, with every checksum checked and not a byte changed. Blocks; `report` is called with
    the number of keys that have been read. Raises StorageError, CorruptLog where it is damaged or none."""
    with translated(path, REMEDY), closing(wal.connect_to_inspect(path)) as connection:
        data = read_data(connection, partial(wal.connect_to_inspect, path), (TABLE,), report)
        contents = data.contents
        keys = len(contents.records)
        return Backup(read_origin(connection), data.cluster_id, contents.last_applied, contents.revision, keys)


def require_backup(path: Path) -> int:
    """The size, in bytes, of the backup at `path`, of whose data nothing is read yet. Not a byte is changed.

    Raises BackupFailed where it is none, StorageError where it cannot be read, and CorruptLog where it is damaged."""
    try:
        status = path.stat()
        is_file = S_ISREG(status.st_mode)
        if is_file:
            path.open("rb").close()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; {_GIVE_ONE}") from error
    if not is_file:
        raise BackupFailed(f"{path} is {wal.kind_of(path)}, and no backup; {_GIVE_ONE}")
    with translated(path, REMEDY), closing(wal.connect_to_inspect(path)) as connection:
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
                raise
            raise BackupFailed(f"{path} is no backup, which is an SQLite file; {_GIVE_ONE}") from error
        if TABLE[0] not in tables:
            what = "the data of a node" if "applied" in tables else "another SQLite file"
            raise BackupFailed(f"{path} is {what}, and no backup; {_GIVE_ONE}")
        require_format(connection)
        read_origin(connection)
        read_applied(connection)
    return status.st_size


def require_place(target: Path) -> None:
    """Raises StorageError where something is at `target` that is not a file: a backup takes the place of no device."""
    wal.require_file(target, "give the name of another file")


def put_in_place(part: Path, target: Path) -> None:
    """Give the backup at `part`, which is beside `target`, its name, durably. Blocks. Raises StorageError."""
    require_place(target)
    try:
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
        wal.sync_directory(target.absolute().parent)
    except OSError as error:
        advice = wal.remedy_for_write(target, error, wal.RUN_AGAIN)
        raise StorageError(f"cannot write {target}: {error.strerror}; {advice}") from error


def _row_of(origin: Origin) -> tuple[Any, ...]:
    columns = (FORMAT, origin.node_id, origin.term, origin.members, origin.made, origin.version)
    return *columns, crc32(json.dumps(columns).encode())


def read_origin(connection: sqlite3.Connection) -> Origin:
    """What `connection` has a backup of. Raises Damage, OtherFormat, or what SQLite raises."""
    rows = connection.execute("SELECT * FROM backup").fetchall()
    match rows:
        case [(int() as format, *_)] if format != FORMAT:
            raise OtherFormat(format)
        case [(_, int() as node_id, int() as term, str() as members, str() as made, str() as version, _)]:
            origin = Origin(node_id, term, members, made, version)
            if rows == [_row_of(origin)]:
                return origin
    raise Damage("what it says of where it is from does not match its checksum")
