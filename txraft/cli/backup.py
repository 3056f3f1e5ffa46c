"""`txraft backup`: all the data of a running cluster, in a file. Without a reactor: there is nothing else to do."""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from txraft.addresses import Address
from txraft.cli.asking import AskingNodes
from txraft.cli.download import download
from txraft.cli.part import Part, part_of
from txraft.cli.progress import progress
from txraft.cli.subcommand import SubcommandOn
from txraft.errors import BackupFailed, CorruptLog
from txraft.kv.backup import Backup, read_backup, require_place
from txraft.kv.data_reading import count_of_keys
from txraft.texts import one_line


class BackupOptions(AskingNodes, SubcommandOn):
    """The options of `txraft backup`."""

    things = ("FILE",)
    optFlags = [["force", None, "Take the place of a FILE that is there."]]  # noqa: RUF012 - how Twisted has it
    longdesc = (
        "Takes a backup of a running cluster: everything that was acknowledged before. It comes to a file beside FILE,"
        " which takes that name when every checksum in it has been checked; a FILE that is a link to a file stands for"
        " that. Where it is cut off, run the same again within some minutes: it goes on, with the data of the first"
        " time, while the node still has them, and otherwise begins anew. FILE opens with sqlite3, and `txraft restore`"
        " makes a cluster of it."
    )

    def run(self) -> int:
        target = file_named(self["FILE"])
        addresses, _ = self.nodes()
        try:
            with self.suggesting_config():
                backup = take(target, self["force"], addresses)
            size = target.stat().st_size
        except OSError as error:
            raise not_written(target, error) from error
        print(f"{target}: {described(backup)}, {size:,} bytes")
        return 0


def file_named(name: str) -> Path:
    """The path of a FILE. Raises BackupFailed where only a directory can have that name: a Path leaves its end out."""
    if os.path.basename(name) in ("", ".", ".."):
        raise BackupFailed(f"{name} is the name of a directory: give that of a file")
    return Path(name)


def take(target: Path, force: bool, addresses: Sequence[Address]) -> Backup:
    """Have a backup at `target`. Raises BackupFailed, Unreachable, StorageError, and OSError where this disk does not
    take it."""
    require_place(target)
    if target.exists() and not force:
        raise BackupFailed(f"{target} is there already, and stays: give another name, or --force")
    place = target.resolve() if target.is_symlink() else target
    if not place.absolute().parent.is_dir():
        raise BackupFailed(f"{place.absolute().parent} is not a directory: make it first")
    with part_of(place) as part:
        try:
            if not part.is_whole:
                download(part, addresses)
            part.require_right()
            backup = checked(part)
            part.become(place)
        except OSError as error:
            raise not_written(target, error, part.advice) from error
        except KeyboardInterrupt:
            print(f"txraft: stopped{part.advice}", file=sys.stderr)
            raise
    return backup


def not_written(target: Path, error: OSError, advice: str = "") -> BackupFailed:
    """The line for what this disk does not take."""
    remedy = "give a shorter name" if error.errno == errno.ENAMETOOLONG else "see to the disk and its room"
    return BackupFailed(f"cannot write {target}, or beside it: {error.strerror or error}; {remedy}{advice}")


def checked(part: Part) -> Backup:
    """All of the backup, which has come whole. Raises StorageError."""
    try:
        with progress("checking", count_of_keys(part.path), " keys") as report:
            return read_backup(part.path, report)
    except CorruptLog:
        part.drop()  # every byte came: to fetch them again would not help
        raise


def described(backup: Backup) -> str:
    """What it is of, for a person."""
    origin = backup.origin
    return (
        f'cluster "{one_line(backup.cluster_id)}" up to entry {backup.last_applied}, revision {backup.revision},'
        f" {backup.keys:,} keys, made by node {origin.node_id} at {one_line(origin.made)}"
    )
