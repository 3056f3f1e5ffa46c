"""Majorities, against an implementation so slow and plain that one sees that it is right (hazard R9)."""

import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.messages import NodeId
from txraft.core.quorum import VoteResult, committed_index, has_quorum, majority, vote_result

Voters = frozenset[NodeId]
Value = TypeVar("Value")

# Ids up to 9 and sets of up to 7 of them: the two sets overlap, are disjoint, are equal, are empty; some ids are no
# voter's (learners, or servers that were removed).
ids = st.integers(1, 9)
voters = st.frozensets(ids, max_size=7)
two_sets = st.tuples(voters, voters)
one_or_two_sets = st.one_of(st.tuples(voters), two_sets)
some_votes = st.dictionaries(ids, st.booleans())
many = settings(max_examples=500, deadline=None, database=None)


def slow_has_quorum(voter_sets: tuple[Voters, ...], servers: Set[NodeId]) -> bool:
    """Count them, one by one."""
    if not any(voter_sets):
        return False
    for voters in voter_sets:
        there = 0
        for voter in voters:
            if voter in servers:
                there += 1
        if voters and there * 2 <= len(voters):
            return False
    return True


def slow_committed_index(voter_sets: tuple[Voters, ...], match_index: Mapping[NodeId, int]) -> int:
    """Try every index there is, from the highest down."""
    for index in sorted(match_index.values(), reverse=True):
        if slow_has_quorum(voter_sets, {server for server, matched in match_index.items() if matched >= index}):
            return index
    return 0


def slow_vote_result(voter_sets: tuple[Voters, ...], votes: Mapping[NodeId, bool]) -> VoteResult:
    """Try every way in which those that have not voted yet may vote."""
    if not any(voter_sets):
        return VoteResult.PENDING
    missing = sorted(frozenset().union(*voter_sets) - votes.keys())
    outcomes = set()
    for answers in itertools.product((False, True), repeat=len(missing)):
        all_votes = {**votes, **dict(zip(missing, answers, strict=True))}
        outcomes.add(slow_has_quorum(voter_sets, {voter for voter, vote in all_votes.items() if vote}))
    if outcomes == {True}:
        return VoteResult.WON
    return VoteResult.LOST if outcomes == {False} else VoteResult.PENDING


class QuorumAgainstTheSlowTwinTests(SynchronousTestCase):
    @many
    @given(one_or_two_sets, st.frozensets(ids))
    def test_has_quorum(self, voter_sets: tuple[Voters, ...], servers: Voters) -> None:
        """hazard R9: of any one or two sets, odd and even, with servers that are in neither."""
        self.assertEqual(has_quorum(voter_sets, servers), slow_has_quorum(voter_sets, servers))

    @many
    @given(one_or_two_sets, st.dictionaries(ids, st.integers(0, 5)))
    def test_committed_index(self, voter_sets: tuple[Voters, ...], match_index: dict[NodeId, int]) -> None:
        """hazard R9: with learners in match_index, and voters that are not in it."""
        self.assertEqual(committed_index(voter_sets, match_index), slow_committed_index(voter_sets, match_index))

    @many
    @given(one_or_two_sets, some_votes)
    def test_vote_result(self, voter_sets: tuple[Voters, ...], votes: dict[NodeId, bool]) -> None:
        """hazards R9, E10: won or lost as soon as the missing votes cannot change it, and never before."""
        self.assertIs(vote_result(voter_sets, votes), slow_vote_result(voter_sets, votes))

    @many
    @given(voters.filter(bool), st.frozensets(ids), st.frozensets(ids))
    def test_two_quorums_meet(self, voters: Voters, one: Voters, other: Voters) -> None:
        """§5.2, §5.4: any two majorities share a server. All of Raft's safety stands on it."""
        if has_quorum((voters,), one) and has_quorum((voters,), other):
            self.assertTrue(voters & one & other)


def every_pair() -> Iterator[tuple[Voters, Voters, Voters]]:
    """Every two sets of up to five voters, up to renaming: those of the first alone, of both, of the second alone."""
    for first, both, second in itertools.product(range(6), repeat=3):
        if first + both <= 5 and both + second <= 5:
            split = first + both
            yield frozenset(range(first)), frozenset(range(first, split)), frozenset(range(split, split + second))


def every_choice(pair: tuple[Voters, Voters, Voters], values: Sequence[Value]) -> Iterator[dict[NodeId, Value]]:
    """Every way to give each voter a value. Voters that are of the same sets count for the same, so it does not matter
    which of them has which value."""
    for choices in itertools.product(*(itertools.combinations_with_replacement(values, len(part)) for part in pair)):
        yield dict(zip(itertools.chain(*pair), itertools.chain(*choices), strict=True))


