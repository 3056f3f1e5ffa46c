"""What is read of an answer, however it comes and ends."""

from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI, Agent, ResponseFailed
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from txraft.answer_body import LONGEST, body_of


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
@define(eq=False)
class Endpoint:
    """Leads to the test."""

    protocol: Any = None
    transport: StringTransport = field(factory=StringTransport)

    def endpointForURI(self, _: URI) -> "Endpoint":
        return self

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        self.protocol = factory.buildProtocol(IPv4Address("TCP", "h", 80))
        self.protocol.makeConnection(self.transport)
        return succeed(self.protocol)


class BodyTests(SynchronousTestCase):
    """An error that Twisted logs fails a test, too."""

    def setUp(self) -> None:
        self.server = Endpoint()

    def asked(self, *headers: bytes) -> "Deferred[bytes]":
        """What is read of an answer that begins so."""
        answered: Any = Agent.usingEndpointFactory(None, self.server).request(b"GET", b"http://h/")
        body: Deferred[bytes] = answered.addCallback(body_of)
        self.server.protocol.dataReceived(b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", b""]))
        return body

    def end(self, error: type[Exception] = ConnectionDone) -> None:
        """The connection is gone."""
        self.server.protocol.connectionLost(Failure(error()))

    def test_whole(self) -> None:
        """However its length is said."""
        for headers, sent in (
            ([b"Content-Length: 5"], b"a bod"),
            ([b"Transfer-Encoding: chunked"], b"2\r\na \r\n3\r\nbod\r\n0\r\n\r\n"),
        ):
            self.setUp()
            body = self.asked(*headers)
            self.assertNoResult(body)
            self.server.protocol.dataReceived(sent)
            self.assertEqual(self.successResultOf(body), b"a bod")
            self.end()

    def test_no_length(self) -> None:
        """It ends with the connection."""
        body = self.asked()
        self.server.protocol.dataReceived(b"a bod")
        self.assertNoResult(body)
        self.end()
        self.assertEqual(self.successResultOf(body), b"a bod")

    def test_cut_off(self) -> None:
        body = self.asked(b"Content-Length: 9")
        self.server.protocol.dataReceived(b"a bod")
        self.end(ConnectionLost)
        self.failureResultOf(body, ResponseFailed)

    def test_too_long(self) -> None:
        """Its beginning is read, and the connection ended. What is on its way yet counts for nothing."""
        for headers in ([b"Content-Length: 9999999999"], []):
            self.setUp()
            body = self.asked(*headers)
            self.server.protocol.dataReceived(b"a" * LONGEST)
            self.assertNoResult(body)
            self.server.protocol.dataReceived(b"bc")
            self.assertEqual(self.successResultOf(body), b"a" * LONGEST)
            self.assertTrue(self.server.transport.disconnecting)
            self.server.protocol.dataReceived(b"d")
            self.end()

    def test_cancelled(self) -> None:
        """It has begun, and nobody waits for the rest. The connection ends, and nothing else comes of it."""
        body = self.asked(b"Content-Length: 9")
        self.server.protocol.dataReceived(b"a bod")
        body.cancel()
        self.failureResultOf(body, CancelledError)
        self.assertTrue(self.server.transport.disconnecting)
        self.server.protocol.dataReceived(b"y")
        self.end(ConnectionLost)
