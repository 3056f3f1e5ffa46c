"""Load, by wrk, and what it cost: rates, latencies, CPU time, bytes between the nodes."""

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutput

from tests.bench.systems import System
from tests.integration.waiting import until

HERE = Path(__file__).parent
KEYS = 10_000
MOST_DATA: Final = 32 * 1024 * 1024
"""What all values take together, where not asked for more."""
STAT = Path("/proc/stat")
TICKS = os.sysconf("SC_CLK_TCK")
MAY_BE_DISTURBED = 0.15
"""The share of the machine that others may have in a run that counts, unless BENCH_ANYWAY is 1."""
TRIES = 3
LOOK = 0.1
"""Seconds over which the nodes' use of CPU is watched before a run."""
AT_REST = 0.2
"""The share of a core that the nodes of a cluster together may use when they have nothing to do."""
REST_WITHIN = 600
"""Seconds after which they never will."""
PATIENCE = 10
"""Seconds after which a request that is not answered has failed."""


@frozen
class Work:
    """What clients ask for."""

    what: str
    """set, post, batch, get, stale, mixed (see the scripts)."""
    connections: int
    size: int = 255
    """Of a value, in bytes."""
    keys: int = KEYS

    def __str__(self) -> str:
        return f"{self.what} {self.connections}" + (f" {self.size} bytes" if self.size != 255 else "")


@frozen
class Run:
    """What came of it."""

    rate: float
    """Requests a second."""
    p50: float
    """Latencies, in milliseconds."""
    p99: float
    p999: float
    leader_cpu: float
    """µs a request."""
    follower_cpu: float
    """The same, of one follower on average."""
    wire: float
    """Bytes that the nodes send each other a request, all of them together (see `bytes_between`)."""
    disturbed: float
    """The share of the machine that others had meanwhile."""


@frozen
class Summary:
    """What wrk and its script say at the end."""

    rate: float
    count: int
    p50: float
    """Milliseconds."""
    p99: float
    p999: float
    cpu: float
    """Seconds that wrk has used."""
    failed: bool
    """Whether there were requests that were not answered with success."""

    @classmethod
    def read(cls, output: str) -> "Summary":
        """From what was printed."""
        return cls(
            rate=number(r"Requests/sec:\s+([\d.]+)", output),
            count=int(number(r"(\d+) requests in", output)),
            p50=number(r"latency 50 (\d+)", output) / 1000,
            p99=number(r"latency 99 (\d+)", output) / 1000,
            p999=number(r"latency 99\.9 (\d+)", output) / 1000,
            cpu=number(r"cpu (\d+)", output) / 1e6,
            failed="Socket errors" in output or "Non-2xx" in output,
        )


@frozen
class Machine:
    """What its processors have done since it started, in seconds, all of them together."""

    busy: float
    idle: float

    @classmethod
    def read(cls, stat: str) -> "Machine":
        """From the text of /proc/stat."""
        user, nice, system, idle, iowait, irq, softirq, steal, *_ = map(int, stat.splitlines()[0].split()[1:])
        return cls((user + nice + system + irq + softirq + steal) / TICKS, (idle + iowait) / TICKS)

    def share_of_others(self, before: "Machine", own: float) -> float:
        """What part of the machine was busy since `before`, without the `own` seconds that were measured."""
        busy, idle = self.busy - before.busy, self.idle - before.idle
        return max(0.0, busy - own) / (busy + idle)


class Disturbed(Exception):
    """A run that says nothing, and why."""


STOPPED: Final = (Disturbed, CancelledError)
"""What ends measuring, without the loss of what was measured before. `main` cancels where this process is to end."""


