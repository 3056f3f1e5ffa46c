"""`txraft.client` against real nodes whose leader is killed: what it sends again is done once."""

from threading import Event
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent

from tests.integration.cluster import ProcessCluster
from tests.integration.conftest import process_test
from tests.integration.waiting import until
from txraft.client import BlockingClient, KeyValueClient

PATIENCE = 240.0
"""Seconds for a request: no end without an answer, however busy the machine is."""
COUNTER = "counter"
WORKERS = 3
"""With each of the clients."""


@define(eq=False)
class Worker:
    """Counts, by compare-and-set, and sets keys, each of them once."""

    name: str
    counted: int = 0
    """How often it was told that its compare-and-set was done."""
    keys: list[str] = field(factory=list)
    """What it was told that it has set."""

    def next_key(self) -> str:
        """One that nobody else sets."""
        return f"{self.name}/{len(self.keys)}"

    async def work(self, client: KeyValueClient, stop: Event) -> None:
        """On the reactor."""
        while not stop.is_set():
            found = await client.get(COUNTER)
            assert found is not None
            self.counted += await client.cas(COUNTER, found.value, str(int(found.value) + 1))
            await client.set(self.next_key(), self.name)
            self.keys.append(self.next_key())

    def work_on_a_thread(self, client: BlockingClient, stop: Event) -> None:
        """The same."""
        while not stop.is_set():
            found = client.get(COUNTER)
            assert found is not None
            self.counted += client.cas(COUNTER, found.value, str(int(found.value) + 1))
            client.set(self.next_key(), self.name)
            self.keys.append(self.next_key())


@process_test
async def test_the_leader_is_killed(cluster: ProcessCluster, reactor: Any) -> None:
    """Three in a row, under a counter and many keys: nothing is lost, and nothing is done twice. Hazard C5, C8."""
    await cluster.wait_for_leader()
    first, *_ = nodes = [node.kvaddr for node in cluster.nodes]
    client = KeyValueClient(reactor, *nodes, timeout=PATIENCE)
    blocking = BlockingClient(first, timeout=PATIENCE)  # it finds the others
    await client.set(COUNTER, "0")
    stop = Event()
    workers = [Worker(f"worker-{number}") for number in range(2 * WORKERS)]
    working = gatherResults(
        [Deferred.fromCoroutine(worker.work(client, stop)) for worker in workers[:WORKERS]]
        + [deferToThread(worker.work_on_a_thread, blocking, stop) for worker in workers[WORKERS:]],
        consumeErrors=True,
    )

    async def go_on(count: int) -> None:
        goals = [len(worker.keys) + count for worker in workers]

        async def reached() -> bool | None:
            if working.called:  # one of them failed
                await working
            return all(len(worker.keys) >= goal for worker, goal in zip(workers, goals, strict=True)) or None

        await until(reactor, f"each has set {count} more keys", reached, PATIENCE)

    with capturedLogs() as events:
        try:
            for _ in range(3):
                leader = await cluster.wait_for_leader()
                await go_on(20)
                leader.kill()
                await go_on(20)
                leader.start()
        finally:
            stop.set()
        await working

    found = await client.get(COUNTER)
    assert found is not None
    assert int(found.value) == sum(worker.counted for worker in workers)
    for worker in workers:
        versions = {info.key.decode(): info.version async for info in client.keys(f"{worker.name}/")}
        assert versions == dict.fromkeys(worker.keys, 1)
    blocking.close()
    await client.close()
    lines = [formatEvent(event) for event in events if event["log_namespace"] == "txraft.client.session"]
    print(len(lines), "attempts came to nothing, as", *sorted(set(lines))[:20], sep="\n")
    assert any("no answer" in line for line in lines)  # the kills did hit something
