"""`txraft forget`: let a node start anew whose disk is lost, as the README's "A disk is lost" has it. It changes the
files of another node, which is stopped meanwhile."""

import os
from contextlib import suppress
from pathlib import Path

from twisted.python.usage import UsageError

from txraft.cli.process import give_away
from txraft.cli.subcommand import Subcommand
from txraft.errors import StorageError
from txraft.storage.forgetting import forget
from txraft.storage.inspection import has_log, has_node, nodes_in


class Forget(Subcommand):
    """The options of `txraft forget`."""

    meant = "id"
    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["id", None, None, "The id of the node whose disk is lost; required."],
        [
            "data-dir",
            None,
            "data",
            "The data directory of the node that is to forget it, as that is started with, or one node's own part of"
            " it, as in data/0.",
        ],
    ]
    longdesc = (
        "Makes a node forget which directory another node had, so that the other may start anew with an empty one. Each"
        " node refuses any other directory than the one it has met, because one that lost what it promised can make the"
        " others lose what they acknowledged. So this is one step of several, and is safe only as one of them: see 'A"
        " disk is lost' in the README. Run it for every node but the lost one, on its machine, while it is stopped; it"
        " refuses the directory of a node that runs."
    )

    def postOptions(self) -> None:
        if self["id"] is None:
            raise UsageError("--id is missing: which node is to be forgotten")
        self.to_whole_number("id")
        self.refuse_empty("data-dir")

    def run(self) -> int:
        directory = directory_in(Path(self["data-dir"]), self["id"])
        try:
            node, knew = forget(directory, self["id"])
        finally:
            give_to_its_owner(directory)
        if knew:
            print(f"node {node} has forgotten node {self['id']}, and lets it in with whatever directory it has next")
        else:
            print(f"node {node} remembers nothing of node {self['id']}, so there was nothing to forget")
        return 0


def directory_in(data: Path, lost: int) -> Path:
    """The directory of the node that is to forget node `lost`: `data`, or the only other node's in it.

    Raises StorageError where there is none, or several."""
    if has_log(data):
        return data
    nodes = nodes_in(data)
    found = [path for path in nodes if path.name != str(lost)]
    if not nodes and has_node(data):
        return data
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(map(str, found))
        raise StorageError(f"{data} has the directories of several nodes; give one of them as --data-dir: {names}")
    what = "no directory of a node"
    if nodes:
        what += f" but of node {lost}"
    raise StorageError(f"{data} has {what}: give the --data-dir of another node")


def give_to_its_owner(directory: Path) -> None:
    """Files that root made would be in the way of the node's user."""
    owner = directory.stat()
    for path in directory.iterdir() if os.geteuid() == 0 else ():
        with suppress(OSError):  # a directory
            give_away(path, owner.st_uid, owner.st_gid)
