"""`python -m tests.simulation`: a failure can be run again from the command that it prints."""

import contextlib
import io
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.__main__ import command_of, main, make_parser, plan_from
from tests.simulation.many import simulate
from tests.simulation.mutants.__main__ import main as look_for_mutants
from txraft.core.state import State
from txraft.testing.network import Noise
from txraft.testing.plan import Plan, plan_of

COMMAND = "python -m tests.simulation "


class CommandTests(SynchronousTestCase):
    def printed(self, plan: Plan, expected: int = 0) -> list[str]:
        """What the command of a plan prints, with the exit status that is expected."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = main(command_of(plan).removeprefix(COMMAND).split())
        self.assertEqual(status, expected)
        return output.getvalue().splitlines()

    def refused(self, command: Callable[[list[str]], int], arguments: str) -> str:
        """The last line of what a command says to arguments that it does not take."""
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            left = self.assertRaises(SystemExit, command, arguments.split())
        self.assertEqual(left.code, 2)
        return errors.getvalue().splitlines()[-1]

    def test_replay(self) -> None:
        """It prints the last steps of the run, and what came of it."""
        *steps, verdict, replay = self.printed(plan_of(3))
        self.assertEqual(len(steps), 60)
        self.assertIn("seed 3: every rule holds", verdict)
        self.assertEqual(replay, f"replay: {command_of(plan_of(3))}")

    def test_replay_of_a_failure(self) -> None:
        """The rule that was broken is among the last steps."""
        self.patch(State, "answer", State.send)
        *steps, verdict, _ = self.printed(plan_of(3), expected=1)
        self.assertIn("VIOLATED: Durability", "".join(steps[-5:]))
        self.assertIn("seed 3: Durability", verdict)

    def test_smaller_plan(self) -> None:
        """What was taken from a plan is left out again by its command."""
        whole = next(plan for seed in range(1, 100_000) if _has_everything(plan := plan_of(seed)))
        changes: dict[str, Any] = {
            "faults": whole.faults[1:3],
            "lasting": (),
            "clients": 1,
            "noise": Noise(),
            "streams": False,
            "files": False,
            "tight": False,
            "without_pre_vote": frozenset(),
        }
        smaller = evolve(whole, **changes)
        self.assertEqual(self.printed(smaller)[-1], f"replay: {command_of(smaller)}")
        for plan in (whole, smaller, *(evolve(whole, **{name: to}) for name, to in changes.items())):
            given = make_parser().parse_args(command_of(plan).removeprefix(COMMAND).split())
            self.assertEqual(plan_from(vars(given)), plan)

    def test_bad_options(self) -> None:
        """The last line says what is wrong, and the exit status is 2."""
        few = plan_of(3).clients
        for arguments, wrong in (
            ("--seeds 0", "argument --seeds: '0' is not a whole number above 0"),
            ("--jobs two", "argument --jobs: 'two' is not a whole number above 0"),
            ("--first -5", "argument --first: '-5' is not a whole number above 0"),
            ("--replay 3 --faults 1,x", "argument --faults: '1,x' is neither numbers with commas between them nor"),
            ("--replay 3 --faults 999", "--faults: 999 is none of the"),
            (f"--replay 3 --clients {few + 1}", f"--clients: seed 3 has {few} only"),
            ("--replay 3 --seeds 5", "--seeds is for many seeds, and --replay runs one"),
            ("--faults none", "--faults leaves out a part of one seed: say which seed, with --replay"),
            ("--seeds 3 --pre-vote", "--pre-vote leaves out a part of one seed: say which seed, with --replay"),
        ):
            self.assertIn(wrong, self.refused(main, arguments))

    def test_bad_options_for_mutants(self) -> None:
        """The same where planted bugs are looked for."""
        for arguments, wrong in (
            ("nosuch", "argument NAME: there is no mutant 'nosuch'"),
            ("--hunt nosuch --seeds 1", "argument --hunt: there is no mutant 'nosuch'"),
            ("--hunt vote-before-save --seeds 1 no-pre-vote", "--hunt looks for one mutant"),
            ("--hunt vote-before-save", "--hunt and --seeds go together"),
            ("--seeds 5", "--hunt and --seeds go together"),
        ):
            self.assertIn(wrong, self.refused(look_for_mutants, arguments))

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
    return all((*switches, plan.lasting, plan.clients > 1, plan.faults[3:]))
