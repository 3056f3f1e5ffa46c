"""`KeyValueClient`: the contract, and what only it can do."""

from typing import Any

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tests.client import contract
from tests.client.contract import SHORT
from tests.web.wire import FakeReplica
from txraft.addresses import Address
from txraft.client import KeyInfo, KeyValueClient
from txraft.errors import Unreachable


class KeyValueClientTests(contract.ClientContract):
    def make(self, *nodes: Address, **options: Any) -> KeyValueClient:
        client = KeyValueClient(self.reactor, *nodes, **{"finds_leader": False, **options})
        self.addCleanup(client.close)
        return client

    def ask(self, client: Any, method: str, *arguments: Any, **options: Any) -> "Deferred[Any]":
        asked: Deferred[Any] = getattr(client, method)(*arguments, **options)
        return asked

    def all_keys(self, client: Any, prefix: bytes, limit: int | None = None) -> "Deferred[list[KeyInfo]]":
        async def collect() -> list[KeyInfo]:
            return [info async for info in client.keys(prefix, limit=limit)]

        return Deferred.fromCoroutine(collect())

    async def test_many_at_once(self) -> None:
        """Each has a connection, up to the greatest number; what goes beyond it waits for one."""
        replica = FakeReplica()
        replica.waiting = []
        address, counting = self.serve(replica)
        client = self.make(address, connections=3)
        asked = [client.set(f"k{number}", "v") for number in range(7)]
        answered = 0
        while answered < len(asked):
            while len(replica.waiting) < min(3, len(asked) - answered):
                await self.turn()
            self.assertLessEqual(len(replica.waiting), 3)
            waiting, replica.waiting = replica.waiting, []
            answered += len(waiting)
            for each in waiting:
                each.callback(b"\x00")
        await gatherResults(asked, consumeErrors=True)
        replica.waiting = None
        await gatherResults([client.set(f"k{number}", "v") for number in range(3)], consumeErrors=True)
        self.assertEqual(len(counting.made), 3)

    async def test_no_connection_is_free(self) -> None:
        """Then nothing was sent."""
        address, server = self.say(None)
        client = self.make(address, connections=1)
        first = client.set("a", "1")
        line = await self.fails(Unreachable, client, "set", "b", "2", timeout=SHORT)
        self.assertIn("all 1 connections were in use", line)
        first.cancel()
        await self.assertFailure(first, CancelledError)
        self.assertEqual(len(server.requests), 1)

    async def test_cancelled(self) -> None:
        """Nobody is asked any more, neither again nor elsewhere."""
        silent, server = self.say(None)
        other, its = self.serve()
        asked = self.make(silent, other).set("k", "v")
        while not server.requests:
            await self.turn()
        asked.cancel()
        await self.assertFailure(asked, CancelledError)
        self.assertEqual((len(server.requests), its.made), (1, []))

    def test_cancelled_while_it_connects(self) -> None:
        """The same."""
        reactor = MemoryReactorClock()
        asked = KeyValueClient(reactor, "127.0.0.1:1", "127.0.0.1:2", finds_leader=False).set("k", "v")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual([client[1] for client in reactor.tcpClients], [1])

    def test_a_node_that_takes_no_connection(self) -> None:
        """Its machine may be gone, and nobody says so: the next node is asked."""
        reactor = MemoryReactorClock()
        client = KeyValueClient(reactor, "127.0.0.1:1", "127.0.0.1:2", finds_leader=False)
        asked = client.set("k", "v", timeout=10.0)
        reactor.tcpClients[0][2].clientConnectionFailed(reactor.connectors[0], Failure(error.TimeoutError()))
        self.assertEqual([each[1] for each in reactor.tcpClients], [1, 2])
        reactor.pump([1.0] * 11)
        self.failureResultOf(asked, Unreachable)
