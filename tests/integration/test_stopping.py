"""SIGTERM: a node ends cleanly and soon, and comes back with everything."""

from tests.integration.cluster import ProcessCluster
from tests.integration.conftest import process_test
from tests.integration.writers import Writers


@process_test
async def test_all_at_once(cluster: ProcessCluster) -> None:
    """Nobody is left to catch up from."""
    await cluster.wait_for_leader()
    writers = Writers(cluster)
    writers.start()
    await writers.acknowledge(300)
    await writers.stop()
    for node in cluster.nodes:
        node.terminate()
    for node in cluster.nodes:
        await node.ended_cleanly()
    cluster.start()
    await cluster.wait_for_leader()
    await writers.check()


@process_test
async def test_one_after_the_other_under_load(cluster: ProcessCluster) -> None:
    """As an upgrade does it, the leader first. Every request on the way is answered as it must be, or not at all."""
    leader = await cluster.wait_for_leader()
    writers = Writers(cluster)
    writers.start()
    for node in (leader, *cluster.others(leader)):
        await writers.acknowledge(100)
        node.terminate()
        await node.ended_cleanly()
        await writers.acknowledge(100)
        node.start()
        await cluster.wait_for_leader()
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()
