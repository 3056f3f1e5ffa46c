"""`python -m tests.simulation.mutants [NAME...]`: look for planted bugs, and print how many seeds each has taken.

Exit status 1 where one survives.
"""

import argparse
import sys
from collections.abc import Sequence

from tests.arguments import positive
from tests.simulation.mutants.catalogue import BY_NAME, MUTANTS
from tests.simulation.mutants.hunting import hunt_all
from tests.simulation.mutants.planting import Mutant


def _mutant(name: str) -> Mutant:
    if name not in BY_NAME:
        raise argparse.ArgumentTypeError(f"there is no mutant {name!r}; tests/simulation/mutants has them all")
    return BY_NAME[name]


def main(arguments: Sequence[str]) -> int:
    """Run it; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description="Look for planted bugs.")
    parser.add_argument("mutants", nargs="*", metavar="NAME", type=_mutant, help="only these mutants [all]")
    parser.add_argument("--jobs", type=positive, default=2, help="processes to use [%(default)s]")
    options = parser.parse_args(arguments)
    chosen = options.mutants or MUTANTS
    survivors = 0
    for mutant, found in hunt_all(chosen, options.jobs):
        print(found.line(mutant.hazard), flush=True)
        survivors += not found.violation
    print(f"{len(chosen)} mutants, {survivors} of them survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
