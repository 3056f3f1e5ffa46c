"""The planted bugs, by the table of hazards."""

from tests.simulation.mutants import clients, driver, elections, replication
from tests.simulation.mutants.planting import Mutant

MUTANTS: tuple[Mutant, ...] = (*elections.MUTANTS, *replication.MUTANTS, *clients.MUTANTS, *driver.MUTANTS)

UNMUTATED = "unmutated"
"""The name under which the program as it is runs the same seeds."""

QUICK = ("vote-before-save", "leader-counts-unsaved", "retry-after-unknown", "last-entry-lost-at-restart")
"""Found within a few seeds: these are part of the fast suite."""

NOT_FOUND_YET = frozenset(
    {
        "grants-of-other-rounds",
        "pre-vote-refusal-teaches-nothing",
        "no-stickiness",
        "stale-refusal-resets",
        "truncated-write-is-durable",
        "gap-between-messages",
        "uncommitted-size-leaks",
        "large-entry-never-sent",
        "any-round-confirms",
        "read-on-a-lease",
        "transfer-without-end",
        "held-changes-forgotten",
        "success-by-index-alone",
        "answers-overtake-their-write",
        "acknowledged-before-fsync",
        "failed-write-goes-on",
        "first-vote-of-a-group-is-kept",
        "old-tail-stays-on-disk",
        "applied-before-it-is-durable",
        "applied-again-after-restart",
        "applied-out-of-order",
    }
)
"""These survive their budgets, or were not looked for: what the simulator does not explore yet. To become empty."""
