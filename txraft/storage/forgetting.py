"""Lifts what a node remembers of the directory of another one, while the node is stopped: that one's disk was lost, and
it is to start anew (hazard S6)."""

from pathlib import Path

from txraft.core.messages import NodeId
from txraft.errors import StorageError
from txraft.file_names import LOG
from txraft.storage.directory import DirectoryLock
from txraft.storage.half_made import require_whole
from txraft.storage.identity import shown
from txraft.storage.inspection import has_node
from txraft.storage.raft_file import RaftFile

MOST_SHOWN = 10
"""Ids of other nodes that a line names."""


def forget(directory: Path, peer: NodeId) -> tuple[NodeId, bool]:
    """Forget `peer` in a node's directory, durably. Gives whose directory that is, and whether it knew `peer`. Blocks.

    Raises DirectoryLocked where the node runs, and StorageError where there is no node's directory, its files cannot be
    read or written, or `peer` is not one that may start anew: it is none of the others, was removed, or began the
    cluster alone."""
    require_whole(directory)
    path = directory / LOG
    if not has_node(directory):
        raise StorageError(f"{directory} is not the directory of a node: it has no {LOG}; give that of a node")
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        return _forget(path, peer)
    finally:
        lock.release()


def _forget(path: Path, peer: NodeId) -> tuple[NodeId, bool]:
    file = RaftFile(path, None)
    stored = file.load()
    identity = file.identity
    others = sorted({*identity.founders, *stored.configuration.members, *file.peers} - {identity.node_id})
    if peer in stored.configuration.removed:
        raise StorageError(
            f"node {peer} was removed from the cluster, and is let in with no directory, as node {identity.node_id}"
            " knows: add a node with an id that was never used"
        )
    if peer not in others:
        more = f" and {len(others) - MOST_SHOWN} more" if len(others) > MOST_SHOWN else ""
        which = f"any of the nodes {shown(others[:MOST_SHOWN])}{more}" if others else "no other node: it has met none"
        raise StorageError(
            f"{path.parent} is the directory of node {identity.node_id}, which can forget {which}, and not node {peer}"
        )
    if identity.founders == {peer}:
        raise StorageError(
            f"node {peer} began this cluster alone, so with an empty directory it would begin another one: replace it"
            f" by a node whose id was never used, txraft member replace {peer} NEW HOST:PORT HOST:PORT"
        )
    if peer in file.peers:
        failed = True
        file.open()
        try:
            file.forget(peer)
            failed = False
        finally:
            file.close(failed)
            file.release()
    return identity.node_id, peer in file.peers
