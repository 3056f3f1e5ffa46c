"""Backups of a running cluster, and clusters that are made of them."""

import json
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.integration.cluster import ProcessCluster
from tests.integration.commands import run
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.test_lost_disk import txraft
from tests.integration.waiting import until
from tests.integration.writers import Writers


def values_in(backup: Path) -> dict[bytes, bytes]:
    """What SQLite alone finds in one: keys, and their records."""
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return dict(connection.execute("SELECT key, record FROM data"))


def begin_backup(kvaddr: str, path: Path, size: int) -> None:
    """As a client does that is cut off when it has `size` bytes: what it has then."""
    host, port = kvaddr.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"GET /backup HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while (end := received.find(b"\r\n\r\n") + 4) < 4 or len(received) < end + size:
            piece = connection.recv(65536)
            assert piece, received
            received += piece
    digest = received.split(b'ETag: "')[1][:64].decode()
    path.with_name(f"{path.name}.{digest}.part").write_bytes(received[end : end + size])


@process_test
async def test_under_load(cluster: ProcessCluster) -> None:
    """Everything that was acknowledged before is in it, whichever node is asked, and the others still write: also where
    it was cut off and goes on meanwhile."""
    leader = await cluster.wait_for_leader()
    for number in range(8):
        assert (await leader.ask("/set", key=f"large-{number}", val="x" * 900_000)).status == 200
    writers = Writers(cluster)
    writers.start()
    for node in cluster.nodes:
        await writers.acknowledge(50)
        begun = {key.encode() for key in writers.keys("acknowledged")}
        assert begun
        path = cluster.directory / f"{node.id}.backup"
        begin_backup(node.kvaddr, path, 2_000_000)
        assert list(cluster.directory.glob("*.part"))
        await writers.acknowledge(50)
        finished = await run(cluster.reactor, txraft("backup", path, "--node", node.kvaddr), cluster.directory)
        assert (finished.status, finished.err) == (0, ""), finished
        assert f"made by node {node.id}" in finished.out
        found = values_in(path)
        assert begun <= set(found)
        assert len([key for key in found if key.startswith(b"large-")]) == 8
    await writers.stop()
    await writers.check()


@process_test
async def test_a_new_cluster(make_cluster: MakeCluster) -> None:
    """It has the data of the backup, goes on from there, and is joined by no node of the old one."""
    old, new = make_cluster(name="shop"), make_cluster(name="shop")
    old.start()
    leader = await old.wait_for_leader()
    for number in range(20):
        assert (await leader.ask("/set", key=f"k{number}", val=f"v{number}")).status == 200
    path = old.directory / "a.backup"
    command = txraft("backup", path, "--config", old.configuration)
    assert (await run(old.reactor, command, old.directory)).status == 0
    for node in new.nodes:
        command = txraft("restore", path, "--config", new.configuration, "--data-dir", new.data, "--id", node.id)
        finished = await run(new.reactor, command, new.directory)
        assert (finished.status, finished.err) == (0, ""), finished
    new.start()
    leader = await new.wait_for_leader()
    status = await leader.status()
    assert status is not None
    assert status["cluster"].startswith("shop (restored ")
    assert (await leader.ask("/set", key="later", val="v")).status == 200
    await new.wait_until_equal()
    for node in new.nodes:
        listed = [json.loads((await each.ask("/keys", prefix="k")).body) for each in (node, old.nodes[0])]
        assert listed[0]["keys"] == listed[1]["keys"]
    stray = new.others(leader)[0]
    stray.terminate()
    await stray.ended_cleanly()
    shutil.rmtree(stray.data)
    shutil.copytree(old.nodes[stray.id].data, stray.data)
    stray.start()

    async def refused() -> bool | None:
        return "belongs to cluster 'shop'" in leader.stdout.read_text() or None

    await until(new.reactor, "the old node is refused", refused)
    assert (await leader.ask("/set", key="after", val="v")).status == 200
