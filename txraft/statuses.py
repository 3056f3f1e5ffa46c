"""What a node says of itself and of its cluster, as `/status` and `/members` show it."""

from typing import Final

from attrs import frozen

from txraft.core.messages import NodeId

WAITS_TO_JOIN: Final = b"X-Txraft-Waits-To-Join"
"""The header of every answer of a node that is not a member yet: its id."""


@frozen
class MemberStatus:
    """One member of the cluster, as `/status` shows it."""

    id: NodeId
    addresses: tuple[str, ...]
    """Where it is reached, Raft's address first; empty where the log does not have it."""
    voter: bool
    learner: bool
    """It receives the log and has no vote. An outgoing voter may be one, too, in a moment: see `Configuration`."""
    joining: bool
    """A learner that becomes a voter by itself when it has caught up."""


@frozen
class MemberDetails(MemberStatus):
    """One member of the cluster, as `/members` shows it."""

    replaces: NodeId | None
    """The voter whose place it takes when it has caught up."""
    leaving: bool
    """A voter of the old configuration only, while a joint one is in force."""
    match_index: int | None
    """Where this node leads: everything up to here is on the member's disk, as far as the leader knows. Of the leader
    itself, the last entry of its log."""
    last_contact: float | None
    """Where this node leads: seconds since the member last answered; None where it has not answered this leader yet."""
    problem: str | None = None
    """Where this node leads: why the member does not catch up, if it could not be sent a snapshot that it needs."""


@frozen
class Members:
    """The membership in force on a node, as `/members` shows it."""

    cluster: str
    founders: tuple[NodeId, ...]
    """The members that the cluster was first started with, in ascending order."""
    index: int
    """The entry that it is from; 0 for the founders'."""
    leader_id: NodeId | None
    joint: bool
    """Whether it is a step of a change that has not ended."""
    removed: tuple[NodeId, ...]
    """Ids that are never used again, in ascending order."""
    members: tuple[MemberDetails, ...]
    """In ascending order of their ids."""


@frozen
class FollowerStatus:
    """What a leader knows of another member, as `/status` shows it."""

    id: NodeId
    match_index: int
    """Everything up to here is on its disk."""
    last_contact: float | None
    """Seconds since it last answered; None where it has not answered this leader yet."""


@frozen
class Status:
    """What `/status` shows of a node."""

    id: NodeId
    cluster: str
    """What identifies the cluster."""
    role: str
    term: int
    leader_id: NodeId | None
    commit_index: int
    last_applied: int
    last_log_index: int
    first_log_index: int
    members_known: bool
    """False on a new member that has received nothing of the log yet, so that it knows no members."""
    members: tuple[MemberStatus, ...]
    followers: tuple[FollowerStatus, ...]
    """On the node that leads; empty on others."""
