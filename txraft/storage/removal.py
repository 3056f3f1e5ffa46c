"""That a node was removed from its cluster, written down beside its log, which alone does not say so for certain: that
its removal is in there does not mean that it is committed."""

from pathlib import Path
from typing import Final

from txraft.core.messages import NodeId
from txraft.errors import MemberRemoved
from txraft.wal import sync_directory

MARK: Final = "removed"


def mark_removed(directory: Path) -> None:
    """The node has seen in its log that it was removed, and that this is committed. Durable when this is done. Blocks,
    and raises OSError."""
    (directory / MARK).touch()
    sync_directory(directory)


def require_not_removed(directory: Path, node_id: NodeId) -> None:
    """Raises MemberRemoved where the node of this directory was."""
    if (directory / MARK).exists():
        raise MemberRemoved(node_id)
