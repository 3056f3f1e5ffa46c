"""What single faults do, as the transcript tells it."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from txraft.testing.links import Noise
from txraft.testing.plan import Fault, Kind, Plan, plan_of
from txraft.testing.simulated_network import REDIAL
from txraft.testing.simulation import run_of

CALM = evolve(
    next(plan for seed in range(1, 1000) if (plan := plan_of(seed)).nodes == 3 and not plan.streams),
    noise=Noise(),
    faults=(),
    lasting=(),
    spares=0,
    strays=False,
    orders=(),
    lasts=1.5,
    without_pre_vote=frozenset(),
)
"""Three nodes that pass messages, and nothing goes wrong."""

LOST = "lost on the way to "


def lines_of(*faults: Fault, seed: int = CALM.seed) -> list[tuple[float, str]]:
    """The transcript of these faults, among nothing else that is wrong: times and what happened then, once the nodes
    have connected. Until then they lose what they send."""
    report = run_of(evolve(CALM, seed=seed, faults=faults), transcript=True)
    assert report.violation is None, report.violation
    lines = [(float(line[:10]), line[10:].strip()) for line in report.lines]
    return [(at, what) for at, what in lines if at > REDIAL[1]]


class LossTests(SynchronousTestCase):
    def test_nothing_is_lost(self) -> None:
        """Where nothing is wrong, nothing is said to be lost."""
        self.assertEqual([what for _, what in lines_of() if LOST in what], [])

    def test_muteness(self) -> None:
        """While a node is mute, nothing of it arrives, and all of it is called lost: nothing of the others is."""
        lines = lines_of(Fault(0, Kind.MUTE, 0.5, 0.4, 2, 0.5))
        lost = [(at, what) for at, what in lines if LOST in what]
        self.assertGreater(len(lost), 10)
        self.assertEqual({what.split()[0] for _, what in lost}, {"n2"})
        # A connection that broke meanwhile takes its time to be there again.
        self.assertEqual([at for at, _ in lost if not 0.5 <= at <= 0.9 + REDIAL[1]], [])
        heard = [at for at, what in lines if " <- n2 " in what]
        self.assertEqual([at for at in heard if 0.5 < at < 0.9], [])
        self.assertLess(min(heard), 0.5)
        self.assertGreater(max(heard), 0.9)

    def test_crash(self) -> None:
        """Every heartbeat to a machine that runs no process is lost, whether or not its peer has noticed."""
        followed = 0
        for seed in range(1, 17):
            lines = lines_of(Fault(0, Kind.CRASH, 0.5, 0.4, 2, 0.5), seed=seed)
            if any(what.startswith("n2  [leader") for at, what in lines if at < 0.5):
                continue
            followed += 1
            lost = [at for at, what in lines if f"{LOST}n2: Heartbeat " in what and 0.5 < at < 0.9]
            self.assertGreaterEqual(len(lost), 7, f"seed {seed}")
        self.assertGreater(followed, 4)


class TransferTests(SynchronousTestCase):
    def lost_words(self, detail: float) -> int:
        """How often the word to a target that it is to campaign is lost, in some runs with one transfer."""
        fault = Fault(0, Kind.TRANSFER, 0.7, 0.4, 0, detail)
        return sum(
            LOST in what and "TimeoutNow" in what for seed in range(1, 9) for _, what in lines_of(fault, seed=seed)
        )

    def test_deaf_target(self) -> None:
        """hazard C4: some transfers fail, for the target does not hear of them."""
        self.assertGreater(self.lost_words(detail=0.1), 2)

    def test_other_targets(self) -> None:
        """The others hear of it."""
        self.assertEqual(self.lost_words(detail=0.9), 0)


class LostDiskTests(SynchronousTestCase):
    """hazards S6 and M7"""

    def ends(self, plan: Plan) -> list[str]:
        """Why processes ended, in a run over AMP in which everything else is well."""
        report = run_of(evolve(plan, nodes=3, streams=True), transcript=True)
        self.assertIsNone(report.violation)
        return [line[10:].strip() for line in report.lines if "CRASH" in line]

    def test_other_disk(self) -> None:
        """A node that was started on an empty disk, or on an older copy, is refused, and then has its own again."""
        for detail, what in ((0.9, "emptied or replaced"), (0.1, "a copy from before a start")):
            crash, other = Fault(0, Kind.CRASH, 0.5, 0.05, 2, 0.5), Fault(1, Kind.OTHER_DISK, 0.9, 0.4, 2, detail)
            _, exchanged, refused = self.ends(evolve(CALM, seed=1, faults=(crash, other)))
            self.assertIn("the disk is exchanged", exchanged)
            self.assertIn(what, refused)

    def test_lost_for_good(self) -> None:
        """It is refused twice: emptied, before the others have forgotten it, and as it was, after that."""
        ends = self.ends(evolve(CALM, seed=4))
        self.assertEqual(sum("emptied or replaced" in each for each in ends), 2)
        self.assertEqual(sum("it has stopped" in each for each in ends), 2)
