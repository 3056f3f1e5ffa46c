"""A disk is lost: what the README says is safe, step by step, and what a node says that was started against it."""

import shutil

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
    assert f"never start node {lost.id} from a backup" in line
    assert (await leader.ask("/get", key="a")).body == b"1"
