"""`txraft up`: a whole cluster on this machine, in the foreground."""

import json
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.usage import UsageError
from twisted.web.client import Agent

from txraft.addresses import Address
from txraft.cli.cluster import LocalCluster
from txraft.cli.earlier import WITHOUT, Earlier, look_at, without
from txraft.cli.subcommand import Subcommand
from txraft.errors import DirectoryLocked, ListenError, SettingsError, StorageError
from txraft.file_names import CLUSTER
from txraft.ports import bind_ports
from txraft.settings import BUILT_IN, Member, Settings
from txraft.settings_file import load
from txraft.storage.directory import DirectoryLock
from txraft.wal import require_file

RAFT_PORTS: Final = 8080
KV_PORTS: Final = 27004
"""From which on the built-in cluster listens, a port a node."""
APART: Final = 100
"""How far the HTTP ports are above those of Raft, where --base-port says where these are; and the most nodes."""

HEAD: Final = (
    "# Written by txraft up. A single node: twistd -n txraft --id N --config THIS-FILE --data-dir ITS-DIRECTORY\n"
)
"""The first line of that file."""


class Up(Subcommand):
    """The options of `txraft up`."""

    meant = "nodes"
    optParameters = [  # noqa: RUF012 - how Twisted has it
        [
            "nodes",
            None,
            None,
            f"How many nodes, 1 to {APART} [default: 3, or as many as there were]. More than there were are added.",
        ],
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
        f" --base-port, the cluster's configuration is written to {CLUSTER} in the data directory."
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

        earlier = look_at(Path(self["data-dir"]))
        described, path, text = self._settings(earlier)
        problems = earlier.cannot_start(described, BUILT_IN.cluster_id if path is None else described.cluster_id)
        settings = without(described, earlier.removed.union(problems))
        self._check_ports(settings, earlier)
        self._check_data(settings)
        if text is not None:
            self._write(text)
        printer = Printer(reactor)
        for member in described.cluster:
            if member.id in earlier.removed:
                printer.say(f"node {member.id} was removed from the cluster, and is not started")
        for id, problem in problems.items():
            printer.say(f"node {id} is not started: {problem}; {WITHOUT}")
        for line in earlier.moved(settings, path) if path is not None else ():
            printer.say(line)
        cluster = LocalCluster(
            settings=settings,
            arguments=("--data-dir", self["data-dir"], *([] if path is None else ["--config", path])),
            processes=reactor,
            clock=reactor,
            agent=Agent(reactor, connectTimeout=1),
            say=printer.say,
            joining=earlier.joining(settings),
            was_there=bool(earlier.looks),
            left_out=len(problems),
        )
        status = run_until_ended(cluster, reactor)
        if printer.failure is not None:
            raise printer.failure
        return status

    def _settings(self, earlier: Earlier) -> tuple[Settings, str | None, str | None]:
        """The cluster's, the file that its nodes read, None for the built-in one, and what is to be written there, None
        where it is there already. Raises SettingsError."""
        if self["config"] is not None:
            return load(self["config"]), self["config"], None
        path, nodes, base_port = self._configuration, self["nodes"], self["base-port"]
        if path.exists():
            before = load(path)
            settings = self._grown(before, earlier)
            if settings == before:
                return settings, str(path), None
            text = path.read_text(encoding="utf-8-sig")
            return settings, str(path), text + _tables(settings.cluster[len(before.cluster) :])
        if earlier.is_empty and (nodes, base_port) != (None, None):
            settings = local_cluster(nodes or len(BUILT_IN.cluster), base_port)
        else:
            grown = BUILT_IN if earlier.is_empty else self._grown(BUILT_IN, earlier)
            settings = earlier.in_place(grown)
            if grown == BUILT_IN:
                return settings, None, None
        return settings, str(path), HEAD + _tables(settings.cluster)

    def _grown(self, before: Settings, earlier: Earlier) -> Settings:
        """The cluster that there is, of an earlier start perhaps, with the nodes that it is to have more. Raises
        SettingsError."""
        members, nodes, data = before.cluster, self["nodes"] or len(before.cluster), self["data-dir"].rstrip("/")
        what, since, anew = f"{data}/", ", where they were first started", "give another --data-dir"
        if earlier.is_empty:  # the file is that of a start which was cut off, or was written by hand
            what, since, anew = str(self._configuration), "", "remove that file to begin anew"
        if nodes < len(members):
            raise SettingsError(f"{what} has {len(members)} nodes: use txraft up --nodes {len(members)}, or {anew}")
        address = members[0].address
        port = address.port - members[0].id if isinstance(address, Address) else None
        base_port = None if port == RAFT_PORTS else port
        if self["base-port"] not in (None, port):
            where = f"at {address}" if port is None else f"from port {port} on"
            raise SettingsError(
                f"the nodes of {what} reach each other {where}{since}: leave out --base-port, or {anew}"
            )
        first = max(member.id for member in members) + 1
        return evolve(before, cluster=(*members, *_local(range(first, first + nodes - len(members)), base_port)))

    @property
    def _configuration(self) -> Path:
        return Path(self["data-dir"], CLUSTER)

    def _check_data(self, settings: Settings) -> None:
        """Find out whether a node runs already, under other ports perhaps. Raises DirectoryLocked."""
        for member in settings.cluster:
            directory = Path(self["data-dir"], str(member.id))
            if directory.is_dir():
                lock = DirectoryLock(directory)
                try:
                    lock.acquire()
                except DirectoryLocked:
                    raise
                except StorageError:  # which the node says itself, and the others may go on without it
                    continue
                lock.release()

    def _write(self, text: str) -> None:
        """Write the configuration down, all of it or nothing. Raises SettingsError, and StorageError where something
        else than a file has its name."""
        path = self._configuration
        require_file(path, "remove it, or give another --data-dir")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            place = path.resolve()  # it may be a link
            new = place.with_suffix(".new")
            new.write_text(text, encoding="utf-8")
            new.replace(place)
        except OSError as error:
            raise SettingsError(f"cannot write {path}: {error.strerror}; give another --data-dir") from error

    def _check_ports(self, settings: Settings, earlier: Earlier) -> None:
        """Find out before any node starts whether a port is taken. Raises ListenError."""
        bound = []
        try:
            for member in settings.cluster:
                bound.append(bind_ports(settings, member.id))
        except ListenError as error:
            if self["config"] is not None:
                raise
            is_new = earlier.is_empty and not self._configuration.exists()
            elsewhere = (
                "move all nodes elsewhere: --base-port P" if is_new else "give another --data-dir and --base-port P"
            )
            raise ListenError(error.what, f"end what listens there, or {elsewhere}") from error
        finally:
            for ports in bound:
                ports.close()


def local_cluster(nodes: int, base_port: int | None) -> Settings:
    """As many nodes on this machine, from `base_port` on, or where the built-in cluster is."""
    return Settings(_local(range(nodes), base_port))


def _local(ids: Iterable[int], base_port: int | None) -> tuple[Member, ...]:
    raft, kv = (RAFT_PORTS, KV_PORTS) if base_port is None else (base_port, base_port + APART)
    return tuple(Member(id, Address("localhost", raft + id), Address("localhost", kv + id)) for id in ids)


def _tables(members: Iterable[Member]) -> str:
    """They, as `load` reads them."""
    lines = []
    for member in members:
        # A string of JSON is one of TOML.
        addresses = [f"{key} = {json.dumps(str(getattr(member, key)))}" for key in ("address", "kvaddr")]
        lines += ["", "[[cluster]]", f"id = {member.id}", *addresses]
    return "".join(f"{line}\n" for line in lines)


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
