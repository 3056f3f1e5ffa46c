"""A network of its own for every node, in which one direction of one link can be cut.

Each node has a network namespace, with one address; their links meet at a bridge, in a namespace of its own too, so
that no firewall of the machine has a say in what passes. One more link leads from the bridge to the machine, for the
clients: they reach every node, also one that its peers do not. Nothing leads from there to any other network.

A direction is cut where its packets start: the sender is told a link address that nobody has. Its frames are lost
without a word, which is what a broken network does, and what comes the other way is not touched. That needs neither
nftables nor any other part of a kernel that a small machine may not have.
"""

import contextlib
import ctypes
import os
import random
import secrets
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.integration.cluster import NodeProcess, ProcessCluster

NOBODY = "02:00:00:00:00:01"
"""A link address of no interface."""

CLONE_NEWNET = 0x40000000


class NetworkNamespaces:
    """`size` namespaces, linked, for nodes 0 to size - 1. `close` removes every trace, whatever `open` had made."""

    def __init__(self, size: int) -> None:
        self._name = f"txraft-{secrets.token_hex(4)}"
        self._hub = f"{self._name}-hub"
        self._uplink = self._name.replace("raft-", "r")  # the name of an interface has at most 15 characters
        self._subnet = _free_subnet()
        self._namespaces: list[str] = []
        self._cuts: Counter[tuple[int, int]] = Counter()
        self.ids = range(size)

    def open(self) -> None:
        """Make it, all links whole. Raises OSError, and has then to be closed as well."""
        self._add_namespace(self._hub)
        _ip(self._hub, "link add br0 type bridge")
        _ip(self._hub, "link set br0 up")
        for id in self.ids:
            self._add_namespace(self.namespace(id))
            self._link(self.namespace(id), "eth0", self.address(id), f"node{id}")
        self._link(None, self._uplink, f"{self._subnet}.254", "clients")

    def close(self) -> None:
        """Remove it. The nodes' processes have ended before."""
        for namespace in self._namespaces:  # what is in it goes with it, and the other end of each of its links too
            _ip(None, f"netns delete {namespace}")
        self._namespaces.clear()

    def namespace(self, id: int) -> str:
        """The name of a node's namespace."""
        return f"{self._name}-{id}"

    def address(self, id: int) -> str:
        """A node's IP address."""
        return f"{self._subnet}.{id + 1}"

    def cut(self, directions: Iterable[tuple[int, int]]) -> None:
        """Lose what is sent from the first to the second of each pair of nodes."""
        for sender, receiver in directions:
            self._cuts[sender, receiver] += 1
            if self._cuts[sender, receiver] == 1:
                self._neighbour(sender, "replace", f"{self.address(receiver)} lladdr {NOBODY} nud permanent")

    def heal(self, directions: Iterable[tuple[int, int]]) -> None:
        """Take back one `cut` of each pair; one that was cut twice is whole when both are taken back."""
        for sender, receiver in directions:
            self._cuts[sender, receiver] -= 1
            if self._cuts[sender, receiver] == 0:
                self._neighbour(sender, "delete", self.address(receiver))

    def _add_namespace(self, name: str) -> None:
        _ip(None, f"netns add {name}")
        self._namespaces.append(name)

    def _link(self, namespace: str | None, interface: str, address: str, port: str) -> None:
        _ip(namespace, f"link add {interface} type veth peer name {port} netns {self._hub}")
        _ip(namespace, f"address add {address}/24 dev {interface}")
        _ip(namespace, f"link set {interface} up")
        _ip(self._hub, f"link set {port} master br0 up")
        if namespace is not None:
            _ip(namespace, "link set lo up")

    def _neighbour(self, id: int, verb: str, what: str) -> None:
        _ip(self.namespace(id), f"neighbour {verb} {what} dev eth0")


class FencedNode(NodeProcess):
    """A node in its namespace."""

    def __init__(self, cluster: "FencedCluster", id: int) -> None:
        super().__init__(cluster, id)
        self._network = cluster.network
        self.address = f"{self._network.address(id)}:8080"
        self.kvaddr = f"{self._network.address(id)}:27004"

    def start(self) -> None:
        """As any node's, but that it is born inside."""
        with inside(self._network.namespace(self.id)):
            super().start()


class FencedCluster(ProcessCluster):
    """A node in each namespace of `network`, which is open, and stays so until the cluster is closed."""

    def __init__(
        self, reactor: Any, directory: Path, network: NetworkNamespaces, timing: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(reactor, directory, len(network.ids), timing)
        self.network = network
        text = self.configuration.read_text()
        outside, self.nodes = self.nodes, [FencedNode(self, id) for id in network.ids]
        self.made = [*self.nodes]
        for old, new in zip(outside, self.nodes, strict=True):
            text = text.replace(f'"{old.address}"', f'"{new.address}"').replace(f'"{old.kvaddr}"', f'"{new.kvaddr}"')
        self.configuration.write_text(text)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Processes that are started and sockets that are made in this block belong to `namespace`, and stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(there)
        os.close(home)


def refusal() -> str | None:
    """Why this machine lets nobody make a `NetworkNamespaces`, where that is so; finds out by trying."""
    if shutil.which("ip") is None:
        return "ip is not installed (Debian: iproute2)"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    probe = f"txraft-{secrets.token_hex(4)}-probe"
    try:
        _ip(None, f"netns add {probe}")
    except OSError as error:
        return f"the system makes no network namespace: {error}"
    try:
        _ip(probe, "link add br0 type bridge")
        _ip(probe, "link add one type veth peer name other")
    except OSError as error:
        return f"the system makes no links inside a network namespace: {error}"
    finally:
        _ip(None, f"netns delete {probe}")
    return None


def _ip(namespace: str | None, command: str) -> str:
    """Run ip, which takes a few milliseconds, in a namespace or outside. Gives its output. Raises OSError."""
    where = [] if namespace is None else ["-n", namespace]
    ran = subprocess.run(["ip", *where, *command.split()], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise OSError(f"ip {command}: {ran.stderr.strip()}")
    return ran.stdout


def _free_subnet() -> str:
    """The first three numbers of a private /24 to which this machine has no route but, perhaps, its default."""
    for _ in range(100):
        subnet = f"10.{random.randrange(256)}.{random.randrange(256)}"
        routes = _ip(None, f"-4 route show match {subnet}.0/24") + _ip(None, f"-4 route show root {subnet}.0/24")
        if all(route.startswith("default ") for route in routes.splitlines()):
            return subnet
    raise RuntimeError("this machine has routes to all of 10.0.0.0/8")


def _enter(namespace: int) -> None:
    """Move this thread (os.setns came with Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")
