"""SIGTERM: a node ends cleanly and soon, and comes back with everything. SIGHUP does not end it."""

import re
import signal
from pathlib import Path

from tests.integration.cluster import ProcessCluster
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.hanging_disk import go_on, hang, make_disks_hang
from tests.integration.waiting import until
from tests.integration.writers import Writers

CAMPAIGN = re.compile("this node is pre-candidate")
"""In the log of a node whose election timer has fired."""


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


@process_test
async def test_a_leader_hands_over_first(make_cluster: MakeCluster) -> None:
    """Another leads before it is gone: nobody waits for an election timeout. That is long here, so that a slow machine
    does not let one pass."""
    cluster = make_cluster(timing={"election_timeout": 5000})
    cluster.start()
    old = await cluster.wait_for_leader()
    assert (await old.ask("/set", key="a", val="1")).status == 200
    others = cluster.others(old)
    campaigns = [len(CAMPAIGN.findall(node.stdout.read_text())) for node in others]
    old.terminate()
    await old.ended_cleanly()
    await cluster.wait_for_leader(others)
    assert "this node hands leadership to node" in old.stdout.read_text()
    assert [len(CAMPAIGN.findall(node.stdout.read_text())) for node in others] == campaigns


@process_test
async def test_sighup(make_cluster: MakeCluster) -> None:
    """It changes nothing, and the log says so."""
    cluster = make_cluster(size=1)
    cluster.start()
    node = await cluster.wait_for_leader()
    node.send_signal(signal.SIGHUP)

    async def told() -> bool | None:
        return "received SIGHUP, which changes nothing" in node.stdout.read_text() or None

    await until(cluster.reactor, "a line about SIGHUP", told)
    assert (await node.ask("/set", key="a", val="1")).status == 200
    node.terminate()
    await node.ended_cleanly()


@process_test
async def test_while_the_disk_hangs(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """The node does not wait for it for ever: it ends with status 1, and says why. It lost nothing."""
    cluster = make_cluster(size=1, python_path=[make_disks_hang(tmp_path)])
    cluster.start()
    node = await cluster.wait_for_leader()
    assert (await node.ask("/set", key="a", val="1")).status == 200
    hang(node)
    undecided = node.ask("/set", key="a", val="2")
    undecided.addErrback(lambda _: None)  # the node may end first
    node.terminate()
    assert await node.ended() == 1
    assert "did not stop within" in node.stdout.read_text()
    assert "Traceback" not in node.stdout.read_text()
    go_on(node)
    node.start()
    await cluster.wait_for_leader()
    assert (await node.ask("/get", key="a")).body in (b"1", b"2")
