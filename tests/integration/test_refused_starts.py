"""What keeps a node from starting is told in one line on stderr, with exit status 1."""

import re
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.cluster import ProcessCluster
from tests.integration.commands import run, twistd
from tests.integration.conftest import MakeCluster, process_test


async def refused(cluster: ProcessCluster, *arguments: object, twistd_options: tuple[str, ...] = ("-n",)) -> str:
    """Start a node that must not start. Gives the line."""
    finished = await run(
        cluster.reactor, twistd(*twistd_options, "--pidfile=", "txraft", *arguments), cluster.directory
    )
    assert finished.status == 1
    assert "Traceback" not in finished.out
    lines = finished.err.splitlines()
    assert len(lines) == 1, finished.err
    assert lines[0].startswith("txraft: ")
    return lines[0]


async def run_for_a_while(cluster: ProcessCluster) -> None:
    """Leave data behind."""
    cluster.start()
    leader = await cluster.wait_for_leader()
    assert (await leader.ask("/set", key="a", val="1")).status == 200
    for node in cluster.nodes:
        node.terminate()
    for node in cluster.nodes:
        await node.ended_cleanly()


@process_test
async def test_an_unknown_key_in_the_configuration(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(limits={"valu_size": 1})
    line = await refused(cluster, "--id", 0, *cluster.arguments())
    assert str(cluster.configuration) in line
    assert "valu_size" in line


@process_test
async def test_an_id_that_is_not_in_the_configuration(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    assert "no node 7" in await refused(cluster, "--id", 7, *cluster.arguments())


@process_test
async def test_no_id(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    assert "--id is missing" in await refused(cluster, *cluster.arguments())


@pytest.mark.parametrize("twistd_options", [("-n",), ()], ids=["foreground", "daemon"])
@pytest.mark.parametrize("which", ["address", "kvaddr"])
@process_test
async def test_a_port_that_is_taken(make_cluster: MakeCluster, which: str, twistd_options: tuple[str, ...]) -> None:
    cluster = make_cluster()
    address: str = getattr(cluster.nodes[0], which)
    host, _, port = address.partition(":")
    with closing(socket.create_server((host, int(port)))):
        line = await refused(cluster, "--id", 0, *cluster.arguments(), twistd_options=twistd_options)
    assert address in line


@process_test
async def test_an_entry_that_is_damaged(make_cluster: MakeCluster) -> None:
    """Hazard S4."""
    cluster = make_cluster(size=1)
    await run_for_a_while(cluster)
    path = cluster.nodes[0].data / "raft.sqlite"
    index = flip_a_bit(path)
    line = await refused(cluster, "--id", 0, *cluster.arguments())
    assert str(path) in line
    assert f"entry {index} " in line


@process_test
async def test_the_directory_of_another_node(make_cluster: MakeCluster) -> None:
    """Hazard M7."""
    cluster = make_cluster(size=2)
    await run_for_a_while(cluster)
    first, second = cluster.nodes
    shutil.rmtree(second.data)
    shutil.copytree(first.data, second.data)
    assert "belongs to node 0" in await refused(cluster, "--id", 1, *cluster.arguments())


@process_test
async def test_the_directory_of_another_cluster(make_cluster: MakeCluster) -> None:
    one, other = make_cluster(size=1, name="one"), make_cluster(size=1, name="other")
    await run_for_a_while(one)
    line = await refused(other, "--id", 0, "--config", other.configuration, "--data-dir", one.data)
    assert "belongs to cluster" in line


@process_test
async def test_the_data_of_another_cluster(make_cluster: MakeCluster) -> None:
    """Their applied index may well be within this node's log, and reads would then be wrong. Moved elsewhere, as the
    line says, the data are rebuilt."""
    one, other = make_cluster(size=1, name="one"), make_cluster(size=1, name="other")
    for cluster in (one, other):
        await run_for_a_while(cluster)
    (node,) = one.nodes
    data = node.data / "kv.sqlite"
    shutil.copy(other.nodes[0].data / "kv.sqlite", data)
    line = await refused(one, "--id", 0, *one.arguments())
    drawn = r" \(begun [0-9a-f]{16}\)"
    says = f'{re.escape(str(data))} has data of the cluster "other{drawn}", and this node is of "one{drawn}": move it'
    assert re.search(says, line), line
    data.unlink()
    node.start()
    await one.wait_for_leader()
    assert (await node.ask("/get", key="a")).body == b"1"


@process_test
async def test_the_data_of_another_node(make_cluster: MakeCluster) -> None:
    """They are what this node's own log makes."""
    cluster = make_cluster(size=2)
    await run_for_a_while(cluster)
    first, second = cluster.nodes
    shutil.copy(first.data / "kv.sqlite", second.data / "kv.sqlite")
    for node in cluster.nodes:
        node.start()
    await cluster.wait_for_leader()
    assert (await second.ask("/get", key="a")).body == b"1"


@process_test
async def test_a_directory_that_another_process_holds(make_cluster: MakeCluster) -> None:
    """It goes on to serve, unharmed."""
    one, other = make_cluster(size=1), make_cluster(size=1)
    one.start()
    await one.wait_for_leader()
    line = await refused(other, "--id", 0, "--config", other.configuration, "--data-dir", one.data)
    assert str(one.nodes[0].data) in line
    assert str(one.nodes[0].pid) in line
    assert (await one.nodes[0].ask("/set", key="a", val="1")).status == 200


def flip_a_bit(path: Path) -> int:
    """In the data of the last entry that has any. Gives the entry's index."""
    with closing(sqlite3.connect(path)) as connection, connection:
        index, data = connection.execute(
            "SELECT idx, data FROM log WHERE length(data) > 0 ORDER BY idx DESC LIMIT 1"
        ).fetchone()
        damaged = bytes([data[0] ^ 1]) + data[1:]
        connection.execute("UPDATE log SET data = ? WHERE idx = ?", (damaged, index))
    return int(index)
