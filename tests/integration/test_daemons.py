"""`twistd` without -n: three nodes in the background, started from one directory."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.integration.cluster import ProcessCluster
from tests.integration.commands import is_gone, run, twistd
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.waiting import until


@process_test
async def test_three_in_one_directory(make_cluster: MakeCluster) -> None:
    """Each has its own pid file, log and data there, and ends at SIGTERM."""
    cluster = make_cluster()
    with ended_at_last(cluster):
        for node in cluster.nodes:
            command = twistd("txraft", "--id", node.id, "--config", cluster.configuration)
            started = await run(cluster.reactor, command, cluster.directory)
            assert (started.status, started.err) == (0, "")
        leader = await cluster.wait_for_leader(cluster.nodes)
        for node in cluster.nodes:
            assert (await node.ask("/set", key=str(node.id), val="x")).status == 200
            assert (await leader.ask("/get", key=str(node.id))).body == b"x"
            assert (cluster.directory / f"txraft-{node.id}.log").stat().st_size > 0
            assert (cluster.directory / "data" / str(node.id)).is_dir()
        await again_and_after_a_kill(cluster)
        pids = {int(path.read_text()) for path in pid_files(cluster)}
        assert len(pids) == 3
        for pid in pids:
            os.kill(pid, signal.SIGTERM)

        async def gone() -> bool | None:
            return all(map(is_gone, pids)) or None

        await until(cluster.reactor, "the daemons end", gone)
        assert not any(path.exists() for path in pid_files(cluster))


async def again_and_after_a_kill(cluster: ProcessCluster) -> None:
    """A node that runs is not started twice, and its pid file stays; one that was killed starts in spite of it."""
    command = twistd("txraft", "--id", 0, "--config", cluster.configuration)
    path = cluster.directory / "txraft-0.pid"
    pid = path.read_text()
    again = await run(cluster.reactor, command, cluster.directory)
    assert (again.status, len(again.err.splitlines())) == (1, 1), again.err
    assert f"process {pid}" in again.err
    assert path.read_text() == pid
    os.kill(int(pid), signal.SIGKILL)

    async def killed() -> bool | None:
        return is_gone(int(pid)) or None

    await until(cluster.reactor, "the daemon ends", killed)
    started = await run(cluster.reactor, command, cluster.directory)
    assert (started.status, started.err) == (0, "")
    assert path.read_text() != pid
    await cluster.wait_for_leader(cluster.nodes)


def pid_files(cluster: ProcessCluster) -> list[Path]:
    return [cluster.directory / f"txraft-{node.id}.pid" for node in cluster.nodes]


@contextmanager
def ended_at_last(cluster: ProcessCluster) -> Iterator[None]:
    """Daemons that still run at the end are killed, and their logs are shown when the test fails."""
    try:
        yield
    finally:
        for path in pid_files(cluster):
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int(path.read_text()), signal.SIGKILL)
        for path in cluster.directory.glob("txraft-*.log"):
            print(f"--- {path.name}\n{path.read_text(errors='replace')}")
