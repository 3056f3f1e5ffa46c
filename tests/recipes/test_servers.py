"""The recipes on three servers, on the reactor that runs the tests."""

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.trial.unittest import TestCase

from tests.integration.ports import reserve_port
from txraft import Counters, Election, Lock, Locks, ObjectService, Options, Queue, Table, Timing
from txraft.recipes import Item, Loss

QUICK = Options(Timing(election_timeout=60, heartbeat_interval=20))


@define(slots=False)
class Mine(Counters, Queue, Table, Locks):
    """All of them."""


class ServerTests(TestCase):
    @asynccontextmanager
    async def three(self) -> AsyncIterator[list[ObjectService[Mine]]]:
        """Servers, of which one may have been stopped."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        self.reactor: Any = reactor
        directory = Path(self.mktemp())
        members = {id: f"127.0.0.1:{reserve_port()}" for id in range(3)}
        services = [ObjectService(reactor, members, id, directory / str(id), Mine, options=QUICK) for id in members]
        for each in services:
            each.startService()
        try:
            yield services
        finally:
            await gatherResults([each.stopService() for each in services if each.running])

    def run_to_its_end(self, work: Coroutine[Any, Any, None]) -> "Deferred[None]":
        return Deferred.fromCoroutine(work)

    def test_objects(self) -> "Deferred[None]":
        """What one server does, the others see."""

        async def work() -> None:
            async with self.three() as (one, two, three):
                self.assertEqual(await one.call(Counters.add, "a", 2), 2)
                self.assertEqual(await two.query(Counters.count, "a"), 2)
                self.assertFalse(await two.call(Table.set, "key", b"value"))
                self.assertTrue(await three.call(Table.compare_and_set, "key", b"value", 5))
                self.assertEqual(await one.query(Table.get, "key"), 5)
                self.assertEqual(await three.call(Queue.put, "letter"), 1)
                self.assertEqual(await one.call(Queue.take, "consumer"), Item(1, "letter"))
                self.assertIsNone(await two.call(Queue.take, "other"))
                self.assertTrue(await two.call(Queue.done, 1, "consumer"))
                self.assertEqual(await three.query(Queue.undone), 0)

        return self.run_to_its_end(work())

    def test_lock(self) -> "Deferred[None]":
        """It is renewed, goes from one to the next, and is not kept where who waits gives up."""

        async def work() -> None:
            async with self.three() as services:
                locks = [Lock(self.reactor, each, "name", 4.0, poll=0.05) for each in services]
                held = await locks[0].acquire()
                waiting = locks[1].acquire()
                for lock in locks[1:]:
                    seen = await lock.holder()
                    while await lock.holder() == seen:
                        pass
                self.assertTrue(held.is_held)
                await held.release()
                async with await waiting as later:
                    self.assertEqual((held.token, later.token), (1, 2))
                    given_up = locks[2].acquire()
                    given_up.addTimeout(0.2, self.reactor)
                    await self.assertFailure(given_up, TimeoutError)
                self.assertIsNone(await locks[0].holder())

        return self.run_to_its_end(work())

    def test_cut_off(self) -> "Deferred[None]":
        """Who leads loses that when its server stops, and another leads; one server alone elects nobody."""

        async def work() -> None:
            async with self.three() as services:
                elections = [
                    Election(self.reactor, each, "name", f"candidate {each.node_id}", 1.0, poll=0.05)
                    for each in services
                ]
                first = await elections[0].campaign()
                campaign = elections[1].campaign()
                await services[0].stopService()
                self.assertEqual(await first.lost, Loss.EXPIRED)
                second = await campaign
                self.assertEqual((first.token, second.token), (1, 2))
                self.assertEqual(await elections[2].leader(), "candidate 1")
                await services[2].stopService()
                self.assertEqual(await second.lost, Loss.EXPIRED)
                self.assertFalse(elections[1].is_leading)
                for each in (first, second):
                    await each.release()  # does nothing any more that takes time

        return self.run_to_its_end(work())
