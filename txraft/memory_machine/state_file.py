"""The file of a machine that lives in memory:

    {"format": 1, "cluster": NAME, "index": INDEX}      one line
    length (8 bytes), chunk                             as often as `dump` gave one
    2^64 - 1 (8 bytes), checksum (32 bytes)             SHA-256 of everything before it

Bits flip (hazard S4): all of the file is checked before any of it is believed. Every call blocks.
"""

import errno
import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from txraft.errors import CorruptLog, SnapshotFailed, StorageError, WriteFailed, WrongDirectory
from txraft.snapshot_writing import SnapshotWriting, require_room
from txraft.storage.directory import make_directory, unusable
from txraft.wal import sync_directory

FORMAT = 1

BLOCK_SIZE = 1 << 16
"""Bytes that are written, or read, at once. Each is a moment at which the reactor's thread gets its turn."""

LENGTH = struct.Struct(">Q")
END = LENGTH.pack(2**64 - 1)
CHECKSUM_SIZE = 32

REMEDY = (
    "remove it and start the node again: it is rebuilt from the log, and where that does not go back so far, the start"
    " says what to do"
)

REMEDY_FOR_SNAPSHOT = (
    "restart the node that sent it, which checks its own file, and replace this one as the README says under"
    ' "A disk is lost"'
)


@frozen
class Kept:
    """What a file holds."""

    index: int
    """The last entry that is in it."""
    size: int
    """Bytes of the file."""


class StateFile:
    """`state` in `directory`, of the cluster `cluster_id`. One call at a time, except for `open`."""

    def __init__(self, directory: Path, cluster_id: str) -> None:
        self.path = directory / "state"
        self.kept: Kept | None = None
        """What is there. None where nothing is, or nothing that is right."""
        self._aside = directory / "state.new"
        self._cluster_id = cluster_id

    def load(self) -> Kept | None:
        """What is there, all of it checked; what a crash left beside it is removed. Called once, before anything else.

        Raises CorruptLog where it is damaged, WrongDirectory where it is another cluster's, and StorageError."""
        make_directory(self.path.parent)
        try:
            self._aside.unlink(missing_ok=True)
            if os.path.lexists(self.path):
                self.kept = self._checked(self.path, REMEDY)
        except OSError as error:
            raise unusable(self.path, error) from error
        return self.kept

    def write(self, index: int, chunks: Iterable[bytes], goes_on: Callable[[], bool]) -> Kept:
        """Let `chunks`, which are everything up to entry `index`, take the place of what is there, durably.

        Raises SnapshotFailed where the disk refuses, upon which the old ones are there, or the new, as a whole; also
        where `goes_on` gives False, and what `chunks` raises."""
        try:
            require_room(self.path.parent, 0 if self.kept is None else self.kept.size)
            with self._writing() as writing:
                header = {"format": FORMAT, "cluster": self._cluster_id, "index": index}
                block = bytearray(json.dumps(header).encode() + b"\n")
                for chunk in chunks:
                    block += LENGTH.pack(len(chunk))
                    block += chunk
                    if len(block) >= BLOCK_SIZE:
                        if not goes_on():
                            raise SnapshotFailed(f"{self.path} is not written anew: that was broken off")
                        writing.write(bytes(block))
                        block.clear()
                writing.write(bytes(block + END))
                writing.write(writing.checksum)
                return self._take_place(writing, Kept(index, writing.size))
        except OSError as error:
            raise SnapshotFailed(f"cannot write {self._aside}: {_reason(error)}; {_remedy(error)}") from error

    def replace(self, index: int, blocks: Iterable[bytes]) -> Kept:
        """Let `blocks`, which are all of another node's file, take the place of what is there, durably.

        Raises CorruptLog or WrongDirectory where they are not this cluster's up to entry `index`, upon which the old
        ones are there; WriteFailed where the disk refuses; and what `blocks` raises."""
        try:
            require_room(self.path.parent, 0)
            with self._writing() as writing:
                for block in blocks:
                    writing.write(block)
                kept = self._checked(self._aside, REMEDY_FOR_SNAPSHOT)
                if kept.index != index:
                    raise CorruptLog(
                        f"{self._aside} is a snapshot of entry {kept.index}, and not of {index}; {REMEDY_FOR_SNAPSHOT}"
                    )
                return self._take_place(writing, kept)
        except OSError as error:
            raise WriteFailed(f"cannot write {self._aside}: {_reason(error)}; {_remedy(error)}") from error

    def chunks(self) -> Iterator[bytes]:
        """What `write` was given, here or on the node that the file is from, cut up as it was there. Of a file that is
        checked. Raises StorageError."""
        try:
            with self.path.open("rb", buffering=BLOCK_SIZE) as file:
                file.readline()
                while (length := _read(file, LENGTH.size)) != END:
                    yield _read(file, *LENGTH.unpack(length))
        except OSError as error:
            raise unusable(self.path, error) from error

    def open(self) -> int:
        """A descriptor of what is there now, and goes on being that whatever takes its place. Raises SnapshotFailed."""
        try:
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SnapshotFailed(f"cannot read {self.path}: {_reason(error)}; it is tried again later") from error

    @contextmanager
    def _writing(self) -> Iterator[SnapshotWriting]:
        """The file that is written aside, which is removed where it has not got another name in the end."""
        writing = SnapshotWriting(self._aside)
        try:
            yield writing
        except BaseException:
            if writing.path == self._aside:
                writing.drop()
            raise
        finally:
            writing.close()

    def _take_place(self, writing: SnapshotWriting, kept: Kept) -> Kept:
        writing.sync()
        writing.rename(self.path)
        self.kept = kept
        sync_directory(self.path.parent)
        return kept

    def _checked(self, path: Path, remedy: str) -> Kept:
        """What the file at `path` holds. Raises OSError, and StorageError where it is not as it should be."""
        with path.open("rb", buffering=0) as file:
            for _ in checked_blocks(file.fileno(), path, remedy):
                pass
            file.seek(0)
            header = file.readline(BLOCK_SIZE)
            size = os.fstat(file.fileno()).st_size
        try:
            values = json.loads(header)
            written_as, cluster_id, index = values["format"], values["cluster"], int(values["index"])
        except (ValueError, LookupError, TypeError) as error:
            raise CorruptLog(f"{path} is damaged: its first line is not txraft's; {remedy}") from error
        if written_as != FORMAT:
            raise StorageError(
                f"{path} is in format {written_as}, and this txraft reads format {FORMAT}: start the txraft that wrote"
                f" it, or {remedy}"
            )
        if cluster_id != self._cluster_id:
            raise WrongDirectory(
                f'{path} is of the cluster "{cluster_id}", and this node is of "{self._cluster_id}": {remedy}'
            )
        return Kept(index, size)


def checked_blocks(descriptor: int, path: Path, remedy: str) -> Iterator[bytes]:
    """All of a file, from its beginning. Raises OSError; and CorruptLog, in the end, where they are not what was
    written."""
    digest = hashlib.sha256()
    offset, end = 0, os.fstat(descriptor).st_size - CHECKSUM_SIZE
    while block := os.pread(descriptor, min(BLOCK_SIZE, max(0, end - offset)), offset):
        digest.update(block)
        yield block
        offset += len(block)
    checksum = os.pread(descriptor, CHECKSUM_SIZE, offset)
    if checksum != digest.digest():
        raise CorruptLog(f"{path} is damaged: it does not match its checksum; {remedy}")
    yield checksum


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise OSError(errno.EIO, "it has become shorter")
    return data


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on the disk"
    return "the disk may be failing, or this user may not write there"
