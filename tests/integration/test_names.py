"""Names that DNS does not know."""

from tests.integration.cluster import ProcessCluster
from tests.integration.commands import run, twistd
from tests.integration.conftest import MakeCluster, process_test


def rename(cluster: ProcessCluster, address: str) -> None:
    """Have the configuration say so of what was `address`."""
    text = cluster.configuration.read_text()
    _, _, port = address.partition(":")
    cluster.configuration.write_text(text.replace(address, f"no-such-host.invalid:{port}"))


@process_test
async def test_of_a_peer(make_cluster: MakeCluster) -> None:
    """The others elect without it, and serve."""
    cluster = make_cluster()
    absent, *others = cluster.nodes
    rename(cluster, absent.address)
    rename(cluster, absent.kvaddr)
    for node in others:
        node.start()
    await cluster.wait_for_leader(others)
    for node in others:
        assert (await node.ask("/set", key="a", val="1")).status == 200
    for node in others:
        node.terminate()
    for node in others:
        await node.ended_cleanly()


@process_test
async def test_of_its_own(make_cluster: MakeCluster) -> None:
    """It cannot listen: one line, and status 1, which systemd answers by starting it again until it can."""
    cluster = make_cluster()
    rename(cluster, cluster.nodes[0].address)
    command = twistd("-n", "--pidfile=", *cluster.nodes[0].arguments())
    finished = await run(cluster.reactor, command, cluster.directory)
    assert (finished.status, len(finished.err.splitlines())) == (1, 1), finished.err
    assert finished.err.startswith("txraft: cannot listen on no-such-host.invalid:")
