"""Load, by wrk, and what it cost: rates, latencies, CPU time."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen
from twisted.internet.utils import getProcessOutput

HERE = Path(__file__).parent
KEYS = 10_000
"""As the scripts have it."""
TICKS = os.sysconf("SC_CLK_TCK")


@frozen
class Work:
    """What clients ask for."""

    what: str
    """set, post, batch, get, stale, mixed (see the scripts)."""
    connections: int
    size: int = 255
    """Of a value, in bytes."""

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
    disturbed: float
    """The share of the machine that others had meanwhile."""


class Disturbed(Exception):
    """A run that says nothing, and why."""


async def run(url: str, script: str, work: Work, seconds: int, leader: int, followers: Iterable[int]) -> Run:
    """Load `url` for so long. `leader` and `followers` are process ids.

    Raises Disturbed where requests failed."""
    followers = list(followers)
    before, busy = [cpu_seconds(pid) for pid in (leader, *followers)], busy_seconds()
    output = await _wrk(url, script, work, seconds)
    used = [cpu_seconds(pid) - start for pid, start in zip((leader, *followers), before, strict=True)]
    rate, count = _number(r"Requests/sec:\s+([\d.]+)", output), _number(r"(\d+) requests in", output)
    if not count or "Socket errors" in output or "Non-2xx" in output:
        raise Disturbed(f"{work}: {' '.join(output.split())}")
    all_of_it = busy_seconds() - busy
    own = sum(used) + _number(r"cpu (\d+)", output) / 1e6
    p50, p99, p999 = (_milliseconds(percent, output) for percent in ("50", "99", "99.9"))
    return Run(
        rate,
        p50,
        p99,
        p999,
        used[0] / count * 1e6,
        sum(used[1:]) / max(1, len(followers)) / count * 1e6,
        max(0.0, all_of_it - own) / (seconds * (os.cpu_count() or 1)),
    )


async def fill(url: str, script: str, size: int) -> None:
    """Set every key that there is."""
    filled = 0
    while filled < KEYS:
        output = await _wrk(url, script, Work("fill", 64, size), 1, filled)
        filled += int(_number(r"(\d+) requests in", output))


async def _wrk(url: str, script: str, work: Work, seconds: int, *more: int) -> str:
    arguments = [f"-c{work.connections}", "-t1", f"-d{seconds}s", "--latency", f"-s{HERE / script}", url, "--"]
    arguments += [work.what, str(work.size), *map(str, more)]
    return (await getProcessOutput("wrk", arguments, env=os.environ, errortoo=True)).decode()


def cpu_seconds(pid: int) -> float:
    """What a process has used since it started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy_seconds() -> float:
    """What all processes of the machine have used."""
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else 0.0


def _milliseconds(percent: str, output: str) -> float:
    return _number(rf"latency {re.escape(percent)} ([\d.]+)", output) / 1000
