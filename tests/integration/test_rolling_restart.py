"""A cluster is restarted node by node while many clients use it. Only those whose node stops are told so."""

import random

from attrs import frozen

from tests.integration.clients import Clients, Undecided
from tests.integration.conftest import MakeCluster, process_test
from txraft.testing.linearizability import check

LONG = 60.0
"""Seconds in which everything that is answered at all is answered, on any machine."""

KEYS = [str(number).encode() for number in range(32)]


@frozen
class Stop:
    """Of one node: when it was told to stop, its process was seen to be gone, and it followed again."""

    node: int
    told: float
    gone: float
    back: float

    def explains(self, undecided: Undecided) -> bool:
        """Whether it was asked of this node before that was gone, and was left undecided then; or nobody listened."""
        until = self.gone if undecided.connected else self.back
        return undecided.node == self.node and undecided.began <= until and undecided.ended >= self.told


@process_test
async def test_each_in_turn(make_cluster: MakeCluster) -> None:
    """The leader first, and twice round, so that every node stops as a leader and as a follower, most likely. Nobody
    waits for an election: its timeout is long here, so that a slow machine does not begin one either."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    cluster = make_cluster(timing={"election_timeout": 5000, "request_timeout": LONG * 1000})
    cluster.start()
    leader = await cluster.wait_for_leader()
    clients = Clients(cluster, seed, count=64, keys=KEYS, patience=2 * LONG)
    clients.start()
    stops = []
    for node in (leader, *cluster.others(leader)) * 2:
        await clients.go_on(500)
        told = cluster.reactor.seconds()
        node.terminate()
        await node.ended_cleanly()
        gone = cluster.reactor.seconds()
        await clients.go_on(500)
        node.start()
        await cluster.wait_for_leader(cluster.nodes)
        stops.append(Stop(node.id, told, gone, cluster.reactor.seconds()))
    await clients.stop()
    await cluster.wait_until_equal()
    for node in cluster.nodes:
        await clients.read_all(node)
    print(*stops, *clients.undecided, sep="\n")
    unexplained = [each for each in clients.undecided if not any(stop.explains(each) for stop in stops)]
    assert not unexplained
    verdict = check(clients.history.operations())
    assert verdict.ok, str(verdict)
