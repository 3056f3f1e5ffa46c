"""The AMP commands: one for each of Raft's messages, which ask for no answer, and eleven that do: Hello, Met, Ping,
Leaving, Propose, ReadBarrier, Transfer, ChangeMembers, and the three by which the data of a snapshot go over.

A message's command has the message's name. Which class goes with which is in `COMMAND_OF` and nowhere else.
"""

import struct
from typing import Any, ClassVar, Final

from twisted.protocols import amp

from txraft.core import messages
from txraft.core.messages import Message
from txraft.errors import (
    BadSnapshot,
    ChangeRefused,
    ChangeUnderWay,
    CommandFailed,
    HandshakeRefused,
    MalformedMessage,
    NoSuchVoter,
    NotApplied,
    NotLeader,
    OutcomeUnknown,
    SnapshotFailed,
    Undecided,
)
from txraft.interfaces import Incarnation
from txraft.rpc.arguments import MAX_INTEGER, LongBytes, Number
from txraft.rpc.directories import Verdict
from txraft.rpc.encoding import PackedMessage
from txraft.rpc.memberships import PackedChanges, PackedConfiguration, PackedSnapshotFile
from txraft.rpc.versions import NEWEST_VERSION, agreed

Arguments = list[tuple[bytes, amp.Argument]]


class MessageCommand(amp.Command):
    """A message of Raft. No answer is asked for: a reply leaves only after a disk write, may be lost, and names the
    request that it answers, so it is a command of its own and not AMP's answer."""

    requiresAnswer = False


class RequestVote(MessageCommand):
    """Carries `messages.RequestVote`."""

    arguments: ClassVar[Arguments] = [(b"message", PackedMessage(messages.RequestVote))]


class RequestVoteReply(MessageCommand):
    """Carries `messages.RequestVoteReply`."""

    arguments: ClassVar[Arguments] = [(b"message", PackedMessage(messages.RequestVoteReply))]


class AppendEntries(MessageCommand):
    """Carries `messages.AppendEntries`."""

    arguments: ClassVar[Arguments] = [(b"message", PackedMessage(messages.AppendEntries))]


class AppendEntriesReply(MessageCommand):
    """Carries `messages.AppendEntriesReply`."""

    arguments: ClassVar[Arguments] = [(b"message", PackedMessage(messages.AppendEntriesReply))]


class Heartbeat(MessageCommand):
    """Carries `messages.Heartbeat`."""

    arguments: ClassVar[Arguments] = [(b"message", PackedMessage(messages.Heartbeat))]


class HeartbeatReply(MessageCommand):
    """Carries `messages.HeartbeatReply`."""

    arguments: ClassVar[Arguments] = [(b"message", PackedMessage(messages.HeartbeatReply))]


class InstallSnapshot(MessageCommand):
    """Carries `messages.InstallSnapshot`."""

    arguments: ClassVar[Arguments] = [(b"message", PackedMessage(messages.InstallSnapshot))]


class TimeoutNow(MessageCommand):
    """Carries `messages.TimeoutNow`."""

    arguments: ClassVar[Arguments] = [(b"message", PackedMessage(messages.TimeoutNow))]


COMMAND_OF: Final[dict[type[Message], type[MessageCommand]]] = {
    messages.RequestVote: RequestVote,
    messages.RequestVoteReply: RequestVoteReply,
    messages.AppendEntries: AppendEntries,
    messages.AppendEntriesReply: AppendEntriesReply,
    messages.Heartbeat: Heartbeat,
    messages.HeartbeatReply: HeartbeatReply,
    messages.InstallSnapshot: InstallSnapshot,
    messages.TimeoutNow: TimeoutNow,
}


class NotLeaderThere(NotLeader):
    """NotLeader as it comes from another node: made of the text on the wire, the leader's id or nothing."""

    def __init__(self, text: str) -> None:
        super().__init__(int(text) if text else None)


class FounderIds(amp.ListOf):
    """Ids of nodes, as the tuple in which they came."""

    def __init__(self) -> None:
        super().__init__(amp.Integer())  # type: ignore[no-untyped-call]  # AMP has no annotations

    def fromString(self, inString: bytes) -> tuple[int, ...]:
        """Read them. Raises ValueError."""
        return tuple(super().fromString(inString))  # type: ignore[no-untyped-call]  # the same


class PackedIncarnation(amp.Argument):
    """An Incarnation: 8 bytes, a number, 8 bytes."""

    _FORMAT = struct.Struct(">8sQ8s")
    SIZE: Final = _FORMAT.size

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same

    def toString(self, inObject: Incarnation) -> bytes:
        """Write one."""
        return self._FORMAT.pack(inObject.directory, inObject.starts, inObject.start)

    def fromString(self, inString: bytes) -> Incarnation:
        """Read one. Raises MalformedMessage."""
        try:
            incarnation = Incarnation(*self._FORMAT.unpack(inString))
        except struct.error as error:
            raise MalformedMessage("an incarnation of another length") from error
        if incarnation.starts > MAX_INTEGER:
            raise MalformedMessage("a number is out of range")
        return incarnation


