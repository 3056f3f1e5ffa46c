"""The simulated network's conditions."""

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from txraft.testing.links import Links, Noise


class LinksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.links = Links(Random(1))

    def test_one_way(self) -> None:
        """A way is cut in one direction; a connection needs both."""
        self.links.cut([(1, 2)])
        self.assertFalse(self.links.carries(1, 2))
        self.assertTrue(self.links.carries(2, 1))
        self.assertFalse(self.links.connects(2, 1))
        self.assertTrue(self.links.connects(1, 3))

    def test_cuts_add_up(self) -> None:
        """Two faults that cut one way must both be over; healing ends all."""
        for _ in range(2):
            self.links.cut([(1, 2)])
        self.links.join([(1, 2)])
        self.assertFalse(self.links.carries(1, 2))
        self.links.join([(1, 2)])
        self.assertTrue(self.links.carries(1, 2))
        self.links.cut([(1, 2)])
        self.links.heal()
        self.assertTrue(self.links.carries(1, 2))
        self.links.join([(1, 2)])  # a fault that ends after it was healed
        self.links.cut([(1, 2)])
        self.assertFalse(self.links.carries(1, 2))

    def test_calm(self) -> None:
        """Without noise every message comes once, in its time."""
        self.assertEqual({self.links.copies() for _ in range(1000)}, {1})
        low, high = self.links.latency
        self.assertTrue(all(low <= self.links.delay() <= high for _ in range(1000)))

    def test_noise(self) -> None:
        """Messages are lost, doubled and late, each as often as was asked for."""
        self.links.noise = Noise(loss=0.2, doubling=0.25, lateness=0.3, late_by=2.0)
        copies = [self.links.copies() for _ in range(10_000)]
        self.assertLess(abs(copies.count(0) / len(copies) - 0.2), 0.02)
        self.assertLess(abs(copies.count(2) / len(copies) - 0.8 * 0.25), 0.02)
        delays = [self.links.delay() for _ in range(10_000)]
        late = [delay for delay in delays if delay > self.links.latency[1]]
        self.assertLess(abs(len(late) / len(delays) - 0.3), 0.02)
        self.assertLess(max(late), 2.0 + self.links.latency[1])
        self.assertGreater(max(late), 1.9)
