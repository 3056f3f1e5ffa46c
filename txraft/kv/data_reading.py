"""Reads the data's file, and believes nothing in it that it has not checked (hazards S4, S14).

Beside that SQLite checks its pages: on a second connection and a thread, since it does so without the interpreter's
lock. Cursors are closed also where something is wrong: one that lives on in a traceback keeps the file open.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from operator import lt
from pathlib import Path
from typing import Any, TypeAlias

from attrs import define, frozen

from txraft import wal
from txraft.errors import CorruptLog, StorageError
from txraft.kv.answers import Answers
from txraft.kv.contents import Contents
from txraft.kv.tables import FORMAT, SCHEMA, applied_row, checksum_of_answer, checksums_of

ROWS_AT_ONCE = 128
"""So many are read and checked together: with 1,000, a start takes a quarter longer."""

Connect: TypeAlias = Callable[[], sqlite3.Connection]
Table: TypeAlias = tuple[str, str]
"""Name and text, as SQLite keeps them."""


class Damage(Exception):
    """What is wrong with the file; `translated` makes a CorruptLog of it."""


class OtherFormat(Exception):
    """The file is in another format, which is the argument."""


@frozen
class DataRead:
    """What a file holds."""

    cluster_id: str
    contents: Contents
    row_count: int
    row_checksums: int
    """Their sum."""


@frozen
class Applied:
    """The row of `applied`."""

    cluster_id: str
    last_applied: int
    revision: int
    row_count: int
    row_checksums: int
    """Their sum."""


_NOT_TOGETHER = "the data and their applied index do not match, or not their checksums"


@contextmanager
def translated(path: Path, remedy: str, again: str = wal.START_AGAIN) -> Iterator[None]:
    """What goes wrong with the file at `path` in here becomes a StorageError, CorruptLog where it is damaged, that says
    what to do: `remedy`, or, where there was no room, `again`."""
    try:
        yield
    except Damage as error:
        raise corrupt(path, str(error), remedy) from error
    except OtherFormat as error:
        raise StorageError(
            f"{path} is in format {error}, and this txraft reads format {FORMAT}: start the txraft that wrote it, or"
            f" {remedy}"
        ) from error
    except sqlite3.Error as error:
        if wal.is_damage(error):
            raise corrupt(path, str(error), remedy) from error
        raise StorageError(f"cannot use {path}: {error}; {wal.remedy_for_start(path, again)}") from error
    except OSError as error:
        raise StorageError(f"cannot use {path}: {error.strerror}; {wal.remedy_for_start(path, again)}") from error
    except UnicodeDecodeError as error:  # SQLite quotes what is damaged, byte for byte
        raise corrupt(path, "its tables are not as they were made", remedy) from error


def corrupt(path: Path, reason: str, remedy: str) -> CorruptLog:
    """The file at `path` is damaged."""
    return CorruptLog(f"{path} is damaged: {wal.printable(reason)}; {remedy}")


def read_data(
    connection: sqlite3.Connection,
    connect: Connect,
    others: Sequence[Table] = (),
    report: Callable[[int], None] = lambda _: None,
) -> DataRead:
    """All that `connection` has; `connect` makes another one to the same file. `others` are the tables that it has
    behind those of the data. `report` is called with the number of keys that have been read.

    Raises Damage, OtherFormat, or what SQLite raises."""
    require_format(connection)
    if connection.execute("SELECT name, sql FROM sqlite_master").fetchall() != [*SCHEMA, *others]:
        raise Damage("its tables are not as they were made")
    with ThreadPoolExecutor(1) as thread:
        checked = thread.submit(_quick_check, connect)
        reader = _Reader(connection)
        records, answers = reader.records(report), reader.answers()
        if checked.result() != "ok":
            raise Damage(checked.result().splitlines()[-1])
    applied = read_applied(connection)
    if (applied.row_count, applied.row_checksums) != (reader.row_count, reader.row_checksums):
        raise Damage(_NOT_TOGETHER)
    contents = Contents(applied.last_applied, applied.revision, records, answers)
    return DataRead(applied.cluster_id, contents, reader.row_count, reader.row_checksums)


def require_format(connection: sqlite3.Connection) -> None:
    """Raises OtherFormat."""
    ((version,),) = connection.execute("PRAGMA user_version")
    if version != FORMAT:
        raise OtherFormat(version)


def read_applied(connection: sqlite3.Connection) -> Applied:
    """The row of `applied`, which says what the rest should be. Raises Damage."""
    match rows := connection.execute("SELECT * FROM applied").fetchall():
        case [(_, str() as cluster_id, int(), int(), int(), int(), _)]:
            columns = rows[0][2:6]
            if rows == [applied_row(cluster_id, columns)]:
                return Applied(cluster_id, *columns)
    raise Damage(_NOT_TOGETHER)


def count_of_keys(path: Path) -> int | None:
    """How many there should be in the file at `path`, for a progress bar; None where that cannot be told. Nobody else
    has it open, and nothing is changed."""
    with suppress(sqlite3.Error, OSError, Damage, ValueError), closing(wal.connect_to_inspect(path)) as connection:
        ((answers,),) = connection.execute("SELECT count(*) FROM answers")
        return read_applied(connection).row_count - int(answers)
    return None


def _quick_check(connect: Connect) -> str:
    with closing(connect()) as connection:
        ((report,),) = connection.execute("PRAGMA quick_check(1)")
    return str(report)


@define
class _Reader:
    """Reads rows, counts them, and adds up their checksums."""

    connection: sqlite3.Connection
    row_count: int = 0
    row_checksums: int = 0

    def records(self, report: Callable[[int], None]) -> dict[bytes, bytes]:
        records: dict[bytes, bytes] = {}
        last = None
        # In the order of the b-tree, which an ORDER BY might mend: only where keys ascend are they found one by one.
        with closing(self.connection.execute("SELECT key, checksum, record FROM data")) as cursor:
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                keys, checksums, contents = zip(*rows, strict=True)
                if not _are_right(keys, checksums, contents) or (last is not None and keys[0] <= last):
                    raise _wrong_row(rows, last)
                records.update(zip(keys, contents, strict=True))
                self.row_checksums += sum(checksums)
                last = keys[-1]
                report(len(records))
        self.row_count += len(records)
        return records

    def answers(self) -> Answers:
        answers = None
        with closing(self.connection.execute("SELECT number, key, checksum, answer FROM answers")) as rows:
            for number, key, checksum, answer in rows:
                if (
                    not isinstance(key, bytes)
                    or not isinstance(answer, bytes)
                    or checksum != checksum_of_answer(number, key, answer)
                ):
                    raise Damage(f"the row of answer {number} does not match its checksum")
                if answers is None:
                    answers = Answers(number)
                if number != answers.first + len(answers) or answers.get(key) is not None:
                    raise Damage(f"answer {number} is out of order, or stands there twice")
                answers.keep(key, answer)
                self.row_count += 1
                self.row_checksums += checksum
        return answers or Answers()


def _wrong_row(rows: Sequence[tuple[Any, Any, Any]], last: bytes | None) -> Damage:
    """Which of `rows` is not right, where one is; `last` is the key before them."""
    for key, checksum, record in rows:
        if not _are_right((key,), (checksum,), (record,)):
            return Damage(f"the row of key {key!r:.60} does not match its checksum")
        if last is not None and key <= last:
            return Damage(f"key {key!r:.60} is out of order")
        last = key
    raise AssertionError("each of these rows is right")


def _are_right(keys: Sequence[Any], checksums: Sequence[Any], records: Sequence[Any]) -> bool:
    """Whether all these rows match their checksums, and their keys ascend."""
    try:
        found = checksums_of(keys, records)
    except TypeError:  # one of them is no bytes
        return False
    return found == checksums and all(map(lt, keys, keys[1:]))


def is_new(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever written to the file."""
    ((version,),) = connection.execute("PRAGMA user_version")
    return version == 0 and not connection.execute("SELECT name FROM sqlite_master").fetchall()


def inspect_data(path: Path, remedy: str, report: Callable[[int], None] = lambda _: None) -> DataRead | None:
    """All that the file at `path` has; None where nothing was ever written to it. Nobody else has it open, and not a
    byte of it, or beside it, is changed. Raises StorageError."""
    with translated(path, remedy, wal.RUN_AGAIN), closing(wal.connect_to_inspect(path)) as connection:
        if is_new(connection):
            return None
        return read_data(connection, partial(wal.connect_to_inspect, path), report=report)
