"""Nodes that join a cluster that runs, take the place of others, and leave it, under load and kills.

FIRE_SEED repeats the kills of a failed run.
"""

import os
import random

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.integration.clients import Clients
from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.commands import run, twistd
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.members import Membership
from tests.integration.writers import Writers
from txraft.testing.history import Outcome
from txraft.testing.linearizability import check

TIMING = {"request_timeout": 800}


@define(eq=False)
class Killer:
    """Kills one node after another, with SIGKILL, and starts each again."""

    cluster: ProcessCluster
    seed: int
    log: list[str] = field(factory=list)
    _stopping: bool = False
    _running: "Deferred[None]" = field(factory=Deferred)

    def start(self) -> None:
        """Begin."""
        self._running = Deferred.fromCoroutine(self._kill())

    async def stop(self) -> None:
        """When this returns, every node runs."""
        self._stopping = True
        await self._running

    async def _kill(self) -> None:
        choose = random.Random(self.seed)
        while not self._stopping:
            victim = choose.choice(self.cluster.nodes)
            self.log.append(f"node {victim.id} is killed")
            victim.kill()
            await deferLater(self.cluster.reactor, choose.uniform(0.1, 0.5))
            if victim in self.cluster.nodes:
                victim.start()
            await deferLater(self.cluster.reactor, choose.uniform(1.5, 3))


def start_alone(make_cluster: MakeCluster) -> ProcessCluster:
    """A cluster of one node, which runs."""
    cluster = make_cluster(size=1, timing=TIMING)
    cluster.nodes[0].options = ["--single"]
    cluster.start()
    return cluster


async def refused(node: NodeProcess, cluster: ProcessCluster, *options: str) -> str:
    """The line in which a start of the node ends."""
    command = twistd(*options, "--pidfile=", *node.arguments())
    finished = await run(cluster.reactor, command, cluster.directory)
    assert finished.status == 1
    (line,) = finished.err.splitlines()
    return line


async def ends_removed(node: NodeProcess, cluster: ProcessCluster) -> None:
    """It ends by itself, and its directory is of no use from then on (hazard M7)."""
    assert await node.ended() == 1
    (line,) = node.stderr.read_text().splitlines()
    assert f"node {node.id} was removed from the cluster" in line
    assert await refused(node, cluster, "-n") == line


@process_test
async def test_one_to_five_to_three(make_cluster: MakeCluster) -> None:
    """One node alone becomes three, then five, then three of which none was there at first, while nodes are killed:
    nothing is lost, and what clients saw is linearizable (hazards M1 to M8)."""
    cluster = start_alone(make_cluster)
    seed = int(os.environ.get("FIRE_SEED") or random.SystemRandom().randrange(2**32))
    clients, writers, killer = Clients(cluster, seed), Writers(cluster, count=2), Killer(cluster, seed)
    membership = Membership(cluster)
    try:
        await cluster.wait_for_leader()
        clients.start()
        writers.start()
        killer.start()
        first = cluster.nodes[0]
        originals = [first]
        for id in (1, 2, 3, 4):
            originals.append(await membership.add(id))
            await writers.acknowledge(20)
        originals = originals[:3]
        for id, old in enumerate(originals[:2], 5):
            await membership.replace(old, id)
            await writers.acknowledge(20)
        await membership.remove(originals[2])
        await membership.remove(cluster.nodes[0])
        await writers.acknowledge(20)
        await killer.stop()
        await writers.stop()
        await clients.stop()
        await cluster.wait_until_equal()
        await writers.check()
        for node in cluster.nodes:
            await clients.read_all(node)
    finally:
        print(f"FIRE_SEED={seed}", *killer.log, sep="\n")
    assert membership.voters == {4, 5, 6}
    assert writers.keys("acknowledged")
    assert len(clients.operations(Outcome.OK)) > 100
    verdict = check(clients.history.operations())
    assert verdict.ok, str(verdict)
