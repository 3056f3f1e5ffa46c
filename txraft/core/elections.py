"""Elections: campaigns and votes (§5.2, §5.4.1), with PreVote (thesis §9.6).

A campaign first asks, in a PreVote round, whether it would win, and raises the term only then. Its name, `round`, is
drawn anew for each: replies of an earlier one, also of one before a restart, do not count (hazard E3).
"""

from txraft.core.messages import NodeId, RequestVote, RequestVoteReply
from txraft.core.quorum import VoteResult, vote_result
from txraft.core.roles import Role
from txraft.core.state import State
from txraft.core.terms import refusal, step_down


class Elections:
    """A server's part in elections, as candidate and as voter."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._round = 0
        self._leadership_transfer = False
        self._votes: dict[NodeId, bool] = {}

    def campaign(self, now: float, leadership_transfer: bool = False) -> None:
        """The election timer fired, or, with `leadership_transfer`, the leader wants this server to lead: campaign, if
        this server votes and does not lead already (hazard E11). It wins later: its own vote is not durable yet.
        """
        state = self._state
        if state.role is Role.LEADER:
            return
        state.restart_election_timer(now)
        if not state.configuration.is_voter(state.node_id):
            return
        self._leadership_transfer = leadership_transfer
        if state.options.pre_vote and not leadership_transfer:
            self._ask(pre_vote=True)
            self._count(now)
        else:
            self._stand()

    def on_request(self, candidate: NodeId, request: RequestVote, now: float) -> None:
        """Someone asks for a vote. Whoever is asked votes, member or not (hazard E10)."""
        state = self._state
        up_to_date = state.log.is_up_to_date(request.last_log_index, request.last_log_term)
        if request.pre_vote:
            if up_to_date and request.term > state.current_term:
                state.answer(candidate, RequestVoteReply(request.term, request.round, True, vote_granted=True))
            else:
                state.answer(candidate, refusal(state, request))
        elif up_to_date and state.voted_for in (None, candidate):
            state.vote_for(candidate)
            state.restart_election_timer(now)
            state.answer(candidate, RequestVoteReply(request.term, request.round, False, vote_granted=True))
        else:
            state.answer(candidate, refusal(state, request))

    def on_reply(self, voter: NodeId, reply: RequestVoteReply, now: float) -> bool:
        """A vote came in. Whether it won the election."""
        state = self._state
        asking = Role.PRE_CANDIDATE if reply.pre_vote else Role.CANDIDATE
        if state.role is not asking or reply.round != self._round:
            return False
        self._votes.setdefault(voter, reply.vote_granted)
        return self._count(now)

    def on_vote_durable(self, now: float) -> bool:
        """This server's own term and vote are on its disk. Whether that won the election (hazard E1)."""
        state = self._state
        if state.role is not Role.CANDIDATE or state.durable != state.term_and_vote:
            return False
        self._votes[state.node_id] = True
        return self._count(now)

    def _stand(self) -> None:
        """Become a candidate (§5.2). Its own vote counts when it is durable."""
        state = self._state
        state.change_role(Role.CANDIDATE)
        state.change_term(state.current_term + 1)
        state.vote_for(state.node_id)
        self._ask(pre_vote=False)

    def _ask(self, pre_vote: bool) -> None:
        state = self._state
        if pre_vote:
            state.change_role(Role.PRE_CANDIDATE)
            state.leader_id = None
        self._round = state.random.getrandbits(62)
        self._votes = {state.node_id: True} if pre_vote else {}
        request = RequestVote(
            term=state.current_term + 1 if pre_vote else state.current_term,
            last_log_index=state.log.last_index,
            last_log_term=state.log.last_term,
            round=self._round,
            pre_vote=pre_vote,
            leadership_transfer=self._leadership_transfer,
        )
        for voter in sorted(frozenset().union(*state.configuration.voter_sets) - {state.node_id}):
            if pre_vote:
                state.send(voter, request)
            else:
                state.send_after_save(voter, request)

    def _count(self, now: float) -> bool:
        """Go on as the votes say. Whether the election is won."""
        state = self._state
        result = vote_result(state.configuration.voter_sets, self._votes)
        if result is VoteResult.LOST:
            step_down(state, state.current_term, now)
        elif result is VoteResult.WON and state.role is Role.CANDIDATE:
            return True
        elif result is VoteResult.WON:
            self._stand()
        return False
