"""What strangers do to a node over HTTP: it goes on, serves the others, and its log stays short (hazards N1 to N7)."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

from tests.integration.cluster import NodeProcess
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.waiting import until
from txraft.web.batches import MAX_READ

MIB = 1024 * 1024
HEAD = b"Host: x\r\nConnection: close\r\n"


def connect(node: NodeProcess, receive_buffer: int | None = None) -> socket.socket:
    """A connection to a node's HTTP API."""
    client = socket.socket()
    client.settimeout(20)
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    host, _, port = node.kvaddr.rpartition(":")
    client.connect((host, int(port)))
    return client


def answer_to(node: NodeProcess, sent: bytes) -> bytes:
    """Everything that comes back for these bytes."""
    with connect(node) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while piece := client.recv(1 << 16):
            received += piece
        return received


def beginning(client: socket.socket) -> bytes:
    """Of what comes back; empty where the node has dropped the connection."""
    try:
        return client.recv(len("HTTP/1.1 200"))
    except ConnectionResetError:
        return b""


def memory(node: NodeProcess) -> int:
    """What a process has in memory, in bytes."""
    pages = int(Path(f"/proc/{node.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@contextmanager
def open_files(number: int) -> Iterator[None]:
    """Processes that are started here may open so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@process_test
async def test_hostile_requests(make_cluster: MakeCluster) -> None:
    """Each gets its status and a line, at once, and none leaves a trace in the log (hazards N1, N5 and N7)."""
    cluster = make_cluster(size=1)
    cluster.start()
    node = await cluster.wait_for_leader()
    before = node.stdout.stat().st_size
    form = b"POST /set HTTP/1.1\r\n" + HEAD + b"Content-Type: multipart/form-data; boundary=B"
    part = b'--B\r\nContent-Disposition: form-data; name="key"' + b";" * 120_000 + b"\r\n\r\nk\r\n--B--\r\n"
    for sent, status in (
        (form + b"\r\nContent-Length: %d\r\n\r\n" % len(part) + part, 400),
        (form + b'"' + b";" * 8_000 + b"\r\nContent-Length: 1\r\n\r\nx", 400),
        (form + b'"' + b";" * 60_000 + b"\r\nContent-Length: 1\r\n\r\nx", 431),
        (b"GET / HTTP/1.1\r\n" + HEAD + b"Content-Length: %b\r\n\r\n" % (b"9" * 5000), 400),
        (b"HEAD /%b HTTP/1.1\r\n" % (b"x" * 8_000) + HEAD + b"\r\n", 404),
        (b"HEAD /%b HTTP/1.1\r\n" % (b"x" * 60_000) + HEAD + b"\r\n", 414),
        (b"GET /get?%b=1 HTTP/1.1\r\n" % (b"%1b[2J" * 1_300) + HEAD + b"\r\n", 400),
        (b"GET /get?%b=1 HTTP/1.1\r\n" % (b"%1b[2J" * 10_000) + HEAD + b"\r\n", 414),
        (b"POST /set?key=k&val=v HTTP/1.1\r\n" + HEAD + b"Origin: http://evil.example\r\n\r\n", 403),
        (b"X: \r\n" * 100, 400),
        (b"GET / HTTP/1.1\r\n" + HEAD + b"X: y\r\n" + b" \r\n" * 20_000, 400),
        (b"GET / HTTP/1.1\r\n" + HEAD + b"x" * 70_000, 431),
    ):
        start = monotonic()
        answer = answer_to(node, sent)
        assert answer.startswith(b"HTTP/1.1 %d " % status), (sent[:60], answer)
        assert b"\r\nX-Content-Type-Options: nosniff\r\n" in answer
        assert len(answer) < 1000
        assert monotonic() - start < 5, sent[:60]
    assert (await node.ask("/get", key="k")).status == 404
    assert node.stdout.stat().st_size == before, node.tail()


@process_test
async def test_answers_that_nobody_reads(make_cluster: MakeCluster) -> None:
    """A thousand requests for a large value on each of some connections cost one answer each, and these for a while
    only (hazard N2)."""
    cluster = make_cluster(size=1, timing={"receive_timeout": 2000})
    cluster.start()
    node = await cluster.wait_for_leader()
    assert (await node.ask("/set", key="k", val="v" * MIB)).status == 200
    before = memory(node)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(node, receive_buffer=4096)) for _ in range(10)]
        for client in clients:
            client.sendall(b"GET /get?key=k HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        for _ in range(20):
            assert (await node.ask("/get", key="k")).status == 200
            assert memory(node) - before < 100 * MIB

        async def dropped() -> bool | None:
            return len(list(Path(f"/proc/{node.pid}/fd").iterdir())) < files + 10 or None

        files = len(list(Path(f"/proc/{node.pid}/fd").iterdir())) - 10
        await until(cluster.reactor, "the node drops those who read nothing", dropped)
    assert (await node.ask("/get", key="k")).status == 200


@process_test
async def test_batches_that_read_a_large_value(make_cluster: MakeCluster) -> None:
    """A hundred bytes on each of many connections ask for as much as a batch reads, of the kind that is longest in
    JSON. They are answered, and the node serves the others meanwhile (hazards N1, N2 and C9)."""
    cluster = make_cluster(size=1)
    cluster.start()
    node = await cluster.wait_for_leader()
    assert (await node.ask("/set", key="k", val="\0" * MAX_READ)).status == 200
    before = memory(node)
    body = b'[{"get": {"key": "k"}}]'
    request = b"POST /batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(node, receive_buffer=4096)) for _ in range(300)]
        for client in clients:
            client.sendall(request + body)
        assert (await node.ask("/set", key="l", val="v")).status == 200
        for _ in range(20):
            assert (await node.ask("/get", key="l")).status == 200
            assert memory(node) - before < 200 * MIB
        assert {beginning(client) for client in clients} - {b""} == {b"HTTP/1.1 200"}
        assert memory(node) - before < 200 * MIB


@process_test
async def test_as_many_connections_as_files(make_cluster: MakeCluster) -> None:
    """More connections than the process may open files: those that are there are served, the others are turned away
    with one line in the log, and all are served again when the silent ones have been dropped (hazards N4 and N6)."""
    cluster = make_cluster(size=1, timing={"receive_timeout": 3000, "idle_timeout": 20_000})
    with open_files(256):
        cluster.start()
    node = await cluster.wait_for_leader()
    host, _, raft_port = node.address.rpartition(":")
    with ExitStack() as stack:
        served = stack.enter_context(connect(node))
        for number in range(300):
            client = stack.enter_context(connect(node))
            if number < 10:
                client.sendall(b"GET /get?key=")
            stack.enter_context(socket.create_connection((host, int(raft_port))))
        for key in (b"a", b"b"):
            served.sendall(b"GET /set?key=%b&val=v HTTP/1.1\r\nHost: x\r\n\r\n" % key)
            assert served.recv(1000).startswith(b"HTTP/1.1 200 ")

        async def served_again() -> bool | None:
            try:
                return (await node.ask("/get", key="b")).status == 200 or None
            except Exception:  # turned away
                return None

        await until(cluster.reactor, "the node has dropped those who said half a request", served_again)
    log = node.stdout.read_text()
    assert log.count("clients are connected, which is as many as may be") == 1
    assert log.count("this process may open 256 files") == 1
    assert "Traceback" not in log
    assert len(log) < 20_000, log
    node.terminate()
    await node.ended_cleanly()
