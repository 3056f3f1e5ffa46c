"""What the core wants done: the outputs of a burst of inputs, in one value."""

from txraft.core.configuration import Snapshot
from txraft.core.messages import Entry, Envelope, NodeId
from txraft.values import value_class


@value_class
class TermAndVote:
    """What a server must never forget (Figure 2, persistent state): one atomic record (hazard E1)."""

    current_term: int
    voted_for: NodeId | None


@value_class
class Save:
    """One durable write. All of it becomes durable together, in the order in which the core gave it out."""

    term_and_vote: TermAndVote | None
    """None where neither has changed since the last save."""
    entries: tuple[Entry, ...]
    """Contiguous. They replace everything in the stored log from the first one's index on."""
    log_start: Snapshot | None = None
    """From now on the log holds nothing up to here. None where it begins as before."""
    replaces_log: bool = False
    """Whether the log consists of `log_start` and `entries` from now on, whatever it held: a snapshot is installed
    (hazards S7, S8). Where it is not, `log_start` is an entry that is durable already.

    When such a save is durable, the state machine is to be restored from the snapshot, after everything that was given
    out as `Ready.committed` before, and ahead of anything that is given out later; its own `Ready` has nothing there.
    Entries that the snapshot stands for are not given out any more (hazard C7)."""


@value_class
class ReadReady:
    """A read may be answered once the state machine has applied everything up to read_index (thesis §6.4)."""

    read_id: int
    read_index: int


@value_class
class LostData:
    """A follower does not have entry `index` any more, which it had acknowledged as durable (hazard R23)."""

    follower: NodeId
    index: int


@value_class
class Ready:
    """Taken from the core by `Raft.ready()`, in the order of the fields below:

    send `messages`; write `save`; when it is durable, and never before, send `messages_after_save` and report the save
    to `Raft.saved()`. `committed` may be applied at once: it holds only what is durable here too. It follows without a
    gap on what was given out before, entries and snapshots.
    """

    messages: tuple[Envelope, ...]
    save: Save | None
    messages_after_save: tuple[Envelope, ...]
    committed: tuple[Entry, ...]
    reads: tuple[ReadReady, ...]
    lost_reads: tuple[int, ...]
    """Ids of reads that this server, no longer the leader, will not confirm. Asking the next leader is safe."""
    snapshots_to_send: tuple[NodeId, ...] = ()
    """Followers that need what is compacted here: the driver sends each the data of a snapshot, no older than the start
    of the log, and reports how that ended, once, to `Raft.snapshot_delivered` or `Raft.snapshot_failed`."""
    lost_data: tuple[LostData, ...] = ()
    """What an operator must hear of. It comes once a minute for a follower, at most, or when that connects anew."""
