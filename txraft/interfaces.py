"""The seams: what the parts of a node are to each other. `txraft.service` joins them.

web ──IReplica──> node ──> core
                    ├─IStorage──────> disk
                    ├─IPeers────────> other nodes ──IPeerHandler──> their node
                    └─IStateMachine─> the application's data
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from txraft.core.changes import Change
from txraft.core.configuration import Addresses, Configuration, Snapshot
from txraft.core.messages import Entry, EntryKind, Message, NodeId
from txraft.core.ready import Save, TermAndVote
from txraft.errors import CommandFailed, TxraftError
from txraft.statuses import Members, Status


@frozen
class Identity:
    """Who a node is. Made from the configuration at the first start of an empty directory; from then on it is what the
    disk says, whatever a configuration says (hazard E14)."""

    node_id: NodeId
    cluster_id: str
    founders: frozenset[NodeId]
    """The members that the cluster was first started with. Who is a member now, the log says."""


@frozen
class Incarnation:
    """Which directory a node runs on, and which start of it this is: by that the others tell it from one that forgot
    what it promised (hazards S6, M7)."""

    directory: bytes
    """64 random bits, drawn when the directory was made."""
    starts: int
    """How often a node was started on it, this time included."""
    start: bytes
    """64 random bits, drawn at this start: a copy of the directory that is started too draws others."""


@frozen
class Stored:
    """What a server finds on its disk when it starts."""

    term_and_vote: TermAndVote
    entries: tuple[Entry, ...]
    """Contiguous, from behind `log_start` on."""
    log_start: Snapshot
    """What the log begins after: the disk has no entry up to here. Where the log begins at 1, its index and term are 0,
    and it has the membership that the cluster was started with."""

    @property
    def last_index(self) -> int:
        """Index of the last entry."""
        return self.log_start.index + len(self.entries)

    @property
    def configuration(self) -> Configuration:
        """The membership in force: as of the last entry of that kind, or as of where the log begins (§6)."""
        return self.configuration_at(self.last_index)

    def configuration_at(self, index: int) -> Configuration:
        """The membership as of an entry."""
        for entry in reversed(self.entries[: index - self.log_start.index]):
            if entry.kind is EntryKind.CONFIGURATION:
                return Configuration.from_bytes(entry.data)
        return self.log_start.configuration


@frozen
class SnapshotFile:
    """A snapshot's data, as they lie in a file and go from node to node."""

    snapshot: Snapshot
    size: int
    """Bytes."""
    checksum: bytes
    """SHA-256 of all of them."""


class IStateMachine(Interface):
    """What is replicated. Deterministic: the same commands in the same order give the same results on every node."""

    last_applied: int = Attribute(
        "Index of the last entry that its data included when it was opened; 0 for none. Entries after it are applied"
        " again from the log."
    )

    def start() -> None:
        """Called once, before everything else but `check`, in the process that goes on: one that becomes a daemon forks
        after the machine is made, and no thread and no connection to a database lives through that."""

    def check(command: bytes) -> None:
        """Called on the node that leads, with what another node passes on, before that comes into the log. Raises
        UnknownCommand where this version does not know the command: each node of this version would end on it. A
        machine that has a result for any bytes, today and in all its versions to come, does nothing here."""

    def apply(entries: Sequence[Entry]) -> "Deferred[list[bytes | CommandFailed]]":
        """Apply entries of the log, which follow on the last call's; the next call comes when this one has fired. Fires
        with a result for each: for a command what it gives, and for others, which are Raft's own and change nothing,
        b"". A machine that keeps its data counts them all as applied.

        Must not block: a machine in memory answers at once, and others work on a thread. A command that makes no sense
        has a result that says so. One on which the machine fails by itself has a CommandFailed as its result, the same
        on every node, and its proposer gets that as an error (hazard C10). A call that fails as a whole ends the node:
        its data would not be those of the others.

        Results are to be small, some kilobytes at most: they share a connection with heartbeats."""

    def persist() -> "Deferred[int]":
        """Make durable what has been applied, or some of it. Fires with the index up to which all of it is: the log
        below it may go, since a start after a crash needs it no more. 0 where nothing is.

        This and `snapshot` may be called while other calls are under way, but never each of them twice at a time."""

    def snapshot() -> "Deferred[ISnapshot]":
        """What the data are at one moment, for a follower that needs what is not in the log any more. It has everything
        that `persist` had said by this call, and need not have more: what follows on that is in the log.

        Fails with SnapshotFailed, where there is no room for it say, upon which it is tried again later."""

    def restore(index: int, chunks: Iterable[bytes]) -> "Deferred[None]":
        """Let the data of a snapshot, made by another node's machine, take the place of all there is, durably, and
        `last_applied` become `index` with them: after a crash there are the old or the new. It comes between two calls
        of `apply`, and a `persist` or `snapshot` that is under way may fail with SnapshotFailed.

        `chunks` are read once, and on a thread: to read them blocks. They raise CorruptLog in the end where they are
        not what was sent. Where it fails, the node ends, and the next start tries it again."""

    def close() -> "Deferred[None]":
        """Let go of everything: nothing more is called. What is under way is finished or broken off, and what was not
        kept is in the log. Called also where `start` was not."""


