"""Every error that txraft raises, in one tree.

Each message is one line for a person: what is wrong and, where something can be done, what to do. Boundaries translate
once: `txraft.cli` turns an error into a line on stderr and an exit status, `txraft.web` turns an outcome
into a status code, `txraft.rpc` carries outcomes to the node that asked.

This module imports nothing, so that the pure core may use it.
"""


class TxraftError(Exception):
    """The root. `str()` of it is one line that can be shown as it is."""


class SettingsError(TxraftError):
    """The command line or the configuration file is wrong."""


class ListenError(TxraftError):
    """An address cannot be listened on: it is taken, or not one of this machine's. `what` leaves out the advice."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}; {advice}")
        self.what = what


class StartedBefore(TxraftError):
    """A node's service is started for the second time, or after it was stopped."""


class HandshakeRefused(TxraftError):
    """The other side of a connection speaks another protocol version, or is not the node that was meant."""


class JoinRefused(TxraftError):
    """A new node cannot join the cluster so; waiting would not help."""


class MemberRemoved(TxraftError):
    """This node was removed from its cluster, for good: it ends (hazard M7). It knows that from its own log, or because
    another node says so, which may be wrong."""

    def __init__(self, node_id: int, told_by: int | None = None) -> None:
        self.told_by = told_by
        if told_by is None:
            found = f"node {node_id} was removed from the cluster, for good: its data directory may be deleted"
        else:
            found = (
                f"node {node_id} was removed from the cluster, as node {told_by} says: where `txraft members` still has"
                f" node {node_id}, correct the address of node {told_by} and start this node again; where not, its data"
                " directory may be deleted"
            )
        super().__init__(f"{found}; a node that is to be added needs an id that was never used, and an empty directory")


class MalformedMessage(TxraftError):
    """What another node sent cannot be read. The connection that it came by is closed."""


class InvariantViolated(TxraftError):
    """What must always hold did not. The node stops: going on would be guessing."""


class DataLost(InvariantViolated):
    """This server has not got all that it acknowledged. The core, which raises it, knows no directory: `txraft.service`
    makes a StorageError of it."""


class ContractBroken(InvariantViolated):
    """The state machine does not do what `txraft.interfaces.IStateMachine` says. `what` follows on its name."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the state machine's {what}; this is a bug in the state machine")


# Storage


REMEDY_FOR_LOST_DATA = (
    "never start the node from a backup, and emptied only when the others have gone on without it: the steps are in the"
    ' README, under "A disk is lost"'
)
"""What to do with a node that has forgotten what it promised (hazard S6)."""


class StorageError(TxraftError):
    """What is on disk cannot be used, or the disk failed."""


class DirectoryLocked(StorageError):
    """Another process holds the data directory."""


class WrongDirectory(StorageError):
    """The data directory belongs to another node, or to another cluster."""


class DirectoryRefused(StorageError):
    """Another node knows that the data directory has forgotten what it promised. `txraft.rpc`, which raises it, knows
    no directory: `txraft.service` adds which one it is."""


class CorruptLog(StorageError):
    """What is in a file is not what was written to it, or less than was durable."""


class WriteFailed(StorageError):
    """A write or an fsync failed. Nothing that was being written may be called durable; the node ends (hazard S1)."""


class BackupFailed(TxraftError):
    """A backup could not be taken, or not be restored."""


class BadSnapshot(TxraftError):
    """What was received of a snapshot is not what was offered, or is out of order; or one is asked for that is not
    there. The transfer begins again with an offer."""


class SnapshotFailed(TxraftError):
    """A snapshot could not be written or read. The log is not concerned, so the node goes on, and it is tried again
    later."""


class WorkerStopped(TxraftError):
    """Work was handed to a thread that has been told to end. It is not done."""


# The log


class UnknownCommand(TxraftError):
    """A command is of a later version, as `what` says. To pass over one that is in the log, as a node once did, makes
    its data differ from the others'; so the node ends."""

    def __init__(self, what: str, who: str = "txraft", more: str = "") -> None:
        """`who` does not know it, and `more` is what else may be the reason, and the remedy."""
        super().__init__(
            f"the log has a command of {what}, which this {who} does not know; if other nodes run a later one, install"
            f" it here, too, and start this node again{more}"
        )
        self.what = what


class Compacted(TxraftError):
    """The entry asked for lies below the log's first index; only a snapshot has what it did (hazard R13)."""


# Requests that were not decided: the two that must never be mixed up


class Undecided(TxraftError):
    """A request has no answer. Which of the two subclasses it is says what may have become of it."""


class NotApplied(Undecided):
    """The request did not take effect and never will. A promise: where there is any doubt, it is `OutcomeUnknown`."""


