"""A file of a snapshot that was received whole: a line that says what it is, then the data.

The line has a CRC-32 of the rest of it, a space, and JSON. What follows is checked by the SHA-256 in it, each time that
it is read, since a bit may flip while it waits (hazard S4).
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from txraft.errors import REMEDY_FOR_LOST_DATA, CorruptLog, StorageError
from txraft.interfaces import SnapshotFile
from txraft.storage import format_4
from txraft.storage.snapshot_columns import COLUMNS, columns_of, snapshot_of

CHUNK_SIZE = 1 << 20
"""Bytes read at once."""

LONGEST_HEADER = 1 << 24
"""Bytes; a membership has every id that was ever removed."""


def header_of(file: SnapshotFile) -> bytes:
    """The line that the data follow."""
    values = dict(zip(COLUMNS, columns_of(file.snapshot), strict=True))
    line = json.dumps({**values, "size": file.size, "sha256": file.checksum.hex()}).encode()
    return b"%08x %s\n" % (crc32(line), line)


def read_header(path: Path) -> SnapshotFile:
    """What the file says that it is. Raises OSError, and CorruptLog where that is damaged, or its size is another."""
    with path.open("rb") as stream:
        return _header_in(stream, path)


def read_chunks(path: Path) -> Iterator[bytes]:
    """The data. Raises CorruptLog, in the end, where they are not what was received, and StorageError where they cannot
    be read."""
    try:
        with path.open("rb") as stream:
            file, digest = _header_in(stream, path), hashlib.sha256()
            while chunk := stream.read(CHUNK_SIZE):
                digest.update(chunk)
                yield chunk
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; see to the disk and its room") from error
    if digest.digest() != file.checksum:
        raise CorruptLog(
            f"{path} is damaged: it does not match its checksum; see to the disk, and {REMEDY_FOR_LOST_DATA}"
        )


def _header_in(stream: BinaryIO, path: Path) -> SnapshotFile:
    header = stream.readline(LONGEST_HEADER)
    size = os.fstat(stream.fileno()).st_size - len(header)
    file = _parsed(header)
    if file is None or file.size != size:
        what = "its first line is not what was written" if file is None else f"it has {size} bytes, not {file.size}"
        raise CorruptLog(
            f"{path} is damaged: {what}; see to the disk, remove the file and start the node again: where the file is"
            " still needed, that start says so"
        )
    return file


def _parsed(header: bytes) -> SnapshotFile | None:
    checksum, _, line = header.rstrip(b"\n").partition(b" ")
    if checksum != b"%08x" % crc32(line) or not header.endswith(b"\n"):
        return None
    values = json.loads(line)
    is_old = "voters" in values
    columns, read = (format_4.COLUMNS, format_4.snapshot_of) if is_old else (COLUMNS, snapshot_of)
    snapshot = read(*(values[column] for column in columns))
    return SnapshotFile(snapshot, values["size"], bytes.fromhex(values["sha256"]))
