"""A follower that has missed ten thousand writes has them soon after it is back."""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, gatherResults

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.conftest import process_test
from tests.integration.writers import read

WRITES = 10_000
AT_ONCE = 50
KEYS = 500


@process_test
async def test_a_follower_was_killed(cluster: ProcessCluster) -> None:
    """Its log ends where it was killed. Hazard R18."""
    await miss_writes(cluster, NodeProcess.kill, NodeProcess.start)


@process_test
async def test_a_follower_was_paused(cluster: ProcessCluster) -> None:
    """It comes back without having noticed. Hazard R15, R18."""
    await miss_writes(cluster, NodeProcess.pause, NodeProcess.resume)


async def miss_writes(
    cluster: ProcessCluster, go: Callable[[NodeProcess], None], come_back: Callable[[NodeProcess], None]
) -> None:
    """A follower goes, misses WRITES, comes back, and has them; it deposes nobody (hazard E9)."""
    leader = await cluster.wait_for_leader()
    follower, other = cluster.others(leader)
    await overwrite([leader, other], "before", 100)
    go(follower)
    values = await overwrite([leader, other], "without it", WRITES)
    before = await leader.status()
    come_back(follower)
    await cluster.wait_until_equal()
    assert await read(follower, list(values)) == values
    after = await leader.status()
    assert before is not None
    assert after is not None
    assert (after["term"], after["leader_id"]) == (before["term"], before["leader_id"])


async def overwrite(nodes: Sequence[NodeProcess], what: str, count: int) -> dict[str, str | None]:
    """Write to the same KEYS keys again and again, `count` times in all. Gives what each has in the end."""
    values: dict[str, str | None] = {}

    async def write(writer: int) -> None:
        # A key belongs to one writer, and so has an order. A write that was not decided is made again.
        for number in range(writer, count, AT_ONCE):
            key, value = f"key {number % KEYS}", f"{what}: {number}"
            while (await nodes[number % len(nodes)].ask("/set", key=key, val=value)).status != 200:
                pass
            values[key] = value

    await gatherResults([Deferred.fromCoroutine(write(writer)) for writer in range(AT_ONCE)], consumeErrors=True)
    return values
