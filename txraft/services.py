"""The parts of a node of the key-value store that start and stop, beside its server: its port for clients, and
what it waits for before it is a member."""

from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python.failure import Failure

from txraft.errors import StartedBefore, TxraftError
from txraft.joining import Admission, Joining
from txraft.node.driver import Node
from txraft.node.reporting import reason_of
from txraft.raft_service.parts import OnFailure, PortService
from txraft.web import ApiSite


class ClientPortService(PortService):
    """Where clients connect. A stop ends their connections too: they would be answered by a node that has stopped."""

    def __init__(self, endpoint: IStreamServerEndpoint, api: ApiSite, on_failure: OnFailure) -> None:
        super().__init__(endpoint, api, on_failure)
        self._api = api
        self._stopped: Deferred[Any] | None = None

    def stopService(self) -> "Deferred[Any]":
        """Take no more, and hang up once what is under way is answered. Where it has stopped, or is stopping already,
        it fires as that does."""
        if self._stopped is None:
            self._stopped = gatherResults([maybeDeferred(super().stopService), self._api.stop()])
        return self._stopped


class JoiningService(MultiService):
    """Waits until this node is a member. Then the node is made, and is a part of this."""

    def __init__(
        self,
        joining: Joining,
        page: Service | None,
        on_start: Callable[[], None],
        make: Callable[[Admission], IService],
        let_go: Callable[[], None],
        on_failure: Callable[[TxraftError], None],
    ) -> None:
        """`page` serves until then. `on_start` is called in the process that stays, `let_go` at the end, whether a node
        was made or not, and `on_failure` where there will be none."""
        MultiService.__init__(self)
        self._page = page
        if page is not None:
            page.setServiceParent(self)
        self._joining = joining
        self._on_start = on_start
        self._make = make
        self._let_go = let_go
        self._on_failure = on_failure
        self._started = False

    def startService(self) -> None:
        """Begin to ask, once: a stop closes the ports. Raises StartedBefore."""
        if self._started:
            raise StartedBefore("this node was started before; make another one, of the same directory")
        self._started = True
        MultiService.startService(self)
        self._on_start()
        Deferred.fromCoroutine(self._join())

    def stopService(self) -> "Deferred[Any]":
        """Ask no more, and stop the node, where there is one."""
        self._joining.stop()
        stopped: Deferred[Any] = MultiService.stopService(self)
        return stopped.addBoth(self._ended)

    async def _join(self) -> None:
        try:
            admission = await self._joining.admitted()
            if admission is None:
                return
            if self._page is not None:
                await maybeDeferred(self._page.disownServiceParent)
            if self.running:
                self._make(admission).setServiceParent(self)
        except Exception:
            self._on_failure(reason_of(Node.log, self._joining.joiner.id, Failure()))

    def _ended(self, result: Any) -> Any:
        self._let_go()
        return result
