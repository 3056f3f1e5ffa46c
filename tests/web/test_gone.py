"""What is left of a client that has gone: nothing, and at once. A node collects garbage so rarely that a few hundred
clients, who asked for long values and took nothing of them, could fill its memory with cycles (hazard N2)."""

import socket
from weakref import ref

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.collecting import no_collections
from tests.kv.applying import apply_command
from tests.web.wire import FakeReplica
from txraft.errors import OutcomeUnknown
from txraft.kv import Result
from txraft.kv.commands import Set, encode
from txraft.web import site
from txraft.web.channel import ApiChannel
from txraft.web.outcomes import Answer, LaterAnswer, StreamedAnswer
from txraft.web.turns import AT_ONCE

VALUE = b"v" * (1 << 20)
GET = b"GET /get?key=k HTTP/1.1\r\nHost: x\r\n\r\n"
SET = b"GET /set?key=k&val=w HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /set HTTP/1.1\r\nHost: x\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@define(eq=False)
class Body:
    """Of a long answer."""

    piece: Deferred[bytes]

    def read(self) -> Deferred[bytes]:
        return self.piece

    def close(self) -> None:
        pass


class GoneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.replica = FakeReplica()
        apply_command(self.replica.store, 1, encode(Set(b"k", VALUE)))
        self.site = site(self.replica, self.replica.store, self.reactor)
        self.enterContext(no_collections())

    def connect(self) -> None:
        """A client, and the transport that Twisted has for it."""
        with socket.create_server(("127.0.0.1", 0)) as port:
            self.client = socket.create_connection(port.getsockname())
            accepted, address = port.accept()
        self.addCleanup(self.client.close)
        protocol = self.site.buildProtocol(None)
        assert protocol is not None
        self.protocol = protocol
        self.transport = Server(accepted, protocol, address, None, 1, self.reactor)  # type: ignore[arg-type]  # it has a port, in a node
        protocol.makeConnection(self.transport)

    def send(self, *data: bytes) -> None:
        """From the client, and what the node does."""
        for packet in data:
            self.protocol.dataReceived(packet)
            self.reactor.advance(0.1)
        if self.transport in self.reactor.getWriters():
            self.transport.doWrite()

    def lose(self, abort: bool = False) -> tuple[ref[IProtocol], ref[Server]]:
        """The client has gone, or is given up. Both sides of the connection, as far as they are still there."""
        protocol, transport = self.protocol, self.transport
        del self.protocol, self.transport
        if abort:
            protocol.abort()
            self.reactor.advance(0)
        else:
            transport.connectionLost(Failure(ConnectionLost()))
        return ref(protocol), ref(transport)

    def test_at_once(self) -> None:
        """Wherever the client was, and whoever closes the connection."""
        for sent in (
            (),
            (GET,),
            (SET, SET),
            (b"GET /get?key=none HTTP/1.1\r\nHost: x\r\n\r\n", GET, GET),
            (GET * 20,),
            (GET + POST,),
            (GET[:20],),
            (POST + LENGTH % 100, b"x" * 50),
            (POST + LENGTH % 0, POST + LENGTH % 5),
            (POST + CHUNKED + b"5\r\nabc",),
            (GET, b"no request\r\n"),
            (b"no request\r\n", GET),
            (GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),),
        ):
            for abort in (False, True):
                self.connect()
                self.send(*sent)
                protocol, transport = self.lose(abort)
                self.assertEqual((protocol(), transport()), (None, None), sent)

    def test_half_sent(self) -> None:
        """That there is something which goes, in the case that costs most."""
        self.connect()
        self.send(GET * 20)
        self.assertGreater(len(self.transport.dataBuffer), len(VALUE) // 2)
        self.assertGreater(self.site._answers.total, len(VALUE))

    def test_while_deciding(self) -> None:
        """The transport goes at once; the rest when it is decided, whatever comes of it."""
        for decide in (
            lambda waiting: waiting.callback(Result.DONE.value),
            lambda waiting: waiting.errback(OutcomeUnknown("lost")),
        ):
            self.replica.waiting = []
            self.connect()
            self.send(SET + SET)
            protocol, transport = self.lose()
            self.assertIsNone(transport())
            self.assertIsNotNone(protocol())
            decide(self.replica.waiting.pop())
            self.assertIsNone(protocol())

    def ask(self) -> ApiChannel:
        """A question, whose answer is the test's."""
        self.replica.waiting = []
        self.connect()
        self.send(SET)
        return self.protocol

    def test_later_answer(self) -> None:
        """What an answer is to be made of goes at once, and the turn that it waits for comes to nothing."""
        channel = self.ask()
        self.site.long_jobs.run(AT_ONCE, lambda: None)
        later = LaterAnswer(lambda: Answer(200, VALUE), AT_ONCE, len(VALUE))
        channel.answer(later)
        del channel
        made_of, (protocol, transport) = ref(later), self.lose()
        del later
        self.assertEqual((made_of(), transport()), (None, None))
        self.replica.waiting = None
        self.reactor.pump([0.1] * 3)
        self.assertIsNone(protocol())

    def test_stream(self) -> None:
        """A piece that is being read is all that keeps anything."""
        channel = self.ask()
        body = Body(Deferred())
        piece = body.piece
        channel.answer(StreamedAnswer(200, (), b"text/plain", 1 << 20, body))
        del channel
        read_from, (protocol, transport) = ref(body), self.lose()
        del body
        self.assertIsNone(transport())
        self.replica.waiting = None
        piece.callback(VALUE)
        self.reactor.pump([0.1] * 3)
        self.assertEqual((read_from(), protocol()), (None, None))
