"""One node of the key-value store, wired together: a `RaftService`, a port for clients, and backups."""

import json
import resource
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger

from txraft.bootstrap import check_addresses, difference, elsewhere, founding
from txraft.errors import TxraftError, WrongDirectory
from txraft.file_names import DATA
from txraft.home import Home
from txraft.interfaces import IWorker
from txraft.joining import Admission, Joiner, Joining, agent
from txraft.kv.backup import Origin
from txraft.kv.backups import Backups
from txraft.kv.member_addresses import member_in_json
from txraft.kv.store import KeyValueStore
from txraft.kv.write_behind import WriteBehind
from txraft.ports import Ports, PortsSoFar
from txraft.raft_service.endpoints import port_endpoint
from txraft.raft_service.options import Options
from txraft.raft_service.parts import PortService, within
from txraft.raft_service.service import RaftService
from txraft.services import ClientPortService, JoiningService
from txraft.settings import Settings, SizeLimits
from txraft.storage.directory import DirectoryLock, make_directory, size_of
from txraft.storage.identity import Bootstrap
from txraft.storage.inspection import has_node
from txraft.storage.worker import ThreadWorker
from txraft.version import version
from txraft.web import WaitingFactory, site

RESERVED_FILES = 256
"""So many of the files that the process may open are kept from clients. They are for the disk, for peers, and for
strangers at the Raft port, of whom hundreds may come in one turn of the reactor (hazard N4)."""

_log = Logger()


class NodeService(MultiService):
    """All of a node. A stop begins with handing leadership over, and with answering what it is asked still: both take
    everything else in working order."""

    def __init__(
        self,
        reactor: Any,
        raft: RaftService[KeyValueStore],
        clients: ClientPortService,
        backups: Backups,
        backups_worker: IWorker,
    ) -> None:
        MultiService.__init__(self)
        self.replica = raft
        """What a program asks of the node that it embeds: everything that the HTTP API does, and `status`. Its commands
        are those of `txraft.kv`."""
        self._reactor = reactor
        self._clients = clients
        self._backups = backups
        self._backups_worker = backups_worker
        parts: list[Any] = [raft, clients]
        for part in parts:
            part.setServiceParent(self)

    def startService(self) -> None:
        """Start everything, once: a stop closes the ports and the files for good. Raises StartedBefore."""
        self.replica.require_not_started()
        MultiService.startService(self)

    def stopService(self) -> Deferred[None]:
        """Hand over, if there is leadership to hand over, and answer everybody; then stop everything, whichever of that
        fails."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.replica.hand_over()
        await within(self._reactor, self.replica.patience, [self._clients.stopService(), self.replica.leave()])
        async with AsyncExitStack() as parts:  # what is pushed last comes first
            parts.push_async_callback(self._backups_worker.stop)
            parts.push_async_callback(MultiService.stopService, self)
            parts.push_async_callback(self._backups.stop)


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
    with ExitStack() as undo:
        undo.callback(ports.close)
        if bootstrap is None and not has_node(directory):
            settings.member(node_id)
        raft = RaftService(
            reactor,
            bootstrap or founding(settings, node_id),
            node_id,
            directory,
            _store_in,
            listen=port_endpoint(reactor, ports.raft),
            options=Options(settings.timing, settings.log, settings.limits),
            check_addresses=lambda addresses: check_addresses(addresses, settings, raft.configuration),
            lock=lock,
        )
        undo.callback(raft.let_go)
        raft.machine.prepare()
        if bootstrap is None and (line := difference(settings, raft.configuration, node_id)) is not None:
            _log.warn("{line}", line=line)
        for line in elsewhere(raft.configuration, node_id, ports.address, ports.kvaddr):
            _log.warn("{line}", line=line)
        clients = port_endpoint(reactor, ports.kv)
        undo.pop_all()
    return _with_clients(reactor, settings, raft, clients, on_failure)


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
            port = ports.kv.dup() if isinstance(ports.kv, socket.socket) else ports.kv
            waiting = WaitingFactory(joiner.id, lambda: joining.waits_for, reactor)
            page = PortService(port_endpoint(reactor, port), waiting, on_failure)
        service = JoiningService(joining, page, lock.write_pid, make, let_go, on_failure)
        undo.pop_all()
    return service


def _store_in(home: Home) -> KeyValueStore:
    """The key-value store, with what it has kept."""
    path = home.directory / DATA
    disk = WriteBehind(path, home.cluster_id, home.worker, home.snapshot_worker, home.clock, home.fail)
    store = KeyValueStore(disk)
    store.load()
    return store


def _with_clients(
    reactor: Any,
    settings: Settings,
    raft: RaftService[KeyValueStore],
    endpoint: IStreamServerEndpoint,
    on_failure: Callable[[TxraftError], None],
) -> NodeService:
    """The whole node, of a server that is ready to start."""
    worker = ThreadWorker(reactor, f"txraft-{raft.node_id}-backups")
    # A snapshot for a backup and one for a peer may be asked for at a time: the store makes them one after the other.
    backups = Backups(raft.directory / DATA, raft.machine.snapshot_file, lambda: _origin(raft), worker, reactor)
    api = site(
        raft,
        raft.machine,
        reactor,
        _within_open_files(settings.limits),
        settings.timing,
        settings.allowed_hosts,
        backups,
        data_size=partial(size_of, raft.directory),
    )

    def failed(error: TxraftError) -> None:
        api.refuse_everything()
        on_failure(error)

    raft.when_failed().addCallback(failed)
    return NodeService(reactor, raft, ClientPortService(endpoint, api, failed), backups, worker)


def _origin(raft: RaftService[KeyValueStore]) -> Origin:
    """What a backup that is made now is of."""
    status = raft.status()
    members = json.dumps([member_in_json(member) for member in status.members])
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return Origin(status.id, status.term, members, made, version())


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
