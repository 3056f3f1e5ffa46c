"""Run the simulator over many seeds: `python -m tests.simulation --seeds 1000 --first 1 [--jobs 2]`.

Exit status 1 where a rule did not hold: the seed, how to replay it, the last steps, and a smaller version of it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
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

_OF_ONE = (*_LISTS, "clients", *(each.name for each in SIMPLIFICATIONS))
"""The options that make less of one seed."""

_OF_MANY = {"seeds": 1000, "first": 1, "jobs": 2}
"""Those of a run of many, and their defaults."""


def plan_from(given: Mapping[str, Any]) -> Plan:
    """The plan that the options describe. Raises ValueError where the seed has not as much as they keep of it."""
    plan = plan_of(given["replay"])
    for name, what in _LISTS.items():
        if name in given:
            faults = {fault.number: fault for fault in getattr(plan, name)}
            if unknown := given[name] - faults.keys():
                raise ValueError(f"--{name}: {min(unknown)} is none of the {len(faults)} {what} of seed {plan.seed}")
            change: dict[str, Any] = {name: tuple(faults[number] for number in sorted(given[name]))}
            plan = evolve(plan, **change)
    if (clients := given.get("clients", plan.clients)) > plan.clients:
        raise ValueError(f"--clients: seed {plan.seed} has {plan.clients} only")
    plan = evolve(plan, clients=clients)
    for each in SIMPLIFICATIONS:
        if each.name in given:
            plan = each.of(plan)
    return plan


def _numbers(text: str) -> set[int]:
    try:
        return set() if text == "none" else {int(number) for number in text.split(",")}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither numbers with commas between them nor none") from None


def make_parser() -> argparse.ArgumentParser:
    """The command line. What is not given is not in the namespace."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description="Simulate clusters under faults: many seeds, or one again.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--lines", type=positive, help=f"of the transcript of a failure or a replay, the last ones, to print [{LINES}]"
    )
    of_many = parser.add_argument_group("many seeds")
    for name, what in (("seeds", "how many"), ("first", "the first of them"), ("jobs", "processes to use")):
        of_many.add_argument(f"--{name}", type=positive, help=f"{what} [{_OF_MANY[name]}]")
    of_one = parser.add_argument_group("one seed, or less than the whole of it")
    of_one.add_argument("--replay", type=positive, metavar="SEED", help="run it, and print its transcript")
    for name, what in _LISTS.items():
        of_one.add_argument(f"--{name}", metavar="N,N", type=_numbers, help=f"of its {what}, only these, or none")
    of_one.add_argument("--clients", type=positive, help="only so many of its clients")
    for each in SIMPLIFICATIONS:
        of_one.add_argument(f"--{each.name}", dest=each.name, action="store_true", help=each.what)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run it; gives the exit status: 1 where a rule does not hold."""
    parser = make_parser()
    given = vars(parser.parse_args(arguments))
    lines = given.get("lines", LINES)
    for name in _OF_MANY if "replay" in given else _OF_ONE:
        if name in given:
            parser.error(
                f"--{name} is for many seeds, and --replay runs one"
                if "replay" in given
                else f"--{name} leaves out a part of one seed: say which seed, with --replay"
            )
    if "replay" in given:
        try:
            plan = plan_from(given)
        except ValueError as error:
            parser.error(str(error))
        return 0 if explain(plan, lines) else 1
    totals = simulate(**{name: given.get(name, default) for name, default in _OF_MANY.items()})
    for seed in totals.failed[:1]:
        explain(plan_of(seed), lines)
        smallest = shrink(run_of(plan_of(seed)))
        print("\nmade smaller:")
        explain(smallest.plan, lines)
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
