"""What is known to be on the disk, written down beside the file that it is about.

After a crash, SQLite reads its write-ahead log up to the first frame whose checksum is wrong. A write that was cut off
ends there, and so does everything after a bit that flipped: entries, or a vote, that the node answered for would be
forgotten in silence (hazard S15). So the numbers of the last saves are kept in a file of their own, and a start that
finds older ones in `raft.sqlite` is refused.

The numbers are written when the save that they name is durable, and not synced. So they never name what a power cut may
still take away. After a crash of the process, or a clean end, they are exact. After a power cut they may be those of an
earlier save, and then less is checked.

There are two slots, and writes alternate between them. Each has a block of the file to itself, since a disk writes
nothing smaller than a sector. A torn slot is the first that the next process writes, and that write alone is synced: it
is whole again before the other slot can be torn. As the writes after it are not synced, both slots may be on their way
to the disk when the power is cut. What is relied on then is that a record lies within one sector, which a disk writes
whole or not at all. Were both torn, the start would be refused, and nothing would be forgotten.
"""

import os
import struct
from pathlib import Path
from zlib import crc32

from txraft.values import value_class
from txraft.wal import sync_directory

SLOT_SIZE = 4096
"""Bytes; no disk has larger sectors."""
SLOTS = 2

_NUMBERS = struct.Struct(">QQ")
_CHECKSUM = struct.Struct(">I")


@value_class
class SaveNumbers:
    """Saves are counted. Which was the last one that saved a term and vote, and which the last one that saved entries;
    0 for none. These are two because each can be lost without the other."""

    vote: int = 0
    log: int = 0

    @property
    def last(self) -> int:
        """The number of the last save."""
        return max(self.vote, self.log)


class DurableRecord:
    """The file at `path`. Every call blocks, and raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._wrote = False
        self._slot = 0
        """The next to be written: one that is damaged, or has the older numbers."""

    def create(self) -> None:
        """Make the file, with the numbers of no save, so that it and its name outlast a power cut."""
        slot = _encode(SaveNumbers())
        with self.path.open("wb", buffering=0) as file:
            file.write(slot.ljust(SLOT_SIZE, b"\0") + slot)
            os.fsync(file.fileno())
        sync_directory(self.path.parent)

    def read(self) -> SaveNumbers | None:
        """The latest numbers; None where no slot is whole, or there is no file."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        found = [_decode(content[slot * SLOT_SIZE :][: len(_encode(SaveNumbers()))]) for slot in range(SLOTS)]
        ages = [-1 if numbers is None else numbers.last for numbers in found]
        self._slot = ages.index(min(ages))
        return found[ages.index(max(ages))]

    def open(self) -> None:
        """Open the file, in the process that will write it."""
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, numbers: SaveNumbers) -> None:
        """Overwrite the older slot, when the file is open. The first write is synced."""
        assert self._descriptor is not None
        os.pwrite(self._descriptor, _encode(numbers), self._slot * SLOT_SIZE)
        if not self._wrote:
            os.fsync(self._descriptor)
            self._wrote = True
        self._slot = (self._slot + 1) % SLOTS

    def close(self) -> None:
        """Make the last numbers durable, and let go of the file."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _encode(numbers: SaveNumbers) -> bytes:
    content = _NUMBERS.pack(numbers.vote, numbers.log)
    return content + _CHECKSUM.pack(crc32(content))


def _decode(slot: bytes) -> SaveNumbers | None:
    content, checksum = slot[: _NUMBERS.size], slot[_NUMBERS.size :]
    return SaveNumbers(*_NUMBERS.unpack(content)) if checksum == _CHECKSUM.pack(crc32(content)) else None
