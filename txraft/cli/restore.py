"""`txraft restore`: the directory of a node of a new cluster, made of a backup."""

import hashlib
from pathlib import Path

from twisted.python.usage import UsageError

from txraft.cli.backup import described
from txraft.cli.progress import progress
from txraft.cli.subcommand import SubcommandOn
from txraft.errors import BackupFailed
from txraft.interfaces import Identity
from txraft.kv.backup import count_of_keys
from txraft.kv.restoring import copy_backup, make_data
from txraft.settings import BUILT_IN
from txraft.settings_file import load
from txraft.storage.restoring import begin_log, restoring

PIECE = 1 << 18
"""Bytes."""


class Restore(SubcommandOn):
    """The options of `txraft restore`."""

    thing = "FILE"
    meant = "id"
    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["id", None, None, "Which node of the new cluster this is; required."],
        ["config", None, None, "A TOML file that describes the new cluster; without it, three nodes on localhost."],
        ["data-dir", None, "data", "The data directory that the node will be started with."],
    ]
    longdesc = (
        "Makes the directory of a node of a new cluster, which begins with the data of the backup FILE. Run it for"
        " every node of that cluster, with the same FILE and the same members, as the user that the node runs as, and"
        " then start them all. No node of the old cluster, nor of any other, can join them."
    )

    def postOptions(self) -> None:
        if self["id"] is None:
            raise UsageError("--id is missing: which node this is")
        self.to_whole_number("id")
        self.refuse_empty("config", "data-dir")

    def run(self) -> int:
        settings = BUILT_IN if self["config"] is None else load(self["config"])
        settings.member(self["id"])
        source, directory = Path(self["FILE"]), Path(self["data-dir"]) / str(self["id"])
        count_of_keys(source)  # one that is none makes no directory
        cluster_id = settings.restored_cluster_id(_digest_of(source))
        data = directory / "kv.sqlite"
        with restoring(directory):
            with progress("copying", source.stat().st_size, "B") as report:
                copy_backup(source, data, report)
            with progress("checking", count_of_keys(data), " keys") as report:
                backup = make_data(data, cluster_id, report)
            voters = frozenset(member.id for member in settings.cluster)
            begin_log(directory, Identity(self["id"], cluster_id, voters), backup.data.contents.last_applied)
        print(f'{directory}: node {self["id"]} of the new cluster "{cluster_id}", of {described(backup)}')
        return 0


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file, progress("summing up", path.stat().st_size, "B") as report:
            while piece := file.read(PIECE):
                digest.update(piece)
                report(file.tell())
    except OSError as error:
        raise BackupFailed(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()
