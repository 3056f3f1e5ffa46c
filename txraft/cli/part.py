"""The unfinished file of a backup, and what it is the beginning of. Both are beside FILE, which it is to become:

    FILE.txraft-part        what has come
    FILE.txraft-part-of     in JSON, the SHA-256 and the size of the whole, and the node that has it

What was cut off, also by the end of a process, goes on from there. Of two processes, one has both: the second file is
locked meanwhile.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import BinaryIO

from attrs import asdict, frozen

from txraft.cli.progress import progress
from txraft.errors import BackupFailed
from txraft.kv.backup import put_in_place, require_place
from txraft.kv.data_snapshot import CHUNK_SIZE

RECENT = 3600.0
"""Seconds for which one that came whole is what is asked for. Who runs this later means a new one."""

_DIGEST = re.compile("[0-9a-f]{64}")


@frozen
class Whole:
    """What is to come."""

    sha256: str
    """In hex."""
    size: int
    """Bytes."""
    node: str
    """The address that has it."""


class Part:
    """The unfinished file at `path`, of `whole`, where it has begun. `notes`, which is open and locked, says so."""

    def __init__(self, path: Path, notes: BinaryIO) -> None:
        self.path = path
        self._notes = notes
        self.whole = _whole_in(notes.read())

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self.path.stat().st_size if self.whole is not None and self.path.exists() else 0

    @property
    def is_whole(self) -> bool:
        """Whether all of it came, a short time ago."""
        if self.whole is None or self.size != self.whole.size:
            return False
        return 0 <= time() - self.path.stat().st_mtime < RECENT

    @property
    def advice(self) -> str:
        """What to do about what has come, behind a reason; nothing where nothing has."""
        return "; what has come is kept: run this again" if self.size else ""

    def begin(self, whole: Whole) -> None:
        """Let go of what has come: it is to be another."""
        self.path.open("wb").close()  # first: what is there is never taken for the beginning of this one
        self._note(json.dumps(asdict(whole)))
        self.whole = whole

    def drop(self) -> None:
        """Let go of what has come."""
        self.path.unlink(missing_ok=True)
        self._note("")
        self.whole = None

    def require_right(self) -> None:
        """Raises BackupFailed, and lets go of it, where what came is not what the node has."""
        assert self.whole is not None
        digest = hashlib.sha256()
        with self.path.open("rb") as file, progress("summing up", self.size, "B") as report:
            while piece := file.read(CHUNK_SIZE):
                digest.update(piece)
                report(file.tell())
        if digest.hexdigest() != self.whole.sha256:
            self.drop()
            raise BackupFailed("what came is not what the node has: its SHA-256 is another; take the backup again")

    def become(self, target: Path) -> None:
        """Give it the name that it is for. Raises StorageError."""
        put_in_place(self.path, target)
        self.whole = None

    def _note(self, text: str) -> None:
        self._notes.seek(0)
        self._notes.truncate()
        self._notes.write(text.encode())


@contextmanager
def part_of(target: Path) -> Iterator[Part]:
    """The one that becomes `target`; it stays where this is left before it has.

    Raises BackupFailed where another process has it, StorageError where anything but a file has its name, and
    OSError."""
    path, notes_path = (target.with_name(f"{target.name}.txraft-{end}") for end in ("part", "part-of"))
    require_place(path)
    require_place(notes_path)
    with _locked(notes_path) as notes:
        part = Part(path, notes)
        try:
            yield part
        finally:
            if not part.size:
                path.unlink(missing_ok=True)
                notes_path.unlink(missing_ok=True)


def _locked(path: Path) -> BinaryIO:
    """The file, open and locked until it is closed. It may be removed by another process before it is locked here."""
    while True:
        file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.seek(0)
                return file
        except BlockingIOError:
            file.close()
            raise BackupFailed(
                f"another `txraft backup` is writing {path.with_suffix('')}: wait for it, or give another name"
            ) from None
        except BaseException:
            file.close()
            raise
        file.close()


def _whole_in(notes: bytes) -> Whole | None:
    try:
        match json.loads(notes):
            case {"sha256": str() as sha256, "size": int() as size, "node": str() as node} if _DIGEST.fullmatch(sha256):
                return Whole(sha256, size, node)
    except ValueError:  # there are none, or a power cut took some
        pass
    return None