def keys_for(size: int) -> int:
    """How many keys there are where values have so many bytes: fewer where they are large."""
    return max(1, min(KEYS, MOST_DATA // size))


async def load(reactor: Any, system: System, work: Work, seconds: int, follower: bool = False) -> Run:
    """Load the leader, or a follower, for so long, when what was asked before is done; again where others had too much
    of the machine, unless the environment says BENCH_ANYWAY=1.

    Raises Disturbed where requests failed, or where the machine does not get quiet."""
    anyway = os.environ.get("BENCH_ANYWAY") == "1"
    for _ in range(TRIES):
        leader = await system.leader()
        others = [node for node in system.nodes if node is not leader]
        pids = [leader.pid, *(node.pid for node in others)]
        await at_rest(reactor, pids)
        url = system.url(others[0] if follower and others else leader)
        done = await _run(system, url, work, seconds, pids)
        if anyway or done.disturbed <= MAY_BE_DISTURBED:
            return done
        print(f"{system.name} {work}: others had {done.disturbed:.0%} of the machine", file=sys.stderr)
    raise Disturbed(f"the machine is not quiet enough to measure {work}; BENCH_ANYWAY=1 measures all the same")


async def _run(system: System, url: str, work: Work, seconds: int, pids: list[int]) -> Run:
    """`pids` are the nodes' processes, the leader's first."""
    wire = await bytes_between(system.peer_ports())
    before, machine = [cpu_seconds(pid) for pid in pids], Machine.read(STAT.read_text())
    output = await wrk(url, system.script, work, seconds)
    used = [cpu_seconds(pid) - start for pid, start in zip(pids, before, strict=True)]
    machine_after = Machine.read(STAT.read_text())
    wire = await bytes_between(system.peer_ports()) - wire
    said = Summary.read(output)
    if not said.count or said.failed:
        raise Disturbed(f"{system.name} {work}: {' '.join(output.split())}")
    return Run(
        said.rate,
        said.p50,
        said.p99,
        said.p999,
        leader_cpu=used[0] / said.count * 1e6,
        follower_cpu=sum(used[1:]) / max(1, len(pids) - 1) / said.count * 1e6,
        wire=wire / said.count,
        disturbed=machine_after.share_of_others(machine, sum(used) + said.cpu),
    )


async def at_rest(reactor: Any, pids: list[int]) -> None:
    """Wait until the nodes have done what they were asked: wrk leaves requests that were not answered, and followers
    and files of data lag behind what was."""

    async def looked() -> bool | None:
        before = sum(map(cpu_seconds, pids))
        await deferLater(reactor, LOOK)
        return sum(map(cpu_seconds, pids)) - before <= AT_REST * LOOK or None

    await until(reactor, "the nodes have done what they were asked", looked, REST_WITHIN)


async def wrk(url: str, script: str, work: Work, seconds: int) -> str:
    """Run it. Gives all that it says."""
    arguments = [f"-c{work.connections}", "-t1", f"-d{seconds}s", f"--timeout={PATIENCE}s", "--latency"]
    arguments += [f"-s{HERE / script}", url, "--", work.what, str(work.size), str(work.keys)]
    return (await getProcessOutput("wrk", arguments, env=os.environ, errortoo=True)).decode()


async def bytes_between(ports: Iterable[int]) -> int:
    """What has arrived, both ways, on the connections that are open to any of `ports`, which are those for the other
    nodes: the payload of TCP, without the headers of TCP and IP and without what was sent twice. ss counts it."""
    connections = " or ".join(f"sport = :{port} or dport = :{port}" for port in ports)
    return received((await getProcessOutput("ss", ["-tinH", connections], env=os.environ)).decode())


def received(listing: str) -> int:
    """The bytes in a listing by ss, which has both ends of each connection."""
    return sum(map(int, re.findall(r"\bbytes_received:(\d+)", listing)))


def cpu_seconds(pid: int) -> float:
    """What a process has used since it started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def number(pattern: str, text: str) -> float:
    """What the group in `pattern` matches in `text`, or 0."""
    found = re.search(pattern, text)
    return float(found[1]) if found else 0.0
