"""Over real sockets."""

import contextlib
import select
import socket
import weakref
from random import Random
from typing import Any, cast

from attrs import define
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.collecting import no_collections
from tests.rpc.memory import CLUSTER, VOTERS, Recorder
from tests.rpc.test_snapshot_transfer import source
from txraft.core.messages import AppendEntries, Entry, EntryKind, Heartbeat
from txraft.errors import Unreachable
from txraft.interfaces import Identity
from txraft.rpc import LinkLimits, Network
from txraft.rpc.link import Link
from txraft.rpc.snapshot_transfer import CHUNK
from txraft.storage.memory import PeersInMemory

LIMITS = LinkLimits(retry_first=0.01, retry_most=0.05)


@implementer(IStreamClientEndpoint)
@define(eq=False)
class Port:
    """Dials a port that becomes known later."""

    number: int = 9

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Dial."""
        return TCP4ClientEndpoint(reactor, "127.0.0.1", self.number, timeout=1).connect(protocolFactory)


class LoopbackTests(TestCase):
    """Two nodes on this machine's loopback."""

    timeout = 20

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for what setUp gives back
        """Let both listen and dial."""
        ports = [Port(), Port()]
        self.networks = [
            Network(
                reactor,
                Identity(me, CLUSTER, VOTERS),
                PeersInMemory(),
                lambda addresses: ports[int(addresses[0])],
                Random(me),
                LIMITS,
            )
            for me in (0, 1)
        ]
        self.handlers = [Recorder(), Recorder()]
        for me in (0, 1):
            endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
            listening = await endpoint.listen(self.networks[me].server_factory())
            self.addCleanup(listening.stopListening)
            ports[1 - me].number = cast(IPv4Address, listening.getHost()).port
        for me, (network, handler) in enumerate(zip(self.networks, self.handlers, strict=True)):
            network.follow({1 - me: (f"{me}",)}, frozenset(), 0)
            network.start(handler)
            self.addCleanup(network.stop)

    async def until(self, condition: Any) -> None:
        """Wait for a condition; the test's time limit ends it."""
        while not condition():
            await deferLater(reactor, 0.002)

    async def test_reconnects(self) -> None:
        """After the connection broke, it is there again, and messages go through."""
        outgoing = self.networks[0]._outgoing
        await self.until(lambda: outgoing)
        first = outgoing[1]
        first.transport.abortConnection()
        await self.until(lambda: outgoing.get(1, first) is not first)
        self.networks[0].send(1, Heartbeat(1, 2, 1, 3))
        await self.until(lambda: self.handlers[1].received)
        self.assertEqual(self.handlers[1].received, [(0, Heartbeat(1, 2, 1, 3))])

    async def test_nothing_stays(self) -> None:
        """Of connections that have closed nothing is left, without a garbage collection: hazard N3. Who dialled or was
        dialled, with questions on the way, with half a box that had come, and with a snapshot that is being written."""
        writes: list[Deferred[None]] = []

        def on_chunk() -> Deferred[None]:
            writes.append(Deferred())
            return writes[-1]

        of = source(10 * CHUNK)
        for handler in self.handlers:
            handler.on_propose, handler.on_chunk = Deferred, on_chunk
        endless = b"\0\1k\xff\xff" + bytes(50_000)
        with no_collections():
            for end in (b"", endless, endless + bytes(50_000)):
                await self.until(lambda: all(network._incoming and network._outgoing for network in self.networks))
                links: weakref.WeakSet[Link] = weakref.WeakSet()
                for me, network in enumerate(self.networks):
                    links.update(network._links)
                    network.propose(1 - me, b"question").addErrback(lambda _: None)
                    network.send_snapshot(1 - me, of.file, of.read, 3).addErrback(lambda _: None)
                await self.until(lambda: all(handler.proposals and handler.chunks for handler in self.handlers))
                for me, network in enumerate(self.networks):
                    network._outgoing[1 - me].transport.write(end)
                    network._outgoing[1 - me].close()
                    self.handlers[me].proposals.clear()
                    self.handlers[me].chunks.clear()
                await self.until(lambda links=links: not links)

    async def test_large_entry(self) -> None:
        """An entry of 10 MiB arrives, and what follows when the transport has caught up: hazard R20."""
        await self.until(lambda: self.handlers[0].events)
        message = AppendEntries(1, 2, 3, 1, (Entry(4, 1, EntryKind.COMMAND, bytes(10 * 1024 * 1024)),), 3)
        for count in (1, 2):
            self.networks[0].send(1, message)
            await self.until(lambda count=count: len(self.handlers[1].received) == count)
        self.assertTrue(self.handlers[1].received == [(0, message)] * 2)

    async def test_snapshot(self) -> None:
        """A snapshot's data arrive, also where the connection breaks again and again, beside entries and heartbeats
        (hazard S10)."""
        handler, network = self.handlers[1], self.networks[0]
        of, there, breaks, writes = source(100 * CHUNK + 5), bytearray(), [1, 30, 60], 0
        entries = AppendEntries(1, 2, 3, 1, (Entry(4, 1, EntryKind.COMMAND, bytes(100_000)),), 3)
        handler.on_offer = lambda: succeed(len(there))

        async def write() -> None:
            nonlocal writes
            writes += 1
            _, _, offset, data = handler.chunks.pop(0)
            await deferLater(reactor, 0)  # as a worker does
            self.assertEqual(offset, len(there))
            there.extend(data)
            network.send(1, entries)
            network.send(1, Heartbeat(1, 2, 1, 3))
            if breaks and len(there) >= breaks[0] * CHUNK:
                breaks.pop(0)
                network._outgoing[1].transport.abortConnection()

        handler.on_chunk = lambda: Deferred.fromCoroutine(write())
        attempts = 0
        while not handler.finished:
            await self.until(lambda: 1 in network._outgoing)
            attempts += 1
            with contextlib.suppress(Unreachable):
                await network.send_snapshot(1, of.file, of.read, 3)
        self.assertTrue(there == of.data)
        self.assertEqual((handler.finished, attempts), ([(0, of.file)], 4))
        self.assertEqual(handler.received.count((0, Heartbeat(1, 2, 1, 3))), writes)

    async def test_at_once(self) -> None:
        """A message has left before the reactor turns, and what is written before a close arrives."""
        await self.until(lambda: all(network._incoming and network._outgoing for network in self.networks))
        link = self.networks[1]._outgoing[0]
        self.networks[0].send(1, Heartbeat(1, 2, 1, 3))
        readable, _, _ = select.select([link.transport.getHandle()], [], [], 5)
        self.assertTrue(readable)
        message = AppendEntries(1, 2, 3, 1, (Entry(4, 1, EntryKind.COMMAND, bytes(5 * 1024 * 1024)),), 3)
        self.networks[0].send(1, message)
        self.networks[0].propose(1, b"question").addErrback(lambda _: None)
        self.networks[0]._outgoing[1].close()
        await self.until(lambda: self.handlers[1].proposals)
        self.assertTrue(self.handlers[1].received == [(0, Heartbeat(1, 2, 1, 3)), (0, message)])

    async def test_socket_options(self) -> None:
        """Both sides send at once what is written, and notice a machine that is gone."""
        await self.until(lambda: all(network._incoming and network._outgoing for network in self.networks))
        for network in self.networks:
            for link in (network._incoming, network._outgoing):
                (transport,) = (link.transport for link in link.values())
                handle = transport.getHandle()
                self.assertTrue(transport.getTcpNoDelay())
                self.assertTrue(transport.getTcpKeepAlive())
                if hasattr(socket, "TCP_USER_TIMEOUT"):
                    self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), 10_000)
