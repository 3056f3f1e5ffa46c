"""A disk is lost: what the README says is safe, step by step, and what a node says that was started against it, on an
empty directory, an older copy or a clone."""

import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.commands import run, twistd
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.ports import reserve_port
from tests.integration.waiting import until
from tests.integration.writers import Writers


def txraft(*arguments: object) -> list[str]:
    """The console command."""
    return [sys.executable, "-m", "txraft", *map(str, arguments)]


async def refused(node: NodeProcess, *parts: str) -> None:
    """`node` ends with one line that says what is wrong with its directory, and what to do."""
    assert await node.ended() == 1
    (line,) = node.stderr.read_text().splitlines()
    assert line.startswith(f"txraft: {node.data} is refused by the other nodes: this directory is "), line
    for part in (*parts, "never start the node from a backup"):
        assert part in line, line
    assert "Traceback" not in node.stdout.read_text()


def refusals(nodes: Iterable[NodeProcess], of: NodeProcess) -> list[int]:
    """How many lines each of `nodes` has that it refused another's directory."""
    return [node.stdout.read_text().count(f"refused node {of.id}: its directory is ") for node in nodes]


async def stopped(node: NodeProcess) -> None:
    """End it as an operator does."""
    node.terminate()
    await node.ended_cleanly()


@process_test
async def test_a_node_starts_anew(cluster: ProcessCluster) -> None:
    """It comes back empty after the others have forgotten it, each while it was stopped, and have written without it,
    and nothing acknowledged is lost (hazard S6)."""
    await cluster.wait_for_leader()
    writers = Writers(cluster)
    writers.start()
    await writers.acknowledge(100)
    lost = await cluster.wait_for_leader()
    lost.kill()
    shutil.rmtree(lost.data)
    await writers.acknowledge(100)
    for other in cluster.others(lost):  # as the README has it
        forget = txraft("forget", "--data-dir", other.data, "--id", lost.id)
        running = await run(cluster.reactor, forget, cluster.directory)
        assert (running.status, running.out) == (1, "")
        assert running.err.startswith(f"txraft: {other.data} is in use by process {other.pid}: ")
        await stopped(other)
        done = await run(cluster.reactor, forget, cluster.directory)
        assert (done.status, done.err) == (0, "")
        assert done.out.startswith(f"node {other.id} has forgotten node {lost.id}"), done.out
        other.start()
        await cluster.wait_for_leader()
    await writers.acknowledge(100)  # a change, acknowledged while that node was down
    lost.start()
    await writers.acknowledge(100)
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()
    assert refusals(cluster.nodes, lost) == [0, 0, 0]
    cluster.others(lost)[0].kill()  # so that the new one is needed
    await cluster.wait_for_leader()

    async def serves() -> bool | None:
        return (await lost.ask("/set", key="still", val="serves")).status == 200 or None

    await until(cluster.reactor, "the two of them decide", serves)


@process_test
async def test_a_node_is_emptied(cluster: ProcessCluster) -> None:
    """The others know which directory it had: it ends, as often as it is started, and they go on (hazard S6). Also
    where the only one that runs is one, which dials it or is dialled."""
    leader = await cluster.wait_for_leader()
    assert (await leader.ask("/set", key="a", val="1")).status == 200
    await cluster.wait_until_equal()
    lost, other = cluster.others(leader)
    lost.kill()
    shutil.rmtree(lost.data)
    lost.start()
    await refused(lost, "knows this node by: it was emptied or replaced")
    assert sorted(refusals((leader, other), lost)) in ([0, 1], [1, 1])
    assert (await leader.ask("/get", key="a")).body == b"1"
    other.kill()
    lost.stderr.write_text("")
    lost.start()
    await refused(lost, f"that node {leader.id} knows this node by")


@process_test
async def test_an_older_copy_is_put_back(cluster: ProcessCluster) -> None:
    """The others know of a later start: it ends (hazard S6). The original may come back."""
    leader = await cluster.wait_for_leader()
    node, _ = cluster.others(leader)
    await stopped(node)
    backup, original = node.data.with_name("backup"), node.data.with_name("original")
    shutil.copytree(node.data, backup)
    node.start()
    await cluster.wait_until_equal()
    assert (await leader.ask("/set", key="a", val="1")).status == 200
    await stopped(node)
    node.data.rename(original)
    backup.rename(node.data)
    for _ in range(3):  # as systemd does: to be started more often than the original makes it no better
        node.start()
        await refused(node, "a copy from before a start of this node")
        node.stderr.write_text("")
    shutil.rmtree(node.data)
    original.rename(node.data)
    node.start()
    await cluster.wait_until_equal()


@process_test
async def test_a_clone_is_started(make_cluster: MakeCluster) -> None:
    """Two processes of one id, each on a copy of the same directory: one of them ends, and the other goes on (hazards
    S6, M7)."""
    cluster = make_cluster(name="cloned")
    cluster.start()
    await cluster.wait_for_leader()
    await cluster.wait_until_equal()
    node = cluster.nodes[2]
    await stopped(node)
    elsewhere = cluster.directory / "elsewhere"
    shutil.copytree(node.data, elsewhere / "2")
    node.start()
    await cluster.wait_until_equal()
    configuration = cluster.directory / "elsewhere.toml"
    text = cluster.configuration.read_text()
    for address in (node.address, node.kvaddr):
        text = text.replace(address, f"127.0.0.1:{reserve_port()}")
    configuration.write_text(text)
    clone = twistd("-n", "--pidfile=", "txraft", "--id", 2, "--config", configuration, "--data-dir", elsewhere)
    ended = await run(cluster.reactor, clone, cluster.directory)
    assert ended.status == 1
    assert ended.err.startswith(f"txraft: {elsewhere / '2'} is refused by the other nodes: this directory is a copy")
    assert node.running
    assert (await node.ask("/set", key="a", val="1")).status == 200


@process_test
async def test_a_directory_that_is_renamed_while_its_node_runs(cluster: ProcessCluster) -> None:
    """The node ends in one line when it has written some more; put back, the directory has everything."""
    node = await cluster.wait_for_leader()
    elsewhere = node.data.with_name("elsewhere")
    node.data.rename(elsewhere)
    written = 0
    while node.running and written < 300:
        with suppress(Exception):  # it ends meanwhile
            written += (await node.ask("/set", key=f"key{written}", val="v" * 60_000)).status == 200
    assert await node.ended() == 1
    (line,) = node.stderr.read_text().splitlines()
    assert line.startswith(f"txraft: cannot write {node.data}/"), line
    assert "sqlite is not where it was opened any more" in line
    elsewhere.rename(node.data)
    node.start()
    await cluster.wait_until_equal()
    assert (await node.ask("/get", key=f"key{written - 1}")).status == 200