class RemovedThere(HandshakeRefused):
    """The node that was called says that the caller was removed from the cluster. The text on the wire shows which node
    that is, as the answer to Hello does otherwise: its incarnation, and what was drawn at the start that the caller
    knows."""

    def __init__(self, text: str) -> None:
        """Raises ValueError or MalformedMessage."""
        super().__init__("the caller was removed from the cluster")
        shown = bytes.fromhex(text)
        self.incarnation = PackedIncarnation().fromString(shown[: PackedIncarnation.SIZE])
        self.drawn = shown[PackedIncarnation.SIZE :]

    @staticmethod
    def text(incarnation: Incarnation, drawn: bytes) -> str:
        """What it is made of."""
        return (PackedIncarnation().toString(incarnation) + drawn).hex()


class VerdictName(amp.Argument):
    """A Verdict, by its name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same

    def toString(self, inObject: Verdict) -> bytes:
        """Write one."""
        return inObject.name.encode()

    def fromString(self, inString: bytes) -> Verdict:
        """Read one. Raises ValueError or KeyError."""
        return Verdict[inString.decode("ascii")]


class Hello(amp.Command):
    """The first command of the side that dialled. It says which directory that has, and which start of the other it
    knows, 0 for none; the answer says the same, and what was drawn at that start.

    `protocol_version` is the oldest version that the caller speaks, and the optional fields are not version 5's, which
    passes over them: so the first box of a connection is right whichever version the other side turns out to speak. The
    answer says which one it is, where that is not 5 (`txraft.rpc.versions`). `voters` are the founders."""

    arguments: ClassVar[Arguments] = [
        (b"protocol_version", Number()),
        (b"newest_version", Number(optional=True)),
        (b"cluster_id", amp.Unicode()),
        (b"voters", FounderIds()),
        (b"from_id", Number()),
        (b"to_id", Number()),
        (b"incarnation", PackedIncarnation()),
        (b"known", Number()),
        (b"configuration_index", Number(optional=True)),
    ]
    response: ClassVar[Arguments] = [
        (b"incarnation", PackedIncarnation()),
        (b"drawn", amp.String()),
        (b"known", Number()),
        (b"version", Number(optional=True)),
    ]
    fatalErrors: ClassVar[dict[type[Exception], bytes]] = {
        HandshakeRefused: b"HANDSHAKE_REFUSED",
        RemovedThere: b"MEMBER_REMOVED",
    }

    @classmethod
    def parseArguments(cls, box: amp.AmpBox, protocol: amp.AMP) -> dict[str, Any]:
        """Read them. Of a Hello without a version that this release speaks the versions only, since the rest may be
        anything.

        Raises MalformedMessage, KeyError or ValueError.
        """
        oldest = Number().fromString(box[b"protocol_version"])
        newest = Number().fromString(box.get(b"newest_version", box[b"protocol_version"]))
        if newest < oldest:
            raise MalformedMessage("a newest version below the oldest one")
        if agreed(oldest, newest, NEWEST_VERSION) is None:
            return {"protocol_version": oldest, "newest_version": newest}
        arguments: dict[str, Any] = super().parseArguments(box, protocol)  # type: ignore[no-untyped-call]  # AMP has none
        return arguments | {"newest_version": newest, "configuration_index": arguments["configuration_index"] or 0}


class Met(amp.Command):
    """What the side that dialled makes of the directory of the other, after the answer to Hello, and what it drew at
    the start that the other knows; the answer is what the other makes of it. Nothing else may come before."""

    arguments: ClassVar[Arguments] = [(b"drawn", amp.String()), (b"verdict", VerdictName())]
    response: ClassVar[Arguments] = [(b"verdict", VerdictName())]


_UNDECIDED: dict[type[Exception], bytes] = {
    NotLeaderThere: b"NOT_LEADER",
    NotApplied: b"NOT_APPLIED",
    OutcomeUnknown: b"OUTCOME_UNKNOWN",
}


class Ping(amp.Command):
    """Asks for its answer, which is empty: whether anything comes through (`txraft.rpc.link`)."""


class Leaving(amp.Command):
    """Says that this node is about to end, so that nothing more is asked of it on this connection. The answer, which is
    empty, comes behind all that was asked before. Not of version 5, which is sent a Ping for such an answer."""


class Propose(amp.Command):
    """Passes a command for the state machine on to the leader; the answer is the state machine's result."""

    arguments: ClassVar[Arguments] = [(b"command", LongBytes())]
    response: ClassVar[Arguments] = [(b"result", LongBytes())]
    errors: ClassVar[dict[type[Exception], bytes]] = _UNDECIDED | {CommandFailed: b"COMMAND_FAILED"}


