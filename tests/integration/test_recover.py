"""A majority is lost for good: one survivor becomes a cluster of its own (hazards E14, M7)."""

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.commands import run
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.test_lost_disk import txraft
from tests.integration.waiting import until


async def lose_two(cluster: ProcessCluster) -> NodeProcess:
    """Write, then kill all. Gives the one that is to survive."""
    cluster.start()
    leader = await cluster.wait_for_leader()
    assert (await leader.ask("/set", key="a", val="1")).status == 200
    await cluster.wait_until_equal()
    for node in cluster.nodes:
        node.kill()
    (survivor, _) = cluster.others(leader)
    return survivor


@process_test
async def test_survivor(make_cluster: MakeCluster) -> None:
    """It has what was acknowledged, serves reads and writes alone, and goes on so after a restart. A node of the old
    cluster that comes back is refused, and disturbs nothing."""
    cluster = make_cluster(name="mine")
    survivor = await lose_two(cluster)
    recover = txraft("recover", "--data-dir", survivor.data, "--force-new-cluster")
    asked = await run(cluster.reactor, recover, cluster.directory)
    assert asked.status == 2
    done = await run(cluster.reactor, [*recover, "--yes"], cluster.directory)
    assert (done.status, done.err) == (0, "")

    for value in ("2", "3"):
        survivor.start()
        await cluster.wait_for_leader([survivor])
        assert (await survivor.ask("/get", key="a")).body == str(int(value) - 1).encode()
        assert (await survivor.ask("/set", key="a", val=value)).status == 200
        status = await survivor.status()
        assert status is not None
        survivor.terminate()
        await survivor.ended_cleanly()

    survivor.start()
    await cluster.wait_for_leader([survivor])
    old = cluster.others(survivor)
    for node in old:
        node.start()
    await cluster.wait_for_leader(old)

    async def refused() -> bool | None:
        return all("this is another cluster" in node.stdout.read_text() for node in old) or None

    await until(cluster.reactor, "the old nodes are refused", refused)
    assert (await survivor.ask("/get", key="a")).body == b"3"
    assert (await old[0].ask("/get", key="a")).body == b"1"
