"""`twist`, the younger of Twisted's two runners: in the foreground, for containers, with logs in JSON."""

import json
import subprocess
import sys
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


@pytest.mark.parametrize("log_format", ["json", "text"])
@process_test
async def test_a_node(make_cluster: MakeCluster, log_format: str) -> None:
    """It serves, ends at SIGTERM with status 0, and its log is what was asked for."""
    cluster = make_cluster(size=1)
    node = cluster.nodes[0]
    with node.stdout.open("wb") as out, node.stderr.open("wb") as err:
        command = twist(cluster, log_format, 0)
        process = subprocess.Popen(command, cwd=cluster.directory, env=environment(), stdout=out, stderr=err)
    try:
        await cluster.wait_for_leader([node])
        assert (await node.ask("/set", key="a", val="1")).status == 200
        process.terminate()

        async def status() -> int | None:
            return process.poll()

        assert await until(cluster.reactor, "the node ends", status) == 0
    finally:
        process.kill()
        process.wait()
    assert node.stderr.read_text() == ""
    lines = node.stdout.read_text().strip("\n").split("\n")
    assert any("received {name}" in line or "received SIGTERM" in line for line in lines)
    if log_format == "json":
        assert all(isinstance(json.loads(line.strip("\x1e")), dict) for line in lines)


@process_test
async def test_what_is_wrong(make_cluster: MakeCluster) -> None:
    """One line and status 1, as under twistd."""
    cluster = make_cluster(size=1)
    finished = await run(cluster.reactor, twist(cluster, "text", 7), cluster.directory)
    assert (finished.status, len(finished.err.splitlines())) == (1, 1), finished.err
    assert finished.err.startswith("txraft: no node 7")
