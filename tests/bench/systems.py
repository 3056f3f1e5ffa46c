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

from attrs import frozen
from twisted.internet.utils import getProcessOutput

from tests.bench.connections import Answer, post
from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.ports import reserve_port
from tests.integration.waiting import until
from txraft.settings import Timing

LIMITS: Final = {"connections": 1100, "batch_size": 4 * 1024 * 1024, "uncommitted_size": 512 * 1024 * 1024}
"""txraft's; a thousand clients, and 256 that send a MiB each."""
QUOTA: Final = 16 * 1024**3
"""etcd's, in bytes of what it stores; beyond it, by default 2 GiB, it refuses writes."""


FORM: Final = "application/x-www-form-urlencoded"


@frozen
class Position:
    """How far a node is."""

    term: int
    applied: int
    """The index of the last entry that it has applied."""
    first: int | None
    """The index of the first entry in its log; None where it does not say."""


class Node(Protocol):
    """One server of a cluster."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None:
        """kill -9; the process is gone when this returns."""

    def pause(self) -> None:
        """Stop it, with all of its connections open: nobody is told."""

    def resume(self) -> None: ...

    def terminate(self) -> None:
        """SIGTERM: it ends by itself, soon."""

    def start(self) -> None: ...


class System(Protocol):
    """A cluster."""

    name: str
    programs: Sequence[str]
    """That must be installed."""
    script: str
    """For wrk: how its requests look."""
    election_timeout: float
    """Seconds, its default: how long followers wait at least for a leader that says nothing."""
    nodes: list[Any]
    most_in_a_request: int
    """Keys that `set_many` may have."""

    def start(self, nodes: Sequence[Any]) -> None:
        """Those of the cluster's nodes."""

    def close(self) -> None:
        """End every process."""

    @abstractmethod
    def is_running(self, node: Any) -> bool:
        """Whether it has a process."""

    @abstractmethod
    def data(self, node: Any) -> Path:
        """The directory with all that it keeps."""

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
    def set_one(self, number: int, size: int) -> bytes:
        """A request that sets the key of this number to such a value as the script sets."""

    @abstractmethod
    def set_many(self, numbers: Sequence[int], size: int) -> bytes:
        """A request that sets the keys of these numbers so."""

    @abstractmethod
    def get_one(self, number: int, stale: bool = False) -> bytes:
        """A request that reads a key linearizably or, where `stale`, as the node has it."""

    @abstractmethod
    def is_value(self, answer: Answer, size: int) -> bool:
        """Whether a read was answered with such a value."""

    position_request: bytes
    """A request that is answered at once, with the node's position."""

    @abstractmethod
    def position(self, answer: Answer) -> Position:
        """What was answered."""

    @abstractmethod
    def peer_ports(self) -> list[int]:
        """Where the nodes reach each other."""


class Txraft:
    """`twistd txraft`."""

    name = "txraft"
    programs: Sequence[str] = ()
    script = "txraft.lua"
    election_timeout = Timing().election_seconds
    most_in_a_request = 1000
    position_request = post("/status", b"", FORM)

    def __init__(self, reactor: Any, directory: Path, size: int, timing: Mapping[str, float] | None = None) -> None:
        self._cluster = ProcessCluster(reactor, directory, size, timing, LIMITS)
        self.nodes: list[NodeProcess] = self._cluster.nodes

    def new_node(self, id: int) -> NodeProcess:
        """One that is none of the cluster's yet."""
        return NodeProcess(self._cluster, id)

    def start(self, nodes: Sequence[NodeProcess]) -> None:
        for node in nodes:
            node.start()

    def close(self) -> None:
        self._cluster.close()

    def is_running(self, node: NodeProcess) -> bool:
        return node.running

    def data(self, node: NodeProcess) -> Path:
        return node.data

    def url(self, node: NodeProcess) -> str:
        return node.url("")

    async def leader(self) -> NodeProcess:
        return await self._cluster.wait_for_leader()

    def write(self, node: NodeProcess, key: str, value: str) -> list[str]:
        return [node.url(f"/set?key={key}&val={value}")]

    def set_one(self, number: int, size: int) -> bytes:
        return post("/set", f"key=key{number}&val={'v' * size}".encode(), FORM)

    def set_many(self, numbers: Sequence[int], size: int) -> bytes:
        value = "v" * size
        return post_json("/batch", [{"set": {"key": f"key{number}", "val": value}} for number in numbers])

    def get_one(self, number: int, stale: bool = False) -> bytes:
        return post("/get", f"key=key{number}{'&consistency=stale' if stale else ''}".encode(), FORM)

    def is_value(self, answer: Answer, size: int) -> bool:
        return answer == Answer(200, b"v" * size)

    def position(self, answer: Answer) -> Position:
        status = json.loads(answer.body)
        return Position(status["term"], status["last_applied"], status["first_log_index"])

    def peer_ports(self) -> list[int]:
        return [_port(node.address) for node in self.nodes]


