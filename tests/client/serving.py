"""The API of a node on a real port, and servers that say what a test wants, all in the reactor of the test."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.trial.unittest import TestCase

from tests.web.wire import FakeReplica
from txraft.addresses import Address
from txraft.settings import SizeLimits
from txraft.web import site


class Counting(ServerFactory):
    """Counts the connections that another factory gets, and can end them."""

    noisy = False

    def __init__(self, factory: Any) -> None:
        self.factory = factory
        self.made: list[Any] = []

    def doStart(self) -> None:
        """As Factory."""
        self.factory.doStart()

    def doStop(self) -> None:
        """As Factory."""
        self.factory.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """As IProtocolFactory."""
        protocol = self.factory.buildProtocol(addr)
        self.made.append(protocol)
        return protocol

    def hang_up(self) -> None:
        """On everybody."""
        for protocol in self.made:
            if protocol.transport is not None and protocol.transport.connected:
                protocol.transport.abortConnection()


class Saying(Protocol):
    """Takes one request, says something, and closes the connection. Where it has nothing to say, it is silent."""

    def __init__(self, requests: list[bytes], says: bytes | None) -> None:
        self._received = b""
        self._requests = requests
        self._says = says

    def dataReceived(self, data: bytes) -> None:
        """As IProtocol."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if end and len(body) >= length:
            self._requests.append(self._received)
            if self._says is not None and self.transport is not None:
                self.transport.write(self._says)
                self.transport.loseConnection()


class SayingFactory(ServerFactory):
    """Says one thing on each connection, the last of them on all later ones."""

    noisy = False

    def __init__(self, says: Sequence[bytes | None]) -> None:
        self.says = list(says)
        self.requests: list[bytes] = []
        """Whole, in their order."""

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # noqa: ARG002 - Twisted's
        """As IProtocolFactory."""
        return Saying(self.requests, self.says.pop(0) if len(self.says) > 1 else self.says[0])


class ServingTestCase(TestCase):
    """Has a reactor, and ports that are closed at its end."""

    def setUp(self) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        self.reactor: Any = reactor

    def listen(self, factory: Any) -> Address:
        """Where it is served."""
        port: IListeningPort = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        host: Any = port.getHost()
        return Address("127.0.0.1", host.port)

    def serve(self, replica: FakeReplica | None = None, limits: SizeLimits | None = None) -> tuple[Address, Counting]:
        """A node, and what counts its connections."""
        replica = replica or FakeReplica()
        api = site(replica, replica.store, self.reactor, limits, data_size=lambda: 12_345)
        counting = Counting(api)
        address = self.listen(counting)
        self.addCleanup(api.stop)
        return address, counting

    def say(self, *says: bytes | None) -> tuple[Address, SayingFactory]:
        """A server that says this."""
        factory = SayingFactory(says)
        counting = Counting(factory)
        self.addCleanup(counting.hang_up)
        return self.listen(counting), factory
