"""One node, wired together. The only module that knows all the others.

Everything that can be wrong with a start (the data directory, the ports) is found out while it is wired, before a
process goes into the background. Nothing that may not cross a fork is open by then: the sockets, the lock and what was
read are; the database connections and threads are made when the service starts.
"""

import json
import random
import resource
from collections.abc import Callable, Generator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from attrs import asdict, evolve
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint
from twisted.logger import Logger

from txraft.bootstrap import check_addresses, difference, elsewhere, founding
from txraft.core.configuration import Addresses
from txraft.core.state import RaftOptions
from txraft.errors import (
    REMEDY_FOR_LOST_DATA,
    DataLost,
    DirectoryRefused,
    MemberRemoved,
    StartedBefore,
    StorageError,
    TxraftError,
    WrongDirectory,
)
from txraft.interfaces import IReplica, IWorker, Stored
from txraft.joining import Admission, Joiner, Joining, agent
from txraft.kv.backup import Origin
from txraft.kv.backups import Backups
from txraft.kv.store import KeyValueStore
from txraft.kv.write_behind import WriteBehind
from txraft.node.compaction import Keep
from txraft.node.driver import Node
from txraft.node.replica import Replica
from txraft.ports import Ports, PortsSoFar
from txraft.rpc import LinkLimits, Network
from txraft.services import ClientPortService, DiskService, JoiningService, PeersService, PortService, within
from txraft.settings import Address, Settings, SizeLimits
from txraft.storage.directory import DirectoryLock, make_directory, size_of
from txraft.storage.identity import Bootstrap
from txraft.storage.inspection import has_node
from txraft.storage.removal import mark_removed, require_not_removed
from txraft.storage.snapshot_files import SnapshotFiles
from txraft.storage.sqlite import SQLiteStorage
from txraft.storage.worker import ThreadWorker
from txraft.version import version
from txraft.web import ApiSite, WaitingFactory, site

CONNECT_TIMEOUT = 2
"""Seconds after which dialling a peer is given up, and tried again later."""
ATTEMPT_DELAY = 0.01
"""Seconds between two addresses of a name, the least that RFC 8305 (§8) allows. Twisted looks at a failure no sooner
either, and a follower whose leader was killed waits for that."""
RESERVED_FILES = 256
"""So many of the files that the process may open are kept from clients. They are for the disk, for peers, and for
strangers at the Raft port, of whom hundreds may come in one turn of the reactor (hazard N4)."""

_log = Logger()


