"""Measure: throughput, failover, idle.

throughput  writes and linearizable reads a second on the leader of three nodes (wants wrk; etcd too with --etcd)
failover    seconds from the kill -9 of the leader to the next acknowledged write, sent again and again to another node
idle        CPU that each node of three takes while nobody asks anything
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react
from twisted.internet.utils import getProcessOutput

from tests.arguments import positive
from tests.integration.cluster import ProcessCluster
from tests.integration.ports import reserve_port
from tests.integration.waiting import until

CONNECTIONS = (1, 16, 64, 256)
HERE = Path(__file__).parent


@contextmanager
def cluster(reactor: Any) -> Iterator[ProcessCluster]:
    """Three nodes with the default settings, in a directory that is removed."""
    with tempfile.TemporaryDirectory(prefix="txraft-bench-") as directory:
        nodes = ProcessCluster(reactor, Path(directory))
        try:
            nodes.start()
            yield nodes
        finally:
            nodes.close()


# Throughput


async def wrk(url: str, script: str, what: str, connections: int, seconds: int) -> tuple[float, float, float]:
    """Requests a second, and their median and 99th percentile in milliseconds."""
    output = (
        await getProcessOutput(
            "wrk",
            [f"-c{connections}", "-t1", f"-d{seconds}s", "--latency", f"-s{HERE / script}", url, "--", what],
            env=os.environ,
            errortoo=True,
        )
    ).decode()
    for line in output.splitlines():
        if "Non-2xx" in line or "Socket errors" in line:  # a few 404s are to be expected of reads
            print(line.strip(), file=sys.stderr)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    latencies = [re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", output) for percent in (50, 99)]
    assert rate, output
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    p50, p99 = (float(match[1]) * scale[match[2]] for match in latencies if match)
    return float(rate[1]), p50, p99


async def measure_throughput(name: str, url: str, script: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Print a line for each number of connections; the medians of all runs."""
    medians = {}
    for what in ("set", "get"):
        for connections in CONNECTIONS:
            runs = [await wrk(url, script, what, connections, arguments.seconds) for _ in range(arguments.runs)]
            rate, p50, p99 = (statistics.median(values) for values in zip(*runs, strict=True))
            print(f"{name:8} {what} {connections:4} connections {rate:8.0f}/s   p50 {p50:7.2f} ms   p99 {p99:7.2f} ms")
            medians[f"{what} {connections}"] = rate
    return medians


async def throughput(reactor: Any, arguments: argparse.Namespace) -> None:
    """See the module's docstring."""
    with cluster(reactor) as nodes:
        leader = await nodes.wait_for_leader()
        ours = await measure_throughput("txraft", leader.url("/"), "txraft.lua", arguments)
    if arguments.etcd:
        with etcd() as urls:
            url = await until(reactor, "etcd has a leader", partial(etcd_leader, urls))
            theirs = await measure_throughput("etcd", url, "etcd.lua", arguments)
        print("ratio    " + "   ".join(f"{what}: {rate / theirs[what]:.2f}" for what, rate in ours.items()))


@contextmanager
def etcd() -> Iterator[list[str]]:
    """Three nodes of etcd with its default settings; where clients reach them."""
    addresses = [(f"http://127.0.0.1:{reserve_port()}", f"http://127.0.0.1:{reserve_port()}") for _ in range(3)]
    processes = []
    with tempfile.TemporaryDirectory(prefix="etcd-bench-") as directory:
        try:
            for number, (peer, client) in enumerate(addresses):
                command = [
                    "etcd",
                    f"--name=n{number}",
                    f"--data-dir={directory}/{number}",
                    f"--listen-peer-urls={peer}",
                    f"--initial-advertise-peer-urls={peer}",
                    f"--listen-client-urls={client}",
                    f"--advertise-client-urls={client}",
                    "--initial-cluster=" + ",".join(f"n{other}={url}" for other, (url, _) in enumerate(addresses)),
                    "--log-level=error",
                ]
                processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            yield [client for _, client in addresses]
        finally:
            for process in processes:
                process.kill()
                process.wait()


async def etcd_leader(urls: list[str]) -> str | None:
    """The address of the node that leads, once one does."""
    for url in urls:
        output = await getProcessOutput("curl", ["-s", f"{url}/v3/maintenance/status", "-d", "{}"], env=os.environ)
        status = json.loads(output or b"{}")
        if "leader" in status and status["leader"] == status["header"]["member_id"]:
            return url
    return None


# Failover


async def failover(reactor: Any, arguments: argparse.Namespace) -> None:
    """See the module's docstring."""
    took = []
    with cluster(reactor) as nodes:
        for number in range(arguments.times):
            leader = await nodes.wait_for_leader()
            survivor = nodes.others(leader)[number % 2]
            leader.kill()
            killed = reactor.seconds()
            while (await survivor.ask("/set", key="failover", val=str(number))).status != 200:
                pass
            took.append(reactor.seconds() - killed)
            print(f"{number + 1:3}: {took[-1]:.3f} s", flush=True)
            leader.start()
            await nodes.wait_until_equal()
    print(f"median {statistics.median(took):.3f} s, worst {max(took):.3f} s of {len(took)}")


# Idle


async def idle(reactor: Any, arguments: argparse.Namespace) -> None:
    """See the module's docstring."""
    with cluster(reactor) as nodes:
        leader = await nodes.wait_for_leader()
        before = [cpu_seconds(node.pid) for node in nodes.nodes]
        await deferLater(reactor, arguments.seconds)
        for node, start in zip(nodes.nodes, before, strict=True):
            share = (cpu_seconds(node.pid) - start) / arguments.seconds
            print(f"node {node.id} ({'leader' if node is leader else 'follower'}): {share:.2%} of one core")


def cpu_seconds(pid: int) -> float:
    """What a process has used since it started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("throughput")
    command.add_argument("--seconds", type=positive, default=5, help="of each run [%(default)s]")
    command.add_argument("--runs", type=positive, default=3, help="of which the median is printed [%(default)s]")
    command.add_argument("--etcd", action="store_true", help="measure three nodes of etcd too, and print the ratios")
    command.set_defaults(measure=throughput)
    command = commands.add_parser("failover")
    command.add_argument("--times", type=positive, default=20, help="[%(default)s]")
    command.set_defaults(measure=failover)
    command = commands.add_parser("idle")
    command.add_argument("--seconds", type=positive, default=30, help="to watch for [%(default)s]")
    command.set_defaults(measure=idle)
    arguments = parser.parse_args()
    react(lambda reactor: ensureDeferred(arguments.measure(reactor, arguments)))


if __name__ == "__main__":
    main()
