"""What a node says that cannot decide: `not-applied` only where nothing was handed to a leader, or `unknown`."""

from time import monotonic

from twisted.internet.defer import Deferred

from tests.integration.client import Answer
from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.conftest import process_test
from tests.integration.waiting import until

REQUEST_TIMEOUT = 2.0
"""Of the cluster fixture; in seconds."""
MARGIN = 10.0
"""Seconds by which an answer may be late on a busy machine, and still before a client gives up."""


@process_test
async def test_a_follower_left_alone(cluster: ProcessCluster) -> None:
    """The leader and the other follower are killed."""
    leader = await cluster.wait_for_leader()
    await leader.ask("/set", key="a", val="1")
    await cluster.wait_until_equal()
    survivor, other = cluster.others(leader)
    leader.kill()
    other.kill()
    await knows_no_leader(cluster, survivor)
    await check_answers(survivor)


@process_test
async def test_a_leader_left_alone(cluster: ProcessCluster) -> None:
    """Both followers are killed, and it steps down. Hazard E8."""
    leader = await cluster.wait_for_leader()
    await leader.ask("/set", key="a", val="1")
    for follower in cluster.others(leader):
        follower.kill()
    await knows_no_leader(cluster, leader)
    await check_answers(leader)


@process_test
async def test_a_change_that_its_leader_cannot_commit(cluster: ProcessCluster) -> None:
    """Both followers are paused at the moment at which the leader takes it. Hazard C5."""
    leader = await cluster.wait_for_leader()
    for follower in cluster.others(leader):
        follower.pause()
    answer = await in_time(leader, "/set", key="a", val="1")
    assert (answer.status, answer.outcome) == (503, "unknown")
    assert answer.retry_after is not None
    for follower in cluster.others(leader):
        follower.resume()
    await cluster.wait_for_leader()
    await cluster.wait_until_equal()
    values = {(await node.ask("/get", key="a", consistency="stale")).body for node in cluster.nodes}
    assert values in ({b"1"}, {b"there is no such key"})  # either way, all agree


async def knows_no_leader(cluster: ProcessCluster, node: NodeProcess) -> None:
    """Wait until the node has noticed that it is alone."""

    async def noticed() -> bool | None:
        status = await node.status()
        return True if status and status["leader_id"] is None else None

    await until(cluster.reactor, f"node {node.id} knows no leader", noticed)


async def check_answers(node: NodeProcess) -> None:
    """A node alone has decided nothing, and says so; its own state it can still show."""
    changes = [
        in_time(node, "/set", key="a", val="2"),
        in_time(node, "/delete", key="a"),
        in_time(node, "/cas", key="a", old="1", val="2"),
    ]
    read = in_time(node, "/get", key="a")
    for change in changes:
        answer = await change
        assert (answer.status, answer.outcome) == (503, "not-applied")
        assert answer.retry_after is not None
    answer = await read
    assert answer.status == 503
    assert answer.retry_after is not None
    answer = await in_time(node, "/get", key="a", consistency="stale")
    assert (answer.status, answer.body) == (200, b"1")


def in_time(node: NodeProcess, path: str, **parameters: str) -> Deferred[Answer]:
    """Ask; the answer must come within the request timeout."""
    began = monotonic()

    def arrived(answer: Answer) -> Answer:
        assert monotonic() - began < REQUEST_TIMEOUT + MARGIN
        return answer

    return node.ask(path, **parameters).addCallback(arrived)
