"""The simulator finds every bug that is planted, each within its budget of seeds, and none where there is none."""

from collections import Counter

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.rules.test_hazards import rows
from tests.simulation.mutants.catalogue import MUTANTS, QUICK, UNMUTATED
from tests.simulation.mutants.hunting import hunt_all, hunt_elsewhere
from tests.simulation.mutants.planting import Moved, Mutant


class CatalogueTests(SynchronousTestCase):
    def test_texts(self) -> None:
        """Each mutant still changes one place of its module, into something that compiles."""
        for mutant in MUTANTS:
            compile(mutant.source(), mutant.name, "exec")

    def test_names(self) -> None:
        """At least 25, each of a name of its own and a hazard; and the quick ones exist."""
        counts = Counter(mutant.name for mutant in MUTANTS)
        self.assertGreaterEqual(len(counts), 25)
        self.assertEqual(set(counts.values()), {1})
        self.assertEqual([each.hazard for each in MUTANTS if each.hazard not in rows()], [])
        self.assertEqual(set(QUICK) - set(counts), set())

    def test_text_that_has_moved(self) -> None:
        """What is not there, or is there twice, is an error."""
        for text in ("nothing", "state"):
            mutant = Mutant("x", "E1", "txraft.core.terms", text, "", what="nothing")
            self.assertRaises(Moved, mutant.source)


class QuickTests(SynchronousTestCase):
    def test_quick_ones(self) -> None:
        """A few seeds find them (hazards E1, R10 and C8)."""
        quick = [mutant for mutant in MUTANTS if mutant.name in QUICK]
        self.assertEqual([found.name for _, found in hunt_all(quick, jobs=2) if not found.violation], [])


@pytest.mark.simulation
def test_every_mutant() -> None:
    """None survives; and the program as it is passes all the seeds that were needed."""
    most, survivors = 0, []
    for mutant, found in hunt_all(MUTANTS, jobs=2):
        print(found.line(mutant.hazard), flush=True)
        most = max(most, found.seeds)
        if not found.violation:
            survivors.append(mutant.name)
    assert survivors == []
    assert hunt_elsewhere(UNMUTATED, most).violation == ""
