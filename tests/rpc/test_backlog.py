"""What waits for a slow peer is bounded."""

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txraft.rpc.backlog import Backlog


class BacklogTests(SynchronousTestCase):
    """A backlog of 100 bytes that is stuck after 10 seconds."""

    def setUp(self) -> None:
        """Make one."""
        self.clock = Clock()
        self.stuck: list[float] = []
        self.backlog = Backlog(self.clock, 100, 10, lambda: self.stuck.append(self.clock.seconds()))

    def test_interface(self) -> None:
        """It is a streaming producer."""
        verifyObject(IPushProducer, self.backlog)

    def test_what_flows_does_not_count(self) -> None:
        """While the transport is not paused, nothing fills the backlog."""
        self.backlog.wrote(1000)
        self.assertFalse(self.backlog.full)

    def test_full(self) -> None:
        """What is written while paused counts, until the transport resumes."""
        self.backlog.pauseProducing()
        self.backlog.wrote(99)
        self.assertFalse(self.backlog.full)
        self.backlog.wrote(1)
        self.assertTrue(self.backlog.full)
        self.backlog.resumeProducing()
        self.assertFalse(self.backlog.full)

    def test_stuck(self) -> None:
        """A transport that stays paused is stuck, counted from when it paused first."""
        self.backlog.pauseProducing()
        self.clock.advance(5)
        self.backlog.pauseProducing()
        self.clock.advance(4.9)
        self.assertEqual(self.stuck, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.stuck), 1)

    def test_not_stuck(self) -> None:
        """A transport that resumes, or stops, is not stuck and leaves no timer."""
        for end in (self.backlog.resumeProducing, self.backlog.stopProducing):
            self.backlog.pauseProducing()
            end()
            self.assertEqual(self.clock.getDelayedCalls(), [])
