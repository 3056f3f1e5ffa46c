"""`txraft up`: a whole cluster on this machine, in the foreground."""

import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.usage import UsageError
from twisted.web.client import Agent

from txraft.cli.cluster import LocalCluster
from txraft.cli.subcommand import Subcommand
from txraft.errors import ListenError, SettingsError
from txraft.file_names import LOG
from txraft.ports import bind_ports
from txraft.settings import BUILT_IN, Address, Member, Settings
from txraft.settings_file import load
from txraft.storage.directory import DirectoryLock
from txraft.wal import require_file

RAFT_PORTS: Final = 8080
KV_PORTS: Final = 27004
"""From which on the built-in cluster listens, a port a node."""
APART: Final = 100
"""How far the HTTP ports are above those of Raft, where --base-port says where these are; and the most nodes."""
CONFIGURATION: Final = "cluster.toml"
"""Where the cluster that --nodes and --base-port describe is written down, in the data directory."""


class Up(Subcommand):
    """The options of `txraft up`."""

    meant = "nodes"
    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["nodes", None, None, f"How many nodes, 1 to {APART} [default: 3]."],
        [
            "base-port",
            None,
            None,
            f"Port P of the first node's Raft; the others follow it, and HTTP is from P+{APART} on"
            f" [default: Raft from {RAFT_PORTS} and HTTP from {KV_PORTS} on].",
        ],
        ["config", None, None, "A TOML file that describes the cluster, in place of --nodes and --base-port."],
        ["data-dir", None, "data", "Where node N keeps its data, in a directory N."],
    ]
    longdesc = (
        "Starts every node of the cluster as a process of its own, and ends all of them at Ctrl-C. With --nodes or"
        f" --base-port, the cluster's configuration is written to {CONFIGURATION} in the data directory."
    )

    def postOptions(self) -> None:
        """Check the numbers."""
        self.to_whole_number("nodes", 1, APART)
        self.to_whole_number("base-port", 1, 65536 - 2 * APART)
        self.refuse_empty("config", "data-dir")
        if self["config"] is not None and (self["nodes"], self["base-port"]) != (None, None):
            raise UsageError("--config cannot be combined with --nodes or --base-port")

    def run(self) -> int:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        settings, path = self._settings()
        self._check_number(settings)
        self._check_ports(settings)
        self._check_data(settings)
        if path is not None and self["config"] is None:
            self._write(settings)
        printer = Printer(reactor)
        cluster = LocalCluster(
            settings=settings,
            arguments=("--data-dir", self["data-dir"], *([] if path is None else ["--config", path])),
            processes=reactor,
            clock=reactor,
            agent=Agent(reactor, connectTimeout=1),
            say=printer.say,
        )
        status = run_until_ended(cluster, reactor)
        if printer.failure is not None:
            raise printer.failure
        return status

    def _settings(self) -> tuple[Settings, str | None]:
        """The cluster's, and the file that its nodes read; None for the built-in one. Raises SettingsError."""
        if self["config"] is not None:
            return load(self["config"]), self["config"]
        if (self["nodes"], self["base-port"]) == (None, None) and not self._configuration.exists():
            return BUILT_IN, None
        return local_cluster(self["nodes"] or len(BUILT_IN.cluster), self["base-port"]), str(self._configuration)

    @property
    def _configuration(self) -> Path:
        return Path(self["data-dir"], CONFIGURATION)

    def _check_number(self, settings: Settings) -> None:
        """Refuse another number of nodes than an earlier start had, which each node would do. Raises SettingsError."""
        if self["config"] is not None or not any(Path(self["data-dir"]).glob(f"[0-9]*/{LOG}")):
            return
        before = load(str(self._configuration)) if self._configuration.exists() else BUILT_IN
        number = len(before.cluster)
        if number != len(settings.cluster):
            data = self["data-dir"].rstrip("/")
            raise SettingsError(f"{data}/ has {number} nodes: use txraft up --nodes {number}, or another --data-dir")

    def _check_data(self, settings: Settings) -> None:
        """Find out whether a node runs already, under other ports perhaps. Raises StorageError."""
        for member in settings.cluster:
            directory = Path(self["data-dir"], str(member.id))
            if directory.is_dir():
                lock = DirectoryLock(directory)
                lock.acquire()
                lock.release()

    def _write(self, settings: Settings) -> None:
        """Write the configuration down, all of it or nothing. Raises SettingsError, and StorageError where something
        else than a file has its name."""
        path = self._configuration
        require_file(path, "remove it, or give another --data-dir")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            place = path.resolve()  # it may be a link
            new = place.with_suffix(".new")
            new.write_text(_toml(settings), encoding="utf-8")
            new.replace(place)
        except OSError as error:
            raise SettingsError(f"cannot write {path}: {error.strerror}; give another --data-dir") from error

    def _check_ports(self, settings: Settings) -> None:
        """Find out before any node starts whether a port is taken. Raises ListenError."""
        bound = []
        try:
            for member in settings.cluster:
                bound.append(bind_ports(settings, member.id))
        except ListenError as error:
            if self["config"] is not None:
                raise
            raise ListenError(
                error.what, "end what listens there, or move all nodes elsewhere: --base-port P"
            ) from error
        finally:
            for ports in bound:
                ports.close()


def local_cluster(nodes: int, base_port: int | None) -> Settings:
    """As many nodes on this machine, from `base_port` on, or where the built-in cluster is."""
    raft, kv = (RAFT_PORTS, KV_PORTS) if base_port is None else (base_port, base_port + APART)
    return Settings(
        tuple(Member(id, Address("localhost", raft + id), Address("localhost", kv + id)) for id in range(nodes))
    )


def _toml(settings: Settings) -> str:
    """The members, as `load` reads them."""
    lines = [
        "# Written by txraft up. A single node: twistd -n txraft --id N --config THIS-FILE --data-dir ITS-DIRECTORY"
    ]
    for member in settings.cluster:
        # A string of JSON is one of TOML.
        addresses = [f"{key} = {json.dumps(str(getattr(member, key)))}" for key in ("address", "kvaddr")]
        lines += ["", "[[cluster]]", f"id = {member.id}", *addresses]
    return "\n".join(lines) + "\n"


class Printer:
    """Prints lines. Where that fails, since stdout is full or nobody reads it any more, `reactor` is ended: the nodes
    would run on unseen."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.failure: OSError | None = None
        """Why nothing more is printed."""

    def say(self, line: str) -> None:
        """Print a line, at once."""
        if self.failure is None:
            try:
                print(line, flush=True)
            except OSError as error:
                self.failure = error
                stop(self._reactor)


def stop(reactor: Any) -> None:
    """End it, where it is not being stopped already."""
    with suppress(ReactorNotRunning):
        reactor.stop()


def run_until_ended(cluster: LocalCluster, reactor: Any) -> int:
    """Run the reactor until SIGINT or SIGTERM, or until no node is left. Gives the exit status."""

    def start() -> None:
        reactor.addSystemEventTrigger("before", "shutdown", shut_down)
        cluster.start().addCallback(lambda _: stop(reactor))

    def shut_down() -> "Deferred[None]":
        for number in (signal.SIGINT, signal.SIGTERM):  # who presses Ctrl-C twice does not want to wait
            signal.signal(number, lambda *_: reactor.callFromThread(cluster.kill))
        return cluster.stop()

    reactor.callWhenRunning(start)
    reactor.run()
    return cluster.exit_status
