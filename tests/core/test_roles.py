"""The table of legal changes between roles: Figure 4, with PreVote (thesis §9.6)."""

import itertools
import random

from twisted.trial.unittest import SynchronousTestCase

from txraft.core.configuration import Configuration, Snapshot
from txraft.core.log import RaftLog
from txraft.core.ready import TermAndVote
from txraft.core.roles import LEGAL_CHANGES, Role
from txraft.core.state import RaftOptions, State
from txraft.errors import InvariantViolated

F, P, C, L = Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE, Role.LEADER

LEGAL = {
    (F, F): "hears from its leader, or of a later term",
    (F, P): "times out, and first asks whether it would win",
    (F, C): "times out, without PreVote",
    (P, F): "is refused, or there is a leader, or a later term",
    (P, P): "times out and asks anew",
    (P, C): "a majority would vote for it",
    (C, F): "is refused, or there is a leader, or a later term",
    (C, P): "times out, and first asks whether it would win",
    (C, C): "times out, without PreVote",
    (C, L): "a majority voted for it",
    (L, F): "a later term, or out of contact with a majority",
}


def state_in(role: Role) -> State:
    """Any server's state, in a role."""
    return State(
        node_id=1,
        options=RaftOptions(),
        random=random.Random(1),
        log=RaftLog(start=Snapshot(0, 0, Configuration(voters=(1, 2, 3)))),
        durable=TermAndVote(0, None),
        role=role,
    )


class RolesTests(SynchronousTestCase):
    def test_every_pair(self) -> None:
        """Figure 4: of the sixteen changes eleven are legal, and the others are refused and change nothing."""
        for before, after in itertools.product(Role, Role):
            state = state_in(before)
            if (before, after) in LEGAL:
                state.change_role(after)
                self.assertIs(state.role, after)
            else:
                with self.assertRaises(InvariantViolated, msg=f"{before} to {after}"):
                    state.change_role(after)
                self.assertIs(state.role, before)

    def test_the_table_has_every_role(self) -> None:
        """A role without a row would be a KeyError instead of a clear line."""
        self.assertEqual(set(LEGAL_CHANGES), set(Role))

    def test_the_way_to_leadership_is_by_votes(self) -> None:
        """§5.2: who leads was a candidate."""
        self.assertEqual([role for role in Role if L in LEGAL_CHANGES[role]], [C])