class ISnapshot(Interface):
    """What a state machine held at one moment."""

    index: int = Attribute("The last entry that is in it.")
    size: int | None = Attribute(
        "Bytes of all of it, so that a disk with too little room is known before they are written; None where that is"
        " not known."
    )

    def chunks() -> Iterable[bytes]:
        """All of it, in order. To be called once, and read on a worker. Raises SnapshotFailed."""

    def close() -> "Deferred[None]":
        """Let go of it: nobody reads it any more."""


class IStorage(Interface):
    """A server's log, term and vote."""

    def load() -> Stored:
        """Read everything, check it, and be ready to write. Called once, before the reactor runs.

        Raises CorruptLog, WrongDirectory or DirectoryLocked."""

    def save(saves: Sequence[Save]) -> "Deferred[None]":
        """Make all of `saves` durable, in order and in one transaction. One call at a time.

        Fails with WriteFailed, after which nothing may be saved any more."""

    def close() -> "Deferred[None]":
        """Finish the write that is under way, and let go of the files."""


class IPeerMemory(Interface):
    """What a node keeps of the directories of the others, for as long as it keeps its own."""

    own: Incarnation = Attribute("This node's.")

    def drawn_at(starts: int) -> bytes:
        """What this node drew at its start of that number; b"" where it had none."""

    def known(peer: NodeId) -> Incarnation | None:
        """What `peer` had when it was met last; None where it never was."""

    def meet(peer: NodeId, incarnation: Incarnation) -> "Deferred[None]":
        """From now on `peer` is known by `incarnation`. Fires when that is durable, at once where it is so already.
        Fails with WriteFailed."""


class ISnapshotFiles(Interface):
    """The snapshots in files of their own, beside the log: one that was made here for others, and those that others
    sent. All file work but `open` and `chunks` is done on a worker.

    None of it ends the node. Where a file cannot be written or read, because the disk is full say, a Deferred fails
    with SnapshotFailed, and what was begun is removed."""

    def open() -> tuple[Snapshot, ...]:
        """Those that are whole of what was received, the earliest first; everything else is removed. Blocks. Called
        once, when the log has been loaded, and before everything else.

        There are several where one was received while another was being restored. The log says which one counts
        (`Stored.log_start`).

        Raises StorageError, CorruptLog above all."""

    def make(snapshot: Snapshot, chunks: Iterable[bytes], size: int | None = None) -> "Deferred[SnapshotFile]":
        """Write `chunks`, which are read on the worker, into a file for others. When it is whole it takes the place of
        the one made before. Fails with SnapshotFailed, also where there is not room enough for `size` bytes, if that is
        known; or with what `chunks` raises."""

    def read(file: SnapshotFile, offset: int, size: int) -> "Deferred[bytes]":
        """At most `size` bytes of the one that was made last. Fails with BadSnapshot where `file` is another one, and
        with SnapshotFailed."""

    def offered(file: SnapshotFile) -> "Deferred[int]":
        """Be ready to receive `file`. Fires with the offset up to which it is here already: `file.size` where it is
        whole. Another one that is not whole is dropped: one at a time (hazard S10). Fails with SnapshotFailed, also
        where there is not room enough."""

    def received(file: SnapshotFile, offset: int, data: bytes) -> "Deferred[None]":
        """Append `data` to what is here of `file`. Fails with BadSnapshot, and changes nothing, where `file` is not the
        one that was offered last, or `offset` not where that ends by now; and with SnapshotFailed."""

    def finished(file: SnapshotFile) -> "Deferred[None]":
        """All of `file` was received. Fires when it is checked and, under a name that a start finds, durable. Good
        again where it is so already.

        Fails with BadSnapshot where `file` is not the one that was offered last, is not all here, or has another
        checksum, upon which it is dropped; and with SnapshotFailed."""

    def chunks(snapshot: Snapshot) -> Iterable[bytes]:
        """The data of the one of this index and term that was received whole. To read them blocks, and any thread may.

        To go on raises CorruptLog where they are not, in the end, what was received, and StorageError where they cannot
        be read."""

    def discard(snapshot: Snapshot) -> "Deferred[None]":
        """Remove what was received of those up to this index, whole or not: it is restored, or not needed. Fails with
        SnapshotFailed."""

    def discard_made() -> "Deferred[None]":
        """Remove the one that was made, if there is one: nobody needs it. Fails with SnapshotFailed."""

    def close() -> "Deferred[None]":
        """Finish what is under way, and let go of the files."""


