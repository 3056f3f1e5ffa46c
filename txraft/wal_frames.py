"""Whether a `-wal` has anything to say, found without SQLite, which removes one that has not when it is closed.

The format is SQLite's (https://sqlite.org/fileformat2.html#walformat), as is the rule of what counts in it: all frames
up to the last that ends a transaction, before the first that is not right. Each has the salt of the header, and a
checksum of all that was written before it.
"""

import struct
from pathlib import Path
from typing import BinaryIO

HEADER = struct.Struct(">4I8s2I")
"""Magic number, version, bytes of a page, number of the checkpoint, salt, checksum."""
FRAME_HEADER = struct.Struct(">2I8s2I")
"""Number of the page; of the last frame of a transaction the pages of the file, and otherwise 0; salt; checksum."""
CHECKSUM_SIZE = 8

MAGIC = 0x377F0682
"""Its last bit says how the words are read that are added up."""
SMALLEST_PAGE, LARGEST_PAGE = 512, 65536

Checksum = tuple[int, int]


def has_transaction(path: Path) -> bool:
    """Whether SQLite takes a transaction from the `-wal` at `path`, where there is one. Raises OSError."""
    try:
        with path.open("rb") as file:
            return _has_transaction(file)
    except FileNotFoundError:
        return False


def _has_transaction(file: BinaryIO) -> bool:
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return False
    magic, _, page_size, _, salt, *written = HEADER.unpack(header)
    is_page_size = SMALLEST_PAGE <= page_size <= LARGEST_PAGE and page_size & (page_size - 1) == 0
    order = ">" if magic & 1 else "<"
    checksum = _add((0, 0), header[:-CHECKSUM_SIZE], order)
    if magic & ~1 != MAGIC or not is_page_size or checksum != tuple(written):
        return False
    while len(frame := file.read(FRAME_HEADER.size + page_size)) == FRAME_HEADER.size + page_size:
        page, size_of_file, its_salt, *written = FRAME_HEADER.unpack_from(frame)
        checksum = _add(checksum, frame[:CHECKSUM_SIZE] + frame[FRAME_HEADER.size :], order)
        if page == 0 or its_salt != salt or checksum != tuple(written):
            return False
        if size_of_file:
            return True
    return False


def _add(checksum: Checksum, content: bytes, order: str) -> Checksum:
    """The checksum of what came before and of `content`, whose length is a multiple of 8."""
    first, second = checksum
    for one, other in struct.iter_unpack(f"{order}2I", content):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
