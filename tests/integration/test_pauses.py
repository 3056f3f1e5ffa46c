"""A node that stands still for a while, and does not know it."""

import re

from twisted.internet.task import deferLater

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.conftest import process_test
from tests.integration.waiting import until
from txraft.settings import Timing

ELECTION_TIMEOUT = Timing().election_seconds
"""The default."""

DEPOSED_ITSELF = re.compile(r"term (\d+): this node is follower \(was leader in term \1\)")
CAMPAIGN = re.compile(r"this node is pre-candidate")
"""In the log of a node."""


@process_test
async def test_a_paused_leader_reads_nothing_stale(cluster: ProcessCluster) -> None:
    """It is asked before it can have heard of its successor. Hazard C3."""
    for round in range(3):
        old = await cluster.wait_for_leader()
        assert (await old.ask("/set", key="a", val=f"old {round}")).status == 200
        old.pause()
        paused_at = cluster.reactor.seconds()
        new = await cluster.wait_for_leader()
        assert new is not old
        assert (await new.ask("/set", key="a", val=f"new {round}")).status == 200
        waited = cluster.reactor.seconds() - paused_at
        await deferLater(cluster.reactor, max(0.0, 2.1 * ELECTION_TIMEOUT - waited))

        # Some requests lie in its socket's buffer when it wakes up, others come right after.
        answers = [old.ask("/get", key="a") for _ in range(5)]
        await deferLater(cluster.reactor, 0.05)
        old.resume()
        answers += [old.ask("/get", key="a") for _ in range(5)]
        for answer in answers:
            read = await answer
            assert (read.status, read.body) == (200, f"new {round}".encode())
        await follows(cluster, old)


async def follows(cluster: ProcessCluster, node: NodeProcess) -> None:
    """Wait until the node follows another one, and all agree on that one."""

    async def following() -> bool | None:
        status = await node.status()
        return (status is not None and status["role"] == "follower") or None

    await until(cluster.reactor, "the old leader follows", following)
    assert await cluster.wait_for_leader() is not node


@process_test
async def test_a_short_pause_deposes_nobody(cluster: ProcessCluster) -> None:
    """A leader that comes back after most of an election timeout asks the others before it concludes that they are
    gone. Now and then their own timers are faster, which is as it should be. Hazard E13.
    """
    for _ in range(8):
        leader = await cluster.wait_for_leader()
        leader.pause()
        await deferLater(cluster.reactor, 0.9 * ELECTION_TIMEOUT)
        leader.resume()
        assert (await leader.ask("/set", key="a", val="1")).status == 200
    for node in cluster.nodes:
        assert not DEPOSED_ITSELF.search(node.stdout.read_text())


@process_test
async def test_a_paused_follower_hears_its_leader_first(cluster: ProcessCluster) -> None:
    """However long it was away: the leader's word waits in its sockets. Hazard E13."""
    leader = await cluster.wait_for_leader()
    follower = cluster.others(leader)[0]
    campaigns = len(CAMPAIGN.findall(follower.stdout.read_text()))
    for _ in range(4):
        follower.pause()
        await deferLater(cluster.reactor, 2.2 * ELECTION_TIMEOUT)
        follower.resume()
        assert (await follower.ask("/set", key="a", val="1")).status == 200
    assert len(CAMPAIGN.findall(follower.stdout.read_text())) == campaigns
