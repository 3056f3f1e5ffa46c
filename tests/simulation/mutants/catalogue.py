"""The planted bugs, by the table of hazards."""

from tests.simulation.mutants import clients, directories, driver, elections, membership, replication, snapshots
from tests.simulation.mutants.planting import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *elections.MUTANTS,
    *replication.MUTANTS,
    *clients.MUTANTS,
    *driver.MUTANTS,
    *snapshots.MUTANTS,
    *directories.MUTANTS,
    *membership.MUTANTS,
)

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}

UNMUTATED = "unmutated"
"""The name under which the program as it is runs the same seeds."""

QUICK = ("vote-before-save", "leader-counts-unsaved", "retry-after-unknown", "last-entry-lost-at-restart")
"""Found within a few seeds: these are part of the fast suite."""
