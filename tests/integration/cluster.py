"""A cluster of real nodes, one `twistd` process each.

cluster = ProcessCluster(reactor, directory)
cluster.start()
leader = await cluster.wait_for_leader()
await leader.ask("/set", key="a", val="1")
leader.kill()
cluster.close()
"""

import json
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from tests.integration.client import Answer, Client
from tests.integration.commands import environment, twistd
from tests.integration.ports import reserve_port
from tests.integration.waiting import until

TAIL = 40
"""Lines of a node's output that are worth showing."""

Status = dict[str, Any]


class NodeProcess:
    """One node: its process while it runs, and what of it stays when it does not."""

    def __init__(self, cluster: "ProcessCluster", id: int) -> None:
        self.id = id
        self.address = f"127.0.0.1:{reserve_port()}"
        self.bind: str | None = None
        """Where it listens for the others, if not at `address`."""
        self.kvaddr = f"127.0.0.1:{reserve_port()}"
        self.data = cluster.data / str(id)
        self.stdout = cluster.directory / f"node-{id}.log"
        self.stderr = cluster.directory / f"node-{id}.err"
        self.paused = False
        self.configuration = cluster.configuration
        self.python_path: tuple[Path, ...] = ()
        """Where it looks for modules before all others do."""
        self.options: list[str] = []
        """More of its command line."""
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None
        cluster.made.append(self)

    def arguments(self) -> list[str]:
        """The command line after `twistd [-n]`."""
        return ["txraft", "--id", str(self.id), *self._cluster.arguments(self.configuration), *self.options]

    def start(self) -> None:
        """Start the process, on the data that there is. It has not begun to serve when this returns."""
        assert not self.running
        with self.stdout.open("ab") as stdout, self.stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                twistd("--nodaemon", "--pidfile=", *self.arguments()),
                cwd=self._cluster.directory,
                env=self._cluster.environment_of(self),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def running(self) -> bool:
        """Whether there is a process, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: the process is gone when this returns, without another instruction."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.paused = False

    def send_signal(self, number: signal.Signals) -> None:
        """To the process, which must run."""
        assert self._process is not None
        assert self.running, f"node {self.id} has ended by itself"
        self._process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM, which asks for a clean end; `ended` waits for it."""
        self.send_signal(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: its sockets stay open, and nobody reads them."""
        self.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self.send_signal(signal.SIGCONT)
        self.paused = False

    async def ended(self, timeout: float = 120.0) -> int:
        """Wait for the end of the process. Gives its exit status; -N where signal N ended it."""
        process = self._process
        assert process is not None

        async def status() -> int | None:
            return process.poll()

        return await until(self._cluster.reactor, f"node {self.id} ends", status, timeout)

    async def ended_cleanly(self, timeout: float = 120.0) -> None:
        """Wait for its end after SIGTERM, with everything shut down, and nothing to complain of."""
        assert await self.ended(timeout) == 0
        log = self.stdout.read_text()
        assert log.endswith("Server Shut Down.\n")
        assert "Traceback" not in log
        assert self.stderr.read_text() == ""

    def url(self, path: str) -> str:
        """Of its HTTP API."""
        return f"http://{self.kvaddr}{path}"

    def ask(self, path: str, /, **parameters: str) -> Deferred[Answer]:
        """POST a request; see `Client.ask`."""
        return self._cluster.client.ask(self.url(path), parameters)

    async def status(self) -> Status | None:
        """What /status says. None where it does not answer within a second."""
        try:
            answer = await self._cluster.client.ask(self.url("/status"), {}, timeout=1)
        except Exception:  # it is not up yet, or down, or paused: for whoever polls it is all the same
            return None
        if answer.status != 200:  # it waits to be added to a cluster
            return None
        status: Status = json.loads(answer.body)
        return status

    def tail(self) -> str:
        """The end of what it wrote, for a person."""
        lines: list[str] = []
        for path in (self.stdout, self.stderr):
            if path.exists() and (text := path.read_text(errors="replace")):
                lines += [f"--- {path.name}", *text.splitlines()[-TAIL:]]
        return "\n".join(lines)


class ProcessCluster:
    """Nodes 0 to size - 1, and their configuration, in `directory`."""

    def __init__(
        self,
        reactor: Any,
        directory: Path,
        size: int = 3,
        timing: Mapping[str, float] | None = None,
        limits: Mapping[str, int] | None = None,
        log: Mapping[str, int] | None = None,
        name: str | None = None,
        python_path: Sequence[Path] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`timing` (milliseconds), `limits` (bytes), `log` and `name` are the configuration's; what is not in them has
        its default. The nodes look for modules in `python_path` first, and have `variables` in their environment."""
        self.reactor = reactor
        self.directory = directory
        self.data = directory / "data"
        self._python_path, self._variables = tuple(python_path), dict(variables or {})
        self.client = Client(reactor)
        self.configuration = directory / "txraft.toml"
        self.made: list[NodeProcess] = []
        """All nodes that there ever were, which are ended and shown with the cluster."""
        self.nodes = [NodeProcess(self, id) for id in range(size)]
        self._settings = ([] if name is None else [f'name = "{name}"'], timing or {}, limits or {}, log or {})
        self.write_configuration(self.configuration, self.nodes)

    def write_configuration(self, path: Path, nodes: Sequence[NodeProcess]) -> None:
        """Write one that names `nodes` as the members; with that of a node, it is the one that it is started with."""
        head, timing, limits, log = self._settings
        lines = [*head]
        for node in nodes:
            lines += ["[[cluster]]", f"id = {node.id}", f'address = "{node.address}"', f'kvaddr = "{node.kvaddr}"']
            lines += [] if node.bind is None else [f'bind = "{node.bind}"']
        for table, values in (("timing", timing), ("limits", limits), ("log", log)):
            lines += [f"[{table}]", *(f"{key} = {value}" for key, value in values.items())]
        path.write_text("\n".join(lines) + "\n")

    def arguments(self, configuration: Path | None = None) -> list[str]:
        """What is the same for every node's command line; `configuration` is by default that of all nodes."""
        return ["--config", str(configuration or self.configuration), "--data-dir", str(self.data)]

    def environment_of(self, node: NodeProcess) -> dict[str, str]:
        """What the process of a node is started with."""
        return {**environment((*node.python_path, *self._python_path)), **self._variables}

    def start(self) -> None:
        """Start every node that does not run."""
        for node in self.nodes:
            if not node.running:
                node.start()

    def close(self) -> None:
        """End every process, at once and whatever it does."""
        for node in self.made:
            node.kill()
        self.client.close()

    @property
    def awake(self) -> list[NodeProcess]:
        """The nodes that run and are not paused."""
        return [node for node in self.nodes if node.running and not node.paused]

    def others(self, *nodes: NodeProcess) -> list[NodeProcess]:
        """All nodes but these."""
        return [node for node in self.nodes if node not in nodes]

    async def statuses(self, nodes: Iterable[NodeProcess]) -> list[Status] | None:
        """What /status says on each of `nodes`. None where one of them does not answer."""
        statuses = await gatherResults([Deferred.fromCoroutine(node.status()) for node in nodes])
        return None if None in statuses else [status for status in statuses if status is not None]

    async def wait_for_leader(self, nodes: Sequence[NodeProcess] | None = None) -> NodeProcess:
        """Wait until all of `nodes`, by default those that are awake, agree who of them leads."""

        async def agreed() -> NodeProcess | None:
            statuses = await self.statuses(self.awake if nodes is None else nodes) or []
            if len({(status["term"], status["leader_id"]) for status in statuses}) != 1:
                return None
            leaders = [status["id"] for status in statuses if status["role"] == "leader"]
            its = [node for node in self.nodes if node.id in leaders]
            return its[0] if leaders == [statuses[0]["leader_id"]] else None

        return await until(self.reactor, "the nodes agree on a leader", agreed)

    async def wait_until_equal(self, timeout: float = 240.0) -> int:
        """Wait until every node has applied everything that is in any log. Gives the index."""

        async def equal() -> int | None:
            statuses = await self.statuses(self.nodes) or []
            indexes = {status[key] for status in statuses for key in ("last_applied", "last_log_index")}
            return indexes.pop() if len(indexes) == 1 else None

        return await until(self.reactor, "all nodes have applied everything", equal, timeout)

    def tails(self) -> str:
        """The end of every node's output, for a person."""
        return "\n".join(node.tail() for node in self.made)
