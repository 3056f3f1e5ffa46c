"""What becomes of an attempt to dial, with Twisted's own endpoints on the reactor that runs the tests."""

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.trial.unittest import TestCase

from txraft.rpc.dialling import Dialler
from txraft.rpc.limited_log import LimitedLog


class Failing(Protocol):
    """Cannot be used."""

    def connectionMade(self) -> None:
        """As Protocol."""
        raise RuntimeError("planted")


class DiallingTests(TestCase):
    @inlineCallbacks
    def test_stopped_after_a_protocol_failed(self) -> Generator[Deferred[Any], Any, None]:
        """Where a protocol fails while it is told of its connection, Twisted neither fires the attempt nor lets it be
        cancelled: that raises NotConnectingError. Still `stop` ends it, and says when."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        clock: Any = reactor
        called: Deferred[None] = Deferred()
        accepting = Factory.forProtocol(lambda: Closing(called))
        port = yield TCP4ServerEndpoint(clock, 0, interface="127.0.0.1").listen(accepting)
        dialler = Dialler(
            clock,
            lambda _: TCP4ClientEndpoint(clock, "127.0.0.1", port.getHost().port),
            lambda _peer, _address: Factory.forProtocol(Failing),
            lambda _: lambda _: 60.0,
            LimitedLog(Logger(), clock, burst=1, interval=60),
            5.0,
            lambda _: None,
        )
        dialler.follow({1: ("h:1",)})
        dialler.start()
        try:
            yield called
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        finally:
            yield gatherResults(dialler.stop())
            yield port.stopListening()
        self.flushLoggedErrors()  # Twisted's service is told that a connection is lost that it never had


class Closing(Protocol):
    def __init__(self, called: "Deferred[None]") -> None:
        self.called = called

    def connectionLost(self, reason: Any = None) -> None:  # noqa: ARG002 - as Protocol
        """The other side has given up."""
        self.called.callback(None)
