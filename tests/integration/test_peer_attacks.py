"""What strangers do to a node at the port of its peers: memory, files and log stay bounded (hazards N3 and N5)."""

import socket
from contextlib import ExitStack, suppress
from pathlib import Path

from twisted.internet.task import deferLater
from twisted.protocols import amp

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.test_http_attacks import MIB, memory
from tests.integration.waiting import until
from txraft.interfaces import Incarnation
from txraft.rpc.amp_commands import Hello, Met
from txraft.rpc.directories import Verdict
from txraft.rpc.versions import NEWEST_VERSION
from txraft.settings_file import load

INCARNATION = Incarnation(b"directry", 1, b"thestart")


def dial(node: NodeProcess) -> socket.socket:
    """A connection to the port on which a node listens for its peers."""
    host, _, port = node.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def hello(cluster: ProcessCluster, **changes: object) -> bytes:
    """The bytes by which node 1 would be let in at node 0, with changes."""
    settings = load(str(cluster.configuration))
    voters = tuple(member.id for member in settings.cluster)
    right = {"protocol_version": NEWEST_VERSION, "cluster_id": settings.cluster_id, "from_id": 1, "to_id": 0}
    box = Hello.makeArguments(right | {"voters": voters, "incarnation": INCARNATION, "known": 0} | changes, None)
    box[amp.COMMAND], box[amp.ASK] = Hello.commandName, b"1"
    said: bytes = box.serialize()
    return said


def met() -> bytes:
    """The bytes by which node 1 ends its handshake."""
    box = Met.makeArguments({"drawn": INCARNATION.start, "verdict": Verdict.WELCOME}, None)
    box[amp.COMMAND], box[amp.ASK] = Met.commandName, b"2"
    said: bytes = box.serialize()
    return said


def send_until_closed(client: socket.socket, piece: bytes, most: int) -> int:
    """Send again and again; how many bytes the other side let go through before it hung up, or `most`."""
    sent = 0
    with suppress(ConnectionError, TimeoutError):
        while sent < most:
            sent += client.send(piece)
    return sent


def open_files(node: NodeProcess) -> int:
    """How many files and connections a process has open."""
    return len(list(Path(f"/proc/{node.pid}/fd").iterdir()))


@process_test
async def test_strangers(make_cluster: MakeCluster) -> None:
    """Boxes that never end, Hellos of every kind again and again, other protocols, and connections that say nothing."""
    cluster = make_cluster()
    cluster.start()
    await cluster.wait_for_leader()
    node = cluster.nodes[0]
    memory_before, log_before = memory(node), node.stdout.stat().st_size
    cluster_id = load(str(cluster.configuration)).cluster_id.encode()
    endless = b"\0\1k\xff\xff" + bytes(0xFFFF)
    small = b"\0\1k\0\1v"
    for piece in (endless, small * 10_000, b"GET / HTTP/1.1\r\n" * 1000, b"\xff" * 65_536):
        for _ in range(10):
            with dial(node) as client:
                assert send_until_closed(client, piece, 100 * MIB) < 20 * MIB  # the buffers of two sockets
    for changes in (
        {"cluster_id": "x" * 1000},
        {"cluster_id": "x" * 60_000},
        {"cluster_id": "\n\x1b[2J" * 100},
        {"protocol_version": 2**63 - 1},
        {"voters": tuple(range(1000))},
        {"from_id": 77},
        {"to_id": 2},
        {},  # the wrong directory (hazard S6)
    ):
        for _ in range(300):
            with dial(node) as client, suppress(ConnectionError):
                client.sendall(hello(cluster, **changes) + met())
                assert cluster_id not in client.recv(1000)
    with ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(dial(node))

        async def few() -> bool | None:
            return open_files(node) < 64 + 50 or None

        await until(cluster.reactor, "the node has hung up on most of those who say nothing", few)
    assert memory(node) - memory_before < 20 * MIB
    assert node.stdout.stat().st_size - log_before < 10_000, node.tail()
    assert "Traceback" not in node.stdout.read_text()
    await cluster.wait_for_leader()
    assert (await node.ask("/set", key="a", val="1")).status == 200


@process_test
async def test_peers_that_misbehave(make_cluster: MakeCluster) -> None:
    """What is let in as a node, and is none: half of the largest box, held and given up; nonsense again and again."""
    cluster = make_cluster()
    cluster.nodes[0].start()
    cluster.nodes[2].start()
    node = cluster.nodes[0]
    await cluster.wait_for_leader([node, cluster.nodes[2]])
    memory_before, log_before = memory(node), node.stdout.stat().st_size
    for _ in range(5):
        with dial(node) as client:
            client.sendall(hello(cluster) + met())
            about: dict[bytes, bytes] = {b"incarnation": bytes(24), b"drawn": b"", b"known": b"0", b"version": b"6"}
            told = {b"_answer": b"1", **about}
            answer, end = amp.Box(told).serialize(), amp.Box({b"_answer": b"2", b"verdict": b"WELCOME"}).serialize()
            with client.makefile("rb") as answers:  # the node may go on with what it has for us
                assert answers.read(len(answer + end)).endswith(end)
            for number in range(500):
                client.sendall(b"\0\4k%03d\xff\xff" % number + bytes(0xFFFF))
        await deferLater(cluster.reactor, 0.1)
    assert memory(node) - memory_before < 100 * MIB
    nonsense = amp.Box({b"_command": b"Heartbeat", b"message": b"\x91" * 60_000}).serialize()
    for _ in range(300):
        with dial(node) as client:
            client.sendall(hello(cluster) + met() + nonsense)
            send_until_closed(client, b"x" * 1000, MIB)
    assert node.stdout.stat().st_size - log_before < 10_000, node.tail()
    assert "Traceback" not in node.stdout.read_text()
    await cluster.wait_for_leader([node, cluster.nodes[2]])
    assert (await node.ask("/set", key="a", val="1")).status == 200


@process_test
async def test_peers_that_cannot_be_reached(make_cluster: MakeCluster) -> None:
    """A name that does not resolve, and a port where nobody listens, are a line each; a cluster that starts well has
    none."""
    cluster = make_cluster()
    cluster.start()
    await cluster.wait_for_leader()
    assert "reached" not in cluster.nodes[0].stdout.read_text()
    for node in cluster.nodes:
        node.kill()
    old = f'address = "{cluster.nodes[1].address}"'
    text = cluster.configuration.read_text().replace(old, 'address = "x.invalid:1"')
    cluster.configuration.write_text('name = "another"\n' + text)
    cluster.data.rename(cluster.data.with_name("old"))
    cluster.nodes[0].start()
    lines = {
        "node 1 at x.invalid:1 cannot be reached: the name does not resolve",
        f"node 2 at {cluster.nodes[2].address} cannot be reached: nothing listens there",
    }

    async def told() -> bool | None:
        log = cluster.nodes[0].stdout.read_text()
        return all(line in log for line in lines) or None

    await until(cluster.reactor, "both are named", told)
