"""`BlockingClient`: the contract, on a thread beside the reactor's, and what only it can do."""

import os
from http.client import HTTPConnection
from threading import Thread
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.client import contract
from tests.client.contract import NOBODY
from tests.web.wire import FakeReplica
from txraft.addresses import Address
from txraft.client import BlockingClient, KeyInfo


class BlockingClientTests(contract.ClientContract):
    def make(self, *nodes: Address, **options: Any) -> BlockingClient:
        client = BlockingClient(*nodes, **{"finds_leader": False, **options})
        self.addCleanup(client.close)
        return client

    def ask(self, client: Any, method: str, *arguments: Any, **options: Any) -> "Deferred[Any]":
        return deferToThread(getattr(client, method), *arguments, **options)

    def all_keys(self, client: Any, prefix: bytes, limit: int | None = None) -> "Deferred[list[KeyInfo]]":
        return deferToThread(lambda: list(client.keys(prefix, limit=limit)))

    async def test_several_threads(self) -> None:
        """Each has a connection for itself meanwhile."""
        address, counting = self.serve()
        client = self.make(address)

        def count(name: str) -> None:
            for number in range(50):
                client.set(name, str(number))
                found = client.get(name)
                assert found is not None
                results[name] = results.get(name, True) and found.value == str(number).encode()

        results: dict[str, bool] = {}

        def all_of_them() -> None:
            threads = [Thread(target=count, args=(f"k{number}",)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        await deferToThread(all_of_them)
        self.assertEqual(results, {f"k{number}": True for number in range(4)})
        self.assertLessEqual(len(counting.made), 4)

    async def test_a_node_that_stops_reading(self) -> None:
        """Its answer counts: it refuses what is too large before all of it has been sent."""
        replica = FakeReplica()
        address, _ = self.serve(replica)

        def request(connection: HTTPConnection, *arguments: Any) -> None:
            send(connection, *arguments)
            raise BrokenPipeError

        send = HTTPConnection.request
        with patch.object(HTTPConnection, "request", request):
            await self.ask(self.make(address), "set", "k", "v")
        self.assertEqual(replica.proposals, 1)

    async def test_proxy(self) -> None:
        """Nodes are asked themselves, whatever proxy the environment names."""
        address, _ = self.serve()
        with patch.dict(os.environ, {"http_proxy": f"http://{NOBODY}", "no_proxy": ""}):
            await self.ask(self.make(address), "set", "k", "v")

    async def test_closed(self) -> None:
        """The connections that are kept end with it, also as a context manager."""
        address, counting = self.serve()

        def use() -> None:
            with BlockingClient(address, finds_leader=False) as client:
                client.set("k", "v")

        await deferToThread(use)
        (connection,) = counting.made
        while connection.transport is not None and connection.transport.connected:
            await self.turn()
