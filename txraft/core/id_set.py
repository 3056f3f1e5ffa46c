"""A set of ids in which those that follow each other take no more room than one: of all that were ever removed, say."""

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Set
from typing import Any, Self, TypeAlias

from attrs import frozen

Range: TypeAlias = tuple[int, int]
"""The first id and the last one."""


@frozen(eq=False)
class IdSet(Set[int]):
    """Kept as ranges. Equal to any other set of the same ids, and with the same hash as a frozenset of them."""

    ranges: tuple[Range, ...] = ()
    """In ascending order, with at least one id missing between two of them."""

    @classmethod
    def of(cls, ids: Iterable[int]) -> Self:
        """The set of these."""
        if isinstance(ids, cls):
            return ids
        ranges: list[Range] = []
        for id in sorted(set(ids)):
            if ranges and ranges[-1][1] == id - 1:
                ranges[-1] = ranges[-1][0], id
            else:
                ranges.append((id, id))
        return cls(tuple(ranges))

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Set[Any]:
        """The result of `|`, `&` and `-`."""
        return cls.of(it)

    @classmethod
    def from_plain(cls, plain: Iterable[Any]) -> Self:
        """Read what `plain` gives, in which nobody is twice. Raises ValueError or TypeError for everything else."""
        ranges = [(each, each) if type(each) is int else _range(*each) for each in plain]
        if any(last + 1 >= first for (_, last), (first, _) in itertools.pairwise(ranges)):
            raise ValueError("ranges of ids are not in ascending order, or not apart")
        return cls(tuple(ranges))

    def plain(self) -> list[int | Range]:
        """As JSON has it: an id that is alone as itself, and others as their range."""
        return [first if first == last else (first, last) for first, last in self.ranges]

    def __contains__(self, id: object) -> bool:
        if not isinstance(id, int):
            return False
        position = bisect_right(self.ranges, id, key=lambda each: each[0])
        return position > 0 and id <= self.ranges[position - 1][1]

    def __iter__(self) -> Iterator[int]:
        return itertools.chain.from_iterable(range(first, last + 1) for first, last in self.ranges)

    def __len__(self) -> int:
        return sum(last + 1 - first for first, last in self.ranges)

    def __eq__(self, other: object) -> bool:
        return self.ranges == other.ranges if isinstance(other, IdSet) else super().__eq__(other)

    def __hash__(self) -> int:
        return self._hash()


def _range(first: Any, last: Any) -> Range:
    if type(first) is not int or type(last) is not int or first >= last:
        raise ValueError("a range of ids has no two of them, the lower one first")
    return first, last
