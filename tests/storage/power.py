"""What a power cut leaves of files, made from copies of them.

A disk keeps what was synced. Of what was written after that it keeps any part: each sector as it was, as it became, or
torn in the middle, and any length between the old and the new. So a power cut in the middle of a step is a mixture of
the files as they were before it and as they were after it. A step is what has one sync at its end: a save, after which
SQLite syncs the `-wal`, or a checkpoint, after which it syncs the file itself. What is written without any sync may be
as it was at any time since the last one.
"""

from pathlib import Path
from random import Random

from attrs import Factory, define

from txraft.storage.durable import SLOT_SIZE

SECTOR = 512
SYNCED = ("raft.sqlite", "raft.sqlite-wal")
RECORD = "raft.sqlite-durable"
RECORD_SIZE = 20
"""Bytes of a slot that are not always the same."""

WAL_HEADER = 32
"""Bytes. SQLite begins a `-wal` again by a new header, and syncs that before it overwrites what is behind it."""

Files = dict[str, bytes]


def files_in(directory: Path) -> Files:
    """As they are now; empty where there is none."""
    paths = [directory / name for name in (*SYNCED, RECORD)]
    return {path.name: path.read_bytes() if path.exists() else b"" for path in paths}


def write_files(directory: Path, files: Files) -> None:
    """Make a directory of them."""
    directory.mkdir()
    for name, content in files.items():
        if content or name != "raft.sqlite-wal":
            (directory / name).write_bytes(content)


def mixture(old: bytes, new: bytes, random: Random) -> bytes:
    """Some sectors of the old content and some of the new, some of them torn."""
    size = random.choice([len(old), len(new), random.randint(*sorted((len(old), len(new))))])
    old, new = (content.ljust(size, b"\0")[:size] for content in (old, new))
    share = random.choice([0.0, 0.1, 0.5, 0.9, 1.0])
    content = bytearray(old)
    for start in range(0, size, SECTOR):
        end = start + SECTOR
        if old[start:end] != new[start:end] and random.random() < share:
            written = SECTOR if random.random() < 0.9 else random.randrange(SECTOR)
            content[start : start + written] = new[start : start + written]
    return bytes(content)


@define
class Disk:
    """The files of one life of a process, as far as they are synced."""

    random: Random
    synced: Files
    records: list[bytes] = Factory(list)
    """All that the record may be: it is not synced."""
    _record_written: bool = False

    def __attrs_post_init__(self) -> None:
        self.records.append(self.synced[RECORD])

    def cut(self, after: Files) -> Files:
        """The power is cut in the middle of a step that would have left `after`."""
        image = {}
        for name in SYNCED:
            old, new = self.synced[name], after[name]
            if name.endswith("-wal"):
                header_first = new[:WAL_HEADER] + old[WAL_HEADER:]
                old, new = self.random.choice([(old, header_first), (header_first, new)])
            image[name] = mixture(old, new, self.random)
        slots = [self._slot(number) for number in (0, 1)]
        torn = self.random.randrange(2)  # writes are one after the other, so one of the two is under way
        written = self.random.randint(0, RECORD_SIZE)
        slots[torn] = self._slot(torn)[:written] + slots[torn][written:]
        return image | {RECORD: b"".join(slots)}

    def sync(self, after: Files) -> None:
        """The step is done, and `after` is synced but for the record."""
        self.synced = after
        if not self._record_written and after[RECORD] != self.records[0]:
            self._record_written = True
            self.records.clear()  # the first write of a process is synced
        self.records.append(after[RECORD])

    def _slot(self, number: int) -> bytes:
        content = self.random.choice([self.random.choice(self.records), self.records[-1]])
        return content[number * SLOT_SIZE :][:SLOT_SIZE]
