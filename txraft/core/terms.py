"""What the term of a message means (§5.1): the one place where terms are compared on arrival."""

from txraft.core.elections import Elections
from txraft.core.messages import AppendEntries, Heartbeat, Message, NodeId, RequestVote, RequestVoteReply, refusal
from txraft.core.state import State


def admit(state: State, elections: Elections, sender: NodeId, message: Message, now: float) -> bool:
    """Bring the term up to the message's where that is due; whether the message is still to be handled.

    A request that is refused for its term is answered here, with this server's own term, so that a sender of an older
    one learns of it (hazard E4).
    """
    if isinstance(message, RequestVote) and elections.sticks_to_leader(message, now):
        state.answer(sender, refusal(message, state.current_term))
        return False
    if _asks_about_a_term_to_come(message):
        return True
    if message.term > state.current_term:
        elections.step_down(message.term, now)
    elif message.term < state.current_term:
        if isinstance(message, RequestVote | AppendEntries | Heartbeat):
            state.answer(sender, refusal(message, state.current_term))
        return False
    return True


def _asks_about_a_term_to_come(message: Message) -> bool:
    """A PreVote, and a PreVote granted, name the term after the candidate's, which nobody has entered."""
    match message:
        case RequestVote():
            return message.pre_vote
        case RequestVoteReply():
            return message.pre_vote and message.vote_granted
        case _:
            return False
