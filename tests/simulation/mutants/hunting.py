"""Looking for a mutant: the simulator's seeds from 1 on, in an interpreter of its own, until a rule does not hold."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, frozen

from tests.simulation.mutants.catalogue import BY_NAME, UNMUTATED
from tests.simulation.mutants.planting import Mutant, plant

HANGS = 600
"""Seconds."""

ROOT = Path(__file__).parent.parent.parent.parent


@frozen
class Hunt:
    """What came of one."""

    name: str
    seeds: int
    """How many were run, the one that found it included."""
    violation: str
    """The rule that did not hold, and how; empty where nothing was found."""

    def line(self, hazard: str) -> str:
        """A row of the table."""
        found = f"{self.seeds:5} seeds  {self.violation[:70]}" if self.violation else f"{self.seeds:5} seeds  SURVIVES"
        return f"{hazard:4} {self.name:40} {found}"


def hunt(name: str, seeds: int) -> Hunt:
    """Run seeds with a mutant, or the program as it is, in this very interpreter, which is lost for anything else."""
    mutant = None if name == UNMUTATED else BY_NAME[name]
    if mutant is not None:
        plant(mutant)
    from txraft.testing.plan import plan_of  # noqa: PLC0415 - not before the mutant is in place
    from txraft.testing.simulation import run_of  # noqa: PLC0415 - the same

    only: Mapping[str, Any] = mutant.only if mutant is not None else {}
    for count in range(1, seeds + 1):
        violation = run_of(evolve(plan_of(count), **only)).violation
        if violation is not None:
            return Hunt(name, count, str(violation).splitlines()[0])
    return Hunt(name, seeds, "")


def hunt_elsewhere(name: str, seeds: int) -> Hunt:
    """`hunt` in a fresh interpreter. A hunt that itself fails, as where a mutant has moved, or does not end, raises."""
    command = [sys.executable, "-m", __name__, name, str(seeds)]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
    )
    if done.returncode != 0:
        raise AssertionError(f"{name}: {done.stderr}")
    return Hunt(**json.loads(done.stdout.splitlines()[-1]))


def hunt_all(mutants: Iterable[Mutant], jobs: int) -> Iterator[tuple[Mutant, Hunt]]:
    """Look for each, several at a time, each within its budget; in their order."""
    mutants = list(mutants)
    names, budgets = [mutant.name for mutant in mutants], [mutant.budget for mutant in mutants]
    with ThreadPoolExecutor(jobs) as pool:
        yield from zip(mutants, pool.map(hunt_elsewhere, names, budgets), strict=True)


if __name__ == "__main__":
    print(json.dumps(asdict(hunt(sys.argv[1], int(sys.argv[2])))))
