"""Run the simulator over many seeds: `python -m tests.simulation --seeds 1000 --first 1 [--jobs 2]`.

Exit status 1 where a rule did not hold: the seed, how to replay it, the last steps, and a smaller version of it.
"""

import argparse
import sys
from collections.abc import Sequence

from tests.arguments import positive
from tests.simulation.many import simulate
from tests.simulation.replay import explain
from txraft.testing.plan import plan_of
from txraft.testing.shrink import shrink
from txraft.testing.simulation import run_of


def main(arguments: Sequence[str]) -> int:
    """Run it; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Simulate clusters under faults.")
    parser.add_argument("--seeds", type=positive, default=1000, help="how many [%(default)s]")
    parser.add_argument("--first", type=positive, default=1, help="the first of them [%(default)s]")
    parser.add_argument("--jobs", type=positive, default=2, help="processes to use [%(default)s]")
    options = parser.parse_args(arguments)
    totals = simulate(options.first, options.seeds, options.jobs)
    for seed in totals.failed[:1]:
        explain(plan_of(seed))
        smallest = shrink(run_of(plan_of(seed)))
        print("\nmade smaller:")
        explain(smallest.plan)
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
