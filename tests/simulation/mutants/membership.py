"""Planted bugs of table M, and of E10 and E14: who is a member, who counts, and who is let in."""

from collections.abc import Mapping
from typing import Any

from tests.simulation.mutants.planting import Mutant
from txraft.testing.links import Noise
from txraft.testing.orders import Order, Wish
from txraft.testing.plan import Fault, Kind


def _orders(*wishes: Wish, every: float = 0.06) -> tuple[Order, ...]:
    """These wishes again and again, of whoever leads, for a second and a half."""
    count = int(1.5 / every)
    return tuple(
        Order(n, wishes[n % len(wishes)], 0.3 + every * n, target=n % 5, detail=n / count) for n in range(count)
    )


CHANGES: Mapping[str, Any] = {"lasts": 2.0, "spares": 4, "strays": False}
JOINT: Mapping[str, Any] = {**CHANGES, "orders": _orders(Wish.SEVERAL, Wish.REPLACE)}
"""Members come and go, several at once."""
GROWS: Mapping[str, Any] = {**CHANGES, "nodes": 1, "orders": _orders(Wish.ADD, Wish.ADD_LEARNER, Wish.PROMOTE)}
"""One founder, and others join it."""
SHRINKS: Mapping[str, Any] = {**CHANGES, "nodes": 5, "orders": _orders(Wish.REMOVE, Wish.DEMOTE, Wish.ADD, every=0.15)}
SILENT: Mapping[str, Any] = {
    **CHANGES,
    "nodes": 3,
    "noise": Noise(),
    "faults": (Fault(0, Kind.CRASH, 0.4, 1.5, target=3, detail=0.5),),
    "orders": tuple(Order(n, Wish.REMOVE, 0.8 + 0.1 * n, target=1, detail=0.5) for n in range(10)),
}
"""One of three is away, and another is to go."""
FALLS: Mapping[str, Any] = {
    **GROWS,
    "streams": False,
    "faults": tuple(
        Fault(n, kind, 0.4 + 0.2 * (n // 2) + after, lasts, target=1, detail=0.5)
        for n, (kind, after, lasts) in enumerate(((Kind.MUTE, 0.0, 0.12), (Kind.CRASH, 0.1, 0.03)) * 8)
    ),
}
"""The founder, whom others join, is mute for a moment, again and again, and crashes."""
STRAYS: Mapping[str, Any] = {**GROWS, "nodes": 3, "strays": True}

MUTANTS = (
    Mutant(
        "change-before-its-term-is-committed",
        "M1",
        "txraft.core.reconfiguration",
        "return self._is_committed and self._has_committed_in_its_term and not",
        "return self._is_committed and not",
        what="a leader changes the members before anything of its own term is committed",
        budget=300,
    ),
    Mutant(
        "change-while-another-is-under-way",
        "M1",
        "txraft.core.reconfiguration",
        "return self._is_committed and self._has_committed_in_its_term and not",
        "return self._has_committed_in_its_term and not",
        what="a change follows on one that is not committed",
    ),
    Mutant(
        "members-when-committed",
        "M2",
        "txraft.core.state",
        "return self.log.membership.configuration",
        "return self.log.membership.at(self.commit_index)",
        what="a membership is in force when it is committed, and not when it is in the log",
    ),
    Mutant(
        "joint-left-at-once",
        "M3",
        "txraft.core.reconfiguration",
        "return self._state.configuration.auto_leave and self._is_committed",
        "return self._state.configuration.auto_leave",
        what="a joint configuration is left before it is committed",
    ),
    Mutant(
        "joint-never-left",
        "M3",
        "txraft.core.reconfiguration",
        "return self._state.configuration.auto_leave and self._is_committed",
        "return False",
        what="a joint configuration stays",
    ),
    Mutant(
        "removed-leader-stays",
        "M4",
        "txraft.core.reconfiguration",
        "return not state.configuration.is_voter(state.node_id) and self._is_committed",
        "return False",
        what="a leader that has no vote any more leads on",
    ),
    Mutant(
        "removed-leader-counts-itself",
        "M4",
        "txraft.core.replication",
        "        index = committed_index(state.configuration.voter_sets, match_index)\n        if",
        "        voter_sets = [voters | {state.node_id} for voters in state.configuration.voter_sets if voters]\n"
        "        index = committed_index(voter_sets, match_index)\n        if",
        what="a leader counts its own disk, member or not",
        only=SHRINKS,
        budget=200,
    ),
    Mutant(
        "removed-leader-ends-at-once",
        "M4",
        "txraft.node.membership_watch",
        "if view.node_id in removed and view.role is not Role.LEADER:",
        "if view.node_id in removed:",
        what="a leader that has removed itself ends before the others know",
    ),
    Mutant(
        "removed-leader-is-hung-up-on",
        "M4",
        "txraft.node.membership_watch",
        "        if leader is not None:\n",
        "        if False:\n",
        what="who knows that the leader was removed does not let it hand over",
        only=SHRINKS,
        budget=200,
    ),
    Mutant(
        "without-a-vote-nobody-leads",
        "M4",
        "txraft.core.elections",
        "if not state.log.membership.votes_since(state.node_id, state.commit_index) or",
        "if not state.configuration.is_voter(state.node_id) or",
        what="who alone has the change by which it lost its vote does not campaign, and nobody else can win",
        only=SHRINKS,
        budget=300,
    ),
    Mutant(
        "truncated-members-stay",
        "M5",
        "txraft.core.log",
        "        self.membership.truncate_from(index)\n",
        "",
        what="a membership is in force whose entry is gone",
        budget=200,
    ),
    Mutant(
        "snapshot-without-members",
        "M6",
        "txraft.core.log",
        "self.membership = Membership(snapshot.configuration, snapshot.index)",
        "self.membership = Membership(self.membership.configuration, snapshot.index)",
        what="a snapshot takes the place of the log, and not of its members",
        only={"keeps": 0},
        budget=200,
    ),
    Mutant(
        "snapshot-of-half-a-joint-membership",
        "M6",
        "txraft.core.log",
        "return Snapshot(index, self.term_at(index), self.membership.at(index))",
        "members = self.membership.at(index)\n"
        "        return Snapshot(index, self.term_at(index), type(members)(members.voters, learners=members.learners))",
        what="a snapshot has the voters and learners of its index, and nothing else",
        only={"keeps": 0},
    ),
    Mutant(
        "removed-ids-are-forgotten",
        "M7",
        "txraft.core.changes",
        "removed=self.before.removed | (self.before.members - members),",
        "removed=self.before.members - members,",
        what="an id that was removed before the last change is used again",
    ),
    Mutant(
        "removed-ids-are-let-in",
        "M7",
        "txraft.rpc.handshake",
        "Refusal.REMOVED: hello.from_id in here.removed,",
        "Refusal.REMOVED: False,",
        what="who was removed is never told so, and calls for ever",
    ),
    Mutant(
        "empty-voter",
        "M8",
        "txraft.core.reconfiguration",
        "if change.kind is not ChangeKind.ADD_VOTER or configuration.is_voter(change.server):",
        "if True:",
        what="a server votes when it is added",
    ),
    Mutant(
        "promoted-unseen",
        "M8",
        "txraft.core.reconfiguration",
        "if progress.counted_index < round_.ends_with:",
        "if False:",
        what="a learner votes at the next heartbeat, whatever it has",
    ),
    Mutant(
        "never-promoted",
        "M8",
        "txraft.core.leader",
        "            self.reconfiguration.promote(self._in_contact(now), now)\n",
        "            pass\n",
        what="a learner that joins never gets its vote",
    ),
    Mutant(
        "change-without-contact",
        "M9",
        "txraft.core.reconfiguration",
        "if not has_quorum(configuration.voter_sets, in_contact):",
        "if False:",
        what="the members go to voters of whom nobody has heard",
        only=SILENT,
    ),
    Mutant(
        "learner-refuses-its-vote",
        "E10",
        "txraft.core.elections",
        "        up_to_date = state.log.is_up_to_date(request.last_log_index, request.last_log_term)\n",
        "        up_to_date = state.log.is_up_to_date(request.last_log_index, request.last_log_term)\n"
        "        up_to_date &= state.configuration.is_voter(state.node_id)\n",
        what="who does not know yet that it has a vote refuses it, and nobody wins",
        only=FALLS,
    ),
    Mutant(
        "unknown-caller-is-shut-out",
        "E10",
        "txraft.rpc.handshake",
        "not here.knows(hello.from_id) and hello.configuration_index == 0",
        "not here.knows(hello.from_id)",
        what="who does not know yet of a new member does not let it in, and nobody wins",
        only=JOINT,
    ),
    Mutant(
        "founders-not-compared",
        "E14",
        "txraft.rpc.handshake",
        "Refusal.FOUNDERS: hello.voters != ours.voters,",
        "Refusal.FOUNDERS: False,",
        what="a node that was started with other members is let in",
        only=STRAYS,
    ),
    Mutant(
        "joint-votes-of-the-new-only",
        "R9",
        "txraft.core.elections",
        "result = vote_result(state.configuration.voter_sets, self._votes)",
        "result = vote_result([state.configuration.voters], self._votes)",
        what="while the membership is joint, the new voters elect alone",
        only=JOINT,
        budget=300,
    ),
    Mutant(
        "joint-commits-of-the-new-only",
        "R9",
        "txraft.core.replication",
        "        index = committed_index(state.configuration.voter_sets, match_index)\n        if",
        "        index = committed_index([state.configuration.voters], match_index)\n        if",
        what="while the membership is joint, the new voters commit alone",
        only=JOINT,
        budget=200,
    ),
    Mutant(
        "joint-commits-of-the-old-only",
        "R9",
        "txraft.core.replication",
        "        index = committed_index(state.configuration.voter_sets, match_index)\n        if",
        "        members = state.configuration\n"
        "        index = committed_index([members.outgoing or members.voters], match_index)\n        if",
        what="while the membership is joint, the old voters commit alone",
        only=JOINT,
        budget=200,
    ),
    Mutant(
        "joint-reads-of-the-new-only",
        "R9",
        "txraft.core.reads",
        "if not has_quorum(self._state.configuration.voter_sets, self._answered):",
        "if not has_quorum([self._state.configuration.voters], self._answered):",
        what="while the membership is joint, the new voters confirm reads alone",
        only=JOINT,
        budget=300,
    ),
    Mutant(
        "joint-contact-with-the-new-only",
        "R9",
        "txraft.core.leader",
        "return has_quorum(self._state.configuration.voter_sets, recent |",
        "return has_quorum([self._state.configuration.voters], recent |",
        what="while the membership is joint, a leader needs to hear of the new voters only",
        only=JOINT,
        budget=600,
    ),
)