class NodeService(MultiService):
    """All of a node. A stop begins with handing leadership over, and with answering what it is asked still: both take
    everything else in working order."""

    def __init__(self, node: Node, replica: IReplica, answer_all: Callable[[], Deferred[None]]) -> None:
        """`answer_all` takes no more requests, and fires when those that were taken are answered."""
        MultiService.__init__(self)
        self.replica = replica
        """What a program asks of the node that it embeds: everything that the HTTP API does, and `status`. Its commands
        are those of `txraft.kv`."""
        self._node = node
        self._answer_all = answer_all
        self._started = False

    def startService(self) -> None:
        """Start everything, once: a stop closes the ports and the files for good. Raises StartedBefore."""
        if self._started:
            raise StartedBefore("this node was started before; make another one, of the same directory")
        self._started = True
        MultiService.startService(self)

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Hand over, if there is leadership to hand over, and answer everybody; then stop everything, also where that
        failed."""
        try:
            yield self._node.hand_over()
        except Exception:
            _log.failure("this node could not hand leadership over; it stops, and the others elect a leader")
        yield self._answer_all()
        yield MultiService.stopService(self)


def make_node_service(
    reactor: Any,
    settings: Settings,
    node_id: int,
    ports: Ports,
    directory: str | PathLike[str],
    on_failure: Callable[[TxraftError], None],
    bootstrap: Bootstrap | None = None,
    lock: DirectoryLock | None = None,
) -> NodeService:
    """Wire one node, which owns `ports` and `directory` and can be started once. Its `replica` takes what a program
    asks of it.

    `on_failure` is called when the node cannot go on, once, with the reason in a line. From then on
    every HTTP request is answered 503. It is for the caller to say why, and to stop the service, which closes ports and
    files. To go on, another one is made, of the same directory, once what was wrong is mended.

    Nothing of the process is changed, and the reactor is taken as it is.

    `bootstrap` is what the directory becomes where it is new; by default, that of a node which begins the cluster of
    the settings together with the others in there. Who is a member in the settings counts for nothing else. `lock` is
    the directory's, where it was taken before.

    Raises SettingsError, StorageError, or MemberRemoved; the ports are closed then, and the directory is free.
    """
    directory = Path(directory)
    worker = ThreadWorker(reactor, f"txraft-{node_id}-disk")
    with ExitStack() as undo:
        undo.callback(ports.close)
        if bootstrap is None and not has_node(directory):
            settings.member(node_id)
        require_not_removed(directory, node_id)
        storage = SQLiteStorage(directory, bootstrap or founding(settings, node_id), worker, lock=lock)
        undo.callback(storage.unlock)
        stored = storage.load()
        parts = _wire(reactor, settings, node_id, ports, directory, storage, stored, worker, _OnFailure(on_failure))
        if bootstrap is None and (line := difference(settings, stored.configuration, node_id)) is not None:
            _log.warn("{line}", line=line)
        for line in elsewhere(stored.configuration, node_id, ports.address, ports.kvaddr):
            _log.warn("{line}", line=line)
        undo.pop_all()
    return parts


def make_joining_service(
    reactor: Any,
    settings: Settings,
    joiner: Joiner,
    ports: PortsSoFar,
    directory: str | PathLike[str],
    on_failure: Callable[[TxraftError], None],
) -> JoiningService:
    """As `make_node_service`, of a node that has no directory yet, and is to join a cluster that runs. It is made
    when it is a member of it. Until then clients are answered 503. `on_failure` is called also where it cannot join.

    Raises StorageError, also where it is the directory of a node already; the ports are closed then, and the directory
    is free."""
    directory = Path(directory)
    lock = DirectoryLock(directory)

    def let_go() -> None:
        ports.close()
        lock.release()

    def make(admission: Admission) -> NodeService:
        bootstrap = Bootstrap(joiner.id, admission.cluster_id, admission.configuration)
        bound = ports.complete(admission.address, admission.kvaddr)
        # It is not taken anew: the process that this one forked from may still have it, until it has ended.
        return make_node_service(reactor, settings, joiner.id, bound, directory, on_failure, bootstrap, lock)

    with ExitStack() as undo:
        undo.callback(let_go)
        make_directory(directory)
        lock.acquire()
        if has_node(directory):
            raise WrongDirectory(f"{directory} is the directory of a node already, which joins nobody: just start it")
        joining = Joining(joiner, agent(reactor), reactor)
        page = None
        if ports.kv is not None:
            page = PortService(reactor, ports.kv.dup(), WaitingFactory(joiner.id, lambda: joining.waits_for, reactor))
        service = JoiningService(joining, page, lock.write_pid, make, let_go, on_failure)
        undo.pop_all()
    return service


class _OnFailure:
    """Tells the owner of a node, once, that it cannot go on, and clients from then on."""

    def __init__(self, on_failure: Callable[[TxraftError], None]) -> None:
        self.api: ApiSite | None = None
        self._on_failure = on_failure
        self._called = False

    def __call__(self, error: TxraftError) -> None:
        """Something has failed."""
        if self._called:
            return
        self._called = True
        if self.api is not None:
            self.api.refuse_everything()
        self._on_failure(error)


def _wire(
    reactor: Any,
    settings: Settings,
    node_id: int,
    ports: Ports,
    directory: Path,
    storage: SQLiteStorage,
    stored: Stored,
    worker: IWorker,
    on_failure: _OnFailure,
) -> NodeService:
    """Read the rest of what is on disk, and put the parts together."""
    timing, limits = settings.timing, settings.limits

    data_worker = ThreadWorker(reactor, f"txraft-{node_id}-data")
    snapshot_worker = ThreadWorker(reactor, f"txraft-{node_id}-snapshots")
    transfer_worker = ThreadWorker(reactor, f"txraft-{node_id}-transfer")
    snapshots = SnapshotFiles(directory, transfer_worker)
    data_path = directory / "kv.sqlite"
    data_on_disk = WriteBehind(
        data_path, storage.identity.cluster_id, data_worker, snapshot_worker, reactor, on_failure
    )
    store = KeyValueStore(data_on_disk)
    store.load()
    backup_worker = ThreadWorker(reactor, f"txraft-{node_id}-backups")

    def endpoint_of(addresses: Addresses) -> HostnameEndpoint:
        raft = Address.parse(addresses[0])
        return HostnameEndpoint(reactor, raft.host, raft.port, timeout=CONNECT_TIMEOUT, attemptDelay=ATTEMPT_DELAY)

    peers = Network(
        reactor,
        storage.identity,
        storage,
        endpoint_of,
        random.Random(),
        LinkLimits(answer=timing.request_seconds),
    )

    def failed(error: TxraftError) -> None:
        # So that a start is refused from now on. What others say may be wrong, and is asked again at the next start.
        if isinstance(error, MemberRemoved) and error.told_by is None:
            worker.run(mark_removed, directory).addErrback(lambda _: None)
        on_failure(_translated(error, directory))

    try:
        node = Node(
            node_id=node_id,
            stored=stored,
            storage=storage,
            peers=peers,
            state_machine=store,
            snapshots=snapshots,
            keep=Keep(settings.log.keep_entries, settings.log.keep_size),
            options=RaftOptions(
                election_timeout=timing.election_seconds,
                heartbeat_interval=timing.heartbeat_seconds,
                max_uncommitted_size=limits.uncommitted_size,
                max_uncommitted_entries=limits.uncommitted_entries,
            ),
            clock=reactor,
            random=random.Random(),
            on_failure=failed,
            check_addresses=check_addresses,
        )
    except DataLost as error:
        raise _translated(error, directory) from error
    if node_id in stored.configuration_at(node.view.commit_index).removed:
        raise MemberRemoved(node_id)
    # Nothing was written until here: a start that is refused leaves the files as evidence.
    storage.count_start()
    data_on_disk.prepare()
    replica = Replica(
        node,
        peers,
        storage.identity.cluster_id,
        storage.identity.founders,
        clock=reactor,
        request_timeout=timing.request_seconds,
        patience=timing.election_seconds,
        max_held_size=limits.uncommitted_size,
        max_held=limits.uncommitted_entries,
    )

    # A snapshot for a backup and one for a peer may be asked for at a time: these data make them one after the other.
    backups = Backups(data_path, data_on_disk.snapshot, lambda: _origin(replica), backup_worker, reactor)

    api = site(
        replica,
        store,
        reactor,
        _within_open_files(limits),
        timing,
        settings.allowed_hosts,
        backups,
        data_size=partial(size_of, directory),
    )
    on_failure.api = api
    clients = ClientPortService(reactor, ports.kv, api)

    def answer_all() -> Deferred[None]:
        return within(reactor, timing.election_seconds, [clients.stopService(), peers.leave()])

    service = NodeService(node, replica, answer_all)
    parts: MultiService = service
    parts.addService(
        DiskService(
            data_on_disk,
            storage,
            snapshots,
            backups,
            data_worker,
            (backup_worker, transfer_worker, snapshot_worker, data_worker, worker),
            on_failure,
        )
    )
    parts.addService(node)
    parts.addService(PeersService(peers, node))
    parts.addService(PortService(reactor, ports.raft, peers.server_factory()))
    parts.addService(clients)
    return service


def _origin(replica: Replica) -> Origin:
    """What a backup that is made now is of."""
    status = replica.status()
    members = json.dumps([asdict(member) for member in status.members])
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return Origin(status.id, status.term, members, made, version())


def _translated(error: TxraftError, directory: Path) -> TxraftError:
    """The node's error with what only the wiring knows: the directory, and so what to do."""
    if isinstance(error, DataLost):
        return StorageError(f"{directory} has lost data: {error}; {REMEDY_FOR_LOST_DATA}")
    if isinstance(error, DirectoryRefused):
        return DirectoryRefused(f"{directory} is refused by the other nodes: {error}")
    return error


def _within_open_files(limits: SizeLimits) -> SizeLimits:
    """The limits, with no more clients than the process may open files for."""
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = max(open_files // 4, open_files - RESERVED_FILES)
    if open_files == resource.RLIM_INFINITY or limits.connections <= room:
        return limits
    _log.warn(
        "this process may open {open_files} files, so it serves {room} clients at once and not {connections}; raise its"
        " limit (ulimit -n, LimitNOFILE in a systemd unit), or lower limits.connections",
        open_files=open_files,
        room=room,
        connections=limits.connections,
    )
    return evolve(limits, connections=room)
