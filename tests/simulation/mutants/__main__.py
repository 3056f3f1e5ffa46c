"""`python -m tests.simulation.mutants [NAME...]`: look for planted bugs, and print how many seeds each has taken.

Exit status 1 where one survives.
"""

import argparse
import sys
from collections.abc import Sequence

from tests.arguments import positive
from tests.simulation.mutants.catalogue import MUTANTS, UNMUTATED
from tests.simulation.mutants.hunting import as_json, hunt, hunt_all
from tests.simulation.mutants.planting import Mutant

_MUTANTS = {mutant.name: mutant for mutant in MUTANTS}


def _mutant(name: str) -> Mutant:
    if name not in _MUTANTS:
        raise argparse.ArgumentTypeError(f"there is no mutant {name!r}; tests/simulation/mutants has them all")
    return _MUTANTS[name]


def _hunted(name: str) -> tuple[str, Mutant | None]:
    return name, None if name == UNMUTATED else _mutant(name)


def main(arguments: Sequence[str]) -> int:
    """Run it; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description="Look for planted bugs.")
    parser.add_argument("mutants", nargs="*", metavar="NAME", type=_mutant, help="only these mutants [all]")
    parser.add_argument("--jobs", type=positive, default=2, help="processes to use [%(default)s]")
    parser.add_argument(
        "--hunt", metavar="NAME", type=_hunted, help="look for one, in this process, and print it as JSON"
    )
    parser.add_argument("--seeds", type=positive, help="with --hunt: so many")
    options = parser.parse_args(arguments)
    if (options.hunt is None) != (options.seeds is None):
        parser.error("--hunt and --seeds go together: each mutant has a budget of its own otherwise")
    if options.hunt is not None and options.mutants:
        parser.error("--hunt looks for one mutant, so there is no room for others")
    if options.hunt is not None:
        name, mutant = options.hunt
        print(as_json(hunt(name, options.seeds, mutant)))
        return 0
    chosen = options.mutants or MUTANTS
    survivors = 0
    for mutant, found in hunt_all(chosen, options.jobs):
        print(found.line(mutant.hazard), flush=True)
        survivors += not found.violation
    print(f"{len(chosen)} mutants, {survivors} of them survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