class IWorker(Interface):
    """One thread that runs what must not run on the reactor's: blocking calls, in the order in which they came."""

    def run(function: Callable[..., Any], *args: Any) -> "Deferred[Any]":
        """Call `function(*args)` on the thread; fires with what it gives back, or fails with what it raises."""

    def stop() -> "Deferred[None]":
        """Finish what was handed in, and end the thread."""


CHANGES_MEMBERS: Final = 6
"""The first version of the protocol between nodes in which the log may hold a membership (`IPeers.versions`)."""


class IPeers(Interface):
    """The other nodes, as this one reaches them."""

    def follow(peers: Mapping[NodeId, Addresses], removed: Set[NodeId], configuration_index: int) -> None:
        """The membership is this from now on. Called before the start, and whenever any of it changes.

        `peers` are the others that are to be reached, and where: those of the configuration in force, and those to whom
        a leader still replicates. One without addresses keeps those that it had. `removed` are the ids whose removal is
        committed: they are hung up on, unless they are among `peers`, and are let in no more (hazard M7).
        `configuration_index` is that of the entry that the configuration in force is from, 0 for the founders'."""

    def versions() -> Mapping[NodeId, int]:
        """The version of the protocol that is spoken with each node that is connected."""

    def send(to: NodeId, message: Message) -> None:
        """Send a message if there is a connection; drop it otherwise. Raft does not need to know."""

    def propose(to: NodeId, command: bytes) -> "Deferred[bytes]":
        """Pass a command on to a node believed to lead. Fires with the state machine's result, or fails with the
        CommandFailed that is its result.

        Fails with Unreachable where there is no connection, with NotApplied where it certainly never reached a log for
        another reason, and with OutcomeUnknown where it may have: a connection lost after sending, above all (hazard
        C8)."""

    def read_barrier(to: NodeId) -> "Deferred[int]":
        """Ask a node believed to lead for a read index. Fires with it; fails with NotApplied, and where the connection
        is, or gets, lost, with Unreachable."""

    def transfer_leadership(leader: NodeId, target: NodeId) -> "Deferred[NodeId]":
        """Ask a node believed to lead to hand leadership to `target`. Fires with who leads then; fails with
        NoSuchVoter, or with Undecided as `propose` does."""

    def change_members(leader: NodeId, changes: Sequence[Change]) -> "Deferred[Configuration]":
        """Ask a node believed to lead to change the membership. Fires with the configuration when that is done; fails
        with ChangeRefused or ChangeUnderWay, or with Undecided as `propose` does."""

    def send_snapshot(
        to: NodeId, file: SnapshotFile, read: Callable[[int, int], "Deferred[bytes]"], term: int
    ) -> "Deferred[None]":
        """Send a snapshot's data to a follower, as the leader of `term`, from where an earlier attempt ended. Fires
        when the follower has all of them, checked and durable. `read(offset, size)` gives at most `size` bytes of the
        file, and is asked for one part at a time.

        One at a time to each follower.

        Fails with Unreachable where there is no connection, it gets lost, or nothing is answered for very long; with
        NotApplied where the follower refuses, or cannot write them; and with what `read` fails with. After each of
        these it can be tried again. Cancelling ends it."""


