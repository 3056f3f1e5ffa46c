"""A stream of writes, and a book of what became of each."""

from typing import Literal

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web._newclient import RequestNotSent  # twisted.web.client does not export it, and raises it
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from tests.integration.cluster import NodeProcess, ProcessCluster
from tests.integration.waiting import until

Outcome = Literal["acknowledged", "not-applied", "unknown", "cut off", "refused"]

PAUSE = 0.01
"""Seconds after a write that did not succeed, in which a machine with few cores can do something better."""


@define(eq=False)
class Writers:
    """Several writers at once, each through all nodes in turn, each write to a new key.

    writers = Writers(cluster)
    writers.start()
    await writers.acknowledge(100)
    ...
    await writers.stop()
    await writers.check()
    """

    cluster: ProcessCluster
    count: int = 8
    outcomes: dict[str, Outcome] = field(factory=dict, init=False)
    """Of each key's only write: answered 200; answered 503 with one or the other X-Txraft-Outcome; the connection was
    lost; there was none."""
    _stopping: bool = field(default=False, init=False)
    _running: "Deferred[list[None]] | None" = field(default=None, init=False)

    def start(self) -> None:
        """Begin."""
        self._running = gatherResults(
            [Deferred.fromCoroutine(self._write(number)) for number in range(self.count)], consumeErrors=True
        )

    async def stop(self) -> None:
        """Wait until each writer has its answer, and is done. Fails where one of them met what should not happen."""
        self._stopping = True
        assert self._running is not None
        await self._running

    async def acknowledge(self, count: int) -> None:
        """Wait until so many more writes have been acknowledged."""
        goal = len(self.keys("acknowledged")) + count

        async def reached() -> bool | None:
            assert self._running is not None
            if self._running.called:  # a writer failed
                await self._running
            return len(self.keys("acknowledged")) >= goal or None

        await until(self.cluster.reactor, f"{count} more acknowledged writes", reached, timeout=240)

    def keys(self, outcome: Outcome) -> list[str]:
        """The keys whose write had this outcome."""
        return [key for key, its in self.outcomes.items() if its == outcome]

    async def check(self) -> None:
        """On every node: everything that was acknowledged is there, nothing that was called not-applied."""
        for node in self.cluster.nodes:
            # After one linearizable read, the node's own state has all that was acknowledged.
            assert (await node.ask("/get", key="no such key")).status == 404
            kept = await read(node, self.keys("acknowledged"))
            lost = [key for key, value in kept.items() if value != _value(key)]
            assert not lost, f"acknowledged, but not on node {node.id}: {lost}"
            refused = await read(node, self.keys("not-applied") + self.keys("refused"))
            there = [key for key, value in refused.items() if value is not None]
            assert not there, f"called not-applied, but on node {node.id}: {there}"

    async def _write(self, writer: int) -> None:
        number = 0
        while not self._stopping:
            node = self.cluster.nodes[(writer + number) % len(self.cluster.nodes)]
            key = f"{writer}.{number}"
            number += 1
            outcome = await self._write_one(node, key)
            self.outcomes[key] = outcome
            if outcome != "acknowledged":
                await deferLater(self.cluster.reactor, PAUSE)

    async def _write_one(self, node: NodeProcess, key: str) -> Outcome:
        try:
            answer = await node.ask("/set", key=key, val=_value(key))
        except ConnectError:
            return "refused"
        except (RequestNotSent, RequestTransmissionFailed, ResponseFailed, ConnectionClosed):
            return "cut off"
        if answer.status == 200:
            return "acknowledged"
        assert answer.status == 503, answer
        assert answer.retry_after is not None, answer
        assert answer.outcome in ("not-applied", "unknown"), answer
        return "unknown" if answer.outcome == "unknown" else "not-applied"


async def read(node: NodeProcess, keys: list[str], at_once: int = 20) -> dict[str, str | None]:
    """What the node itself holds (stale reads), by key; None where there is nothing."""
    values: dict[str, str | None] = {}
    left = iter(keys)

    async def reader() -> None:
        for key in left:
            answer = await node.ask("/get", key=key, consistency="stale")
            assert answer.status in (200, 404), answer
            values[key] = answer.body.decode() if answer.status == 200 else None

    await gatherResults([Deferred.fromCoroutine(reader()) for _ in range(at_once)], consumeErrors=True)
    return values


def _value(key: str) -> str:
    return f"the value of {key}"
