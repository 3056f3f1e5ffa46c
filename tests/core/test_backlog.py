"""`txraft.core.backlog`: what waits is bounded (hazards C9, R16)."""

from twisted.trial.unittest import SynchronousTestCase

from txraft.core.backlog import Backlog


class BacklogTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """hazard C9: the overhead counts as well."""
        backlog = Backlog(max_size=30, max_count=10, overhead=5)
        self.assertEqual([backlog.add(b"x" * 10) for _ in range(3)], [True, True, False])
        self.assertEqual((backlog.size, backlog.count), (30, 2))

    def test_number(self) -> None:
        """hazard C9: of small ones, too."""
        backlog = Backlog(max_size=1000, max_count=3, overhead=1)
        self.assertEqual([backlog.add(b"") for _ in range(4)], [True, True, True, False])

    def test_in_and_out(self) -> None:
        """hazard R16: what has gone makes room, again and again."""
        backlog = Backlog(max_size=30, max_count=2, overhead=5)
        for _ in range(5):
            self.assertTrue(backlog.add(b"xyz"))
            self.assertTrue(backlog.add(b"x" * 10))
            backlog.remove(b"xyz")
            backlog.remove(b"x" * 10)
        self.assertEqual((backlog.size, backlog.count), (0, 0))

    def test_one_alone(self) -> None:
        """hazard R16: it is taken however large it is, and then nothing else."""
        backlog = Backlog(max_size=30, max_count=2, overhead=5)
        self.assertTrue(backlog.add(bytes(100)))
        self.assertFalse(backlog.add(b""))