class EtcdNode:
    """One `etcd`."""

    def __init__(self, number: int, directory: Path) -> None:
        self.name = f"n{number}"
        self.peer_url, self.url = (f"http://127.0.0.1:{reserve_port()}" for _ in range(2))
        self.directory = directory / self.name
        self.others: list[EtcdNode] = []
        self.state = "new"
        """Of the cluster that it starts in, where it has no data yet: `existing` where that runs."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

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
            "initial-cluster-state": self.state,
            "quota-backend-bytes": str(QUOTA),
            "log-level": "error",
        }
        command = ["etcd", *(f"--{name}={value}" for name, value in options.items())]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        self.process.terminate()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class Etcd:
    """etcd, through its JSON gateway."""

    name = "etcd"
    programs: Sequence[str] = ("etcd", "curl")
    script = "etcd.lua"
    election_timeout = 1.0
    most_in_a_request = 128
    position_request = post("/v3/maintenance/status", b"{}")

    def __init__(self, reactor: Any, directory: Path, size: int) -> None:
        self._reactor = reactor
        self._directory, self._made = directory, size
        self.nodes = [EtcdNode(number, directory) for number in range(size)]
        for node in self.nodes:
            node.others = self.nodes

    def new_node(self) -> EtcdNode:
        """One that is none of the cluster's yet."""
        node = EtcdNode(self._made, self._directory)
        node.state = "existing"
        self._made += 1
        return node

    def start(self, nodes: Sequence[EtcdNode]) -> None:
        for node in nodes:
            node.start()

    def close(self) -> None:
        for node in self.nodes:
            node.kill()

    def is_running(self, node: EtcdNode) -> bool:
        return node.running

    def data(self, node: EtcdNode) -> Path:
        return node.directory

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

    def set_one(self, number: int, size: int) -> bytes:
        return post_json("/v3/kv/put", self._put(number, _base64("v" * size)))

    def set_many(self, numbers: Sequence[int], size: int) -> bytes:
        value = _base64("v" * size)
        return post_json("/v3/kv/txn", {"success": [{"requestPut": self._put(number, value)} for number in numbers]})

    def _put(self, number: int, value: str) -> dict[str, str]:
        return {"key": _base64(f"key{number:06}"), "value": value}

    def get_one(self, number: int, stale: bool = False) -> bytes:
        return post_json("/v3/kv/range", {"key": _base64(f"key{number:06}"), "serializable": stale})

    def is_value(self, answer: Answer, size: int) -> bool:
        if answer.code != 200:
            return False
        return [each["value"] for each in json.loads(answer.body).get("kvs", [])] == [_base64("v" * size)]

    def position(self, answer: Answer) -> Position:
        status = json.loads(answer.body)
        return Position(int(status["raftTerm"]), int(status["raftAppliedIndex"]), None)

    def peer_ports(self) -> list[int]:
        return [_port(node.peer_url) for node in self.nodes]


def post_json(path: str, body: Any) -> bytes:
    return post(path, json.dumps(body).encode())


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


Maker = Callable[[Any, Path, int], System]
"""Given the reactor, a directory and the number of nodes."""

SYSTEMS: Final[dict[str, type[Txraft] | type[Etcd]]] = {"txraft": Txraft, "etcd": Etcd}


@contextmanager
def running(reactor: Any, makers: Sequence[Maker], size: int, first: int | None = None) -> Iterator[list[System]]:
    """Clusters side by side, each in a directory that is removed. Of each, all nodes run, or only the `first` few."""
    with ExitStack() as stack:
        directory = tempfile.TemporaryDirectory(prefix="txraft-bench-", ignore_cleanup_errors=True)
        place = Path(stack.enter_context(directory))
        systems: list[System] = []
        for number, make in enumerate(makers):
            own = place / str(number)
            own.mkdir()
            systems.append(make(reactor, own, size))
            stack.callback(systems[-1].close)
            systems[-1].start(systems[-1].nodes[:first])
        yield systems
