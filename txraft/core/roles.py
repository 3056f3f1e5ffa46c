"""The roles of Figure 4, and PreVote's (thesis §9.6). The table is the documentation.

              times out                  a majority would vote for it     a majority voted for it
┌──────────┐ ──────────> ┌───────────────┐ ─────────> ┌───────────┐ ─────────> ┌────────┐
│ FOLLOWER │ <────────── │ PRE_CANDIDATE │ <───────── │ CANDIDATE │            │ LEADER │
└──────────┘  refused    └───────────────┘ times out  └───────────┘            └────────┘
     ^ <──────────────────────────────────── a leader, a higher term, refused ──────┘ or out of contact with a majority
"""

import enum


class Role(enum.Enum):
    """What a server is in its current term."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    """Asks whether it would win, without raising its term, so that a server cut off disturbs nobody (hazard E8)."""
    CANDIDATE = "candidate"
    LEADER = "leader"


LEGAL_CHANGES: dict[Role, frozenset[Role]] = {
    Role.FOLLOWER: frozenset({Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE}),
    Role.PRE_CANDIDATE: frozenset({Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE}),
    Role.CANDIDATE: frozenset({Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE, Role.LEADER}),
    Role.LEADER: frozenset({Role.FOLLOWER}),
}
"""From each role, those that may follow it."""
