"""The parts of a node, as they stop."""

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import JoinRefused, ListenError, TxraftError
from txraft.raft_service.endpoints import BoundPort
from txraft.services import ClientPortService, JoiningService


class ClientPortTests(SynchronousTestCase):
    def test_stops_when_all_clients_are_gone(self) -> None:
        """A node has not stopped as long as a client may hear of it."""
        gone: Deferred[None] = Deferred()
        port = Mock(spec=BoundPort)
        stopped = ClientPortService(port, Mock(stop=lambda: gone), Mock()).stopService()
        port.close.assert_called_once_with()
        self.assertNoResult(stopped)
        gone.callback(None)
        self.successResultOf(stopped)

    def test_stops_once(self) -> None:
        """It is told so before the others are, and again with them."""
        gone: Deferred[None] = Deferred()
        stops: list[Deferred[None]] = [gone]
        clients = ClientPortService(Mock(), Mock(stop=stops.pop), Mock())
        self.assertIs(clients.stopService(), clients.stopService())


class JoiningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.admitted: Deferred[Any] = Deferred()
        self.joining = Mock(admitted=lambda: self.admitted)
        self.made, self.page = Service(), Service()
        self.failures: list[TxraftError] = []
        self.let_go = Mock()

    def start(self, make: Callable[[Any], IService]) -> JoiningService:
        joining: Any = self.joining
        service = JoiningService(joining, self.page, Mock(), make, self.let_go, self.failures.append)
        service.startService()
        self.assertTrue(self.page.running)
        return service

    def test_made(self) -> None:
        """Once it is a member, and what told clients to wait has stopped."""

        def make(admission: object) -> IService:
            self.assertEqual((admission, self.page.running), ("an admission", 0))
            return self.made

        service = self.start(make)
        self.admitted.callback("an admission")
        self.assertTrue(self.made.running)
        self.let_go.assert_not_called()
        self.successResultOf(service.stopService())
        self.assertFalse(self.made.running)
        self.let_go.assert_called_once_with()
        self.assertEqual(self.failures, [])

    def test_stopped_first(self) -> None:
        service = self.start(self.fail)
        self.joining.stop = lambda: self.admitted.callback(None)
        self.successResultOf(service.stopService())
        self.assertFalse(self.page.running)
        self.let_go.assert_called_once_with()
        self.assertEqual(self.failures, [])

    def test_refused(self) -> None:
        self.start(self.fail)
        self.admitted.errback(error := JoinRefused("no"))
        self.assertEqual(self.failures, [error])

    def test_cannot_be_made(self) -> None:
        """Its owner hears of it, whatever it is."""
        for error in (ListenError("taken", "end it"), ZeroDivisionError("a bug")):
            self.setUp()
            self.start(Mock(side_effect=error))
            self.admitted.callback("an admission")
            (failure,) = self.failures
            self.assertIn(str(error), str(failure))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
