"""One server, wired together.

Everything that can be wrong with a start (the data directory, the port) is found out while it is made, before a process
goes into the background. Nothing that may not cross a fork is open by then: the socket, the lock and what was read are;
the database connections and threads are made when the service starts.
"""

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredLock, inlineCallbacks, succeed
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Addresses, Configuration
from txraft.core.messages import NodeId
from txraft.errors import (
    REMEDY_FOR_LOST_DATA,
    DataLost,
    DirectoryRefused,
    MemberRemoved,
    SettingsError,
    StartedBefore,
    StorageError,
    TxraftError,
)
from txraft.home import Home
from txraft.interfaces import IReplica, IStateMachine
from txraft.node.driver import Node
from txraft.node.replica import Replica
from txraft.raft_service.arguments import founded_by, outdated, require_arguments, require_endpoints, require_ids
from txraft.raft_service.endpoints import (
    BoundPort,
    client_endpoint,
    own_endpoint,
    require_dialled,
    server_endpoint,
)
from txraft.raft_service.options import DEFAULTS, Options
from txraft.raft_service.parts import DiskService, PeersService, PortService, within
from txraft.raft_service.threads import require_thread
from txraft.rpc import LinkLimits, Network
from txraft.statuses import Members, Status
from txraft.storage.directory import DirectoryLock
from txraft.storage.identity import Bootstrap
from txraft.storage.inspection import has_node
from txraft.storage.removal import mark_removed, require_not_removed
from txraft.storage.snapshot_files import SnapshotFiles
from txraft.storage.sqlite import SQLiteStorage
from txraft.storage.worker import ThreadWorker

Machine = TypeVar("Machine", bound=IStateMachine)
T = TypeVar("T")

_log = Logger()


