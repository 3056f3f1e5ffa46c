"""Run the simulator over many seeds: `python -m tests.simulation --seeds 1000 --first 1 [--jobs 2]`.

Exit status 1 where a rule did not hold: the seed, how to replay it, the last steps, and a smaller version of it.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from attrs import evolve

from tests.arguments import positive
from tests.simulation.many import simulate
from txraft.testing.plan import Plan, plan_of
from txraft.testing.shrink import SIMPLIFICATIONS, shrink
from txraft.testing.simulation import run_of

LINES = 60
"""Of the transcript, that are printed of a failure, unless asked for otherwise."""


def explain(plan: Plan, lines: int) -> bool:
    """Print what came of a plan: what broke, how to see it again, and the last lines of the transcript. Whether every
    rule holds."""
    report = run_of(plan, transcript=True)
    print(*report.lines[-lines:], sep="\n")
    print(f"seed {plan.seed}: {report.violation or 'every rule holds'}")
    print(f"replay: {command_of(plan)}")
    return report.violation is None


def command_of(plan: Plan) -> str:
    """The command that runs a plan again, with its transcript."""
    whole = plan_of(plan.seed)
    words = [f"python -m tests.simulation --replay {plan.seed}"]
    for name in _LISTS:
        kept = getattr(plan, name)
        if kept != getattr(whole, name):
            words.append(f"--{name} {','.join(str(fault.number) for fault in kept) or 'none'}")
    if plan.clients != whole.clients:
        words.append(f"--clients {plan.clients}")
    words += [f"--{each.name}" for each in SIMPLIFICATIONS if each.of(plan) == plan and each.of(whole) != whole]
    return " ".join(words)


_LISTS = {"faults": "faults", "lasting": "lasting faults"}
"""The faults of a plan."""

_OF_A_REPLAY = (*_LISTS, "clients", *(each.name for each in SIMPLIFICATIONS))
"""The options that make less of one seed."""


def plan_from(options: argparse.Namespace) -> Plan:
    """The plan that the options describe. Raises ValueError where it has no such fault."""
    plan = plan_of(options.replay)
    for name, what in _LISTS.items():
        if (kept := getattr(options, name)) is not None:
            faults = {fault.number: fault for fault in getattr(plan, name)}
            if kept - faults.keys():
                raise ValueError(f"--{name}: seed {plan.seed} has {len(faults)} {what}, numbered from 0")
            change: dict[str, Any] = {name: tuple(faults[number] for number in sorted(kept))}
            plan = evolve(plan, **change)
    if options.clients is not None:
        plan = evolve(plan, clients=options.clients)
    for each in SIMPLIFICATIONS:
        if getattr(options, each.name.replace("-", "_")):
            plan = each.of(plan)
    return plan


def _numbers(text: str) -> set[int]:
    try:
        return set() if text == "none" else {int(number) for number in text.split(",")}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither numbers with commas between them nor none") from None


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Simulate clusters under faults.")
    parser.add_argument("--seeds", type=positive, default=1000, help="how many [%(default)s]")
    parser.add_argument("--first", type=int, default=1, help="the first of them [%(default)s]")
    parser.add_argument("--jobs", type=positive, default=2, help="processes to use [%(default)s]")
    parser.add_argument(
        "--lines", type=positive, default=LINES, help="of a transcript, the last ones, to print [%(default)s]"
    )
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed, and print its transcript")
    of_a_replay = parser.add_argument_group("with --replay, to run less than the whole")
    for name, what in _LISTS.items():
        of_a_replay.add_argument(
            f"--{name}", metavar="N,N", type=_numbers, help=f"of its {what}, only these numbers, or none"
        )
    of_a_replay.add_argument("--clients", type=positive, help="so many clients")
    for each in SIMPLIFICATIONS:
        of_a_replay.add_argument(f"--{each.name}", action="store_true", help=each.what)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run it; gives the exit status: 1 where a rule does not hold."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    given = [name for name in _OF_A_REPLAY if getattr(options, name.replace("-", "_")) not in (None, False)]
    if given and options.replay is None:
        parser.error(f"--{given[0]} leaves out a part of one seed: say which seed, with --replay")
    if options.replay is not None:
        try:
            plan = plan_from(options)
        except ValueError as error:
            parser.error(str(error))
        return 0 if explain(plan, options.lines) else 1
    totals = simulate(options.first, options.seeds, options.jobs)
    for seed in totals.failed[:1]:
        explain(plan_of(seed), options.lines)
        smallest = shrink(run_of(plan_of(seed)))
        print("\nmade smaller:")
        explain(smallest.plan, options.lines)
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
