"""Run the simulator over many seeds: `python -m tests.simulation --seeds 1000 --first 1 [--jobs 2]`.

Exit status 1 where a rule did not hold: the seed, how to replay it, the last steps, and a smaller version of it.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from attrs import evolve

from tests.simulation.many import simulate
from txraft.testing.network import Noise
from txraft.testing.plan import Plan, plan_of
from txraft.testing.shrink import shrink
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
    words += [f"--{name}" for name in _SWITCHES if _switched(plan, name) and not _switched(whole, name)]
    return " ".join(words)


def _switched(plan: Plan, name: str) -> bool:
    return evolve(plan, **_SWITCHES[name]) == plan


_SWITCHES: dict[str, dict[str, Any]] = {
    "calm": {"noise": Noise()},
    "datagrams": {"streams": False},
    "memory": {"files": False},
    "pre-vote": {"without_pre_vote": frozenset()},
    "roomy": {"tight": False},
}
"""What makes a plan simpler, beside fewer faults and clients."""

_LISTS = {"faults": "faults", "lasting": "lasting faults"}
"""The faults of a plan."""


def plan_from(options: argparse.Namespace) -> Plan:
    """The plan that the options describe."""
    plan = plan_of(options.replay)
    for name in _LISTS:
        if (kept := getattr(options, name)) is not None:
            change: dict[str, Any] = {name: tuple(fault for fault in getattr(plan, name) if fault.number in kept)}
            plan = evolve(plan, **change)
    if options.clients is not None:
        plan = evolve(plan, clients=options.clients)
    for name, simpler in _SWITCHES.items():
        if getattr(options, name.replace("-", "_")):
            plan = evolve(plan, **simpler)
    return plan


def _numbers(text: str) -> set[int]:
    try:
        return set() if text == "none" else {int(number) for number in text.split(",")}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither numbers with commas between them nor none") from None


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Simulate clusters under faults.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes to use")
    parser.add_argument("--lines", type=int, default=LINES, help="of a transcript, the last ones, to print")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed, and print its transcript")
    for name, what in _LISTS.items():
        parser.add_argument(
            f"--{name}", metavar="N,N", type=_numbers, help=f"with --replay: of its {what}, only these, or none"
        )
    parser.add_argument("--clients", type=int, help="with --replay: so many clients")
    for name, change in _SWITCHES.items():
        parser.add_argument(f"--{name}", action="store_true", help=f"with --replay: {' '.join(change)} at its simplest")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run it; gives the exit status: 1 where a rule does not hold."""
    options = make_parser().parse_args(arguments)
    if options.replay is not None:
        return 0 if explain(plan_from(options), options.lines) else 1
    totals = simulate(options.first, options.seeds, options.jobs)
    for seed in totals.failed[:1]:
        explain(plan_of(seed), options.lines)
        smallest = shrink(run_of(plan_of(seed)))
        print("\nmade smaller:")
        explain(smallest.plan, options.lines)
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
