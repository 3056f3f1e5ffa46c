"""Many seeds: not part of the fast suite, and not for trial, so a function."""

import pytest

from tests.simulation.many import simulate


@pytest.mark.simulation
def test_a_thousand_seeds() -> None:
    """Every rule holds."""
    totals = simulate(first=10_001, seeds=1000, jobs=2)
    assert totals.failed == []
    assert totals.seeds == 1000
