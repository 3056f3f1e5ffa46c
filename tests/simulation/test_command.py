"""The simulator's command lines: a failure can be run again from the command that is printed of it."""

import contextlib
import io
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.simulation import __main__ as many_seeds
from tests.simulation import replay
from tests.simulation.many import Totals, simulate
from tests.simulation.mutants import __main__ as mutants
from tests.simulation.replay import command_of, make_parser, plan_from
from txraft.core.state import State
from txraft.testing.links import Noise
from txraft.testing.plan import Plan, plan_of

COMMAND = "python -m tests.simulation.replay "


class CommandTests(SynchronousTestCase):
    def printed(self, plan: Plan, expected: int = 0) -> list[str]:
        """What the command of a plan prints, with the exit status that is expected."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = replay.main(command_of(plan).removeprefix(COMMAND).split())
        self.assertEqual(status, expected)
        return output.getvalue().splitlines()

    def test_replay(self) -> None:
        """It prints the last steps of the run, and what came of it."""
        *steps, verdict, command = self.printed(plan_of(3))
        self.assertEqual(len(steps), 60)
        self.assertIn("seed 3: every rule holds", verdict)
        self.assertEqual(command, f"replay: {command_of(plan_of(3))}")

    def test_replay_of_a_failure(self) -> None:
        """The rule that was broken is among the last steps."""
        self.patch(State, "answer", State.send)
        *steps, verdict, _ = self.printed(plan_of(3), expected=1)
        self.assertIn("VIOLATED: Durability", "".join(steps[-5:]))
        self.assertIn("seed 3: Durability", verdict)

    def test_failure_among_many(self) -> None:
        """It is told as its replay would tell it, and then again as small as it can be made."""
        self.patch(State, "answer", State.send)
        self.patch(many_seeds, "simulate", lambda *_: Totals(failed=[3, 4]))
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            self.assertEqual(many_seeds.main([]), 1)
        whole, smaller = output.getvalue().split("\nmade smaller:\n")
        self.assertIn(f"replay: {command_of(plan_of(3))}", whole)
        self.assertIn(f"replay: {COMMAND}3 --faults none", smaller)
        self.assertNotIn("seed 4", output.getvalue())

    def test_smaller_plan(self) -> None:
        """What was taken from a plan is left out again by its command."""
        whole = next(plan for seed in range(1, 400_000) if _has_everything(plan := plan_of(seed)))
        changes: dict[str, Any] = {
            "faults": whole.faults[1:3],
            "lasting": (),
            "orders": whole.orders[1:2],
            "clients": 1,
            "strays": False,
            "noise": Noise(),
            "streams": False,
            "files": False,
            "tight": False,
            "without_pre_vote": frozenset(),
        }
        smaller = evolve(whole, **changes)
        self.assertEqual(self.printed(smaller)[-1], f"replay: {command_of(smaller)}")
        for plan in (whole, smaller, *(evolve(whole, **{name: to}) for name, to in changes.items())):
            options = make_parser().parse_args(command_of(plan).removeprefix(COMMAND).split())
            self.assertEqual(plan_from(options), plan)

    def test_bad_options(self) -> None:
        """The last line says what is wrong, and the exit status is 2."""
        few = plan_of(3).clients
        for command, arguments, wrong in (
            (many_seeds, "--seeds 0", "argument --seeds: '0' is not a whole number above 0"),
            (many_seeds, "--jobs two", "argument --jobs: 'two' is not a whole number above 0"),
            (many_seeds, "--first -5", "argument --first: '-5' is not a whole number above 0"),
            (mutants, "nosuch", "argument NAME: there is no mutant 'nosuch'"),
            (replay, "3 --faults 1,x", "argument --faults: '1,x' is neither numbers with commas between them nor"),
            (replay, "3 --faults 999", "--faults: 999 is none of the"),
            (replay, "3 --orders 999", "--orders: 999 is none of the"),
            (replay, f"3 --clients {few + 1}", f"--clients: seed 3 has {few} only"),
        ):
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                left = self.assertRaises(SystemExit, command.main, arguments.split())
            self.assertEqual(left.code, 2)
            self.assertIn(wrong, errors.getvalue().splitlines()[-1])

    def test_progress(self) -> None:
        """Seeds, steps, faults of each kind and operations are told at the end."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            totals = simulate(first=1, seeds=3, jobs=1)
        self.assertEqual((totals.seeds, totals.failed), (3, []))
        self.assertIn("3 seeds, ", output.getvalue())
        self.assertGreater(len(totals.faults), 3)
        for kind, count in totals.faults.items():
            self.assertIn(f"{kind} {count}", output.getvalue())


def _has_everything(plan: Plan) -> bool:
    switches = (plan.streams, plan.files, plan.tight, plan.without_pre_vote, plan.noise != Noise())
    return all((*switches, plan.lasting, plan.orders[1:], plan.clients > 1, plan.faults[3:]))
