"""What the term of a message means (§5.1): the one place where terms are compared on arrival."""

from txraft.core.elections import Elections
from txraft.core.messages import Message, NodeId, Request, RequestVote, RequestVoteReply, refusal
from txraft.core.state import State

LARGEST_JUMP = 1 << 20
"""By so many terms, at most, a message raises the term that is on the disk (hazard N8).

Terms count elections, so honest servers are this far apart only where one without PreVote was cut off for days, or was
empty when it came to a very old cluster. One forged message of a term at the end of what can be sent or stored would
leave the cluster without a next term, and without a leader, for good. To refuse what is further away is no way out: a
server that is far ahead, for whatever reason, would never meet the others again. So a term further away is approached
by one jump a message: a server that is behind by 10^9 terms is there after a thousand heartbeats. The next jump
counts from what is durable, so each costs a write; at one a millisecond the end (`MAX_TERM` in `txraft.rpc.arguments`)
is more than a hundred years away.

All messages that can raise the term come through here: votes and their refusals, what a leader sends, its followers'
refusals, TimeoutNow. PreVotes do not raise it.
"""


def admit(state: State, elections: Elections, sender: NodeId, message: Message, now: float) -> bool:
    """Bring the term up to the message's where that is due; whether the message is still to be handled.

    A request that is refused for its term is answered here, with this server's own term, so that a sender of an older
    one learns of it (hazard E4).
    """
    if isinstance(message, RequestVote) and elections.sticks_to_leader(message, now):
        state.answer(sender, refusal(message, state.current_term))
        return False
    if message.term == state.current_term or _asks_about_a_term_to_come(message):
        return True
    if message.term > state.current_term:
        within_reach = min(message.term, state.durable.current_term + LARGEST_JUMP)
        if within_reach > state.current_term:
            elections.step_down(within_reach, now)
        return message.term == state.current_term
    if isinstance(message, Request):
        state.answer(sender, refusal(message, state.current_term))
    return False


def _asks_about_a_term_to_come(message: Message) -> bool:
    """A PreVote, and a PreVote granted, name the term after the candidate's, which nobody has entered."""
    match message:
        case RequestVote():
            return message.pre_vote
        case RequestVoteReply():
            return message.pre_vote and message.vote_granted
        case _:
            return False
