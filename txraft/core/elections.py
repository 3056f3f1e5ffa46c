"""Elections: the election timer, campaigns, votes, and stepping down (§5.2, §5.4.1), with PreVote (thesis §9.6).

A campaign first asks, in a PreVote round, whether it would win, and raises the term only then. Its name, `round`, is
drawn anew for each: replies of an earlier one, also of one before a restart, do not count (hazard E3).
"""

from collections.abc import Set

from txraft.core.lateness import Lateness
from txraft.core.messages import NodeId, RequestVote, RequestVoteReply, refusal
from txraft.core.quorum import VoteResult, has_quorum, vote_result
from txraft.core.roles import Role
from txraft.core.state import State

EARLY = 0.1
"""Of the election timeout: within which to look for a leader where there is likely to be none."""


class Elections:
    """A server's part in elections: as a follower, a candidate and a voter."""

    def __init__(self, state: State, now: float) -> None:
        self._state = state
        self.deadline = self._timer = now
        """When the election timer fires, or there is something to ask earlier. A leader does not look at it."""
        self._lateness = Lateness(state.options)
        self._leader_heard_at = float("-inf")
        self._may_ask_early = True
        """Not where it has done so, or has voted, since it heard a leader or came to its term: the timer decides."""
        self._round = 0
        self._request: RequestVote | None = None
        """What a campaign asks."""
        self._leadership_transfer = False
        self._votes: dict[NodeId, bool] = {}
        if not has_quorum(state.configuration.voter_sets, {state.node_id}):  # who is alone waits for nobody
            self._restart_timer(now)

    def leader_heard(self, leader: NodeId, now: float) -> None:
        """The leader of the current term was heard: follow it."""
        self._state.follow(leader)
        self._leader_heard_at = now
        self._may_ask_early = True
        self._lateness.reset()
        self._restart_timer(now)

    def leader_lost(self, leader: NodeId, now: float) -> None:
        """The connection to a peer has closed, and nobody listens where it was. If that was the leader, everybody else
        has just seen the same: ask them soon.
        """
        state = self._state
        if state.role is Role.FOLLOWER and state.leader_id == leader and state.options.pre_vote:
            self._leader_heard_at = float("-inf")
            self._ask_soon(now, state.configuration.members - {leader})

    def peer_connected(self, now: float) -> None:
        """A connection to a peer has opened. Who knows of no leader, as after a start, asks soon whether there is none:
        a leader on the other side says so at once, and a cluster that starts need not wait for the election timer.

        Who campaigns asks on in the same round, and in the same time. Who has voted leaves it to the candidate, and who
        has asked early without success to the timers, which are random: connections that open again and again do not
        make all ask at once.
        """
        state = self._state
        is_campaigning = state.role in (Role.PRE_CANDIDATE, Role.CANDIDATE)
        may_campaign = state.role is Role.FOLLOWER and state.leader_id is None and self._may_ask_early
        if state.options.pre_vote and (is_campaigning or may_campaign):
            self._ask_soon(now, state.configuration.members)

    def _ask_soon(self, now: float, servers: Set[NodeId]) -> None:
        """Ask before the election timer says so. Those that hear a leader refuse, as ever, and where no PreVote would
        ask them first, the timer decides (hazard E8).

        Each of the servers has a share of EARLY to itself, so that two rarely ask at once, and split the votes, where
        messages take less than that.
        """
        state = self._state
        if state.configuration.is_voter(state.node_id):
            share = (sorted(servers).index(state.node_id) + state.random.random()) / len(servers)
            self.deadline = min(self.deadline, now + share * EARLY * state.options.election_timeout)

    def step_down(self, term: int, now: float) -> None:
        """Become a follower in `term`, which is the current one or a later one. The vote of the current one stands
        (hazard E2).
        """
        state = self._state
        if state.role is Role.LEADER:
            state.leader_id = None
            self._restart_timer(now)
        elif state.role is not Role.FOLLOWER:
            self.deadline = self._timer
        state.change_role(Role.FOLLOWER)
        if term > state.current_term:
            self._may_ask_early = True
            state.change_term(term)

    def sticks_to_leader(self, request: RequestVote, now: float) -> bool:
        """Who has heard from a leader within the minimum election timeout does not vote, nor take the term over, unless
        that leader itself wants the election (thesis §4.2.3; hazard E9). A leader that nobody hears steps down by
        itself.
        """
        state = self._state
        if request.leadership_transfer:
            return False
        if state.role is Role.LEADER:
            return True
        return state.leader_id is not None and now - self._leader_heard_at < state.options.election_timeout

    def _restart_timer(self, now: float) -> None:
        # Above the base always, or the timeout could equal the time for which voters stick to a leader (hazard E7).
        self.deadline = self._timer = now + self._state.options.election_timeout * (2 - self._state.random.random())

    def time_out(self, now: float) -> None:
        """`deadline` has passed: campaign, or look again soon where that was noticed late (hazard E13)."""
        state, is_early = self._state, now < self._timer
        if self._lateness.passes_over(now - self.deadline):
            self.deadline = now + self._lateness.allowance
        elif state.role is Role.FOLLOWER or not is_early:
            self._may_ask_early &= not is_early
            self.campaign(now)
        else:
            self.deadline = self._timer
            if state.role is not Role.LEADER and not state.disk_hangs(now):
                self._ask()

    def campaign(self, now: float, leadership_transfer: bool = False) -> None:
        """Campaign, if this server may lead and does not already (hazard E11); with `leadership_transfer`, because the
        leader wants it. It wins later: its own vote is not durable yet. While its disk hangs it could not win, and a
        vote that it asked for too late would only disturb those who can (hazard S12).

        Who has lost its vote by a change that is not known to be committed may lead all the same, uncounted (thesis
        §4.2.2). It may be the only one that has the entry of that change, and then nobody else can win (hazard M4).
        """
        state = self._state
        if state.role is Role.LEADER:
            return
        self._restart_timer(now)
        if not state.log.membership.votes_since(state.node_id, state.commit_index) or state.disk_hangs(now):
            return
        self._leadership_transfer = leadership_transfer
        if state.options.pre_vote and not leadership_transfer:
            state.change_role(Role.PRE_CANDIDATE)
            state.leader_id = None
            self._begin_round(pre_vote=True)
            self._count(now)
        else:
            self._stand(now)

    def on_request(self, candidate: NodeId, request: RequestVote, now: float) -> None:
        """Someone asks for a vote. Whoever is asked votes, member or not (hazard E10)."""
        state = self._state
        up_to_date = state.log.is_up_to_date(request.last_log_index, request.last_log_term)
        if request.pre_vote:
            if up_to_date and request.term > state.current_term:
                state.answer(candidate, RequestVoteReply(request.term, request.round, True, vote_granted=True))
            else:
                state.answer(candidate, refusal(request, state.current_term))
        elif up_to_date and state.voted_for in (None, candidate):
            state.vote_for(candidate)
            self._may_ask_early = False
            self._restart_timer(now)
            state.answer(candidate, RequestVoteReply(request.term, request.round, False, vote_granted=True))
        else:
            state.answer(candidate, refusal(request, state.current_term))

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

    def _stand(self, now: float) -> None:
        """Become a candidate (§5.2). Its own vote counts when it is durable."""
        state = self._state
        self._restart_timer(now)
        state.change_role(Role.CANDIDATE)
        state.change_term(state.current_term + 1)
        state.vote_for(state.node_id)
        self._begin_round(pre_vote=False)

    def _begin_round(self, pre_vote: bool) -> None:
        state = self._state
        self._round = state.random.getrandbits(62)
        self._votes = {state.node_id: True} if pre_vote else {}
        self._request = RequestVote(
            term=state.current_term + 1 if pre_vote else state.current_term,
            last_log_index=state.log.last_index,
            last_log_term=state.log.last_term,
            round=self._round,
            pre_vote=pre_vote,
            leadership_transfer=self._leadership_transfer,
        )
        self._ask()

    def _ask(self) -> None:
        """Ask the voters that have not answered."""
        state = self._state
        assert self._request is not None
        for voter in sorted(frozenset().union(*state.configuration.voter_sets) - {state.node_id} - self._votes.keys()):
            if self._request.pre_vote:
                state.send(voter, self._request)
            else:
                state.send_after_save(voter, self._request)

    def _count(self, now: float) -> bool:
        """Go on as the votes say. Whether the election is won."""
        state = self._state
        result = vote_result(state.configuration.voter_sets, self._votes)
        if result is VoteResult.LOST:
            self.step_down(state.current_term, now)
        elif result is VoteResult.WON and state.role is Role.CANDIDATE:
            return True
        elif result is VoteResult.WON:
            self._stand(now)
        return False
