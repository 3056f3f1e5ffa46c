"""Where a state machine lives, which is what it is made with."""

from collections.abc import Callable
from pathlib import Path

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from txraft.core.messages import NodeId
from txraft.errors import TxraftError
from txraft.interfaces import IWorker


@frozen
class Home:
    """Where a state machine lives: for one process of one node."""

    node_id: NodeId
    cluster_id: str
    directory: Path
    """The node's own, which survives its processes. The names of files in it are the machine's to choose, but those
    that begin with "raft", "lock", "snapshots" and "removed"."""
    worker: IWorker
    """Does what blocks. This and the next are stopped when the machine has closed."""
    snapshot_worker: IWorker
    """Does what takes long, while `worker` goes on: what has to do with snapshots."""
    clock: IReactorTime
    fail: Callable[[TxraftError], None]
    """Ends the node, where the machine cannot go on. What a call of it fails with does that by itself."""
