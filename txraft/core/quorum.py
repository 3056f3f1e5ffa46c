"""Majorities: of one set of voters, or of two that must both agree (joint consensus, thesis §4.3).

Everything takes `voter_sets`, each a set of which a majority is needed. An empty set demands nothing; a majority of no
set at all is nobody's to claim, so without any voters nothing is ever decided.
"""

import enum
from collections.abc import Mapping, Set

from txraft.core.configuration import NodeId, VoterSets


class VoteResult(enum.Enum):
    """Where a campaign stands."""

    WON = "won"
    LOST = "lost"
    """A majority can no longer be reached."""
    PENDING = "pending"


def majority(voters: int) -> int:
    """The least number of `voters` that is more than half of them."""
    return voters // 2 + 1


def has_quorum(voter_sets: VoterSets, servers: Set[NodeId]) -> bool:
    """Whether `servers` hold a majority of every set."""
    demanding = [voters for voters in voter_sets if voters]
    return bool(demanding) and all(len(voters & servers) >= majority(len(voters)) for voters in demanding)


def committed_index(voter_sets: VoterSets, match_index: Mapping[NodeId, int]) -> int:
    """The highest index that a majority of every set has (Figure 2, "Rules for Servers", Leaders; hazard R9).

    A voter that `match_index` does not name has nothing.
    """
    return min([_majority_has(voters, match_index) for voters in voter_sets if voters], default=0)


def _majority_has(voters: Set[NodeId], match_index: Mapping[NodeId, int]) -> int:
    ascending = sorted([match_index.get(voter, 0) for voter in voters])
    return ascending[-majority(len(voters))]


def vote_result(voter_sets: VoterSets, votes: Mapping[NodeId, bool]) -> VoteResult:
    """Where a campaign stands with these votes; those of servers that do not vote count for nothing (hazard E10)."""
    granted = {voter for voter, vote in votes.items() if vote}
    if has_quorum(voter_sets, granted):
        return VoteResult.WON
    refused = {voter for voter, vote in votes.items() if not vote}
    if any(len(voters - refused) < majority(len(voters)) for voters in voter_sets if voters):
        return VoteResult.LOST
    return VoteResult.PENDING
