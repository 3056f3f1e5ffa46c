"""A disk is lost: what the README says is safe, step by step."""

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
