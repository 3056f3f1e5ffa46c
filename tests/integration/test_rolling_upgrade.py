"""A cluster is upgraded node by node while it serves: nodes of two releases elect, replicate and send snapshots."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.older_releases import BEFORE_CHANGES, release_before, speaks_version_5_alone
from tests.integration.test_snapshots import KEPT, fall_behind, has_caught_up, has_equal_files
from tests.integration.waiting import until
from tests.integration.writers import Writers

OLDER = "speaks version 5 of the protocol"


@pytest.fixture(params=[speaks_version_5_alone, release_before], ids=["version-5-alone", BEFORE_CHANGES])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the modules of an older node are: of this release, and speaking the protocol of the one before, or of that
    release itself, where the clone has it."""
    make: Callable[[Path], Path | None] = request.param
    release = make(tmp_path)
    if release is None:  # in CI too: the other half of this test runs everywhere
        pytest.skip(f"this clone has no commit {BEFORE_CHANGES}, so no node of that release is run")
    return release


@process_test
async def test_rolling_upgrade(make_cluster: MakeCluster, older: Path) -> None:
    """With writers at work, one node after the other is stopped, falls behind the others' logs, and comes back
    upgraded. The first gets its snapshot from an older leader, then leads itself and sends one to an older follower,
    and then the others are upgraded, and one of them elected; nothing that was acknowledged is lost."""
    cluster = make_cluster(timing={"request_timeout": 2000}, log=KEPT)
    for node in cluster.nodes:
        node.python_path = (older,)
    cluster.start()
    leader = await cluster.wait_for_leader()
    first, second = cluster.others(leader)
    writers = Writers(cluster)
    writers.start()
    await writers.acknowledge(100)

    first.kill()
    await fall_behind(cluster, writers, leader, first)
    upgrade(first)
    await has_caught_up(cluster, first)  # from an older leader
    assert OLDER in first.stdout.read_text()

    await let_lead(cluster, first)
    second.kill()
    await fall_behind(cluster, writers, first, second)
    second.start()
    await has_caught_up(cluster, second)  # as an older follower
    await writers.acknowledge(100)

    first.kill()
    await cluster.wait_for_leader()  # an older one, until which
    first.start()
    await cluster.wait_for_leader()
    for node in (second, leader):
        node.kill()
        await cluster.wait_for_leader()  # first in a cluster of both releases
        upgrade(node)
        await cluster.wait_for_leader()
        await writers.acknowledge(100)
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()
    await has_equal_files(cluster)


@process_test
async def test_back_again(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """A node may go back to the older protocol, too: what is spoken is agreed on anew with each connection."""
    older = speaks_version_5_alone(tmp_path)
    cluster = make_cluster(timing={"request_timeout": 2000})
    cluster.start()
    await cluster.wait_for_leader()
    node, *others = cluster.nodes
    for python_path in ((older,), ()):
        node.kill()
        written = [other.stdout.stat().st_size for other in others]
        node.python_path = python_path
        node.start()
        await cluster.wait_for_leader(cluster.nodes)
        for other, before in zip(others, written, strict=True):
            assert (OLDER in other.stdout.read_text()[before:]) == bool(python_path)
        assert (await node.ask("/set", key="a", val="1")).status == 200


def upgrade(node: NodeProcess) -> None:
    """Start a node with this release, on the data that it has."""
    node.python_path = ()
    node.start()


async def let_lead(cluster: ProcessCluster, node: NodeProcess) -> None:
    """Hand leadership to a node."""

    async def leads() -> bool | None:
        if await cluster.wait_for_leader() is node:
            return True
        await node.ask("/transfer", to=str(node.id))
        return None

    await until(cluster.reactor, f"node {node.id} leads", leads)
