"""A disk that hangs: nobody waits for it (hazard S12)."""

from pathlib import Path

from tests.integration.cluster import ProcessCluster
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.hanging_disk import go_on, hang, make_disks_hang
from tests.integration.writers import Writers

WRITERS = 20
"""Enough for some to be left when those whose changes the old leader has in hand wait for their answers."""


def cluster_of(make_cluster: MakeCluster, directory: Path) -> ProcessCluster:
    cluster = make_cluster(timing={"request_timeout": 2000}, python_path=[make_disks_hang(directory)])
    cluster.start()
    return cluster


@process_test
async def test_the_leaders(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """It hands over and says why, the cluster goes on while the disk hangs, and nothing is lost."""
    cluster = cluster_of(make_cluster, tmp_path)
    leader = await cluster.wait_for_leader()
    writers = Writers(cluster, WRITERS)
    writers.start()
    await writers.acknowledge(100)
    hang(leader)
    assert await cluster.wait_for_leader(cluster.others(leader)) is not leader
    await writers.acknowledge(100)
    assert leader.stdout.read_text().count("this node's disk hangs") == 1
    assert "Traceback" not in leader.stdout.read_text()
    go_on(leader)
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()


@process_test
async def test_a_followers(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """The others do not even notice."""
    cluster = cluster_of(make_cluster, tmp_path)
    leader = await cluster.wait_for_leader()
    follower, other = cluster.others(leader)
    hang(follower)
    for number in range(100):
        for node in (leader, other):
            assert (await node.ask("/set", key="a", val=str(number))).status == 200
    go_on(follower)
    await cluster.wait_until_equal()
    for node in cluster.nodes:
        assert "this node's disk hangs" not in node.stdout.read_text()
