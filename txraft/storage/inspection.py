"""What a node's directory has, read and checked without a change to it: for an operator who looks into a node that has
stopped, and may need it as evidence."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from attrs import frozen

from txraft import wal
from txraft.core.configuration import Addresses, Configuration, Snapshot
from txraft.core.messages import NodeId
from txraft.errors import StorageError
from txraft.file_names import LOG
from txraft.interfaces import Identity, Incarnation, Stored
from txraft.storage.directory import DirectoryLock, unusable
from txraft.storage.durable import DurableRecord
from txraft.storage.half_made import require_whole
from txraft.storage.raft_reading import (
    OtherFormat,
    corrupt,
    is_new,
    read_contents,
    read_memberships,
    read_owner,
    read_peers,
    require_durable,
    require_there,
)
from txraft.storage.snapshot_files import RECEIVED, snapshot_in
from txraft.storage.snapshot_reading import read_chunks


@frozen
class InspectedLog:
    """What `raft.sqlite` has."""

    identity: Identity
    incarnation: Incarnation
    """As of the last start."""
    peers: Mapping[NodeId, Incarnation]
    """Which directories the other nodes had when they were met last."""
    stored: Stored


@frozen
class InspectedSnapshot:
    """A file in `snapshots`."""

    path: Path
    size: int
    """Bytes."""
    snapshot: Snapshot | None
    """None where it is not whole, or was made for others: the next start removes it."""


@frozen
class FirstLook:
    """What `first_look` finds."""

    identity: Identity
    configuration: Configuration
    """That in force."""
    index: int
    """Of the entry that it is from; the log's start where that entry is compacted."""
    addresses: Mapping[NodeId, Addresses]
    """The last that are known, of all members that the log still knows, also where they are none any more."""
    peers: Set[NodeId]
    """The nodes whose directories it remembers: no other directory of theirs is let in."""


def has_node(directory: Path) -> bool:
    """Whether a node has been started on `directory`, also where it has lost its log. Raises StorageError."""
    path = directory / LOG
    try:
        return directory.is_dir() and not is_new(path, DurableRecord(Path(f"{path}-durable")))
    except OSError as error:
        raise unusable(directory, error) from error


def has_log(directory: Path) -> bool:
    """Whether it is the directory of a node that has its log. Raises StorageError."""
    try:
        return (directory / LOG).exists()
    except OSError as error:
        raise unusable(directory, error) from error


def nodes_in(directory: Path) -> list[Path]:
    """The directories in `directory`, as far as they may be read, on which a node has been started. Raises
    StorageError."""
    found = []
    try:
        for path in sorted(directory.iterdir()):
            with suppress(StorageError):  # lost+found, say
                if has_node(path):
                    found.append(path)
    except OSError as error:
        raise unusable(directory, error) from error
    return found


def inspect_log(directory: Path) -> InspectedLog:
    """All of it, checked as a start checks it. Nobody else has the directory. Raises StorageError."""
    path = directory / LOG
    with _opened(path, "inspect it", wal.RUN_AGAIN) as connection:
        owner = read_owner(connection)
        contents = read_contents(connection, owner)
        require_durable(contents.saves, DurableRecord(Path(f"{path}-durable")).read())
    return InspectedLog(owner.identity, owner.history.incarnation, contents.peers, contents.stored)


def first_look(directory: Path) -> FirstLook | None:
    """What a few rows of a directory tell; a start checks all of them. None where no node has been started on it.

    Raises DirectoryLocked, or another StorageError."""
    require_whole(directory)
    if not has_node(directory):
        return None
    lock = DirectoryLock(directory)
    lock.share()
    try:
        with _opened(directory / LOG, "start it", wal.START_AGAIN) as connection:
            owner = read_owner(connection)
            memberships = read_memberships(connection, owner)
            index, in_force = next(memberships)
            addresses = dict(in_force.addresses)
            for _, each in memberships:
                addresses = dict(each.addresses) | addresses
            return FirstLook(owner.identity, in_force, index, addresses, read_peers(connection).keys())
    finally:
        lock.release()


@contextmanager
def _opened(path: Path, what_to_do: str, again: str) -> Iterator[sqlite3.Connection]:
    """A connection to look into `raft.sqlite`. What goes wrong is raised as StorageError."""
    wal.require_files(path, remedy="put back what was there")
    if os.path.lexists(journal := f"{path}-journal"):
        raise StorageError(f"{journal} is no file of txraft's, and SQLite would heed it; move it elsewhere")
    try:
        require_there(path)
        with closing(wal.connect_to_inspect(path)) as connection:
            yield connection
    except OtherFormat as error:
        raise StorageError(f"{path} is in format {error}: {what_to_do} with the txraft that wrote it") from error
    except OSError as error:
        raise unusable(path.parent, error) from error
    except sqlite3.Error as error:
        if wal.is_damage(error):
            raise corrupt(path, error) from error
        raise StorageError(f"cannot read {path}: {error}; {wal.remedy_for_start(path, again)}") from error
    except Exception as error:  # Damage, or a bit that flipped has made something else of a value
        raise corrupt(path, error) from error


def inspect_snapshots(
    directory: Path, on_damage: Callable[[StorageError], None], report: Callable[[int], None] = lambda _: None
) -> tuple[InspectedSnapshot, ...]:
    """The files in `snapshots`, those that are whole checked from the first to the last byte. `on_damage` is told of
    each that is not what was received, and `report` of the bytes that have been read. Raises StorageError where they
    cannot be listed."""
    try:
        paths = sorted((directory / "snapshots").iterdir())
        found = []
        read = 0
        for path in paths:
            snapshot = None
            if RECEIVED.fullmatch(path.name):
                try:
                    snapshot = snapshot_in(path)
                    for chunk in read_chunks(path):
                        read += len(chunk)
                        report(read)
                except StorageError as error:
                    on_damage(error)
            found.append(InspectedSnapshot(path, path.stat().st_size, snapshot))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise unusable(directory / "snapshots", error) from error
    return tuple(found)
