"""The parts of a node that start and stop, beside the node itself: its disk, its peers and its two ports."""

import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTime
from twisted.python.failure import Failure

from txraft.errors import StartedBefore, StorageError, TxraftError
from txraft.interfaces import IWorker
from txraft.joining import Admission, Joining
from txraft.kv.backups import Backups
from txraft.kv.write_behind import WriteBehind
from txraft.node.driver import Node
from txraft.node.reporting import reason_of
from txraft.rpc import Network
from txraft.storage.snapshot_files import SnapshotFiles
from txraft.storage.sqlite import SQLiteStorage
from txraft.web import ApiSite


class DiskService(Service):
    """What is opened first, in the process that stays, and closed last, when the others have stopped."""

    def __init__(
        self,
        data: WriteBehind,
        storage: SQLiteStorage,
        snapshots: SnapshotFiles,
        backups: Backups,
        data_worker: IWorker,
        workers: Sequence[IWorker],
        on_failure: Callable[[TxraftError], None],
    ) -> None:
        self._data = data
        self._storage = storage
        self._snapshots = snapshots
        self._backups = backups
        self._data_worker = data_worker
        self._workers = workers
        self._on_failure = on_failure

    def startService(self) -> None:
        """Open every file that will be written (hazard S19)."""
        Service.startService(self)
        self._storage.start(self._data_worker, self._on_failure)
        self._data.start()

    def stopService(self) -> Deferred[None]:
        """Write what is left, close the files, and end the threads, whichever of that fails."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        async with AsyncExitStack() as threads:  # what is pushed last comes first
            for worker in reversed(self._workers):
                threads.push_async_callback(worker.stop)
            try:
                async with AsyncExitStack() as files:
                    files.push_async_callback(self._storage.close)
                    files.push_async_callback(self._data.stop)
                    files.push_async_callback(self._snapshots.close)
                    files.push_async_callback(self._backups.stop)
            except StorageError as error:
                self._on_failure(error)


class PeersService(Service):
    """Dials while the node runs."""

    def __init__(self, peers: Network, node: Node) -> None:
        self._peers = peers
        self._node = node

    def startService(self) -> None:
        """Dial everyone."""
        Service.startService(self)
        self._peers.start(self._node)

    def stopService(self) -> Deferred[None]:
        """Hang up."""
        Service.stopService(self)
        return self._peers.stop()


class PortService(Service):
    """Takes connections while the node runs. A port of a node that is never started is closed all the same."""

    def __init__(self, reactor: Any, port: socket.socket, factory: IProtocolFactory) -> None:
        self._reactor = reactor
        self._port = port
        self._factory = factory
        self._listening: Deferred[IListeningPort] | None = None

    def startService(self) -> None:
        """Take them, also those that have waited in the socket."""
        Service.startService(self)
        family = self._port.family
        # detach: the endpoint closes the descriptor when it has a duplicate to listen with.
        endpoint = AdoptedStreamServerEndpoint(self._reactor, self._port.detach(), family)
        self._listening = endpoint.listen(self._factory)

    def stopService(self) -> "Deferred[Any] | None":
        """Take no more."""
        Service.stopService(self)
        if self._listening is None:
            self._port.close()
            return None
        return self._listening.addCallback(lambda port: port.stopListening())


class ClientPortService(PortService):
    """Where clients connect. A stop ends their connections too: they would be answered by a node that has stopped."""

    def __init__(self, reactor: Any, port: socket.socket, api: ApiSite) -> None:
        super().__init__(reactor, port, api)
        self._api = api
        self._stopped: Deferred[Any] | None = None

    def stopService(self) -> "Deferred[Any]":
        """Take no more, and hang up once what is under way is answered. Where it has stopped, or is stopping already,
        it fires as that does."""
        if self._stopped is None:
            self._stopped = gatherResults([maybeDeferred(super().stopService), self._api.stop()])
        return self._stopped


def within(clock: IReactorTime, seconds: float, work: "Sequence[Deferred[Any]]") -> "Deferred[None]":
    """Fires when all of `work` is done, well or not, or after so many seconds. It goes on then."""
    over: Deferred[None] = Deferred()
    limit = clock.callLater(seconds, over.callback, None)
    left = set(work)

    def ended(result: Any, each: "Deferred[Any]") -> Any:
        left.discard(each)
        if not left and limit.active():
            limit.cancel()
            over.callback(None)
        return result

    for each in work:
        each.addBoth(ended, each)
    return over


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
