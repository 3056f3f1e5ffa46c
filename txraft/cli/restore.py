"""`txraft restore`: the directory of a node of a new cluster, made of a backup."""

from pathlib import Path

from twisted.python.usage import UsageError

from txraft.bootstrap import founders_of
from txraft.cli.backup import described, file_named
from txraft.cli.progress import progress
from txraft.cli.subcommand import SubcommandOn
from txraft.file_names import DATA
from txraft.kv.backup import require_backup
from txraft.kv.data_reading import count_of_keys
from txraft.kv.restoring import copy_backup, make_data
from txraft.settings import BUILT_IN
from txraft.settings_file import load
from txraft.storage.identity import Bootstrap
from txraft.storage.restoring import begin_log, restoring


class Restore(SubcommandOn):
    """The options of `txraft restore`."""

    things = ("FILE",)
    meant = "id"
    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["id", None, None, "Which node of the new cluster this is; required."],
        ["config", None, None, "A TOML file that describes the new cluster; without it, three nodes on localhost."],
        ["data-dir", None, "data", "The data directory that the node will be started with."],
    ]
    longdesc = (
        "Makes the directory of a node of a new cluster, which begins with the data of the backup FILE. Run it for"
        " every node of that cluster, with the same FILE and the same members, as the user that the node runs as, and"
        " then start them all. No node of the old cluster, nor of any other, can join them. Where it is cut off, run"
        " the same again: it begins anew."
    )

    def postOptions(self) -> None:
        if self["id"] is None:
            raise UsageError("--id is missing: which node this is")
        self.to_whole_number("id")
        self.refuse_empty("config", "data-dir")

    def run(self) -> int:
        settings = BUILT_IN if self["config"] is None else load(self["config"])
        settings.member(self["id"])
        source, directory = file_named(self["FILE"]), Path(self["data-dir"]) / str(self["id"])
        size = require_backup(source)  # what is none makes no directory
        data = directory / DATA
        with restoring(directory):
            with progress("copying", size, "B") as report:
                checksum = copy_backup(source, size, data, report)
            cluster_id = settings.restored_cluster_id(checksum.hex())
            with progress("checking", count_of_keys(data), " keys") as report:
                backup = make_data(data, cluster_id, report)
            begin_log(directory, Bootstrap(self["id"], cluster_id, founders_of(settings)), backup.last_applied)
        print(f'{directory}: node {self["id"]} of the new cluster "{cluster_id}", of {described(backup)}')
        return 0
