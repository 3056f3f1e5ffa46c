"""SQLite files with a write-ahead log: how they are opened, checkpointed and closed, and what their errors mean.

A commit appends to the log, the `-wal` file. A checkpoint copies it into the file itself, after which the next commit
begins the log again. SQLite checkpoints by itself after a commit and when the last connection closes, and swallows
what goes wrong there: fsync can fail for as long as it likes while the `-wal` grows (hazard S16). So its own
checkpoints are switched off, and its last one finds nothing to do. Where something failed in the log's file, a
connection that only reads is the last to close, and there is no last one.

An explicit checkpoint raises whatever fails in it. It is not complete where another program is reading the file: that
is no error, and the next one goes on from there.

What is open stays open when its name is gone: a directory that was removed or renamed takes all writes, and the next
start does not find them. So each checkpoint looks whether the files still have their names.
"""

import errno
import os
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

from txraft.errors import REMEDY_FOR_LOST_DATA, StorageError
from txraft.wal_frames import has_transaction

CHECKPOINT_SIZE = 4 << 20
"""Bytes in a `-wal` at which it is time for a checkpoint."""

KEPT_SIZE = 4 * CHECKPOINT_SIZE
"""Bytes that a `-wal` keeps for its next use. It grows beyond that while another connection reads the file, and shrinks
when it is begun again."""

PAGE_SIZE = 4096
"""Bytes of a page, SQLite's default. A commit writes every page that it touches, and a small change touches one."""

SHRINK_PAGES = 16 * CHECKPOINT_SIZE // PAGE_SIZE
"""By so many a file gets smaller at once, at most: 64 MiB, which takes some 0.5 s of CPU, without the interpreter's
lock."""

LITTLE_ROOM = 1 << 20
"""Bytes left on a disk that is as good as full: SQLite then reports errors that do not say why."""

CANNOT_USE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
"""Codes that blame the place a file is in. All others, while it is read, blame the file."""

START_AGAIN: Final = "start the node again"
RUN_AGAIN: Final = "run the command again"
"""What is to be done once there is room. While a command has a node's files, the node is not to be started."""

Inodes: TypeAlias = Mapping[Path, tuple[int, int] | None]
"""Device and inode of each name; None where there is no such file."""


class Moved(OSError):
    """A file is not where it was opened any more."""


def require_files(path: Path, *others: Path, remedy: str) -> None:
    """As `require_file`, of the files that SQLite keeps at `path`, and of `others`: SQLite would say no more than "disk
    I/O error", or make a file where a link leads."""
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm"), *others):
        require_file(name, remedy)


def require_file(path: Path, remedy: str) -> None:
    """Raises StorageError where something that is not a file is at `path`. A link to a file is good."""
    if os.path.lexists(path) and not os.path.isfile(path):
        raise StorageError(f"cannot use {path}: it is {kind_of(path)}, and has to be a file; {remedy}")


def kind_of(path: Path) -> str:
    """What is at `path`, where something is."""
    if not os.path.exists(path):
        return f"a link to {os.readlink(path)}, where nothing is"
    if os.path.isdir(path):
        return "a directory"
    return "a file" if os.path.isfile(path) else "neither a file nor a directory"


