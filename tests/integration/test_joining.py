"""Nodes that join a cluster that runs, take the place of others, and leave it, under load and kills.

FIRE_SEED repeats the kills of a failed run.
"""

import os
import random
import shutil

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.integration.clients import Clients
from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.commands import run, twistd
from tests.integration.conftest import MakeCluster, process_test
from tests.integration.members import Membership
from tests.integration.test_lost_disk import txraft
from tests.integration.waiting import until
from tests.integration.writers import Writers
from txraft.cli.process import REMOVED
from txraft.testing.history import Outcome
from txraft.testing.linearizability import check

TIMING = {"request_timeout": 800}


@define(eq=False)
class Killer:
    """Kills one node after another, with SIGKILL, and starts each again. After each, the cluster is left alone for as
    long as it took to be whole again, however slow the machine is."""

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
            killed_at = self.cluster.reactor.seconds()
            await deferLater(self.cluster.reactor, choose.uniform(0.1, 0.5))
            if victim in self.cluster.nodes:
                victim.start()
            await until(self.cluster.reactor, "all nodes know a leader", self._whole, timeout=240)
            await deferLater(self.cluster.reactor, self.cluster.reactor.seconds() - killed_at)

    async def _whole(self) -> bool | None:
        statuses = await self.cluster.statuses(self.cluster.nodes) or [{"leader_id": None}]
        return all(status["leader_id"] is not None for status in statuses) or None


def start_alone(make_cluster: MakeCluster) -> ProcessCluster:
    """A cluster of one node, which runs."""
    cluster = make_cluster(size=1, timing=TIMING)
    cluster.nodes[0].options = ["--single"]
    cluster.start()
    return cluster


async def refused(node: NodeProcess, cluster: ProcessCluster, *options: str, status: int = 1) -> str:
    """The line in which a start of the node ends, with a status."""
    command = twistd(*options, "--pidfile=", *node.arguments())
    finished = await run(cluster.reactor, command, cluster.directory)
    assert finished.status == status
    (line,) = finished.err.splitlines()
    return line


async def ends_removed(node: NodeProcess, cluster: ProcessCluster) -> None:
    """It ends by itself, and does so whenever it is started again (hazard M7)."""
    assert await node.ended() == REMOVED
    (line,) = node.stderr.read_text().splitlines()
    for each in (line, await refused(node, cluster, "-n", status=REMOVED)):
        assert f"node {node.id} was removed from the cluster" in each


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


@process_test
async def test_a_founder_that_was_alone(make_cluster: MakeCluster) -> None:
    """It asks nobody when it starts. So it must not lead a second history of the cluster: not on a copy of its
    directory from when it was alone, and not on an emptied one, on which it begins another cluster (hazard S6)."""
    cluster = start_alone(make_cluster)
    first = await cluster.wait_for_leader()
    assert (await first.ask("/set", key="a", val="old")).status == 200
    first.terminate()
    await first.ended_cleanly()
    shutil.copytree(first.data, copy := cluster.directory / "copy")
    first.start()
    membership = Membership(cluster)
    others = [await membership.add(id) for id in (1, 2)]
    assert (await others[0].ask("/set", key="a", val="new")).status == 200
    first.kill()
    await cluster.wait_for_leader(others)
    shutil.rmtree(first.data)

    copy.rename(first.data)
    first.start()
    assert await first.ended() == 1
    assert "is a copy from before a start of this node that node" in first.stderr.read_text()
    shutil.rmtree(first.data)

    first.start()
    await cluster.wait_for_leader([first])
    ids = {status["cluster"] for status in await cluster.statuses([first]) or []}
    assert not ids & {status["cluster"] for status in await cluster.statuses(others) or []}
    await cluster.wait_for_leader(others)
    assert (await others[1].ask("/get", key="a")).body == b"new"


@process_test
async def test_a_dead_voter_is_replaced(make_cluster: MakeCluster) -> None:
    """By one command, while clients write. The machine that comes back is refused for good (hazard M7)."""
    cluster = make_cluster(timing=TIMING)
    cluster.start()
    leader = await cluster.wait_for_leader()
    dead, other = cluster.others(leader)
    writers = Writers(cluster, count=2)
    writers.start()
    await writers.acknowledge(50)
    dead.kill()
    cluster.nodes.remove(dead)
    new = Membership(cluster).join(3)
    command = txraft("member", "replace", dead.id, 3, new.address, new.kvaddr, "--node", other.kvaddr)
    replaced = await run(cluster.reactor, command, cluster.directory)
    assert (replaced.status, replaced.err) == (0, "")
    assert replaced.out.endswith("node 3 is a voter\n")
    cluster.nodes.append(new)
    await writers.acknowledge(50)
    dead.start()
    await ends_removed(dead, cluster)
    new.kill()
    new.options = []  # what its directory says is enough
    new.start()
    await writers.acknowledge(50)
    await writers.stop()
    await cluster.wait_until_equal()
    await writers.check()


@process_test
async def test_a_member_is_removed(make_cluster: MakeCluster) -> None:
    """It ends by itself, whether it leads or follows, and no start of it is of any use, as a daemon or not."""
    cluster = make_cluster()
    cluster.start()
    leader = await cluster.wait_for_leader()
    (follower, _) = cluster.others(leader)
    membership = Membership(cluster)
    for node in (follower, leader):
        assert (await leader.ask("/set", key="a", val=str(node.id))).status == 200
        await membership.remove(node)
        await ends_removed(node, cluster)
        assert "was removed from the cluster" in await refused(node, cluster, "--logfile", "daemon.log", status=REMOVED)
    (last,) = cluster.nodes
    assert (await last.ask("/get", key="a")).body == str(leader.id).encode()


@process_test
async def test_waiting(make_cluster: MakeCluster) -> None:
    """A node may be started before the cluster, and be killed while it waits. Its log says what it waits for."""
    cluster = make_cluster(size=1)
    new = Membership(cluster).join(3)
    asked = cluster.nodes[0].kvaddr

    async def says(line: str) -> None:
        async def said() -> bool | None:
            return line in new.stdout.read_text() or None

        await until(cluster.reactor, f"it says: {line}", said)

    await says(f"node 3 waits to join the cluster: {asked} cannot be reached")
    cluster.start()
    await says(f"txraft member add 3 HOST:PORT {new.kvaddr} --node {asked}")
    assert (await new.ask("/get", key="a")).outcome == "not-applied"
    assert [path.name for path in new.data.iterdir()] == ["lock"]
    new.kill()
    new.start()
    await Membership(cluster).admit(new)
    await cluster.wait_until_equal()
    for node in cluster.nodes:
        node.terminate()
    for node in cluster.nodes:
        await node.ended_cleanly()


@process_test
async def test_what_cannot_join(make_cluster: MakeCluster) -> None:
    """It is told in one line: before a daemon is in the background, where it can be."""
    cluster = make_cluster()
    cluster.start()
    await cluster.wait_for_leader()
    stranger, (node, _, lost) = NodeProcess(cluster, 7), cluster.nodes
    assert "it needs --join HOST:PORT" in await refused(stranger, cluster)
    stranger.options = ["--join", "nowhere"]
    assert "is not host:port" in await refused(stranger, cluster)
    stranger.options = ["--join", node.kvaddr, "--kvaddr", node.kvaddr]
    assert f"cannot listen on {node.kvaddr}" in await refused(stranger, cluster)
    lost.kill()
    shutil.rmtree(lost.data)
    lost.options = ["--join", node.kvaddr]
    assert "node 2 belongs to the cluster since its beginning" in await refused(lost, cluster, "-n")
