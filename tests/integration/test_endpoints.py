"""Nodes that reach each other at endpoints as Twisted writes them, killed and moved."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.integration.cluster import NodeProcess
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.members import Membership, has_address
from tests.integration.ports import reserve_port
from tests.integration.writers import Writers
from tests.raft_service.certificates import make_certificate


def give_tls(node: NodeProcess, directory: Path) -> None:
    """The node is dialled, and listens, with TLS."""
    port = reserve_port()
    node.address = f"tls:localhost:{port}:trustRoots={directory}"
    node.bind = f"ssl:{port}:interface=127.0.0.1:privateKey={directory}/key:certKey={directory}/certificate.pem"


@process_test
async def test_killed_and_moved(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """One with TLS, one at a socket in the file system, and one at a port; all are killed at once, so that the socket
    stays there; then one after the other moves to TLS, while the others serve. Hazard E1."""
    cluster = make_cluster()
    make_certificate(certificates := tmp_path / "certificates")
    with TemporaryDirectory() as sockets:  # a socket's name is 107 bytes at most
        give_tls(cluster.nodes[0], certificates)
        cluster.nodes[1].address = f"unix:{sockets}/raft"
        cluster.write_configuration(cluster.configuration, cluster.nodes)
        cluster.start()
        membership, writers = Membership(cluster), Writers(cluster)
        writers.start()
        await writers.acknowledge(200)
        for node in cluster.nodes:
            node.kill()
        assert Path(sockets, "raft").is_socket()
        cluster.start()
        await writers.acknowledge(200)
        for node in cluster.nodes[1:]:
            give_tls(node, certificates)
            cluster.write_configuration(cluster.configuration, cluster.nodes)
            node.terminate()
            await node.ended_cleanly()
            given = {"id": str(node.id), "address": node.address}
            await membership.change("POST", "/members/update", given, partial(has_address, node.address))
            node.start()
            await cluster.wait_for_leader(cluster.nodes)
            await writers.acknowledge(200)
        await writers.stop()
        await cluster.wait_until_equal()
        await writers.check()
        assert not any(Path(sockets).iterdir())
