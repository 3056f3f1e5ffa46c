"""A node that is further behind than the others keep their logs for gets a snapshot, while clients go on."""

import sqlite3
from functools import partial
from pathlib import Path

import pytest

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.waiting import until
from tests.integration.writers import Writers

KEPT = {"keep_entries": 50, "keep_size": 1 << 20}
"""A small part of what is written."""


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> ProcessCluster:
    """Three nodes, started, that keep little of their logs."""
    cluster = make_cluster(timing={"request_timeout": 2000}, log=KEPT)
    cluster.start()
    return cluster


@process_test
async def test_catches_up(cluster: ProcessCluster) -> None:
    """A follower was down, and its log ends far before the others' begin. Nobody else leads meanwhile (hazards R17,
    S11)."""
    writers, follower, leader = await far_behind(cluster)
    before = await leader.status()
    follower.start()
    await has_caught_up(cluster, follower)
    await writers.acknowledge(200)
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()
    after = await leader.status()
    assert before is not None
    assert after is not None
    assert (after["term"], after["leader_id"]) == (before["term"], before["leader_id"])
    await has_equal_files(cluster)


@process_test
async def test_killed_in_an_install(cluster: ProcessCluster) -> None:
    """Again and again, sooner or later in it: it starts each time, and has everything in the end (hazards S10, S18)."""
    writers, follower, _ = await far_behind(cluster)
    steps = ["connected to node", "has sent a snapshot", "restores its data", "has restored its data"]
    written = follower.stdout.stat().st_size

    async def reached(lines: list[str]) -> bool | None:
        """Whether it has come to the first of these steps, or past it: it goes on where it was killed."""
        log = follower.stdout.read_bytes()[written:].decode(errors="replace")
        return any(line in log for line in lines) or None

    for number in range(len(steps)):
        follower.start()
        await until(cluster.reactor, "the follower comes to a step of the install", partial(reached, steps[number:]))
        follower.kill()
    follower.start()
    await has_caught_up(cluster, follower)
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()
    await has_equal_files(cluster)


async def far_behind(cluster: ProcessCluster) -> tuple[Writers, NodeProcess, NodeProcess]:
    """Writers, a follower that is down and needs a snapshot, and the leader."""
    leader = await cluster.wait_for_leader()
    follower = cluster.others(leader)[0]
    writers = Writers(cluster)
    writers.start()
    await writers.acknowledge(100)
    follower.kill()
    await fall_behind(cluster, writers, leader, follower)
    return writers, follower, leader


async def fall_behind(cluster: ProcessCluster, writers: Writers, leader: NodeProcess, follower: NodeProcess) -> None:
    """Write far more than is kept, until the leader's log begins later than the follower's ends."""

    async def behind() -> bool | None:
        await writers.acknowledge(6 * KEPT["keep_entries"])
        status = await leader.status()
        assert status is not None
        (has,) = [each["match_index"] for each in status["followers"] if each["id"] == follower.id]
        return status["first_log_index"] > has + 1 or None

    await until(cluster.reactor, "the follower is behind the leader's log", behind)


async def has_caught_up(cluster: ProcessCluster, follower: NodeProcess) -> None:
    """The follower's log begins later than at 1, and it has applied what the others have, or nearly."""

    async def caught_up() -> bool | None:
        statuses = await cluster.statuses(cluster.nodes) or []
        behind = max((each["commit_index"] for each in statuses), default=0)
        return any(each["id"] == follower.id and each["last_applied"] > behind - 50 for each in statuses) or None

    await until(cluster.reactor, "the follower has caught up", caught_up)
    assert "has restored its data" in follower.stdout.read_text(errors="replace")


async def has_equal_files(cluster: ProcessCluster) -> None:
    """Stop all nodes. Their files have the same data, with everything in them, and no snapshot is left over."""
    for node in cluster.nodes:
        node.terminate()
    for node in cluster.nodes:
        await node.ended_cleanly()
        assert not list((node.data / "snapshots").glob("received-*"))
    first, *others = [rows(node.data / "kv.sqlite") for node in cluster.nodes]
    assert len(first) > 6 * KEPT["keep_entries"]
    assert all(other == first for other in others)


def rows(path: Path) -> list[tuple[object, ...]]:
    """What is kept of each key in a node's file."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT * FROM data ORDER BY key").fetchall()
    finally:
        connection.close()
