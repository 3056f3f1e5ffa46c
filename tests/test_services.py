"""The parts of a node, as they stop."""

from typing import Any
from unittest.mock import Mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from txraft.services import ClientPortService, DiskService, PeersService


class PeersTests(SynchronousTestCase):
    def test_stops_when_all_have_hung_up(self) -> None:
        """The disk, which is closed after the peers, is not closed before."""
        peers, node = Mock(), Mock()
        part = PeersService(peers, node)
        part.startService()
        peers.start.assert_called_once_with(node)
        self.assertIs(part.stopService(), peers.stop.return_value)


class ClientPortTests(SynchronousTestCase):
    def test_stops_when_all_clients_are_gone(self) -> None:
        """A node has not stopped as long as a client may hear of it."""
        gone: Deferred[None] = Deferred()
        port = Mock()
        stopped = ClientPortService(Mock(), port, Mock(stop=lambda: gone)).stopService()
        port.close.assert_called_once_with()
        self.assertNoResult(stopped)
        gone.callback(None)
        self.successResultOf(stopped)


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

        threads = ["backups' thread", "transfer's thread", "snapshots' thread", "data's thread", "log's thread"]
        names = ["backups", "snapshots", "data", "log", *threads]
        for name in names:
            ended.clear()
            failing[:] = [name]
            backups, snapshots, data, log, *workers = map(Part, names)
            parts: list[Any] = [data, log, snapshots, backups, workers[3], workers, self.fail]
            self.failureResultOf(DiskService(*parts).stopService(), RuntimeError)
            self.assertEqual(ended, names)