def connect(path: Path, synchronous: Literal["FULL", "NORMAL"], shrinks: bool = False) -> sqlite3.Connection:
    """Open a file, its `-wal` and its `-shm`: no other is ever opened for it (hazard S19). No transaction begins by
    itself. A commit is durable when it returns (FULL), or after the next checkpoint (NORMAL). One that
    is made with `shrinks` is for `shrink`; small commits write a fifteenth more then.

    Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        if shrinks:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {KEPT_SIZE}")
        connection.execute("PRAGMA secure_delete = OFF")  # some systems have it on: each page that is freed is written
        connection.execute("PRAGMA temp_store = MEMORY")  # a large statement's journal would be another file
        connection.execute("PRAGMA user_version").fetchall()  # a first look at the file opens the other two
    except BaseException:
        connection.close()
        raise
    return connection


def is_empty(path: Path) -> bool:
    """Whether there is no file at `path`, or nothing in it: SQLite removes its `-wal` then, however it is opened. A
    single byte counts as nothing, as SQLite has it.

    Raises OSError."""
    return not path.exists() or path.stat().st_size <= 1


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a file that `is_empty` is not true of, so that closing it changes neither it nor its `-wal`: one that may
    write would move what is in the `-wal` into the file, up to where it is damaged, and remove the rest, which is
    evidence.

    Raises sqlite3.Error."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def connect_to_inspect(path: Path) -> sqlite3.Connection:
    """Open a file to read it, with what is in its `-wal`, so that not a byte of them, or beside them, is changed.
    SQLite does so where it takes no locks, and believes that it is alone: the caller sees to that.

    As its last connection closes, SQLite copies the `-wal` into the file, which fails because that is open for reading
    alone, and removes it where nothing was to be copied; and it removes it first of all where the file is empty. So
    where that is so, it is not shown the `-wal` at all.

    Raises sqlite3.Error, and OSError."""
    is_wal_read = not is_empty(path) and has_transaction(Path(f"{path}-wal"))
    how = "mode=ro&vfs=unix-none" if is_wal_read else "immutable=1"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # its index of the `-wal` is in memory then, and in no -shm
    return connection


def checkpoint(connection: sqlite3.Connection, mode: Literal["PASSIVE", "TRUNCATE"] = "PASSIVE") -> None:
    """Copy the `-wal` into the file, as far as nobody else needs it. TRUNCATE also empties it, and waits for others.

    Raises sqlite3.Error where a write or an fsync fails."""
    connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()


def shrink(connection: sqlite3.Connection) -> None:
    """Cut off the file at its end, by at most SHRINK_PAGES, where more than a quarter of it is free. Does nothing where
    it was not made so.

    Raises sqlite3.Error."""
    ((free,),) = connection.execute("PRAGMA freelist_count")
    ((count,),) = connection.execute("PRAGMA page_count")
    if free > count // 4:  # below that, what comes next fills it again
        connection.executescript(f"PRAGMA incremental_vacuum({SHRINK_PAGES})")


def inodes(path: Path) -> Inodes:
    """Of a file that has been opened, and of its `-wal`. No other file has them for as long as it is open."""
    return {name: _inode(name) for name in (path, Path(f"{path}-wal"))}


def require_in_place(opened: Inodes) -> None:
    """Raises Moved where what was `opened` has been removed, renamed or replaced. Raises OSError."""
    for path, inode in opened.items():
        if _inode(path) != inode:
            raise Moved(f"{path.name} is not where it was opened any more, but was removed, renamed or replaced")


def finish(connection: sqlite3.Connection, opened: Inodes) -> None:
    """Checkpoint everything; the `-wal` is empty then. Raises sqlite3.Error, and what `require_in_place` does."""
    require_in_place(opened)
    checkpoint(connection, "TRUNCATE")


def close(connection: sqlite3.Connection, opened: Inodes) -> None:
    """`finish` and close; the `-wal` is gone then. Raises as that does; the connection is closed all the same."""
    try:
        finish(connection, opened)
    finally:
        connection.close()


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable: an fsync of a file does not promise that the file can be found."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error, met while a file was read, is the file's fault and not its surroundings'."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in CANNOT_USE


def printable(text: str) -> str:
    """`text` as part of one line. What SQLite says of a damaged file may quote anything that is in it."""
    return "".join(character if character.isprintable() else "?" for character in text)


def remedy_for_start(path: Path, again: str = START_AGAIN) -> str:
    """What to do where the file at `path` cannot be used, though it is not damaged; `again` once that is done."""
    if _is_full(path):
        return f"the disk is full: make room on it and {again}"
    return (
        "see that this user may write it, that there is room (a quota counts too), that the disk is well, and that no"
        " other program has the file open"
    )


def remedy_for_write(path: Path, error: Exception, again: str = START_AGAIN) -> str:
    """What to do where the file at `path` could not be written; `again` once that is done."""
    if isinstance(error, Moved):
        return f"put it back before the node is started again; where it is gone, {REMEDY_FOR_LOST_DATA}"
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or _is_full(path):
        return f"make room on the disk and {again}"
    return f"the disk may be failing, or a quota used up: see to that first, and then {again}"


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < LITTLE_ROOM
    except OSError:  # there is no such directory, say
        return False