class NotLeader(NotApplied):
    """This node does not lead and took nothing in; `leader_id` is who does, or None where that is not known."""

    def __init__(self, leader_id: int | None) -> None:
        super().__init__("this node does not lead" + ("" if leader_id is None else f"; node {leader_id} does"))
        self.leader_id = leader_id


class TransferUnderWay(NotApplied):
    """Leadership is being handed to `target`, and until that has ended nothing is taken in (hazard C4)."""

    def __init__(self, target: int) -> None:
        super().__init__(f"leadership is being transferred to node {target}; try again later")
        self.target = target


class TargetSilent(NotApplied):
    """Leadership is not handed to a server that does not answer: meanwhile nobody could change anything."""


class TargetLostData(NotApplied):
    """Leadership is not handed to a server that has lost what it had acknowledged (hazard R23)."""


class TargetBehind(NotApplied):
    """Leadership is not handed to a server that needs a snapshot first: meanwhile nobody could change anything."""


class NoSuchVoter(TxraftError):
    """Leadership cannot be handed to a server that has no vote in the cluster."""


class ChangeRefused(TxraftError):
    """The membership cannot be changed so. It is as it was."""


class ChangeUnderWay(ChangeRefused):
    """Another change of the membership has not ended, or the leader has not committed anything in its term yet (hazard
    M1): the same change may be asked for again soon."""


class Unreachable(NotApplied):
    """There is no connection to the node that leads, so nothing was sent; or, of a read, no answer has come back."""


class Overloaded(NotApplied):
    """As much is waiting to be committed as this node will hold (hazard C9)."""


class CommandTooLong(NotApplied):
    """A command is longer than an entry can be, whatever the limits are set to."""

    def __init__(self, length: int, longest: int) -> None:
        super().__init__(f"a command of {length} bytes is too long; an entry holds {longest}")


class OutcomeUnknown(Undecided):
    """The request may have taken effect, or may yet."""


class NoHttpAnswer(OutcomeUnknown):
    """The other side of a connection ended it, or said what is not HTTP: a node that has ended, or is asked at the port
    of Raft."""


class TransferFailed(OutcomeUnknown):
    """The server that was to lead did not win in time. It may yet, if the word to campaign reaches it late."""


# Requests that were decided


LONGEST_REASON = 1000
"""Characters of what a command failed with: it goes over the wire and into logs."""


def in_a_line(error: BaseException) -> str:
    """Class and text of anybody's exception, in one line, without what differs from process to process."""
    try:
        text = str(error)
    except Exception:  # it is somebody else's class
        text = ""
    # Where in memory an object is, as Python's own `repr` says it.
    before, *others = " ".join(text.split()).split(" at 0x")
    line = before + "".join(other.lstrip("0123456789abcdefABCDEF") for other in others)
    return ": ".join(filter(None, (type(error).__name__, line)))


class CommandFailed(TxraftError):
    """The state machine failed on a command, on every node alike: that is the command's result, and the cluster goes on
    (hazard C10). What it changed before it failed is the state machine's to say.

    Its text is one line that can be encoded, so that it is the same where it has come over the wire."""

    def __init__(self, what: str) -> None:
        encodable = what.encode(errors="backslashreplace").decode()
        super().__init__(" ".join(encodable.split())[:LONGEST_REASON].rstrip())

    @classmethod
    def of(cls, error: BaseException) -> "CommandFailed":
        """What is to be said where a command raised `error`."""
        return cls(f"the command failed: {in_a_line(error)}")


class WrongThread(TxraftError):
    """A service is asked where it would wait for itself, where nobody would answer, or on a thread that is not its
    reactor's."""


class BadCommand(TxraftError):
    """A command makes no sense where it is called. Nothing was done."""


class ResultNotBytes(CommandFailed):
    """A command has been applied, and what the state machine gave for it is no result. That is on every node alike."""

    def __init__(self, result: object) -> None:
        super().__init__(f"the command failed: its result is {type(result).__name__}, not bytes")


class ConditionFailed(TxraftError):
    """What a client made its request depend on does not hold, so nothing was done: `if_match`, `if_none_match`, or the
    compare-and-set of a batch (`txraft.client`)."""


# HTTP requests that are wrong in themselves; none of them had any effect


class BadRequest(TxraftError):
    """What was sent, or was to be, makes no sense: a parameter is missing, unknown, given twice or malformed."""


class TooLarge(BadRequest):
    """A key, a value or a whole request is over its limit."""


class CrossSite(BadRequest):
    """A page of another site asked a browser to change something here."""


class IdempotencyKeyUsed(BadRequest):
    """The request's Idempotency-Key came with another request before."""
