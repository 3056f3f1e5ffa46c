"""`txraft up`: a whole cluster in one terminal."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attrs import frozen

from tests.integration.cluster import ProcessCluster
from tests.integration.commands import environment, run
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.waiting import until


@frozen
class Terminal:
    """`txraft up` in a session of its own, as in a terminal."""

    process: "subprocess.Popen[bytes]"
    output: Path

    async def curl_lines(self, cluster: ProcessCluster) -> list[str]:
        """Wait until it tells what to try. Gives the two lines."""

        async def told() -> list[str] | None:
            assert self.process.poll() is None
            lines = re.findall(r"^ +(curl .*)$", self.output.read_text(), re.MULTILINE)
            return lines if len(lines) == 2 else None

        return await until(cluster.reactor, "two curl lines", told)

    async def ended(self, cluster: ProcessCluster) -> int:
        """Wait until it and all that it started are gone. Gives its exit status."""

        async def gone() -> int | None:
            status = self.process.poll()
            return None if processes_in(self.process.pid) else status

        return await until(cluster.reactor, "all processes end", gone)


@pytest.mark.usefixtures("curl")  # which skips the test where there is none
@process_test
async def test_a_session(make_cluster: MakeCluster) -> None:
    """The addresses, the two lines, which work, and Ctrl-C."""
    cluster = make_cluster()
    with up(cluster) as terminal:
        set_line, get_line = await terminal.curl_lines(cluster)
        for node in cluster.nodes:
            assert f"node {node.id}: http://{node.kvaddr}\n" in terminal.output.read_text()
        for line, answer in ((set_line, "set value"), (get_line, "hello")):
            finished = await run(cluster.reactor, ["sh", "-c", line], cluster.directory)
            assert (finished.status, finished.out) == (0, answer)
        assert len(processes_in(terminal.process.pid)) == 4
        os.killpg(terminal.process.pid, signal.SIGINT)  # a terminal sends it to every process
        assert await terminal.ended(cluster) == 0
        assert "Traceback" not in terminal.output.read_text()


@process_test
async def test_ctrl_c_while_it_starts(make_cluster: MakeCluster) -> None:
    """No process of it, however young, answers with a traceback."""
    cluster = make_cluster()
    with up(cluster) as terminal:

        async def all_there() -> bool | None:
            return len(processes_in(terminal.process.pid)) == 4 or None

        await until(cluster.reactor, "the processes of the nodes", all_there)
        os.killpg(terminal.process.pid, signal.SIGINT)
        assert await terminal.ended(cluster) == 0
        assert "Traceback" not in terminal.output.read_text()


@process_test
async def test_it_is_killed(make_cluster: MakeCluster) -> None:
    """Its nodes do not outlive it, though it could tell them nothing."""
    cluster = make_cluster()
    with up(cluster) as terminal:
        await terminal.curl_lines(cluster)
        terminal.process.kill()
        assert await terminal.ended(cluster) == -signal.SIGKILL


@process_test
async def test_a_directory_is_lost(make_cluster: MakeCluster) -> None:
    """The others serve without its node, which is not started: they would refuse it (hazard S6)."""
    cluster = make_cluster()
    with up(cluster) as terminal:
        await terminal.curl_lines(cluster)
        await cluster.wait_for_leader(cluster.nodes)  # node 0 too, so that the others have met it
        os.killpg(terminal.process.pid, signal.SIGINT)
        assert await terminal.ended(cluster) == 0
    shutil.rmtree(cluster.data / "0")
    with up(cluster) as terminal:
        await terminal.curl_lines(cluster)
        assert re.search("^node 0 is not started: .* is missing, ", terminal.output.read_text(), re.MULTILINE)
        assert len(processes_in(terminal.process.pid)) == 3


@pytest.mark.usefixtures("curl")
@process_test
async def test_a_node_is_removed_at_once(make_cluster: MakeCluster) -> None:
    """It ends, and the others go on (hazard M7)."""
    cluster = make_cluster()
    with up(cluster) as terminal:
        set_line, _ = await terminal.curl_lines(cluster)
        url = re.sub("set[?].*$", "members?id=2", set_line.split("'")[1])

        async def removed() -> bool | None:
            """The third node may not have answered the leader yet, of which the answer says that it goes by; and an
            answer that came late may not have known that it is done."""
            finished = await run(cluster.reactor, ["curl", "-sX", "DELETE", url], cluster.directory)
            assert "removed" in finished.out or "has answered within an election timeout" in finished.out, finished.out
            return '"removed": [2]' in finished.out or "node 2 has been removed already" in finished.out or None

        await until(cluster.reactor, "node 2 is removed", removed)

        async def gone() -> bool | None:
            return len(processes_in(terminal.process.pid)) == 3 or None

        await until(cluster.reactor, "the end of node 2", gone)
        finished = await run(cluster.reactor, ["sh", "-c", set_line], cluster.directory)
        assert (finished.status, finished.out) == (0, "set value")
        assert "\nnode 2 ended with status 3, because it was removed" in terminal.output.read_text()


@contextmanager
def up(cluster: ProcessCluster) -> Iterator[Terminal]:
    """Run it. At the end, whatever is left of its session is killed; what it wrote is shown when the test fails."""
    output = cluster.directory / "up.log"
    with output.open("wb") as file, _heeding_ctrl_c():
        process = subprocess.Popen(
            [sys.executable, "-m", "txraft", "up", *cluster.arguments()],
            cwd=cluster.directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield Terminal(process, output)
    finally:
        for pid in processes_in(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        print(output.read_text())


@contextmanager
def _heeding_ctrl_c() -> Iterator[None]:
    """What a script starts in the background ignores Ctrl-C, and so would its children; none of a terminal's does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def processes_in(session: int) -> list[int]:
    """The ids of the processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(int(path.parent.name))
    return found
