"""What a run has come to."""

from collections import Counter

from attrs import frozen

from txraft.testing.plan import Plan
from txraft.testing.violation import Violation


@frozen
class Report:
    """What came of a run."""

    plan: Plan
    violation: Violation | None
    steps: int
    operations: int
    done: int
    """Operations that were answered with a result."""
    failed: int
    """Commands of which the result was that they failed."""
    not_kept: int
    """How often a state machine's `persist` or `snapshot` failed with SnapshotFailed: in every run, if it has to do
    with the data. One that a restore breaks off is counted too."""
    faults: "Counter[str]"
    changes: "Counter[str]"
    """Of the membership, that were answered as done, by what was wished."""
    lines: list[str]
    """The transcript, where one was wanted."""
