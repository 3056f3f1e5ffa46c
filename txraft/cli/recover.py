"""`txraft recover`: a cluster of one node, made of what one survivor has, where a majority is lost for good."""

import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.python.usage import UsageError

from txraft.cli.forget import give_to_its_owner
from txraft.cli.progress import progress
from txraft.cli.subcommand import Subcommand
from txraft.errors import StorageError
from txraft.file_names import DATA
from txraft.kv.data_reading import count_of_keys, inspect_data
from txraft.kv.recovering import give_to
from txraft.storage.identity import shown
from txraft.storage.inspection import has_log, has_node, nodes_in
from txraft.storage.recovering import Recovery, recovering
from txraft.texts import one_line

DATA_REMEDY = "recover another node, whose files are whole; `txraft inspect` looks into them"


class Recover(Subcommand):
    """The options of `txraft recover`."""

    meant = "id"
    optFlags = [  # noqa: RUF012 - how Twisted has it
        ["force-new-cluster", None, "Required: what the node has becomes a new cluster."],
        ["yes", None, "Do not ask whether to go on, as in a script."],
    ]
    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["id", None, None, "Which node it is, where the data directory has several."],
        [
            "data-dir",
            None,
            "data",
            "The data directory that the node is started with, or the node's own part of it, as in data/0.",
        ],
    ]
    longdesc = (
        "Where a majority of the nodes is lost for good, makes a new cluster of one node that is left. It keeps what"
        " that node has, and what the others alone had is lost; it says what that may be, and asks. The other nodes, if"
        " any of them comes back, are refused by it: their ids are never used again. Run it on one node only, which is"
        " stopped: the one whose log goes the furthest, as `txraft inspect` shows it. Copy its directory first. Where"
        " the command is cut off, run the same again."
    )

    def postOptions(self) -> None:
        self.to_whole_number("id")
        self.refuse_empty("data-dir")
        if not self["force-new-cluster"]:
            raise UsageError(
                "--force-new-cluster is missing: what the lost nodes alone had is gone then, and none of them can come"
                " back"
            )

    def run(self) -> int:
        directory = directory_of(Path(self["data-dir"]), self["id"])
        with recovering(directory) as recovery:
            if self["id"] not in (None, recovery.identity.node_id):
                raise StorageError(f"{directory} is of node {recovery.identity.node_id}, not of node {self['id']}")
            applied = _applied(recovery)
            print("\n".join(what_may_be_lost(recovery, applied or 0)), flush=True)
            if not self["yes"]:
                _confirm()
            with recovery.changing():
                if applied is not None:
                    give_to(directory / DATA, recovery.cluster_id, DATA_REMEDY)
        give_to_its_owner(directory)
        print("\n".join(_what_next(recovery)))
        return 0


def directory_of(data: Path, id: int | None) -> Path:
    """The directory of node `id`, or of the only node that there is: `data`, or one in it.

    Raises StorageError where there is none, or several."""
    if has_log(data):
        return data
    if id is not None:
        return data / str(id)
    found = nodes_in(data)
    if not found and has_node(data):
        return data
    if len(found) != 1:
        what = "the directories of several nodes: say which, with --id" if found else "no directory of a node"
        raise StorageError(f"{data} has {what}")
    return found[0]


def _applied(recovery: Recovery) -> int | None:
    """The last entry that the data have; None where there are none. Raises StorageError where they do not go with the
    log."""
    path, log = recovery.directory / DATA, recovery.stored
    if (recovery.directory / "state").exists():
        raise StorageError(f"{recovery.directory} has the data of an application's own state machine, not of txraft's")
    data = None
    if path.exists():
        with progress(f"checking {DATA}", count_of_keys(path), " keys") as report:
            data = inspect_data(path, DATA_REMEDY, report)
    applied = 0 if data is None else data.contents.last_applied
    if data is not None and not recovery.is_begun and data.cluster_id != recovery.identity.cluster_id:
        raise StorageError(
            f'{path} has data of the cluster "{one_line(data.cluster_id)}", and the log is of'
            f' "{one_line(recovery.identity.cluster_id)}"; {DATA_REMEDY}'
        )
    if applied > log.last_index:
        raise StorageError(f"{path} goes up to entry {applied}, and the log to {log.last_index}; {DATA_REMEDY}")
    if applied < log.log_start.index:
        raise StorageError(
            f"{path} goes up to entry {applied}, and the log begins behind entry {log.log_start.index}: start the node"
            " once, which needs no other node to restore the snapshot that it has received, and stop it; where that is"
            f" refused, {DATA_REMEDY}"
        )
    return None if data is None else applied


def what_may_be_lost(recovery: Recovery, applied: int) -> Iterator[str]:
    """What there is and what is not known, line by line. `applied` is the last entry that the data have."""
    stored, node = recovery.stored, recovery.identity.node_id
    members, last = stored.configuration, stored.last_index
    if recovery.is_begun:
        yield f"{recovery.directory}: `txraft recover` was cut off here, and goes on"
    learners = f" and the learners {shown(members.learners)}" if members.learners else ""
    yield (
        f'{recovery.directory}: node {node} of cluster "{one_line(recovery.identity.cluster_id)}", with the voters'
        f" {shown(members.voters | members.outgoing)}{learners}"
    )
    yield (
        f"Its log ends with entry {last} of term {recovery.last_term}, and its data with entry {applied}. All of that"
        " stays:"
    )
    yield (
        f"  - {last - applied} entries are after those of the data. The old cluster may have dropped some of them, and"
        " told a client so; in the new one all of them count."
    )
    yield "What this node does not have is lost for good:"
    yield (
        f"  - everything that the others acknowledged after entry {last}. How much that is, this node does not know;"
        " `txraft inspect` on any other directory that can be read shows whether its log goes further."
    )
    yield (
        "  - everything that they acknowledged in place of this node's last entries, where a later leader had them"
        " replaced: the log of a later term than this one's is the one to recover, also where it is shorter."
    )
    yield f'It becomes the cluster "{one_line(recovery.cluster_id)}", of node {node} alone.'
    if recovery.others:
        yield f"No other node has a part in it: the ids {shown(recovery.others)} are never used again."


def _confirm() -> None:
    """Ask on the terminal. Raises UsageError where there is none, and StorageError where the answer is no."""
    if not sys.stdin.isatty():
        raise UsageError("nothing was changed, and there is no terminal to ask on whether to go on: add --yes")
    print("Type yes to go on: ", end="", flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise StorageError("nothing was changed: the answer was not yes")


def _what_next(recovery: Recovery) -> Iterator[str]:
    directory, id = recovery.directory, recovery.identity.node_id
    yield f'node {id} is the cluster "{one_line(recovery.cluster_id)}" now. Start it as it was started before:'
    data = f" --data-dir {directory.parent}" if directory.name == str(id) else ""
    yield f"    twistd txraft --id {id}{data}"
    yield "and then add nodes with new ids and empty directories, each by `txraft member add`."
