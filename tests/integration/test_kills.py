"""SIGKILL under load: what was acknowledged stays, what was called not-applied never was."""

from tests.integration.cluster import ProcessCluster
from tests.integration.conftest import process_test
from tests.integration.writers import Writers


@process_test
async def test_the_leader_is_killed(cluster: ProcessCluster) -> None:
    """Three leaders in a row, each of which comes back under the next. Hazard C6, C8, E1."""
    await cluster.wait_for_leader()
    writers = Writers(cluster)
    writers.start()
    for _ in range(3):
        leader = await cluster.wait_for_leader()
        await writers.acknowledge(200)
        leader.kill()
        await writers.acknowledge(200)
        leader.start()
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()
    assert writers.keys("cut off") or writers.keys("unknown")  # the kills did hit something


@process_test
async def test_all_are_killed_at_once(cluster: ProcessCluster) -> None:
    """Nothing but the disks is left, twice. Hazard E1, S5."""
    await cluster.wait_for_leader()
    writers = Writers(cluster)
    writers.start()
    for _ in range(2):
        await writers.acknowledge(300)
        for node in cluster.nodes:
            node.kill()
        cluster.start()
        await cluster.wait_for_leader()
        await writers.acknowledge(100)
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()
    assert writers.keys("cut off")
