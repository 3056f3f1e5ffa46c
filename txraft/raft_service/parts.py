"""The parts of a server that start and stop, beside the node itself: its disk, its peers and its port."""

import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTime, IStreamServerEndpoint
from twisted.python.failure import Failure

from txraft.errors import ListenError, StorageError, TxraftError, in_a_line
from txraft.interfaces import IStateMachine, IWorker
from txraft.node.driver import Node
from txraft.raft_service.endpoints import BoundPort
from txraft.rpc import Network
from txraft.storage.snapshot_files import SnapshotFiles
from txraft.storage.sqlite import SQLiteStorage

OnFailure = Callable[[TxraftError], None]


class DiskService(Service):
    """What is opened first, in the process that stays, and closed last, when the others have stopped."""

    def __init__(
        self,
        machine: IStateMachine,
        storage: SQLiteStorage,
        snapshots: SnapshotFiles,
        bulk_worker: IWorker,
        workers: Sequence[IWorker],
        on_failure: OnFailure,
    ) -> None:
        """`workers` end in this order, and `bulk_worker`, which is one of them, does what takes long."""
        self._machine = machine
        self._storage = storage
        self._snapshots = snapshots
        self._bulk_worker = bulk_worker
        self._workers = workers
        self._on_failure = on_failure

    def startService(self) -> None:
        """Open every file that will be written (hazard S19)."""
        Service.startService(self)
        self._storage.start(self._bulk_worker, self._on_failure)
        self._machine.start()

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
                    files.push_async_callback(self._machine.close)
                    files.push_async_callback(self._snapshots.close)
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

    def __init__(self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory, on_failure: OnFailure) -> None:
        """`on_failure` is told where nothing can be listened on."""
        self._endpoint = endpoint
        self._factory = factory
        self._on_failure = on_failure
        self._listening: Deferred[IListeningPort | None] | None = None

    def startService(self) -> None:
        """Take them, also those that have waited in the socket."""
        Service.startService(self)
        self._listening = self._endpoint.listen(self._factory).addErrback(self._cannot_listen)

    def stopService(self) -> "Deferred[Any] | None":
        """Take no more."""
        Service.stopService(self)
        if self._listening is None:
            if isinstance(self._endpoint, BoundPort):
                self._endpoint.close()
            return None
        return self._listening.addCallback(lambda port: None if port is None else port.stopListening())

    def _cannot_listen(self, failure: Failure) -> None:
        assert failure.value is not None
        error, what = failure.value, f"cannot listen: {in_a_line(failure.value)}"
        if isinstance(error, CannotListenError) and isinstance(error.socketError, OSError):
            where = os.fsdecode(error.port) if isinstance(error.port, bytes) else f"port {error.port}"
            what = f"cannot listen at {where}: {error.socketError.strerror}"
        self._on_failure(ListenError(what, "say where else this node is to listen, or mend that"))


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
