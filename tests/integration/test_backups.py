"""Backups of a running cluster, and clusters that are made of them."""

import hashlib
import json
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.integration.cluster import ProcessCluster
from tests.integration.commands import run
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.test_lost_disk import stopped, txraft
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
    length = int(received.split(b"Content-Length: ")[1].split(b"\r\n")[0])
    path.with_name(f"{path.name}.txraft-part").write_bytes(received[end : end + size])
    notes = {"sha256": digest, "size": length, "node": kvaddr}
    path.with_name(f"{path.name}.txraft-part-of").write_text(json.dumps(notes))


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
        digest = json.loads(path.with_name(f"{path.name}.txraft-part-of").read_text())["sha256"]
        await writers.acknowledge(50)
        command = txraft("backup", path, "--config", cluster.configuration)  # it knows who has the rest
        finished = await run(cluster.reactor, command, cluster.directory)
        assert (finished.status, finished.err) == (0, ""), finished
        assert f"made by node {node.id}" in finished.out
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        found = values_in(path)
        assert begun <= set(found)
        assert len([key for key in found if key.startswith(b"large-")]) == 8
    await writers.stop()
    await writers.check()


async def restored(old: ProcessCluster, new: ProcessCluster) -> None:
    """Start `old`, put something in it, and start `new` with a backup of that."""
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


@process_test
async def test_a_new_cluster(make_cluster: MakeCluster) -> None:
    """It has the data of the backup, goes on from there, and is joined by no node of the old one."""
    old, new = make_cluster(name="shop"), make_cluster(name="shop")
    await restored(old, new)
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
        line = f"node {stray.id} at {stray.address} refused this node: this is another cluster"
        return line in leader.stdout.read_text() or None

    await until(new.reactor, "the old node has nothing to do with the new ones", refused)
    assert (await leader.ask("/set", key="after", val="v")).status == 200


@process_test
async def test_a_disk_is_lost(make_cluster: MakeCluster) -> None:
    """A node of a restored cluster starts anew by the README's steps. Without the last of them, the name, the others
    say what is missing."""
    old, cluster = make_cluster(name="shop"), make_cluster(name="shop")
    await restored(old, cluster)
    old.close()
    leader = await cluster.wait_for_leader()
    status = await leader.status()
    assert status is not None
    lost = cluster.others(leader)[0]
    await stopped(lost)
    shutil.rmtree(lost.data)
    for other in cluster.others(lost):
        await stopped(other)
        forget = txraft("forget", "--data-dir", other.data, "--id", lost.id)
        assert (await run(cluster.reactor, forget, cluster.directory)).status == 0
        other.start()
        leader = await cluster.wait_for_leader()
    assert (await leader.ask("/set", key="after", val="v")).status == 200
    lost.start()

    async def refused() -> bool | None:
        line = f"belongs to cluster 'shop', and this node to '{status['cluster']}'; to join this one"
        return line in leader.stdout.read_text() or None

    await until(cluster.reactor, "the node without the name is refused", refused)
    await stopped(lost)
    shutil.rmtree(lost.data)
    lost.configuration = cluster.directory / "named.toml"
    text = cluster.configuration.read_text()
    assert 'name = "shop"' in text
    lost.configuration.write_text(text.replace('name = "shop"', f'name = "{status["cluster"]}"'))
    lost.start()
    await cluster.wait_until_equal()
    await stopped(lost)
    lost.configuration = cluster.configuration
    lost.start()
    assert (await leader.ask("/set", key="later", val="v")).status == 200
    await cluster.wait_until_equal()
