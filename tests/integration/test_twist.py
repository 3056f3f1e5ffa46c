"""`twist`, the younger of Twisted's two runners: in the foreground, for containers, with logs in JSON."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.cluster import ProcessCluster
from tests.integration.commands import environment, run
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.waiting import until


def twist(cluster: ProcessCluster, log_format: str, id: int) -> list[str]:
    """The command for a node."""
    path = Path(sys.executable).with_name("twist")
    options = [f"--log-format={log_format}", "txraft", "--id", str(id), *cluster.arguments()]
    return [sys.executable, str(path), *options]


@contextmanager
def started(cluster: ProcessCluster, log_format: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Node 0, under twist."""
    node = cluster.nodes[0]
    with node.stdout.open("wb") as out, node.stderr.open("wb") as err:
        command = twist(cluster, log_format, 0)
        process = subprocess.Popen(command, cwd=cluster.directory, env=environment(), stdout=out, stderr=err)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def status_of(process: "subprocess.Popen[bytes]", cluster: ProcessCluster) -> int:
    """Its exit status, when it has ended."""

    async def status() -> int | None:
        return process.poll()

    return await until(cluster.reactor, "the node ends", status)


@pytest.mark.parametrize("log_format", ["json", "text"])
@process_test
async def test_a_node(make_cluster: MakeCluster, log_format: str) -> None:
    """It serves, ends at SIGTERM with status 0, and its log is what was asked for."""
    cluster = make_cluster(size=1)
    node = cluster.nodes[0]
    with started(cluster, log_format) as process:
        await cluster.wait_for_leader([node])
        assert (await node.ask("/set", key="a", val="1")).status == 200
        process.terminate()
        assert await status_of(process, cluster) == 0
    assert node.stderr.read_text() == ""
    lines = node.stdout.read_text().strip("\n").split("\n")
    assert any("received {name}" in line or "received SIGTERM" in line for line in lines)
    if log_format == "json":
        assert all(isinstance(json.loads(line.strip("\x1e")), dict) for line in lines)


@process_test
async def test_a_disk_that_fails(make_cluster: MakeCluster) -> None:
    """Status 1 and one line on stderr, as under twistd."""
    cluster = make_cluster(size=1)
    node = cluster.nodes[0]
    with started(cluster, "json") as process:
        await cluster.wait_for_leader([node])
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, hard))  # see test_failing_disk
        node.ask("/set", key="a", val="1" * 10_000).addErrback(lambda _: None)  # it ends before it answers
        assert await status_of(process, cluster) == 1
    (line,) = node.stderr.read_text().splitlines()
    assert line.startswith("txraft: ")


@process_test
async def test_what_is_wrong(make_cluster: MakeCluster) -> None:
    """One line and status 1, as under twistd."""
    cluster = make_cluster(size=1)
    finished = await run(cluster.reactor, twist(cluster, "text", 7), cluster.directory)
    assert (finished.status, len(finished.err.splitlines())) == (1, 1), finished.err
    assert finished.err.startswith("txraft: no node 7")