class IPeerHandler(Interface):
    """What the RPC layer calls on the node that it serves."""

    def receive(sender: NodeId, message: Message) -> None:
        """A message arrived."""

    def peer_connected(peer: NodeId) -> None:
        """Entries and questions to `peer` go by another connection from now on; either side may have dialled it.
        What was on its way by the one before may be lost (hazard R22)."""

    def peer_lost(peer: NodeId) -> None:
        """The last connection to `peer` has closed, and it was dialled since and not reached. So nothing is said of one
        that is not dialled."""

    def refused(peer: NodeId, error: TxraftError) -> None:
        """`peer`, which this node has dialled or let in, refuses this node: with a DirectoryRefused, which says that
        the directory has forgotten what it promised (hazard S6), or a MemberRemoved (hazard M7). May come again. The
        node ends with it where it believes that (`txraft.node.membership_watch`)."""

    def passed_on(command: bytes) -> "Deferred[bytes]":
        """Another node passes a command on. As `IPeers.propose`, and never passed on further. Fails with NotApplied
        where the state machine does not know the command (`IStateMachine.check`)."""

    def read_index() -> "Deferred[int]":
        """Another node asks for a read index. As `IPeers.read_barrier`, and never passed on further."""

    def transfer_leadership(target: NodeId) -> "Deferred[NodeId]":
        """Another node asks for a transfer of leadership. As `IPeers.transfer_leadership`."""

    def change_members(changes: Sequence[Change]) -> "Deferred[Configuration]":
        """Another node asks for a change of the membership. As `IPeers.change_members`, and never passed on further."""

    def snapshot_offered(sender: NodeId, term: int, file: SnapshotFile) -> "Deferred[int]":
        """The leader of `term` is going to send a snapshot's data. Fires with how many bytes of them are here already:
        they are sent from there on.

        Refused with NotApplied where `term` is below this node's, or a transfer of a term as late is under way from
        another sender. This and the next two may fail with BadSnapshot and SnapshotFailed too, which are NotApplied to
        the sender; any of these ends the transfer, and an offer begins another. What is under way goes on to its end
        also where the connection is lost and another offer comes by the next."""

    def snapshot_received(sender: NodeId, file: SnapshotFile, offset: int, data: bytes) -> "Deferred[None]":
        """Some of the data of what `sender` offered last arrived: not empty, and within the file's size. Fires when
        they are written; a few may be under way at a time."""

    def snapshot_finished(sender: NodeId, file: SnapshotFile) -> "Deferred[None]":
        """All of what `sender` offered last is there, it says. Fires when that is checked and durable. May come again
        for the same file, where the answer was lost."""


class IReplica(Interface):
    """A node's public face: what the HTTP API uses, and what any application may. Any node takes any request."""

    def propose(command: bytes) -> "Deferred[bytes]":
        """Replicate a command. Fires with the state machine's result once it is applied on the node that leads.

        Fails with the CommandFailed that is the result, with NotApplied or OutcomeUnknown. Raises TypeError, and does
        nothing, where the command is not bytes."""

    def read_barrier() -> "Deferred[None]":
        """Fires when this node's state machine holds everything that was acknowledged anywhere before the call, so
        that reading it is linearizable (thesis §6.4). Fails with NotApplied."""

    def transfer_leadership(target: NodeId) -> "Deferred[None]":
        """Make another node lead (thesis §3.10). Fires when it does. Changes wait meanwhile, on the node that leads.

        Fails with NoSuchVoter; with NotApplied; or with OutcomeUnknown, above all TransferFailed."""

    def change_members(changes: Sequence[Change]) -> "Deferred[None]":
        """Change the membership (§6): what these changes say is in force at once, and this fires when it is committed,
        and no joint configuration is in force any more. Who is to vote and has no vote yet joins, and gets it by itself
        when it has caught up. `txraft.node.member_changes` has what is asked for mostly.

        Fails with ChangeRefused, above all ChangeUnderWay, which goes by; with NotApplied; or with OutcomeUnknown."""

    def members() -> Members:
        """The membership in force on this node, now. Raises NotApplied where it has received none yet: it was added,
        and has nothing of the log."""

    def status() -> Status:
        """Where this node stands, now."""
