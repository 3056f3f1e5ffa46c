"""How a node's core is made of what is on its disk."""

from collections.abc import Sequence
from random import Random

from txraft.core.configuration import Snapshot
from txraft.core.log import RaftLog
from txraft.core.messages import NodeId
from txraft.core.raft import Raft
from txraft.core.state import RaftOptions
from txraft.errors import MemberRemoved
from txraft.interfaces import Stored


def start_raft(
    node_id: NodeId,
    stored: Stored,
    received: Sequence[Snapshot],
    last_applied: int,
    options: RaftOptions,
    random: Random,
    now: float,
) -> Raft:
    """The core as of a start. `received` are the snapshots that are here, of which the state machine, which has applied
    everything up to `last_applied`, may yet have to be restored.

    Raises DataLost where the state machine is ahead of the log, or behind its start without the snapshot that it is to
    be restored from (hazard S18), and MemberRemoved where this node is none any more, for all that is known to be
    committed.
    """
    start = stored.log_start
    here = {(each.index, each.term) for each in received}
    restores = last_applied < start.index and (start.index, start.term) in here
    last_applied = start.index if restores else last_applied
    raft = Raft(
        node_id=node_id,
        log=RaftLog(stored.entries, start),
        term_and_vote=stored.term_and_vote,
        last_applied=last_applied,
        options=options,
        random=random,
        now=now,
    )
    if node_id in raft.log.membership.at(last_applied).removed:
        raise MemberRemoved(node_id)
    return raft
