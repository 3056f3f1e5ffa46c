"""What a node says of itself in its log: who votes, who leads, what it becomes."""

from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.core.configuration import Configuration
from txraft.core.invariants import View
from txraft.core.messages import NodeId, RequestVoteReply
from txraft.core.ready import LostData
from txraft.core.roles import Role
from txraft.errors import REMEDY_FOR_LOST_DATA, TxraftError, in_a_line


def report_start(log: Logger, view: View) -> None:
    """Log where a node stands when it starts."""
    log.info(
        "node {node} starts as a follower in term {term}, with entries {first} to {last}",
        node=view.node_id,
        term=view.current_term,
        first=view.first_index,
        last=view.last_index,
    )


def report_change(log: Logger, before: View, after: View) -> None:
    """Log what a person who watches an election wants to see, and why a leader gives up."""
    if (before.role, before.current_term) != (after.role, after.current_term):
        log.info(
            "term {term}: this node is {role} (was {was} in term {was_term})",
            term=after.current_term,
            role=after.role.value,
            was=before.role.value,
            was_term=before.current_term,
        )
    voted_now = (before.current_term, before.voted_for) != (after.current_term, after.voted_for)
    if voted_now and after.voted_for not in (None, after.node_id):
        log.info(
            "term {term}: this node votes for node {candidate}", term=after.current_term, candidate=after.voted_for
        )
    if after.leader_id not in (before.leader_id, None) and after.role is not Role.LEADER:
        log.info("term {term}: node {leader} leads", term=after.current_term, leader=after.leader_id)
    if after.is_overtaken and not before.is_overtaken:
        log.warn(
            "term {term}: this node's disk hangs: a write that the disks of a majority have finished has taken longer"
            " than an election timeout; this node hands leadership over; see to its disk",
            term=after.current_term,
        )
    if after.transfer_target not in (before.transfer_target, None):
        log.info(
            "term {term}: this node hands leadership to node {target}",
            term=after.current_term,
            target=after.transfer_target,
        )


def report_vote(log: Logger, voter: NodeId, reply: RequestVoteReply, view: View) -> None:
    """Log a vote that counts."""
    if reply.vote_granted and not reply.pre_vote and view.role is Role.CANDIDATE:
        log.info("node {voter} votes for this node in term {term}", voter=voter, term=reply.term)


def report_members(log: Logger, index: int, configuration: Configuration) -> None:
    """Log who the members are from an entry on."""
    parts = {
        "voters": configuration.voters,
        "outgoing voters": configuration.outgoing,
        "learners": configuration.learners,
    }
    log.info(
        "from entry {index} on the members are {members}",
        index=index,
        members="; ".join(f"{part} {', '.join(map(str, sorted(ids)))}" for part, ids in parts.items() if ids),
    )


def report_lost_data(log: Logger, lost: LostData) -> None:
    """Log, as an error, that a follower cannot be trusted with what it acknowledged (hazard R23)."""
    log.error(
        "node {follower} has lost data: it had acknowledged entry {index} and does not have it any more. Its data"
        " directory was replaced by an older or an empty one. It gets no more entries; stop it, and give it back the"
        " directory that it had. Where that is lost, {remedy}",
        follower=lost.follower,
        index=lost.index,
        remedy=REMEDY_FOR_LOST_DATA,
    )


def reason_of(log: Logger, node_id: NodeId, failure: Failure) -> TxraftError:
    """The line with which a node ends. Where it met a bug, log where that was, with the traceback."""
    error = failure.value
    assert error is not None
    if isinstance(error, TxraftError):
        return error
    log.failure("node {node} met a bug", failure=failure, node=node_id)
    reason = TxraftError(f"{in_a_line(error)}; this is a bug in txraft or in the state machine")
    reason.__cause__ = error
    return reason
