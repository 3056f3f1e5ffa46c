"""Numbers that count what is done with them, so that a test can hold how much work something is, on any machine."""

from collections.abc import Callable
from typing import ClassVar


class Counted(int):
    """A number, all of whose comparisons are counted. Work on one of many is not to look at the others."""

    comparisons: ClassVar[int] = 0
    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return super().__eq__(other)

    def __lt__(self, other: int) -> bool:
        Counted.comparisons += 1
        return super().__lt__(other)

    def __le__(self, other: int) -> bool:
        Counted.comparisons += 1
        return super().__le__(other)


def of_work(work: Callable[[], object]) -> int:
    """How many comparisons of `Counted` numbers `work` makes."""
    before = Counted.comparisons
    work()
    return Counted.comparisons - before
