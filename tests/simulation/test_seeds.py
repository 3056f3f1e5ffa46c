"""The simulator's verdict on txraft: some seeds at every test run, and the same run for the same seed."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txraft.testing.orders import Wish
from txraft.testing.plan import Kind, plan_of
from txraft.testing.simulation import run_of

ROOT = Path(__file__).parent.parent.parent

SEEDS = range(1, 181)

FINGERPRINT = """
import hashlib
from txraft.testing.plan import plan_of
from txraft.testing.simulation import run_of
for seed in {seeds}:
    print(hashlib.sha256("\\n".join(run_of(plan_of(seed), transcript=True).lines).encode()).hexdigest())
"""


class SeedTests(SynchronousTestCase):
    def test_seeds(self) -> None:
        """Under faults of every kind, in clusters of 1 to 7, every rule holds: messages are lost, doubled and late
        (hazard R19), and power fails (hazard S3). Members come and go, in every way that there is. Healed, every
        cluster serves."""
        faults: Counter[str] = Counter()
        changes: Counter[str] = Counter()
        sizes: set[int] = set()
        steps = done = 0
        for seed in SEEDS:
            report = run_of(plan_of(seed))
            self.assertIsNone(report.violation, f"python -m tests.simulation.replay {seed}: {report.violation}")
            faults += report.faults
            changes += report.changes
            sizes.add(report.plan.nodes)
            steps += report.steps
            done += report.done
        self.assertEqual(sizes, set(range(1, 8)))
        self.assertEqual(set(faults), {kind.value for kind in Kind})
        self.assertEqual(set(changes), {wish.value for wish in Wish if wish is not Wish.REVIVE})
        self.assertGreater(steps, 500 * len(SEEDS))
        self.assertGreater(done, 40 * len(SEEDS))


class RepetitionTests(SynchronousTestCase):
    def seeds(self) -> list[int]:
        """Two that pass messages, and one that has them go through AMP; with and without changes of the membership."""
        over_streams = next(
            seed for seed in SEEDS if (plan := plan_of(seed)).streams and plan.nodes > 2 and plan.orders
        )
        by_datagrams = next(seed for seed in SEEDS if (plan := plan_of(seed)).orders and not plan.streams)
        return [3, by_datagrams, over_streams]

    def test_same_seed_same_transcript(self) -> None:
        """Byte for byte, in this process and in others whose strings hash otherwise."""
        here = []
        for seed in self.seeds():
            lines = run_of(plan_of(seed), transcript=True).lines
            self.assertGreater(len(lines), 100)
            here.append(hashlib.sha256("\n".join(lines).encode()).hexdigest())
        for hash_seed in ("1", "2"):
            there = subprocess.run(
                [sys.executable, "-c", FINGERPRINT.format(seeds=self.seeds())],
                env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=True,
            )
            self.assertEqual(there.stdout.split(), here)

    def test_other_seed_other_transcript(self) -> None:
        """Different seeds differ: the seed decides."""
        self.assertNotEqual(run_of(plan_of(3), transcript=True).lines, run_of(plan_of(4), transcript=True).lines)

    def test_transcript_changes_nothing(self) -> None:
        """A failing run is run again with a transcript, and must fail again."""
        silent, told = run_of(plan_of(5)), run_of(plan_of(5), transcript=True)
        self.assertEqual((silent.steps, silent.operations, silent.done), (told.steps, told.operations, told.done))
