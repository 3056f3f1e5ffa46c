"""`python -m tests.simulation.mutants [NAME...]`: look for planted bugs, and print how many seeds each has taken.

Exit status 1 where one survives.
"""

import argparse
import sys
from collections.abc import Sequence

from tests.simulation.mutants.catalogue import MUTANTS, UNMUTATED
from tests.simulation.mutants.hunting import as_json, hunt, hunt_all


def main(arguments: Sequence[str]) -> int:
    """Run it; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description="Look for planted bugs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these mutants")
    parser.add_argument("--jobs", type=int, default=2, help="processes to use")
    parser.add_argument("--hunt", metavar="NAME", help="look for one, in this process, and print it as JSON")
    parser.add_argument("--seeds", type=int, default=60, help="with --hunt: so many")
    options = parser.parse_args(arguments)
    mutants = {mutant.name: mutant for mutant in MUTANTS}
    if options.hunt is not None:
        print(as_json(hunt(options.hunt, options.seeds, None if options.hunt == UNMUTATED else mutants[options.hunt])))
        return 0
    chosen = [mutants[name] for name in options.names] or MUTANTS
    survivors = 0
    for mutant, found in hunt_all(chosen, options.jobs):
        print(found.line(mutant.hazard), flush=True)
        survivors += not found.violation
    print(f"{len(chosen)} mutants, {survivors} of them survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
