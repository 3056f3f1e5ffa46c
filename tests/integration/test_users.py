"""`twistd --uid`: a node that root starts and another user runs."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.cluster import ProcessCluster
from tests.integration.commands import run, twistd
from tests.integration.conftest import do_without, process_test
from tests.integration.waiting import until

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
    """In the background too, and it ends at SIGTERM, with every file closed."""
    shared.data.mkdir()
    os.chown(shared.data, NOBODY, NOBODY)
    node = shared.nodes[0]
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
        os.kill(pid, signal.SIGTERM)

        async def shut_down() -> bool | None:
            return "Server Shut Down." in (shared.directory / "txraft-0.log").read_text() or None

        await until(shared.reactor, "the daemon ends", shut_down)
        assert "Traceback" not in (shared.directory / "txraft-0.log").read_text()
    finally:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("made_before", [False, True])
@process_test
async def test_a_directory_that_is_not_theirs(shared: ProcessCluster, made_before: bool) -> None:
    """Refused in one line that says whose it has to be, and nothing of root's is left behind."""
    if made_before:
        shared.nodes[0].data.mkdir(parents=True)
    command = twistd("-n", "--pidfile=", "--uid", NOBODY, *shared.nodes[0].arguments())
    finished = await run(shared.reactor, command, shared.directory)
    assert (finished.status, len(finished.err.splitlines())) == (1, 1), finished.err
    assert f"it has to be a directory that user {NOBODY} may write" in finished.err
    assert [*shared.data.rglob("*")] == ([shared.nodes[0].data] if made_before else [])
