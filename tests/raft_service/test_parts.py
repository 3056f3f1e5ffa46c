"""The parts of a server, as they stop."""

from typing import Any
from unittest.mock import Mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txraft.raft_service.parts import DiskService, PeersService, within


class PeersTests(SynchronousTestCase):
    def test_stops_when_all_have_hung_up(self) -> None:
        """The disk, which is closed after the peers, is not closed before."""
        peers, node = Mock(), Mock()
        part = PeersService(peers, node)
        part.startService()
        peers.start.assert_called_once_with(node)
        self.assertIs(part.stopService(), peers.stop.return_value)


class WithinTests(SynchronousTestCase):
    """`within`."""

    def test_all_are_done(self) -> None:
        """Well or not, which is left to whom it concerns."""
        clock = Clock()
        good, bad = Deferred[None](), Deferred[None]()
        over = within(clock, 1.0, [good, bad])
        bad.errback(RuntimeError())
        self.assertNoResult(over)
        good.callback(None)
        self.successResultOf(over)
        self.failureResultOf(bad, RuntimeError)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_time_is_over(self) -> None:
        """What is not done goes on."""
        clock, work = Clock(), Deferred[None]()
        over = within(clock, 1.0, [work])
        clock.advance(0.9)
        self.assertNoResult(over)
        clock.advance(0.1)
        self.successResultOf(over)
        work.callback(None)


class DiskTests(SynchronousTestCase):
    def test_threads_end(self) -> None:
        """Whatever fails while files are closed, or a thread ends, the other files are closed too and the threads end:
        a thread that is left keeps the process alive."""
        ended: list[str] = []
        failing: list[str] = []

        class Part:
            def __init__(self, name: str) -> None:
                self.name = name

            def stop(self) -> "Deferred[None]":
                ended.append(self.name)
                return fail(RuntimeError(self.name)) if self.name in failing else succeed(None)

            close = stop

        threads = ["transfer's thread", "snapshots' thread", "data's thread", "log's thread"]
        names = ["snapshots", "data", "log", *threads]
        for name in names:
            ended.clear()
            failing[:] = [name]
            snapshots, machine, log, *workers = map(Part, names)
            parts: list[Any] = [machine, log, snapshots, workers[2], workers, self.fail]
            self.failureResultOf(DiskService(*parts).stopService(), RuntimeError)
            self.assertEqual(ended, names)
