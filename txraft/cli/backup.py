"""`txraft backup`: all the data of a running cluster, in a file. Without a reactor: there is nothing else to do."""

from collections.abc import Sequence
from pathlib import Path

from twisted.python.usage import UsageError

from txraft.cli.download import download
from txraft.cli.part import part_of
from txraft.cli.progress import progress
from txraft.cli.subcommand import SubcommandOn
from txraft.errors import BackupFailed, CorruptLog
from txraft.kv.backup import Backup, read_backup
from txraft.kv.data_reading import count_of_keys
from txraft.settings import BUILT_IN, Address
from txraft.settings_file import load


class BackupOptions(SubcommandOn):
    """The options of `txraft backup`."""

    thing = "FILE"
    optFlags = [["force", None, "Take the place of a FILE that is there."]]  # noqa: RUF012 - how Twisted has it
    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["node", None, None, "host:port of the HTTP API to ask; otherwise the first node that is there."],
        ["config", None, None, "A TOML file that describes the cluster; without it, three nodes on localhost."],
    ]
    longdesc = (
        "Takes a backup of a running cluster: everything that was acknowledged before. It comes to a file beside FILE,"
        " which takes that name when every checksum in it has been checked. Where it is cut off, run the same again"
        " within some minutes: it goes on, with the data of the first time, while the node still has them, and"
        " otherwise begins anew. FILE opens with sqlite3, and `txraft restore` makes a cluster of it."
    )

    def postOptions(self) -> None:
        self.refuse_empty("node", "config")
        if self["node"] is not None and self["config"] is not None:
            raise UsageError("give --node or --config, not both")

    def run(self) -> int:
        target = Path(self["FILE"])
        if self["node"] is not None:
            addresses = [Address.parse(self["node"])]
        else:
            settings = BUILT_IN if self["config"] is None else load(self["config"])
            addresses = [member.kvaddr for member in settings.cluster]
        try:
            backup = take(target, self["force"], addresses)
            print(f"{target}: {described(backup)}, {target.stat().st_size:,} bytes")
        except OSError as error:
            raise BackupFailed(
                f"cannot write {target}, or beside it: {error.strerror or error}; see to the disk and its room"
            ) from error
        return 0


def take(target: Path, force: bool, addresses: Sequence[Address]) -> Backup:
    """Have a backup at `target`. Raises BackupFailed, StorageError, and OSError where this disk does not take it."""
    if target.is_dir():
        raise BackupFailed(f"{target} is a directory: give the name of a file")
    if target.exists() and not force:
        raise BackupFailed(f"{target} is there already, and stays: give another name, or --force")
    if not target.absolute().parent.is_dir():
        raise BackupFailed(f"{target.absolute().parent} is not a directory: make it first")
    with part_of(target) as part:
        if not part.is_whole:
            download(part, addresses)
        part.require_right()
        try:
            backup = checked(part.path)
        except CorruptLog:
            part.drop()  # every byte came: to fetch them again would not help
            raise
        part.become(target)
    return backup


def checked(path: Path) -> Backup:
    """All of the backup at `path`. Raises StorageError."""
    with progress("checking", count_of_keys(path), " keys") as report:
        return read_backup(path, report)


def described(backup: Backup) -> str:
    """What it is of, for a person."""
    origin = backup.origin
    return (
        f'cluster "{backup.cluster_id}" up to entry {backup.last_applied}, revision {backup.revision},'
        f" {backup.keys:,} keys, made by node {origin.node_id} at {origin.made}"
    )
