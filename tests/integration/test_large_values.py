"""Values of the size limit, passed on from a follower to the leader and replicated: many times an AMP box."""

from twisted.internet.defer import gatherResults

from tests.integration.cluster import ProcessCluster
from tests.integration.conftest import MakeCluster, process_test

MIB = 1024 * 1024
UNHURRIED = {"request_timeout": 60_000}
"""Milliseconds: on a busy machine, 20 MB through a follower take a while."""


@process_test
async def test_one_mebibyte(make_cluster: MakeCluster) -> None:
    """The default limit. Hazard R20."""
    cluster = make_cluster(timing=UNHURRIED)
    cluster.start()
    await check(cluster, MIB)


@process_test
async def test_ten_mebibytes_where_the_limit_allows_them(make_cluster: MakeCluster) -> None:
    """A limit that an operator has raised. Hazard R20."""
    cluster = make_cluster(limits={"value_size": 10 * MIB}, timing=UNHURRIED)
    cluster.start()
    await check(cluster, 10 * MIB)


@process_test
async def test_many_at_once_through_a_follower(make_cluster: MakeCluster) -> None:
    """A burst fills the connection to the leader, and has all of its answers nevertheless; so have reads after it."""
    cluster = make_cluster(timing=UNHURRIED)
    cluster.start()
    follower, other = cluster.others(await cluster.wait_for_leader())
    values = {f"key{number}": f"{number:07} " * (1_000_000 // 8) for number in range(20)}
    asked = [follower.ask("/set", key=key, val=value) for key, value in values.items()]
    assert [answer.status for answer in await gatherResults(asked)] == [200] * len(values)
    for node in (follower, other):
        for key, value in values.items():
            assert (await node.ask("/get", key=key)).body == value.encode()


async def check(cluster: ProcessCluster, size: int) -> None:
    """A value of `size` goes through, one byte more does not, and nobody lost the leadership over it."""
    leader = await cluster.wait_for_leader()
    follower, other = cluster.others(leader)
    value = "".join(f"{number:07} " for number in range(size // 8))
    answer = await follower.ask("/set", key="large", val=value)
    assert (answer.status, answer.body) == (200, b"set value")
    answer = await other.ask("/get", key="large")
    assert answer.status == 200
    assert answer.body == value.encode()
    assert (await follower.ask("/set", key="larger", val=value + "x")).status == 413
    assert await cluster.wait_for_leader() is leader
