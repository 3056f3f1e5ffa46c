"""Everything at once, to real processes: what clients saw is linearizable, and soon after the last fault all is well.

FIRE_SEED repeats the faults of a failed run, FIRE_SECONDS makes it as long as one likes.
"""

import os
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.integration.clients import Clients
from tests.integration.cluster import ProcessCluster
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.namespaces import FencedCluster, NetworkNamespaces, inside, refusal
from tests.integration.nemesis import TO_LINKS, TO_PROCESSES, Kind, Nemesis
from tests.integration.waiting import until
from tests.lacking import do_without
from txraft.testing.history import Outcome
from txraft.testing.linearizability import check

RECOVERY = 10.0
"""Seconds after the last fault in which every node must serve."""

TIMING = {"request_timeout": 800}
"""So that nodes give up before their clients do, most of the time."""

MakeNetwork = Callable[[int], NetworkNamespaces]
sizes = pytest.mark.parametrize("size", [3, 5])


@pytest.fixture
def make_network() -> Iterator[MakeNetwork]:
    """Makes networks of so many namespaces, open, and removed after the test. Skips where that cannot be, but in CI."""
    if reason := refusal():
        do_without(reason)
    networks: list[NetworkNamespaces] = []

    def make(size: int) -> NetworkNamespaces:
        networks.append(NetworkNamespaces(size))
        networks[-1].open()
        return networks[-1]

    yield make
    for network in networks:
        network.close()


@pytest.fixture
def make_fenced_cluster(reactor: Any, tmp_path: Path, make_network: MakeNetwork) -> Iterator[MakeCluster]:
    """Makes clusters of so many nodes, each in a namespace of its own; nothing runs yet."""
    clusters: list[FencedCluster] = []

    def make(size: int) -> FencedCluster:
        clusters.append(FencedCluster(reactor, tmp_path, make_network(size), TIMING))
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.close()
        print(cluster.tails())


@sizes
@process_test
async def test_killed_and_paused(make_cluster: MakeCluster, size: int) -> None:
    """One node after another, two at once where there are five. Hazard C3, C5, C6, C8, E1, S5."""
    await under_fire(make_cluster(size=size, timing=TIMING), TO_PROCESSES, seconds=10)


@sizes
@process_test
async def test_cut_off_too(make_fenced_cluster: MakeCluster, size: int) -> None:
    """In both directions and in one, between kills and pauses. Hazard E8, E9, C1, C3, R15, R19."""
    await under_fire(make_fenced_cluster(size), TO_PROCESSES + TO_LINKS, seconds=20)


def test_a_cut_is_one_way(make_network: MakeNetwork) -> None:
    """What the tests above rely on: a direction that is cut loses everything, the other one nothing."""
    network = make_network(2)
    with socket_of(network, 0) as zero, socket_of(network, 1) as one:
        ways = {(0, 1): (zero, one), (1, 0): (one, zero)}
        assert passing(ways) == {(0, 1), (1, 0)}
        network.cut([(0, 1)])
        assert passing(ways) == {(1, 0)}
        network.cut([(0, 1), (1, 0)])
        assert passing(ways) == set()
        network.heal([(0, 1), (1, 0)])
        assert passing(ways) == {(1, 0)}
        network.heal([(0, 1)])
        assert passing(ways) == {(0, 1), (1, 0)}


async def under_fire(cluster: ProcessCluster, kinds: Sequence[Kind], seconds: float) -> None:
    """Start it, hurt it for so long while clients use it, and see whether it kept its promises."""
    seed = int(os.environ.get("FIRE_SEED") or random.SystemRandom().randrange(2**32))
    nemesis = Nemesis(cluster, seed, kinds)
    clients = Clients(cluster, seed)
    try:
        cluster.start()
        await cluster.wait_for_leader()
        clients.start()
        await nemesis.rage(float(os.environ.get("FIRE_SECONDS") or seconds))
        await serves_again(cluster, clients)
        nemesis.note("every node has served again")
        await clients.stop()
        await cluster.wait_until_equal()
        for node in cluster.nodes:
            await clients.read_all(node)
    finally:
        print(f"FIRE_SEED={seed}", *nemesis.log, sep="\n")
    counts = {outcome: len(clients.operations(outcome)) for outcome in Outcome}
    print(counts)
    assert counts[Outcome.OK] > 20 * seconds  # else too little happened to prove anything
    assert counts[Outcome.UNKNOWN] + counts[Outcome.NOT_APPLIED]  # the faults did hit something
    verdict = check(clients.history.operations())
    assert verdict.ok, str(verdict)


async def serves_again(cluster: ProcessCluster, clients: Clients) -> None:
    """Wait until each node has decided a write and a read."""

    async def serve(id: int) -> None:
        async def served() -> bool | None:
            return await clients.try_out(cluster.nodes[id]) or None

        await until(cluster.reactor, f"node {id} serves again", served, RECOVERY)

    await gatherResults([Deferred.fromCoroutine(serve(node.id)) for node in cluster.nodes], consumeErrors=True)


def socket_of(network: NetworkNamespaces, id: int) -> socket.socket:
    """A UDP socket at the address of a node."""
    with inside(network.namespace(id)):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((network.address(id), 0))
    made.settimeout(0.2)
    return made


def passing(ways: dict[tuple[int, int], tuple[socket.socket, socket.socket]]) -> set[tuple[int, int]]:
    """The directions in which a packet arrives."""
    arrived = set()
    for way, (sender, receiver) in ways.items():
        sender.sendto(b"", receiver.getsockname())
        try:
            receiver.recv(1)
        except TimeoutError:
            continue
        arrived.add(way)
    return arrived
