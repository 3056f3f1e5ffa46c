"""What is measured: clusters of one system each, on this machine, with the system's own defaults. Only what bounds the
amount of load is raised where the measurements would meet it: how many clients there are, how much waits or is stored.
"""

import base64
import json
import os
import signal
import subprocess
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from twisted.internet.utils import getProcessOutput

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.ports import reserve_port
from tests.integration.waiting import until

LIMITS: Final = {"connections": 1100, "batch_size": 4 * 1024 * 1024, "uncommitted_size": 512 * 1024 * 1024}
"""txraft's; a thousand clients, and 256 that send a MiB each."""
QUOTA: Final = 16 * 1024**3
"""etcd's, in bytes of what it stores; beyond it, by default 2 GiB, it refuses writes."""


class Node(Protocol):
    """One server of a cluster."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None:
        """kill -9; the process is gone when this returns."""

    def pause(self) -> None:
        """Stop it, with all of its connections open: nobody is told."""

    def resume(self) -> None: ...

    def start(self) -> None: ...


class System(Protocol):
    """A cluster."""

    name: str
    programs: Sequence[str]
    """That must be installed."""
    script: str
    """For wrk: how its requests look."""
    nodes: list[Any]
    most_in_a_request: int
    """Keys that `set_many` may have."""

    def start(self) -> None: ...

    def close(self) -> None:
        """End every process."""

    @abstractmethod
    def url(self, node: Any) -> str:
        """Where clients reach a node."""

    @abstractmethod
    async def leader(self) -> Any:
        """The node that leads; waits until one does."""

    @abstractmethod
    def write(self, node: Any, key: str, value: str) -> list[str]:
        """curl's arguments for one write."""

    @abstractmethod
    def set_many(self, numbers: Sequence[int], size: int) -> tuple[str, Any]:
        """The path below `url`, and what is posted there in JSON, to set the keys of these numbers to such values as
        the script sets."""

    @abstractmethod
    def peer_ports(self) -> list[int]:
        """Where the nodes reach each other."""


class Txraft:
    """`twistd txraft`."""

    name = "txraft"
    programs: Sequence[str] = ()
    script = "txraft.lua"
    most_in_a_request = 1000

    def __init__(self, reactor: Any, directory: Path, size: int, timing: Mapping[str, float] | None = None) -> None:
        self._cluster = ProcessCluster(reactor, directory, size, timing, LIMITS)
        self.nodes: list[NodeProcess] = self._cluster.nodes

    def start(self) -> None:
        self._cluster.start()

    def close(self) -> None:
        self._cluster.close()

    def url(self, node: NodeProcess) -> str:
        return node.url("")

    async def leader(self) -> NodeProcess:
        return await self._cluster.wait_for_leader()

    def write(self, node: NodeProcess, key: str, value: str) -> list[str]:
        return [node.url(f"/set?key={key}&val={value}")]

    def set_many(self, numbers: Sequence[int], size: int) -> tuple[str, Any]:
        return "/batch", [{"set": {"key": f"key{number}", "val": "v" * size}} for number in numbers]

    def peer_ports(self) -> list[int]:
        return [_port(node.address) for node in self.nodes]


class EtcdNode:
    """One `etcd`."""

    def __init__(self, number: int, directory: Path) -> None:
        self.name = f"n{number}"
        self.peer_url, self.url = (f"http://127.0.0.1:{reserve_port()}" for _ in range(2))
        self.directory = directory / self.name
        self.others: list[EtcdNode] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """That was started last."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        """On the data that there is."""
        options = {
            "name": self.name,
            "data-dir": str(self.directory),
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "initial-cluster": ",".join(f"{node.name}={node.peer_url}" for node in self.others),
            "quota-backend-bytes": str(QUOTA),
            "log-level": "error",
        }
        command = ["etcd", *(f"--{name}={value}" for name, value in options.items())]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class Etcd:
    """etcd, through its JSON gateway."""

    name = "etcd"
    programs: Sequence[str] = ("etcd", "curl")
    script = "etcd.lua"
    most_in_a_request = 128

    def __init__(self, reactor: Any, directory: Path, size: int) -> None:
        self._reactor = reactor
        self.nodes = [EtcdNode(number, directory) for number in range(size)]
        for node in self.nodes:
            node.others = self.nodes

    def start(self) -> None:
        for node in self.nodes:
            node.start()

    def close(self) -> None:
        for node in self.nodes:
            node.kill()

    def url(self, node: EtcdNode) -> str:
        return node.url

    async def leader(self) -> EtcdNode:
        async def found() -> EtcdNode | None:
            for node in self.nodes:
                url = f"{node.url}/v3/maintenance/status"
                output = await getProcessOutput("curl", ["-s", "-m2", url, "-d", "{}"], env=os.environ)
                status = json.loads(output or b"{}")
                if "leader" in status and status["leader"] == status["header"]["member_id"]:
                    return node
            return None

        return await until(self._reactor, "etcd has a leader", found)

    def write(self, node: EtcdNode, key: str, value: str) -> list[str]:
        return [f"{node.url}/v3/kv/put", "-d", json.dumps({"key": f"{key:0<4}", "value": f"{value:0<4}"})]

    def set_many(self, numbers: Sequence[int], size: int) -> tuple[str, Any]:
        value = _base64("v" * size)
        puts = [{"requestPut": {"key": _base64(f"key{number:06}"), "value": value}} for number in numbers]
        return "/v3/kv/txn", {"success": puts}

    def peer_ports(self) -> list[int]:
        return [_port(node.peer_url) for node in self.nodes]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


Maker = Callable[[Any, Path, int], System]
"""Given the reactor, a directory and the number of nodes."""

SYSTEMS: Final[dict[str, type[Txraft] | type[Etcd]]] = {"txraft": Txraft, "etcd": Etcd}


@contextmanager
def running(reactor: Any, makers: Sequence[Maker], size: int) -> Iterator[list[System]]:
    """Clusters side by side, each in a directory that is removed."""
    with ExitStack() as stack:
        directory = tempfile.TemporaryDirectory(prefix="txraft-bench-", ignore_cleanup_errors=True)
        place = Path(stack.enter_context(directory))
        systems: list[System] = []
        for number, make in enumerate(makers):
            own = place / str(number)
            own.mkdir()
            systems.append(make(reactor, own, size))
            stack.callback(systems[-1].close)
            systems[-1].start()
        yield systems
