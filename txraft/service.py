"""One node, wired together: `twistd txraft`. The only module that knows all the others.

Everything that can be wrong with a start (the configuration, the data directory, the ports) is found out in
`makeService`, before twistd goes into the background, so that it reaches the terminal: one line on stderr, and exit
status 1. Nothing that may not cross a fork is open by then: the sockets, the lock and what was read are; the database
connections and threads are not, and the worker makes them at first use.
"""

import atexit
import gc
import os
import random
import socket
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, HostnameEndpoint
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.python import usage

from txraft import config
from txraft.config import Address, Settings
from txraft.core.configuration import Configuration
from txraft.core.state import Options as RaftOptions
from txraft.errors import ListenError, StorageError, TxraftError
from txraft.kv.store import KeyValueStore
from txraft.kv.write_behind import WriteBehind
from txraft.node import Node
from txraft.replica import Replica
from txraft.rpc import Network
from txraft.storage.directory import DirectoryLock
from txraft.storage.sqlite import SQLiteStorage
from txraft.web import site
from txraft.worker import ThreadWorker

log = Logger()

LAST_RESORT = 5
"""Seconds after a failure in which everything may be closed, before the process ends without that."""

_failures: list[TxraftError] = []

CONNECT_TIMEOUT = 2
"""Seconds after which dialling a peer is given up, and tried again later."""


class Options(usage.Options):
    """The command line of `twistd txraft`."""

    synopsis = "--id N [options]"
    longdesc = (
        "Run one node of a txraft cluster: a replicated, linearizable key-value store that is asked over HTTP. Without"
        " --config it is node 0, 1 or 2 of the built-in cluster on this machine. In the background its process id and"
        " its log go to txraft-N.pid and txraft-N.log, unless twistd's --pidfile and --logfile name others; twistd -n"
        " keeps it in the foreground."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        ["id", None, None, "This node's id in the configuration; required."],
        ["kvaddr", None, None, "host:port to serve the HTTP API on [default: the configuration's kvaddr of this id]."],
        ["config", None, None, "The cluster's configuration, a TOML file [default: the built-in three nodes]."],
        ["data-dir", None, "data", "The directory in which node N keeps all that it has, in N/."],
    ]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse; what is wrong ends the program with one line, not with the whole of --help."""
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            _refuse(f"{error}; twistd txraft --help lists the options")

    def opt_version(self) -> NoReturn:
        """Show txraft's version and exit."""
        print(f"txraft {version('txraft')}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Check the id, and give twistd file names that nodes in one directory do not share."""
        if self["id"] is None:
            raise usage.UsageError("--id is missing: which node of the cluster this is")
        try:
            self["id"] = int(self["id"])
        except ValueError:
            raise usage.UsageError(f"--id takes a whole number, not {self['id']!r}") from None
        twistd = self.parent
        assert twistd is not None
        if twistd["pidfile"] == "twistd.pid":
            twistd["pidfile"] = f"txraft-{self['id']}.pid"
            _forget_dead_process(Path(twistd["rundir"], twistd["pidfile"]), self.directory())
        if twistd["logfile"] is None and not (twistd["nodaemon"] or twistd["debug"]):
            twistd["logfile"] = f"txraft-{self['id']}.log"

    def directory(self) -> Path:
        """The node's own. twistd goes to its --rundir only later."""
        assert self.parent is not None
        return Path(self.parent["rundir"], self["data-dir"], str(self["id"])).absolute()


def makeService(options: Options) -> IService:
    """One node as a service, ready to start. The process is twistd's, so its reactor is ours to set up."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

    run_on_monotonic_time(reactor)
    try:
        settings = config.load(options["config"]) if options["config"] else config.BUILT_IN
        kvaddr = Address.parse(options["kvaddr"]) if options["kvaddr"] else None
        return make_node_service(reactor, settings, options["id"], kvaddr, options.directory())
    except TxraftError as error:
        _refuse(str(error))


def make_node_service(
    reactor: Any, settings: Settings, node_id: int, kvaddr: Address | None, directory: Path
) -> MultiService:
    """Wire one node. `kvaddr`, where given, is served in place of the configuration's; `directory` is the node's own.

    The reactor is taken as it is: whose it is decides whether it goes by `run_on_monotonic_time`.

    Raises SettingsError, StorageError or ListenError.
    """
    member = settings.member(node_id)
    if kvaddr is None:
        kvaddr = member.kv_listens_on
    timing, limits = settings.timing, settings.limits

    raft_port = _bind(member.listens_on, "address")
    kv_port = _bind(kvaddr, "kvaddr")

    worker = ThreadWorker(reactor, f"txraft-{node_id}-disk")
    storage = SQLiteStorage(directory, node_id, settings.cluster_id, worker)
    stored = storage.load()
    data_on_disk = WriteBehind(directory / "kv.sqlite", worker, reactor, _end_with_failure)
    store = KeyValueStore(data_on_disk)
    store.load()

    endpoints = {
        other.id: HostnameEndpoint(reactor, other.address.host, other.address.port, timeout=CONNECT_TIMEOUT)
        for other in settings.cluster
        if other.id != node_id
    }
    peers = Network(reactor, node_id, settings.cluster_id, endpoints, random.Random())
    node = Node(
        node_id=node_id,
        configuration=Configuration(voters=tuple(member.id for member in settings.cluster)),
        stored=stored,
        storage=storage,
        peers=peers,
        state_machine=store,
        options=RaftOptions(
            election_timeout=timing.election_seconds,
            heartbeat_interval=timing.heartbeat_seconds,
            max_uncommitted_size=limits.uncommitted_size,
        ),
        clock=reactor,
        random=random.Random(),
        on_failure=_end_with_failure,
    )
    replica = Replica(
        node,
        peers,
        addresses={member.id: (str(member.address), str(member.kvaddr)) for member in settings.cluster},
        clock=reactor,
        request_timeout=timing.request_seconds,
        patience=timing.election_seconds,
        max_held_size=limits.uncommitted_size,
    )

    service = MultiService()
    service.addService(_Disk(data_on_disk, storage, worker))
    service.addService(node)
    service.addService(_Peers(peers, node))
    service.addService(_serve(reactor, raft_port, peers.server_factory()))
    service.addService(_serve(reactor, kv_port, site(replica, store, limits, reactor)))
    _spare_the_log_from_collection()
    return service


def run_on_monotonic_time(reactor: Any) -> None:
    """Make the reactor's clock one that nobody can set. What is scheduled already stays as far away as it is.

    Twisted's is `time.time`, on all of its reactors, asyncio's included. Where that is set back by a minute, every
    timer is a minute late: a dead leader has no successor and no request times out. Where it is set forward, all of
    them are due at once. The new clock goes on from where the old one is, at the pace of `time.monotonic`, so it still
    counts from the epoch, as IReactorTime has it; it just does not hear of it when the wall clock is set. Nothing that
    is shown comes from it: log lines and HTTP's Date ask `time.time` themselves.

    Its limit: it stands still while the machine is suspended (on Linux), and so does the waiting in epoll. A node that
    wakes up waits for what was left of its timeouts; until then one that led believes that it leads, and one that
    followed keeps its vote from others. That costs as much time and nothing else: no answer relies on a clock.
    """
    ahead: float = reactor.seconds() - time.monotonic()

    def seconds() -> float:
        return ahead + time.monotonic()

    reactor.seconds = seconds
    for call in reactor.getDelayedCalls():
        call.seconds = seconds  # by which it is put off


def _spare_the_log_from_collection() -> None:
    """The log is hundreds of thousands of objects that stay and form no cycles. To look through all of them for some,
    as often as the defaults have it, stops the reactor for 100 ms and more, and halved the writes a second.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class _Disk(Service):
    """What is closed last, when the others have stopped, and in this order."""

    def __init__(self, data: WriteBehind, storage: SQLiteStorage, worker: ThreadWorker) -> None:
        self._data = data
        self._storage = storage
        self._worker = worker

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[None], Any, None]:
        """Write what is left, close the files, and end the thread."""
        Service.stopService(self)
        yield self._data.stop()
        yield self._storage.close()
        yield self._worker.stop()


