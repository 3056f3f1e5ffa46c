"""`twistd --uid`: a node that root starts and another user runs."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.cluster import ProcessCluster
from tests.integration.commands import is_gone, run, twistd
from tests.integration.conftest import process_test
from tests.integration.waiting import until
from tests.lacking import do_without

NOBODY = 65534


@pytest.fixture
def shared(reactor: object) -> Iterator[ProcessCluster]:
    """A node that any user can run, in a directory that any user can read. pytest's own are for one user."""
    if os.geteuid() != 0:
        do_without("only root can start a node for another user")
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        cluster = ProcessCluster(reactor, Path(name), size=1)
        yield cluster
        cluster.client.close()


@process_test
async def test_the_data_is_theirs(shared: ProcessCluster) -> None:
    """In the background too, and it ends at SIGTERM, with every file closed. Its log and its pid file are theirs as
    well, where the directory is: the log is rotated and the pid file removed.
    """
    os.chown(shared.directory, NOBODY, NOBODY)
    shared.data.mkdir()
    os.chown(shared.data, NOBODY, NOBODY)
    node = shared.nodes[0]
    log = shared.directory / "txraft-0.log"
    log.write_text("what root left\n")
    command = twistd("--uid", NOBODY, *node.arguments())
    started = await run(shared.reactor, command, shared.directory)
    assert (started.status, started.err) == (0, "")
    pid = int((shared.directory / "txraft-0.pid").read_text())
    try:
        await shared.wait_for_leader([node])
        assert (await node.ask("/set", key="a", val="1")).status == 200
        assert {(path.stat().st_uid, path.stat().st_gid) for path in (node.data, *node.data.iterdir())} == {
            (NOBODY, NOBODY)
        }
        assert Path(f"/proc/{pid}").stat().st_uid == NOBODY
        os.kill(pid, signal.SIGUSR1)  # twistd rotates its log

        async def rotated() -> bool | None:
            return (shared.directory / "txraft-0.log.1").exists() or None

        await until(shared.reactor, "the log is rotated", rotated)
        await end(shared, pid)
        assert not (shared.directory / "txraft-0.pid").exists()
    finally:
        kill(pid)


@process_test
async def test_a_working_directory_that_is_not_theirs(shared: ProcessCluster) -> None:
    """The node runs. One line at the start, which is in the log too, says what will not be done."""
    shared.data.mkdir()
    os.chown(shared.data, NOBODY, NOBODY)
    started = await run(shared.reactor, twistd("--uid", NOBODY, *shared.nodes[0].arguments()), shared.directory)
    pid = int((shared.directory / "txraft-0.pid").read_text())
    try:
        (line,) = started.err.splitlines()
        log, pid_file = shared.directory / "txraft-0.log", shared.directory / "txraft-0.pid"
        assert started.status == 0
        assert f"{log} will not be rotated and {pid_file} will not be removed, because the user nobody" in line
        await shared.wait_for_leader([shared.nodes[0]])
        await end(shared, pid)
        assert line.removeprefix("txraft: ") in log.read_text()
        assert pid_file.exists()
    finally:
        kill(pid)


async def end(cluster: ProcessCluster, pid: int) -> None:
    """End the daemon, cleanly."""
    os.kill(pid, signal.SIGTERM)

    async def gone() -> bool | None:
        return is_gone(pid) or None

    await until(cluster.reactor, "the daemon ends", gone)
    log = (cluster.directory / "txraft-0.log").read_text()
    assert "Server Shut Down." in log
    assert "Traceback" not in log


def kill(pid: int) -> None:
    """Leave no daemon behind."""
    if not is_gone(pid):
        os.kill(pid, signal.SIGKILL)


@process_test
async def test_a_user_that_nobody_knows(shared: ProcessCluster) -> None:
    """One line, and no data directory that nobody can use. twistd would find out when it has made everything."""
    command = twistd("-n", "--uid", 4_000_000_000, "--gid", NOBODY, *shared.nodes[0].arguments())
    finished = await run(shared.reactor, command, shared.directory)
    assert (finished.status, len(finished.err.splitlines())) == (1, 1), finished.err
    assert "knows no user 4000000000" in finished.err
    assert not shared.data.exists()


@pytest.mark.parametrize("made_before", [False, True])
@process_test
async def test_a_directory_that_is_not_theirs(shared: ProcessCluster, made_before: bool) -> None:
    """Refused in one line that says whose it has to be, and nothing of root's is left behind."""
    if made_before:
        shared.nodes[0].data.mkdir(parents=True)
    command = twistd("-n", "--pidfile=", "--uid", NOBODY, *shared.nodes[0].arguments())
    finished = await run(shared.reactor, command, shared.directory)
    assert (finished.status, len(finished.err.splitlines())) == (1, 1), finished.err
    assert "it has to be a directory that the user nobody may write" in finished.err
    assert [*shared.data.rglob("*")] == ([shared.nodes[0].data] if made_before else [])
