"""A disk that takes nothing more: the node ends, and its cluster goes on."""

import resource

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.conftest import process_test
from tests.integration.writers import Writers


@process_test
async def test_the_leaders_disk_fails(cluster: ProcessCluster) -> None:
    """It says so in one line, the others elect, and on a good disk it comes back. Hazard S1, S2, S13."""
    await cluster.wait_for_leader()
    writers = Writers(cluster)
    writers.start()
    await writers.acknowledge(200)
    leader = await cluster.wait_for_leader()
    let_no_file_grow(leader)
    assert await leader.ended() == 1
    lines = leader.stderr.read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("txraft: ")
    assert str(leader.data) in lines[0]
    await writers.acknowledge(200)
    assert await cluster.wait_for_leader() is not leader
    leader.start()
    await writers.acknowledge(100)
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()


def let_no_file_grow(node: NodeProcess) -> None:
    """Writes beyond the first page of any file fail from now on, with EFBIG: Python ignores SIGXFSZ. Log and data fail
    alike; what the node says of it fits in a page.
    """
    _, hard = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (4096, hard))
