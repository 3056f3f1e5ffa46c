"""What runs are drawn, and the shapes that their cuts have."""

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from txraft.testing.faults import _between, _ring
from txraft.testing.plan import LASTING, WEIGHTS, Kind, plan_of


class PlanTests(SynchronousTestCase):
    def test_same_seed_same_plan(self) -> None:
        """A seed is a plan, and another seed another one."""
        self.assertEqual(plan_of(7), plan_of(7))
        self.assertNotEqual(plan_of(7), plan_of(8))

    def test_everything_is_drawn(self) -> None:
        """Every kind of fault, clusters of 1 to 7 nodes, and each of what a plan may have or not."""
        plans = [plan_of(seed) for seed in range(1000)]
        self.assertEqual({fault.kind for plan in plans for fault in plan.faults}, set(Kind))
        self.assertEqual(set(WEIGHTS), set(Kind))
        self.assertEqual({plan.nodes for plan in plans}, set(range(1, 8)))
        for name in ("streams", "files", "tight", "lasting", "slow_disks", "slow_work"):
            shares = Counter(bool(getattr(plan, name)) for plan in plans)
            self.assertGreater(shares[True], 20, name)
            self.assertGreater(shares[False], 20, name)
        mixed = [plan for plan in plans if 0 < len(plan.without_pre_vote) < plan.nodes]
        self.assertGreater(len(mixed), 100)

    def test_lasting_faults_leave_a_majority(self) -> None:
        """Each is another node's, and more than half of the nodes have none."""
        for seed in range(1000):
            plan = plan_of(seed)
            targets = {fault.target for fault in plan.lasting}
            self.assertEqual(len(targets), len(plan.lasting))
            self.assertGreater(2 * (plan.nodes - len(targets)), plan.nodes)
            self.assertLessEqual({fault.kind for fault in plan.lasting}, set(LASTING))

    def test_nobody_disturbs_the_rest_for_ever(self) -> None:
        """hazard E8: who hears nothing, is heard, and campaigns without asking first can keep the others from electing,
        for any number of election timeouts in a row (seed 1072150 did, for twelve)."""
        for seed in (*range(3000), 1072150):
            plan = plan_of(seed)
            deaf = {fault.target for fault in plan.lasting if fault.kind is Kind.DEAF}
            self.assertEqual(deaf & plan.without_pre_vote, set())


class ShapeTests(SynchronousTestCase):
    def test_between(self) -> None:
        """Both directions of every pair, and nothing within a group."""
        self.assertEqual(set(_between([1, 2], [3])), {(1, 3), (3, 1), (2, 3), (3, 2)})

    def test_ring(self) -> None:
        """From five nodes on nobody sees everybody, and everybody sees a majority; cuts go both ways."""
        for size in range(1, 10):
            ids = list(range(1, size + 1))
            cut = set(_ring(ids))
            self.assertEqual(cut, {(other, one) for one, other in cut})
            for node in ids:
                seen = [other for other in ids if (node, other) not in cut]
                self.assertGreater(2 * len(seen), size)
                if size >= 5:
                    self.assertLess(len(seen), size)
