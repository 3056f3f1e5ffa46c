"""Counts by name."""

from typing import Final

from attrs import define, field

from txraft import command

LARGEST: Final = 2**63 - 1
"""What a snapshot can hold of a number."""


@define(slots=False)
class Counters:
    """Counts by name, each 0 at first. An `add` of which the outcome is unknown may count twice when it is called
    again; where that matters, keep in a `Table` what has been counted."""

    counts: dict[str, int] = field(factory=dict)

    @command
    def add(self, name: str, more: int = 1) -> int:
        """Add `more`, which may be negative. Gives the new count. Raises OverflowError, and adds nothing, where that
        would not be within 63 bits."""
        count = self.counts.get(name, 0) + more
        if abs(count) > LARGEST:
            raise OverflowError(f"{name!r} would come to {count}, which is more than 63 bits")
        self.counts[name] = count
        return count

    def count(self, name: str) -> int:
        """The count now. For `query`."""
        return self.counts.get(name, 0)
