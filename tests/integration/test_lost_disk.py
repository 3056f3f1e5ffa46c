"""A disk is lost: what the README says is safe, step by step, and what a node says that was started against it."""

import shutil
from contextlib import suppress

from tests.integration.cluster import ProcessCluster
from tests.integration.conftest import process_test
from tests.integration.writers import Writers


@process_test
async def test_a_node_starts_anew(cluster: ProcessCluster) -> None:
    """It comes back empty after the others have elected and written without it, and nothing acknowledged is lost."""
    await cluster.wait_for_leader()
    writers = Writers(cluster)
    writers.start()
    await writers.acknowledge(100)
    lost = await cluster.wait_for_leader()
    lost.kill()
    shutil.rmtree(lost.data)
    await writers.acknowledge(100)  # as the README has it: a change, acknowledged while that node was down
    leader = await cluster.wait_for_leader()
    (other,) = cluster.others(lost, leader)
    assert (await other.ask("/transfer", to=str(other.id))).status == 200  # and a new leader, who expects nothing of it
    await writers.acknowledge(100)
    lost.start()
    await writers.acknowledge(100)
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()
    leader = await cluster.wait_for_leader()
    leader.kill()
    assert (await lost.ask("/set", key="still", val="serves")).status in (200, 503)
    await cluster.wait_for_leader()
    assert (await lost.ask("/set", key="still", val="serves")).status == 200


@process_test
async def test_a_node_is_emptied_too_early(cluster: ProcessCluster) -> None:
    """The leader remembers what it acknowledged: it ends, with one line that says what is safe (hazard R7)."""
    leader = await cluster.wait_for_leader()
    assert (await leader.ask("/set", key="a", val="1")).status == 200
    await cluster.wait_until_equal()
    lost, _ = cluster.others(leader)
    lost.kill()
    shutil.rmtree(lost.data)
    lost.start()
    assert await lost.ended() == 1
    (line,) = lost.stderr.read_text().splitlines()
    assert line.startswith(f"txraft: {lost.data} has lost data: entry "), line
    assert "never start the node from a backup" in line
    assert (await leader.ask("/get", key="a")).body == b"1"


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
