"""`python -m tests.simulation`: a failure can be run again from the command that it prints."""

import contextlib
import io

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.__main__ import command_of, main
from tests.simulation.many import simulate
from txraft.core.state import State
from txraft.testing.network import Noise
from txraft.testing.plan import Plan, plan_of


class CommandTests(SynchronousTestCase):
    def printed(self, plan: Plan) -> list[str]:
        """What the command of a plan prints."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = main(command_of(plan).removeprefix("python -m tests.simulation ").split())
        self.assertEqual(status, 0)
        return output.getvalue().splitlines()

    def test_replay(self) -> None:
        """It prints the last steps of the run, and what came of it."""
        *steps, verdict, replay = self.printed(plan_of(3))
        self.assertEqual(len(steps), 60)
        self.assertIn("seed 3: every rule holds", verdict)
        self.assertEqual(replay, f"replay: {command_of(plan_of(3))}")

    def test_replay_of_a_failure(self) -> None:
        """The rule that was broken is among the last steps."""
        self.patch(State, "answer", State.send)
        *steps, verdict, _ = self.printed(plan_of(3))
        self.assertIn("VIOLATED: Durability", "".join(steps[-5:]))
        self.assertIn("seed 3: Durability", verdict)

    def test_smaller_plan(self) -> None:
        """What was taken from a plan is left out again by its command."""
        whole = next(plan for seed in range(1, 1000) if _has_everything(plan := plan_of(seed)))
        smaller = evolve(
            whole, faults=whole.faults[1:3], clients=1, noise=Noise(), streams=False, tight=False, lasting=()
        )
        self.assertEqual(self.printed(smaller)[-1], f"replay: {command_of(smaller)}")
        self.assertEqual(len(command_of(smaller).split()), 13)
        self.assertIn("--faults none", command_of(evolve(whole, faults=())))

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
    return all((plan.streams, plan.tight, plan.lasting, plan.noise != Noise(), plan.clients > 1, plan.faults[3:]))
