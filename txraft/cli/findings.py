"""What `txraft inspect` finds in a directory: every part by itself, so that what is damaged hides nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from attrs import define, field

from txraft.cli.progress import progress, waiting
from txraft.core.configuration import Configuration
from txraft.core.messages import Entry, EntryKind
from txraft.errors import REMEDY_FOR_LOST_DATA, StorageError
from txraft.file_names import DATA, LOG
from txraft.interfaces import Incarnation
from txraft.kv.commands_in_json import command_in_json
from txraft.kv.data_reading import DataRead, count_of_keys, inspect_data
from txraft.kv.readable import readable
from txraft.storage.directory import DirectoryLock
from txraft.storage.half_made import require_whole
from txraft.storage.identity import shown
from txraft.storage.inspection import (
    InspectedLog,
    InspectedSnapshot,
    has_log,
    has_node,
    inspect_log,
    inspect_snapshots,
    nodes_in,
)

DATA_REMEDY = (
    "where the node's log begins with entry 1, remove it and the -wal and -shm files beside it, and it is rebuilt;"
    f" otherwise see to the disk, and {REMEDY_FOR_LOST_DATA}"
)

InJson: TypeAlias = dict[str, Any]


@define
class Findings:
    """What is in a directory, and what is wrong with it."""

    directory: Path
    problems: list[StorageError] = field(factory=list)
    log: InspectedLog | None = None
    """None where it cannot be read."""
    data: DataRead | None = None
    """None where there are none, or they cannot be read."""
    data_size: int | None = None
    """Bytes of the file; None where there is none."""
    snapshots: tuple[InspectedSnapshot, ...] = ()

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """What fails in here is one more that is wrong."""
        try:
            yield
        except StorageError as error:
            self.problems.append(error)


def look_into(directory: Path) -> Findings:
    """Read and check everything in the directory of a node that does not run.

    Raises StorageError where it is no such directory, DirectoryLocked where the node runs."""
    lock = DirectoryLock(directory)
    lock.share()
    try:
        require_whole(directory)
        _require_node(directory)
        findings = Findings(directory)
        with findings.collecting(), waiting(f"checking {LOG}"):
            findings.log = inspect_log(directory)
        path = directory / DATA
        if path.exists():
            findings.data_size = path.stat().st_size
            with findings.collecting(), progress(f"checking {DATA}", count_of_keys(path), " keys") as report:
                findings.data = inspect_data(path, DATA_REMEDY, report)
        with findings.collecting(), progress("checking snapshots", None, "B") as report:
            findings.snapshots = inspect_snapshots(directory, findings.problems.append, report)
        _compare(findings)
    finally:
        lock.release()
    return findings


def _require_node(directory: Path) -> None:
    if has_log(directory):
        return
    if not directory.is_dir():
        raise StorageError(f"{directory} is not a directory")
    if nodes := nodes_in(directory):
        raise StorageError(
            f"{directory} is not a node's directory, but has some: inspect {' or '.join(map(str, nodes))}"
        )
    if not has_node(directory):
        raise StorageError(f"{directory} has no {LOG}, so no node was ever started on it")


def _compare(findings: Findings) -> None:
    """What is right by itself, and does not go together."""
    log, data = findings.log, findings.data
    if log is None or (data is None and findings.data_size):
        return
    path = findings.directory / DATA
    if data is not None and data.cluster_id != log.identity.cluster_id:
        findings.problems.append(
            StorageError(
                f'{path} has data of the cluster "{data.cluster_id}", and the log is of "{log.identity.cluster_id}";'
                f" {DATA_REMEDY}"
            )
        )
    applied = 0 if data is None else data.contents.last_applied
    start, last = log.stored.log_start, log.stored.last_index
    if applied > last:
        findings.problems.append(
            StorageError(f"{path} goes up to entry {applied}, and the log to {last}: the log is an older one")
        )
    is_kept_elsewhere = (findings.directory / "state").exists()  # an application's own state machine
    received = {(each.snapshot.index, each.snapshot.term) for each in findings.snapshots if each.snapshot}
    if applied < start.index and (start.index, start.term) not in received and not is_kept_elsewhere:
        findings.problems.append(
            StorageError(
                f"the log begins behind entry {start.index}, {DATA} goes up to {applied}, and no snapshot has what"
                f" is between; {REMEDY_FOR_LOST_DATA}"
            )
        )


def in_words(configuration: Configuration) -> str:
    """Who is what in it, in one line."""
    becomes = {
        server: f"{server} (to vote{'' if replaced is None else f' in place of {replaced}'})"
        for server, replaced in configuration.joining
    }
    learners = ", ".join(becomes.get(server, str(server)) for server in sorted(configuration.learners))
    words = [f"voters {shown(configuration.voters)}"]
    if configuration.is_joint:
        words.append(f"together with the voters before them, {shown(configuration.outgoing)}")
    if learners:
        words.append(f"learners {learners}")
    if configuration.learners_next:
        words.append(f"learners from then on {shown(configuration.learners_next)}")
    return "; ".join(words)


def in_json(findings: Findings, last: int) -> InJson:
    """All of it, with the `last` entries of the log."""
    return {
        "directory": str(findings.directory),
        "problems": [str(each) for each in findings.problems],
        **_log_in_json(findings.log, last),
        "data": _data_in_json(findings.data, findings.data_size),
        "snapshots": [
            {
                "file": str(each.path.relative_to(findings.directory)),
                "size": each.size,
                "index": each.snapshot.index if each.snapshot else None,
                "term": each.snapshot.term if each.snapshot else None,
            }
            for each in findings.snapshots
        ],
    }


def _log_in_json(log: InspectedLog | None, last: int) -> InJson:
    if log is None:
        return {"identity": None, "log": None}
    identity, stored, start = log.identity, log.stored, log.stored.log_start
    return {
        "identity": {
            "id": identity.node_id,
            "cluster": identity.cluster_id,
            "founders": sorted(identity.founders),
        },
        "incarnation": _incarnation_in_json(log.incarnation),
        "peers": [{"id": peer, **_incarnation_in_json(log.peers[peer])} for peer in sorted(log.peers)],
        "term": stored.term_and_vote.current_term,
        "voted_for": stored.term_and_vote.voted_for,
        "configuration": _configuration_in_json(stored.configuration),
        "log": {
            "first_index": start.index + 1,
            "last_index": stored.last_index,
            "term_before": start.term,
            "entries": len(stored.entries),
            "size": sum(len(entry.data) for entry in stored.entries),
            "last": [_entry_in_json(entry) for entry in (stored.entries[-last:] if last else ())],
        },
    }


def _configuration_in_json(configuration: Configuration) -> InJson:
    return {
        "what": in_words(configuration),
        "voters": sorted(configuration.voters),
        "outgoing": sorted(configuration.outgoing),
        "learners": sorted(configuration.learners),
        "joining": [{"id": server, "replaces": replaced} for server, replaced in configuration.joining],
        "addresses": [{"id": server, "addresses": list(addresses)} for server, addresses in configuration.addresses],
        "removed": sorted(configuration.removed),
    }


def _incarnation_in_json(incarnation: Incarnation) -> InJson:
    return {
        "directory": incarnation.directory.hex(),
        "starts": incarnation.starts,
        "start": incarnation.start.hex(),
    }


def _entry_in_json(entry: Entry) -> InJson:
    found: InJson = {"index": entry.index, "term": entry.term, "kind": entry.kind.name.lower()}
    if entry.kind is EntryKind.COMMAND:
        return {**found, "what": readable(entry.data), **command_in_json(entry.data)}
    if entry.kind is EntryKind.CONFIGURATION:
        configuration = Configuration.from_bytes(entry.data)
        what = f"from here on, {in_words(configuration)}"
        return {**found, "what": what, "configuration": _configuration_in_json(configuration)}
    return {**found, "what": "a leader's first entry"}


def _data_in_json(data: DataRead | None, size: int | None) -> InJson | None:
    if data is None:
        return None
    contents = data.contents
    return {
        "last_applied": contents.last_applied,
        "revision": contents.revision,
        "keys": len(contents.records),
        "answers": len(contents.answers),
        "size": size,
    }
