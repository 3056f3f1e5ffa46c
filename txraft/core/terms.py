"""What the term of a message means (§5.1): the one place where terms are compared on arrival."""

from typing import assert_never

from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    NodeId,
    Reply,
    Request,
    RequestVote,
    RequestVoteReply,
)
from txraft.core.roles import Role
from txraft.core.state import State


def admit(state: State, sender: NodeId, message: Message, now: float) -> bool:
    """Bring the term up to the message's where that is due; whether the message is still to be handled.

    A request that is refused for its term is answered here, with this server's own term, so that a sender of an older
    one learns of it (hazard E4).
    """
    if isinstance(message, RequestVote) and _sticks_to_leader(state, message, now):
        state.answer(sender, refusal(state, message))
        return False
    if _asks_about_a_term_to_come(message):
        return True
    if message.term > state.current_term:
        step_down(state, message.term, now)
    elif message.term < state.current_term:
        if isinstance(message, RequestVote | AppendEntries | Heartbeat):
            state.answer(sender, refusal(state, message))
        return False
    return True


def step_down(state: State, term: int, now: float) -> None:
    """Become a follower in `term`, which is the current one or a later one. The vote of the current one stands (E2)."""
    if state.role is Role.LEADER:
        state.leader_id = None
        state.restart_election_timer(now)
    state.change_role(Role.FOLLOWER)
    if term > state.current_term:
        state.change_term(term)


def refusal(state: State, request: Request) -> Reply:
    """The answer that says no and, by its term, why.

    A leader's requests are numbered within its term, from 1. The answer to one of an earlier term carries a later term,
    in which the same server may lead again, so it names no number, which might mean another request there (hazard C2).
    """
    match request:
        case RequestVote():
            return RequestVoteReply(state.current_term, request.round, request.pre_vote, vote_granted=False)
        case AppendEntries():
            return AppendEntriesReply(state.current_term, 0, False, 0, 0)
        case Heartbeat():
            return HeartbeatReply(state.current_term, 0)
        case _ as never:
            assert_never(never)


def _asks_about_a_term_to_come(message: Message) -> bool:
    """A PreVote, and a PreVote granted, name the term after the candidate's, which nobody has entered."""
    match message:
        case RequestVote():
            return message.pre_vote
        case RequestVoteReply():
            return message.pre_vote and message.vote_granted
        case _:
            return False


def _sticks_to_leader(state: State, request: RequestVote, now: float) -> bool:
    """Whoever has heard from a leader within the minimum election timeout does not vote, nor take the term over, unless
    that leader itself wants the election (thesis §4.2.3; hazard E9). A leader that nobody hears steps down by itself.
    """
    if request.leadership_transfer:
        return False
    if state.role is Role.LEADER:
        return True
    return state.leader_id is not None and now - state.leader_contact < state.options.election_timeout
