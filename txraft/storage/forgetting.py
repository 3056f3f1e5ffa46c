"""Lifts what a node remembers of the directory of another one, while the node is stopped: that one's disk was lost, and
it is to start anew (hazard S6)."""

from pathlib import Path

from txraft.core.messages import NodeId
from txraft.errors import StorageError
from txraft.file_names import LOG
from txraft.storage.directory import DirectoryLock
from txraft.storage.half_made import require_whole
from txraft.storage.inspection import has_node
from txraft.storage.raft_file import RaftFile


def forget(directory: Path, peer: NodeId) -> tuple[NodeId, bool]:
    """Forget `peer` in a node's directory, durably. Gives whose directory that is, and whether it knew `peer`. Blocks.

    Raises DirectoryLocked where the node runs, and StorageError where there is no node's directory, its files cannot be
    read or written, or the node never met `peer` and could not: it is none of the others."""
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
    if peer not in others:
        raise StorageError(
            f"{path.parent} is the directory of node {identity.node_id}, which can forget any of the nodes"
            f" {', '.join(map(str, others))}, and not node {peer}"
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