class _Peers(Service):
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


def _forget_dead_process(pid_file: Path, directory: Path) -> None:
    """Remove the pid file of a node that was killed, and refuse to start one that runs: twistd does so too, in several
    lines, and by whether a process has that id. The lock knows.
    """
    if not pid_file.exists():
        return
    if directory.is_dir():
        lock = DirectoryLock(directory)
        try:
            lock.acquire()
        except StorageError as error:
            _refuse(str(error))
        lock.release()
    pid_file.unlink(missing_ok=True)


def _bind(address: Address, key: str) -> socket.socket:
    """Listen. Raises ListenError with one line."""
    try:
        family, kind, protocol, _, where = min(
            socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE),
            key=lambda info: info[0] != socket.AF_INET,  # localhost is 127.0.0.1, and also ::1
        )
        port = socket.socket(family, kind, protocol)
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port.bind(where)
        port.listen(128)
        port.setblocking(False)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {address}: {error.strerror}; end what listens there, or give this node another {key}"
        ) from error
    return port


def _serve(reactor: Any, port: socket.socket, factory: IProtocolFactory) -> StreamServerEndpointService:
    family = port.family
    # detach: the endpoint owns the descriptor from here on, and closes it when it has a duplicate to listen with.
    return StreamServerEndpointService(AdoptedStreamServerEndpoint(reactor, port.detach(), family), factory)


def _refuse(line: str) -> NoReturn:
    """Do not start."""
    raise SystemExit(f"txraft: {line}")


def _end_with_failure(error: TxraftError) -> None:
    """The node cannot go on: say why in one line, and end the process with status 1."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

    if _failures:  # a disk that fails one file fails the other too
        return
    _failures.append(error)
    with suppress(OSError):  # the disk may be full
        print(f"txraft: {error}", file=sys.__stderr__, flush=True)
    log.critical("txraft ends: {error}", error=error)
    # twistd knows no exit status but 0 for a reactor that stops, so it is set when everything else is over; or when it
    # takes too long, for a thread may hang in a call to the disk.
    atexit.register(os._exit, 1)
    reactor.callLater(LAST_RESORT, os._exit, 1)
    with suppress(ReactorNotRunning):  # it is being stopped already
        reactor.stop()