class ReadBarrier(amp.Command):
    """Asks the leader for a read index (thesis §6.4)."""

    response: ClassVar[Arguments] = [(b"read_index", Number())]
    errors: ClassVar[dict[type[Exception], bytes]] = _UNDECIDED


class Transfer(amp.Command):
    """Asks the leader to hand leadership over (thesis §3.10); the answer is who leads then."""

    arguments: ClassVar[Arguments] = [(b"target", Number())]
    response: ClassVar[Arguments] = [(b"leader_id", Number())]
    errors: ClassVar[dict[type[Exception], bytes]] = _UNDECIDED | {NoSuchVoter: b"NO_SUCH_VOTER"}


class ChangeMembers(amp.Command):
    """Asks the leader to change the membership; the answer is the configuration then. Not of version 5."""

    arguments: ClassVar[Arguments] = [(b"changes", PackedChanges())]
    response: ClassVar[Arguments] = [(b"configuration", PackedConfiguration())]
    errors: ClassVar[dict[type[Exception], bytes]] = _UNDECIDED | {
        ChangeUnderWay: b"CHANGE_UNDER_WAY",
        ChangeRefused: b"CHANGE_REFUSED",
    }


class OfferSnapshot(amp.Command):
    """Asks how much of a snapshot's file is there already. What follows on this connection is about that file
    (`txraft.rpc.snapshot_transfer`)."""

    arguments: ClassVar[Arguments] = [(b"term", Number()), (b"file", PackedSnapshotFile())]
    response: ClassVar[Arguments] = [(b"offset", Number())]
    errors: ClassVar[dict[type[Exception], bytes]] = _UNDECIDED


class SnapshotChunk(amp.Command):
    """Carries some of the file's bytes, in one value of the box; the answer, which is empty, says that they are
    written."""

    arguments: ClassVar[Arguments] = [
        (b"offset", Number()),
        (b"data", amp.String()),
    ]
    errors: ClassVar[dict[type[Exception], bytes]] = _UNDECIDED


class FinishSnapshot(amp.Command):
    """Says that the file is whole; the answer, which is empty, that it is checked and durable."""

    errors: ClassVar[dict[type[Exception], bytes]] = _UNDECIDED


_ALL: Final[list[type[amp.Command]]] = [
    *(Hello, Met, Ping, Leaving, Propose, ReadBarrier, Transfer, ChangeMembers),
    *(OfferSnapshot, SnapshotChunk, FinishSnapshot),
    *COMMAND_OF.values(),
]
COMMANDS: Final = {command.commandName: command for command in _ALL}
"""Everything that may be said, by its name on the wire."""


LATER: Final = frozenset({Leaving, ChangeMembers})
"""What version 5 does not know."""

HANDSHAKE: Final = frozenset({Hello, Met})
"""What is said before anything else, and never again."""

TRANSFER: Final = frozenset({OfferSnapshot, SnapshotChunk, FinishSnapshot})
"""What is said while a snapshot goes over."""

TOLD: Final = (Undecided, NoSuchVoter, ChangeRefused, CommandFailed, BadSnapshot, SnapshotFailed)
"""What a request may end in."""


def on_the_wire(error: BaseException | None) -> amp.RemoteAmpError:
    """The error as the other node is to see it: what a request may end in as what it is, anything else as
    OutcomeUnknown. What a snapshot's file failed with is NotApplied: there is no snapshot."""
    match error:
        case NotLeader(leader_id=leader_id):
            code, text = _UNDECIDED[NotLeaderThere], "" if leader_id is None else str(leader_id)
        case NotApplied() | BadSnapshot() | SnapshotFailed():
            code, text = _UNDECIDED[NotApplied], str(error)
        case OutcomeUnknown():
            code, text = _UNDECIDED[OutcomeUnknown], str(error)
        case NoSuchVoter():
            code, text = Transfer.errors[NoSuchVoter], str(error)
        case ChangeUnderWay():
            code, text = ChangeMembers.errors[ChangeUnderWay], str(error)
        case ChangeRefused():
            code, text = ChangeMembers.errors[ChangeRefused], str(error)
        case CommandFailed():
            code, text = Propose.errors[CommandFailed], str(error)
        case _:
            code, text = _UNDECIDED[OutcomeUnknown], "the node that was asked failed; its log says why"
    return amp.RemoteAmpError(code, text)
