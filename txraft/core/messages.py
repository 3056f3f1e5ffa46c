"""What servers say to each other: the RPCs of Figure 2, each request and each reply a value of its own.

Who sent a message is known from the connection it came by and is not repeated in it. Every message carries a term; what
that means is decided in one place, `txraft.core.terms`. Any message may be lost, doubled, late or reordered (hazard
R19), so every reply names the request that it answers.
"""

import enum
from typing import Final, TypeAlias, assert_never

from txraft.core import configuration
from txraft.core.configuration import Snapshot
from txraft.values import value_class

NodeId: TypeAlias = configuration.NodeId

MAX_COMMAND_SIZE: Final = 64 << 20
"""Bytes of the longest command. It is the same on every node, whatever is set there: what one node takes in, all others
must be able to take in, also after somebody has lowered a limit."""
MAX_BATCH_SIZE: Final = 1 << 20
"""Bytes of entries that one message may carry, where it carries more than one. To read an entry costs many times its
bytes."""


class EntryKind(enum.IntEnum):
    """What an entry is for."""

    NOOP = 0
    """Appended by a new leader, so that it has an entry of its own term to commit (§5.4.2, §8)."""
    COMMAND = 1
    """For the state machine."""
    CONFIGURATION = 2
    """A membership, which is in force from when the entry is in the log (§6): `Configuration.to_bytes`."""


@value_class
class Entry:
    """One entry of the log (§5.3). Two entries with the same index and term are the same entry (Log Matching)."""

    index: int
    term: int
    kind: EntryKind
    data: bytes


@value_class
class RequestVote:
    """Asks for a vote (§5.2), or whether it would be given (PreVote, thesis §9.6)."""

    term: int
    """The term the sender campaigns in; for a PreVote, the one it would campaign in: its current term + 1."""
    last_log_index: int
    last_log_term: int
    round: int
    """Names this campaign; only replies that repeat it count (hazard E3)."""
    pre_vote: bool
    leadership_transfer: bool = False
    """The leader itself asked for this election, so voters need not stick to it (thesis §3.10, hazard E9)."""


@value_class
class RequestVoteReply:
    """A vote given or refused."""

    term: int
    """The voter's current term; for a PreVote that was granted, the term that was asked about."""
    round: int
    pre_vote: bool
    vote_granted: bool


@value_class
class AppendEntries:
    """Replicates entries (§5.3). Without entries it is a probe: does the follower's log match at prev_log_index?"""

    term: int
    request_id: int
    """Counts up within a leader's term; the reply repeats it (hazard R8)."""
    prev_log_index: int
    prev_log_term: int
    entries: tuple[Entry, ...]
    """Contiguous, from prev_log_index + 1 (hazard R12)."""
    leader_commit: int


@value_class
class AppendEntriesReply:
    """Answers AppendEntries or InstallSnapshot, after what it asked for is durable."""

    term: int
    request_id: int
    success: bool
    match_index: int
    """On success: up to here the logs match and are durable. On failure: the hint, the highest index at which they may
    yet match (§5.3, fast backup)."""
    match_term: int
    """On failure: the term of the follower's entry at the hint. 0 on success."""


@value_class
class Heartbeat:
    """Keeps followers from campaigning and carries read barriers (§5.2, thesis §6.4). Never waits for a disk."""

    term: int
    leader_commit: int
    """min(match_index, commit_index): never beyond what the follower has acknowledged (hazard R7)."""
    commit_term: int
    """The term of that entry, by which a follower sees that it still has it (hazard R23)."""
    read_round: int
    """The latest ReadIndex round; unique within the term (hazard C2)."""


@value_class
class HeartbeatReply:
    """The sender follows the leader of this term."""

    term: int
    read_round: int


@value_class
class InstallSnapshot:
    """A snapshot is on the follower's disk, whole and checked: it takes the place of what the log has up to there (§7).

    Its data went before, by a way of their own (`txraft.interfaces.IPeers.send_snapshot`). Answered as AppendEntries
    is: with AppendEntriesReply, after what it asked for is durable."""

    term: int
    request_id: int
    """As in AppendEntries, and from the same count."""
    snapshot: Snapshot


@value_class
class TimeoutNow:
    """The leader asks a follower to campaign at once, so that it leads next (thesis §3.10). There is no reply."""

    term: int


Request: TypeAlias = RequestVote | AppendEntries | Heartbeat | InstallSnapshot
"""What is answered."""
Reply: TypeAlias = RequestVoteReply | AppendEntriesReply | HeartbeatReply
Message: TypeAlias = Request | Reply | TimeoutNow


@value_class
class Envelope:
    """A message and the peer it goes to."""

    to: NodeId
    message: Message


def refusal(request: Request, current_term: int) -> Reply:
    """The answer that says no and, by the refusing server's term, why.

    A leader's requests are numbered within its term, from 1. The answer to one of an earlier term carries a later term,
    in which the same server may lead again, so it names no number, which might mean another request there (hazard C2).
    """
    match request:
        case RequestVote():
            return RequestVoteReply(current_term, request.round, request.pre_vote, vote_granted=False)
        case AppendEntries() | InstallSnapshot():
            return AppendEntriesReply(current_term, 0, False, 0, 0)
        case Heartbeat():
            return HeartbeatReply(current_term, 0)
        case _ as never:
            assert_never(never)
