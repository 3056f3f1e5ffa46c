"""Run one seed again, or less than the whole of it, with its transcript: `python -m tests.simulation.replay SEED`.

Exit status 1 where a rule does not hold.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from attrs import evolve

from tests.arguments import positive
from txraft.testing.plan import Plan, plan_of
from txraft.testing.shrink import SIMPLIFICATIONS
from txraft.testing.simulation import run_of

LINES = 60
"""Of the transcript, that are printed unless asked for otherwise."""

_LISTS = {"faults": "faults", "lasting": "lasting faults", "orders": "changes of the membership"}
"""What happens in a plan."""


def explain(plan: Plan, lines: int = LINES) -> bool:
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
    words = [f"python -m tests.simulation.replay {plan.seed}"]
    for name in _LISTS:
        kept = getattr(plan, name)
        if kept != getattr(whole, name):
            words.append(f"--{name} {','.join(str(each.number) for each in kept) or 'none'}")
    if plan.clients != whole.clients:
        words.append(f"--clients {plan.clients}")
    words += [f"--{each.name}" for each in SIMPLIFICATIONS if each.of(plan) == plan and each.of(whole) != whole]
    return " ".join(words)


def plan_from(options: argparse.Namespace) -> Plan:
    """The plan that the options describe. Raises ValueError where the seed has not as much as they keep of it."""
    plan = plan_of(options.seed)
    for name, what in _LISTS.items():
        if (kept := getattr(options, name)) is not None:
            numbered = {each.number: each for each in getattr(plan, name)}
            if unknown := kept - numbered.keys():
                raise ValueError(f"--{name}: {min(unknown)} is none of the {len(numbered)} {what} of seed {plan.seed}")
            change: dict[str, Any] = {name: tuple(numbered[number] for number in sorted(kept))}
            plan = evolve(plan, **change)
    if options.clients is not None:
        if options.clients > plan.clients:
            raise ValueError(f"--clients: seed {plan.seed} has {plan.clients} only")
        plan = evolve(plan, clients=options.clients)
    for each in SIMPLIFICATIONS:
        if getattr(options, each.name):
            plan = each.of(plan)
    return plan


def _numbers(text: str) -> set[int]:
    try:
        return set() if text == "none" else {int(number) for number in text.split(",")}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither numbers with commas between them nor none") from None


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.replay",
        description="Run one seed again, or less than the whole of it, with its transcript.",
    )
    parser.add_argument("seed", type=positive, metavar="SEED")
    parser.add_argument(
        "--lines", type=positive, default=LINES, help="of the transcript, the last ones, to print [%(default)s]"
    )
    for name, what in _LISTS.items():
        parser.add_argument(f"--{name}", metavar="N,N", type=_numbers, help=f"of its {what}, only these, or none")
    parser.add_argument("--clients", type=positive, help="only so many of its clients")
    for each in SIMPLIFICATIONS:
        parser.add_argument(f"--{each.name}", dest=each.name, action="store_true", help=each.what)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run it; gives the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        plan = plan_from(options)
    except ValueError as error:
        parser.error(str(error))
    return 0 if explain(plan, options.lines) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