@implementer(IReplica)
class RaftService(MultiService, Generic[Machine]):
    """One server of a cluster that replicates a state machine:

        service = RaftService(reactor, {0: "10.0.0.1:8080", 1: "10.0.0.2:8080", 2: "10.0.0.3:8080"}, 0, "data", Jobs)
        service.setServiceParent(application)
        service.propose(b"...").addCallback(...)                 # on any server
        service.read(lambda jobs: jobs.count).addCallback(...)   # the latest, on any server

    Nothing of the process is changed, and the reactor is taken as it is. Several in one process are independent.

    A service is started once, and not after a stop. A stop hands leadership over, answers what it is asked still, and
    closes everything; to go on, make another one, of the same directory. What starts, stops and asks it is called on
    the reactor's thread, and raises WrongThread on any other while the reactor runs.
    """

    def __init__(
        self,
        reactor: Any,
        members: Mapping[NodeId, str] | Bootstrap,
        node_id: NodeId,
        directory: str | PathLike[str],
        machine: Callable[[Home], Machine],
        *,
        name: str | None = None,
        listen: str | IStreamServerEndpoint | None = None,
        options: Options = DEFAULTS,
        endpoint_of: Callable[[Addresses], IStreamClientEndpoint] | None = None,
        check_addresses: Callable[[Addresses], None] | None = None,
        lock: DirectoryLock | None = None,
    ) -> None:
        """Read what is on disk, and put the parts together. Blocks.

        `members` are those that the cluster is first started with, each with the address at which the others reach it:
        `host:port`, or the text of an endpoint. They count where the directory is new; from then on the members are
        what the log says (hazard E14). `name` identifies the cluster, in the same way; without it the members do.

        `directory` is this server's own. `machine` makes what is replicated, from where it lives. `listen` is where
        this server listens, as Twisted writes endpoints; by default, at its own address. A server that joins a cluster
        that runs is given what `newcomer` makes in place of the members, and needs `listen`.

        `endpoint_of` says how to dial who has these addresses, and `check_addresses` raises ChangeRefused for those
        that no member may be given: for members that have several, or are known by other texts. `lock` is the
        directory's, where it was taken before.

        Raises SettingsError, ListenError, StorageError, or MemberRemoved. Then nothing is held on to but an endpoint
        that was given.
        """
        MultiService.__init__(self)
        require_arguments(
            reactor=reactor,
            members=members,
            node_id=node_id,
            directory=directory,
            machine=machine,
            name=name,
            listen=listen,
            options=options,
            endpoint_of=endpoint_of,
            check_addresses=check_addresses,
            lock=lock,
        )
        self._reactor = reactor
        self.directory = Path(directory)
        self.node_id = node_id
        self.patience = options.timing.election_seconds
        """Seconds that a stop waits for others."""
        self._used = False
        self._stopped = False
        self._stopping = DeferredLock()
        self._failure: TxraftError | None = None
        self._told: list[Deferred[TxraftError]] = []
        endpoint_of = endpoint_of or (lambda addresses: client_endpoint(reactor, addresses[0]))
        bootstrap = members if isinstance(members, Bootstrap) else founded_by(members, node_id, name)
        if not has_node(self.directory):
            require_endpoints(bootstrap.configuration, endpoint_of)
        self._log_worker = self._thread("disk")
        with ExitStack() as undo:
            endpoint = self._endpoint(listen, bootstrap)
            if isinstance(endpoint, BoundPort):
                undo.callback(endpoint.close)
            require_not_removed(self.directory, node_id)
            storage = SQLiteStorage(self.directory, bootstrap, self._log_worker, lock=lock)
            undo.callback(storage.unlock)
            self._wire(storage, machine, endpoint, options, endpoint_of, check_addresses)
            self._undo = undo.pop_all()
        if not isinstance(members, Bootstrap) and (line := outdated(bootstrap.configuration, self.configuration)):
            _log.warn("{line}", line=line)

    def let_go(self) -> None:
        """Close the port and unlock the directory, of a service that is not to be started."""
        self._used = True
        self._undo.close()

    # Service

    def startService(self) -> None:
        """Start everything, once: a stop closes the port and the files for good. Raises StartedBefore."""
        self.require_not_started()
        self._used = True
        MultiService.startService(self)

    def require_not_started(self) -> None:
        """Raises StartedBefore."""
        require_thread(self._reactor)
        if self._used:
            raise StartedBefore("this node was started or stopped before; make another one, of the same directory")

    def stopService(self) -> "Deferred[None]":
        """Hand over, if there is leadership to hand over, and answer everybody; then stop everything, also where that
        failed. Also where it was never started. Another call fires when the first does, and does nothing more."""
        require_thread(self._reactor)
        return self._stopping.run(self._stop)

    @inlineCallbacks
    def _stop(self) -> Generator[Deferred[Any], Any, None]:
        if self._stopped:
            return
        self._used = self._stopped = True
        yield self.hand_over()
        yield within(self._reactor, self.patience, [self.leave()])
        yield MultiService.stopService(self)

    @inlineCallbacks
    def hand_over(self) -> Generator[Deferred[Any], Any, None]:
        """Let another server lead, where this one does, so that nobody waits for an election when it stops. Fires when
        another leads, where nobody can, or after an election timeout."""
        try:
            yield self._node.hand_over()
        except Exception:
            _log.failure("this node could not hand leadership over; it stops, and the others elect a leader")

    def leave(self) -> "Deferred[None]":
        """Ask the other servers to ask this one nothing more. Fires when they have all answers."""
        return self._peers.leave() if self.running else succeed(None)

    def when_failed(self) -> "Deferred[TxraftError]":
        """Fires when this server cannot go on, with the reason in a line; at once where that is so already. It answers
        nothing more then, and it is for the caller to stop the service, which closes files and port."""
        told: Deferred[TxraftError] = Deferred()
        if self._failure is None:
            self._told.append(told)
        else:
            told.callback(self._failure)
        return told

    # IReplica, and what is made of it

    def propose(self, command: bytes) -> "Deferred[bytes]":
        """As `IReplica.propose`."""
        return self._replica.propose(command)

    def read_barrier(self) -> "Deferred[None]":
        """As `IReplica.read_barrier`."""
        return self._replica.read_barrier()

    def read(self, function: Callable[[Machine], T]) -> "Deferred[T]":
        """What `function` gives of the state machine once that holds everything that was acknowledged anywhere before
        this call, so that the read is linearizable. Fails with NotApplied, and with what `function` raises."""
        return self._replica.read_barrier().addCallback(lambda _: function(self.machine))

    def transfer_leadership(self, target: NodeId) -> "Deferred[None]":
        """As `IReplica.transfer_leadership`."""
        return self._replica.transfer_leadership(target)

    def change_members(self, changes: Sequence[Change]) -> "Deferred[None]":
        """As `IReplica.change_members`."""
        return self._replica.change_members(changes)

    def add_member(
        self, id: NodeId, address: str, *, learner: bool = False, replaces: NodeId | None = None
    ) -> "Deferred[None]":
        """A new server belongs to the cluster; its own process starts it with `newcomer`. It gets a vote by itself when
        it has caught up, in the place of the one that it `replaces`, unless it is to stay a `learner`. Fires when it is
        added. Fails as `IReplica.change_members`. This and the next two raise SettingsError for what is no id."""
        require_ids(id, *(() if replaces is None else (replaces,)))
        change = Change(ChangeKind.ADD_LEARNER, id, (address,), joins=not learner, replaces=replaces)
        return self.change_members([change])

    def remove_member(self, id: NodeId) -> "Deferred[None]":
        """A server is none of the cluster any more, for good: it ends, and its id is not used again."""
        require_ids(id)
        return self.change_members([Change(ChangeKind.REMOVE, id)])

    def move_member(self, id: NodeId, address: str) -> "Deferred[None]":
        """A server is reached elsewhere from now on."""
        require_ids(id)
        return self.change_members([Change(ChangeKind.UPDATE, id, (address,))])

    def members(self) -> Members:
        """As `IReplica.members`."""
        return self._replica.members()

    def status(self) -> Status:
        """As `IReplica.status`."""
        return self._replica.status()

    @property
    def leader_id(self) -> NodeId | None:
        """Who leads, as far as this server knows."""
        return self._node.view.leader_id

    @property
    def leadership(self) -> "tuple[NodeId | None, int]":
        """Who leads, as far as this server knows, and in which term. Terms only grow, and each has one leader."""
        return self._node.view.leader_id, self._node.view.current_term

    @inlineCallbacks
    def leadership_changed(self, known: "tuple[NodeId | None, int]") -> Generator[Deferred[Any], Any, Any]:
        """Fires with `leadership` once it is another than `known`. Fails with NotApplied where the service stops."""
        require_thread(self._reactor)
        while self.leadership == known:
            yield self._node.change_since(self._node.changes)
        return self.leadership

    @property
    def configuration(self) -> Configuration:
        """The membership in force here."""
        return self._node.configuration

    # Inside

    @property
    def _replica(self) -> Replica:
        require_thread(self._reactor)
        return self._asked

    def _thread(self, name: str) -> ThreadWorker:
        return ThreadWorker(self._reactor, f"txraft-{self.node_id}-{name}")

    def _endpoint(self, listen: str | IStreamServerEndpoint | None, bootstrap: Bootstrap) -> IStreamServerEndpoint:
        if isinstance(listen, str):
            return server_endpoint(self._reactor, listen)
        if listen is not None:
            return listen
        addresses = dict(bootstrap.configuration.addresses).get(self.node_id)
        if addresses is None:
            raise SettingsError("listen: is missing: where this node listens, which is none of the members")
        return own_endpoint(self._reactor, addresses[0])

    def _wire(
        self,
        storage: SQLiteStorage,
        machine: Callable[[Home], Machine],
        endpoint: IStreamServerEndpoint,
        options: Options,
        endpoint_of: Callable[[Addresses], IStreamClientEndpoint],
        check_addresses: Callable[[Addresses], None] | None,
    ) -> None:
        """Read what is on disk, and put the parts together."""
        reactor, node_id, directory = self._reactor, self.node_id, self.directory
        stored = storage.load()
        identity = storage.identity
        data_worker, snapshot_worker, transfer_worker = map(self._thread, ("data", "snapshots", "transfer"))
        snapshots = SnapshotFiles(directory, transfer_worker)
        home = Home(node_id, identity.cluster_id, directory, data_worker, snapshot_worker, reactor, self._failed)
        self.machine = machine(home)
        """What is replicated, as it is now."""
        peers = Network(
            reactor,
            identity,
            storage,
            endpoint_of,
            random.Random(),
            LinkLimits(answer=options.timing.request_seconds),
        )
        try:
            node = Node(
                node_id=node_id,
                stored=stored,
                storage=storage,
                peers=peers,
                state_machine=self.machine,
                snapshots=snapshots,
                keep=options.keep,
                options=options.raft,
                clock=reactor,
                random=random.Random(),
                on_failure=self._failed,
                check_addresses=check_addresses or partial(require_dialled, endpoint_of),
            )
        except DataLost as error:
            raise self._translated(error) from error
        if node_id in stored.configuration_at(node.view.commit_index).removed:
            raise MemberRemoved(node_id)
        # Nothing was written until here: a start that is refused leaves the files as evidence.
        storage.count_start()
        self._node, self._peers = node, peers
        self._asked = Replica(
            node,
            peers,
            identity.cluster_id,
            identity.founders,
            clock=reactor,
            request_timeout=options.timing.request_seconds,
            patience=options.timing.election_seconds,
            max_held_size=options.limits.uncommitted_size,
            max_held=options.limits.uncommitted_entries,
        )
        workers = (transfer_worker, snapshot_worker, data_worker, self._log_worker)
        parts: list[Any] = [
            DiskService(self.machine, storage, snapshots, data_worker, workers, self._failed),
            node,
            PeersService(peers, node),
            PortService(endpoint, peers.server_factory(), self._failed),
        ]
        for part in parts:
            part.setServiceParent(self)

    def _failed(self, error: TxraftError) -> None:
        """Something cannot go on: nothing does, and who owns this is told, once; or the log, where nobody asked."""
        if self.running and self._node.running:
            self._node.stopService()
        # So that a start is refused from now on. What others say may be wrong, and is asked again at the next start.
        if isinstance(error, MemberRemoved) and error.told_by is None:
            self._log_worker.run(mark_removed, self.directory).addErrback(lambda _: None)
        if self._failure is None:
            self._failure = self._translated(error)
            told, self._told = self._told, []
            if not told:
                _log.critical("node {id} cannot go on: {error}", id=self.node_id, error=self._failure)
            for each in told:
                each.callback(self._failure)

    def _translated(self, error: TxraftError) -> TxraftError:
        """The error with what only the wiring knows: the directory, and so what to do."""
        if isinstance(error, DataLost):
            return StorageError(f"{self.directory} has lost data: {error}; {REMEDY_FOR_LOST_DATA}")
        if isinstance(error, DirectoryRefused):
            return DirectoryRefused(f"{self.directory} is refused by the other nodes: {error}")
        return error
