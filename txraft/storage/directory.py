"""The data directory: that it outlasts a power cut, and that one process at a time has it."""

import errno
import fcntl
import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from txraft import wal
from txraft.errors import DirectoryLocked, StorageError


def make_directory(directory: Path) -> None:
    """Make `directory`, for its user alone, and its parents where they are missing, durably. Raises StorageError."""
    try:
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in missing:
            wal.sync_directory(path.parent)
    except OSError as error:
        raise unusable(directory, error) from error


def size_of(directory: Path) -> int:
    """The bytes of all files in `directory`, and in those that it has. What goes meanwhile is left out."""
    size = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            with suppress(OSError):
                size += os.lstat(os.path.join(folder, name)).st_size
    return size


def name_of_user(uid: int) -> str:
    """As a line says it: by name, where this machine has one."""
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"


def unusable(directory: Path, error: OSError) -> StorageError:
    """The line for a directory that the operating system refuses."""
    advice = f"it has to be a directory that {name_of_user(os.geteuid())} may write, with all that is in it"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "make room there"
    reason = error.strerror or str(error)
    for path in (directory, *directory.parents):
        if os.path.lexists(path) and not os.path.isdir(path):
            reason = f"{path} is {wal.kind_of(path)}"
    return StorageError(f"cannot use {directory}: {reason}; {advice}")


class DirectoryLock:
    """An exclusive flock on `directory/lock`. It belongs to the open file: a fork shares it, the end of the last
    process that has it frees it, and no file that a killed process leaves behind can hold it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: BinaryIO | None = None

    def acquire(self) -> None:
        """Take the lock of a directory that exists, unless this has it. Raises DirectoryLocked at once where another
        has it, and StorageError."""
        if self._file is not None:
            return
        path = self._directory / "lock"
        wal.require_files(path, remedy="remove it")
        try:
            file = path.open("a+b", buffering=0)
        except OSError as error:
            raise unusable(self._directory, error) from error
        self._take(file, fcntl.LOCK_EX)
        self.write_pid()

    def share(self) -> None:
        """Take it beside others that only look, and change nothing in the directory, until `release`. Where there is no
        file to lock, no node has ever started there. Raises as `acquire`."""
        path = self._directory / "lock"
        wal.require_files(path, remedy="remove it")
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            return
        except OSError as error:
            raise unusable(self._directory, error) from error
        self._take(file, fcntl.LOCK_SH)

    def _take(self, file: BinaryIO, how: int) -> None:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder, advice = _name_of(file.read()), "end it"
            file.close()
            if holder == f"process {os.getpid()}":
                holder, advice = f"{holder}, which is this one", "stop the node that it runs there"
            raise DirectoryLocked(
                f"{self._directory} is in use by {holder}: {advice}, or, where that is a node of another cluster, give"
                " each cluster a data directory of its own"
            ) from error
        self._file = file

    def write_pid(self) -> None:
        """Write down who holds the lock, for another's error message. Done again after a fork."""
        if self._file is not None:
            with suppress(OSError):  # no room for it: the lock holds without
                self._file.truncate(0)
                self._file.write(b"%d" % os.getpid())

    def release(self) -> None:
        """Let go of this process's share. Not by LOCK_UN, which would take the lock from a forked child too."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _name_of(pid: bytes) -> str:
    """Who the lock file says holds it, where that process is alive: after a fork it is, for a moment, a dead parent."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, OverflowError, ProcessLookupError):  # it may be empty, or damaged
        return "another process"
    except PermissionError:
        pass
    return f"process {int(pid)}"
