"""How a node is wired."""

from pathlib import Path

from twisted.application.service import Service
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.storage.worker import InlineWorker
from txraft import service
from txraft.settings import BUILT_IN


class WiringTests(SynchronousTestCase):
    def test_of_an_embedder(self) -> None:
        """To wire a node changes nothing of the reactor that it is given."""
        self.patch(service, "ThreadWorker", lambda *_: InlineWorker())
        self.patch(service, "_bind", lambda *_: None)
        self.patch(service, "_serve", lambda *_: Service())
        reactor = MemoryReactorClock()
        before = set(vars(reactor))
        node = service.make_node_service(reactor, BUILT_IN, 0, None, Path(self.mktemp()), self.fail)
        self.successResultOf(next(iter(node)).stopService())  # the disk's
        self.assertEqual(set(vars(reactor)), before)