class EveryPairOfVoterSetsTests(SynchronousTestCase):
    """hazard R9, thesis §4.3: up to five old voters and up to five new ones, against the slow twin. Either set may be
    empty."""

    def test_there_are_91(self) -> None:
        """hazard R9: for each number of voters in both sets, as many alone in each as five leaves room for."""
        pairs = list(every_pair())
        self.assertEqual(len(pairs), 36 + 25 + 16 + 9 + 4 + 1)
        self.assertEqual(
            {(len(first), len(both), len(second)) for first, both, second in pairs if len(both) == 4},
            {(0, 4, 0), (0, 4, 1), (1, 4, 0), (1, 4, 1)},
        )

    def test_has_quorum(self) -> None:
        """hazard R9: whoever is there."""
        for first, both, second in every_pair():
            sets = (first | both, both | second)
            for there in every_choice((first, both, second), (False, True)):
                servers = {server for server, is_there in there.items() if is_there}
                self.assertIs(has_quorum(sets, servers), slow_has_quorum(sets, servers), (sets, servers))

    def test_vote_result(self) -> None:
        """hazard R9: whoever has voted, and however."""
        for first, both, second in every_pair():
            sets = (first | both, both | second)
            for choice in every_choice((first, both, second), (True, False, None)):
                votes = {voter: vote for voter, vote in choice.items() if vote is not None}
                self.assertIs(vote_result(sets, votes), slow_vote_result(sets, votes), (sets, votes))

    def test_committed_index(self) -> None:
        """hazard R9: whoever has nothing, or one of three indexes."""
        for first, both, second in every_pair():
            sets = (first | both, both | second)
            for choice in every_choice((first, both, second), (None, 3, 5, 8)):
                match_index = {voter: index for voter, index in choice.items() if index is not None}
                expected = slow_committed_index(sets, match_index)
                self.assertEqual(committed_index(sets, match_index), expected, (sets, match_index))


class QuorumByHandTests(SynchronousTestCase):
    def test_majority(self) -> None:
        """More than half, also of even numbers."""
        self.assertEqual([majority(voters) for voters in range(1, 8)], [1, 2, 2, 3, 3, 4, 4])

    def test_half_of_an_even_number_is_not_enough(self) -> None:
        """hazard R9: two of four neither commit nor elect."""
        four = (frozenset({1, 2, 3, 4}),)
        self.assertFalse(has_quorum(four, {1, 2}))
        self.assertEqual(committed_index(four, {1: 7, 2: 7, 3: 4, 4: 1}), 4)
        self.assertIs(vote_result(four, {1: True, 2: True}), VoteResult.PENDING)
        self.assertIs(vote_result(four, {1: True, 2: True, 3: False, 4: False}), VoteResult.LOST)

    def test_both_sets_are_needed(self) -> None:
        """hazard R9, thesis §4.3: a joint majority is one of each set, not of their union."""
        joint = (frozenset({1, 2, 3}), frozenset({3, 4, 5, 6, 7}))
        self.assertFalse(has_quorum(joint, {1, 2, 3, 4}))
        self.assertTrue(has_quorum(joint, {1, 3, 4, 5}))
        self.assertEqual(committed_index(joint, {1: 9, 2: 9, 3: 9, 4: 5, 5: 2}), 2)
        self.assertIs(vote_result(joint, {4: False, 5: False, 6: False, 1: True, 2: True}), VoteResult.LOST)

    def test_learners_do_not_count(self) -> None:
        """hazard E10: nor do servers that nobody knows."""
        three = (frozenset({1, 2, 3}), frozenset[NodeId]())
        self.assertFalse(has_quorum(three, {1, 8, 9}))
        self.assertEqual(committed_index(three, {1: 4, 2: 1, 8: 4, 9: 4}), 1)
        self.assertIs(vote_result(three, {1: True, 8: True, 9: True}), VoteResult.PENDING)
        self.assertIs(vote_result(three, {7: False, 8: False, 9: False}), VoteResult.PENDING)

    def test_nobody_decides_without_voters(self) -> None:
        """An empty configuration elects nobody and commits nothing."""
        nobody = (frozenset[NodeId](), frozenset[NodeId]())
        self.assertFalse(has_quorum(nobody, {1, 2, 3}))
        self.assertEqual(committed_index(nobody, {1: 4}), 0)
        self.assertIs(vote_result(nobody, {1: True}), VoteResult.PENDING)
