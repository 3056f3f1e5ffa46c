"""HTTP as Twisted reads it, with bounds on what one connection may cost, and a line of text where one is passed.

What bounds it (the hazards N1, N2 and N6):

- What comes before a body has its bounds in `txraft.web.head`, and a body has a greatest size.
- A client has `receive_seconds` for the whole of a request, from its first byte on, and as long again to take what is
  answered. Between requests it may be silent for `idle_seconds`.
- One request is served at a time. While one is being decided, or its answer waits to be taken, the next is not read.
- What a client has sent behind a request waits for its turn, and so does what takes long to read or to send
  (`txraft.web.turns`).
- A body may come in chunks, but not in a great many small ones, and the trailer behind them is short.
- What all connections together keep of bodies that are not read, and of answers that are not made or not taken, is
  bounded by the site: of the kind that takes more, the largest body is refused, or the answer that waits longest given
  up.

A request that is refused before all of it has been read is a matter of some care. To close the connection while the
client still sends makes its kernel drop what it has received, the answer included. So the answer is written, our half
of the connection is closed, and what still comes is dropped, until the client closes its half or LINGER_SECONDS are
over (RFC 9112 §9.6).
"""

# mypy: allow-untyped-calls
# (Most of Twisted's HTTP classes have no annotations.)

from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.transports import sends_at_once
from txraft.web.fast_path import FastPath
from txraft.web.head import NO_BEGINNING, NO_REQUEST_LINE, HeadChannel
from txraft.web.outcomes import NOTHING_DONE, Answer, LaterAnswer, StreamedAnswer, of_failure, on_the_wire
from txraft.web.question import Question
from txraft.web.request import ApiRequest
from txraft.web.stream import Stream

if TYPE_CHECKING:
    from txraft.web.site import ApiSite

MAX_AT_ONCE = 64 * 1024
"""What is longer leaves by the transport's own loop, which copies less. In bytes."""
LINGER_SECONDS = 5.0


@implementer(IHalfCloseableProtocol)
class ApiChannel(HeadChannel):
    """The server's side of one connection."""

    requestFactory = ApiRequest
    timeOut = None  # its timer is one for each request; `deadline` costs less
    transport: Any
    """Several of Twisted's interfaces at once; None once the connection is lost."""
    _networkProducer: Any
    """Twisted's name for the same, where it is asked to pause."""
    _transferDecoder: Any
    """What reads the body: Twisted's, which it does not export."""
    refused = False
    """A request was refused, or the client was too slow: nothing that comes is looked at any more."""
    _idle = True
    """Nothing of the next request has come."""
    _waits_for_turn = False
    """The client has sent more than the request that was answered last, and the site will call `take_turn`."""
    _socket: FileDescriptor | None = None
    """The transport, where `write` may send at once."""
    _half_closed = False
    """The client will send nothing more."""
    _is_last = False
    """The node stops: nothing is read behind the request that is being decided."""
    _later: LaterAnswer | None = None
    """The answer that waits for its turn to be made. Kept here, so that it goes when the client does."""
    _stream: Stream | None = None
    """The long answer that the client is taking."""

    def __init__(self, site: "ApiSite") -> None:
        super().__init__()
        self.site = site
        self._fast_path = FastPath()
        self.deadline = site.now() + site.idle_seconds
        """When `expire` is to be called, by the site's clock; infinite while the client waits for this node."""

    # What the client may not do

    def refuse(self, status: int, line: str) -> None:
        """Answer the request that is being read, and read no more of it, or of any other."""
        if self.refused:
            return
        self.refused = True  # and nothing is kept any more, before `write` makes room, or this could be refused twice
        self.site.release(self)
        for request in self.requests:
            request.drop_body()
        answer = Answer(status, line.encode(), NOTHING_DONE if status == 503 else ())
        self.write(on_the_wire(answer, self.site.date(self.site.now()), closing=True, with_body=True))
        self._hang_up()

    def _hang_up(self) -> None:
        """Close our half of the connection once everything is sent, and all of it LINGER_SECONDS from now. What the
        client sends until then is read, and dropped."""
        self.refused = True
        self.paused = True  # ends LineReceiver's loop over what is buffered
        self.deadline = self.site.now() + LINGER_SECONDS
        self._networkProducer.resumeProducing()  # or the client's end would not be seen
        if ITCPTransport.providedBy(self.transport) and not self._half_closed:
            self.transport.loseWriteConnection()
        else:
            self.loseConnection()

    def expire(self) -> None:
        """The deadline is over."""
        if self.refused or self._waitingForTransport or self.transport.disconnecting:
            self.abort()
        elif self._idle:
            self._hang_up()
        else:
            self.refuse(408, f"the request did not come within {self.site.receive_seconds:g} s")

    def abort(self) -> None:
        """Close the connection at once, whatever waits to be sent."""
        self.refused = True
        self.transport.abortConnection()

    def stop(self) -> None:
        """The node stops. Close the connection: at once where nothing is under way, otherwise after the answer."""
        if self._idle:
            self.refused = True
            self.loseConnection()
        elif self._stream is not None:
            self.abort()
        elif self._handlingRequest:
            self._is_last = True
        elif self._waitingForTransport:
            self._hang_up()
        else:
            self.refuse(503, "this node stops; nothing was done, so ask another node")

    # What the client sends

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client. The first of a request set its deadline; the others do not move it (hazard N6)."""
        if self.refused:
            return
        if self._idle:
            self._idle = False
            if self._fast_path.take(self, data):
                return
            if self.persistent and NO_BEGINNING.match(data):
                self.refuse(400, NO_REQUEST_LINE)
                return
            self.deadline = self.site.now() + self.site.receive_seconds
            if self._fast_path.begun:
                return
        elif self._fast_path.begun:
            data = self._fast_path.go_on(self, data)
        LineReceiver.dataReceived(self, data)
        if self._half_closed:
            self._close_if_done()

    def take_turn(self) -> int:
        """Read the next request of those that the client has sent. Gives its length, in bytes."""
        if self.refused:
            return 0
        length = len(self._buffer)
        self._waits_for_turn = self.paused = False
        self.deadline = self.site.now() + self.site.receive_seconds
        self._networkProducer.resumeProducing()
        self.dataReceived(b"")
        return length - len(self._buffer) - sum(map(len, self._dataBuffer))

    def _wait_for_turn(self) -> None:
        self._waits_for_turn = self.paused = True  # which ends LineReceiver's loop over what is buffered
        self._idle = False
        self.deadline = inf
        self.site.pipelines.wait(self)

    def rawDataReceived(self, data: bytes) -> None:
        """A piece of a body; or, while a request is being decided, of the next one, which waits (hazard N2)."""
        if self._handlingRequest:
            self._dataBuffer.append(data)
            self._networkProducer.pauseProducing()
        else:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """All of a request is here, and Twisted has read it."""
        if not self.refused:
            self._fast_path.learn(self.requests[-1].requestHeaders)
        super().allContentReceived()

    def ask(self, question: Question) -> None:
        """A request has come whole, by either way. Until it is answered nothing is read. Twisted does so for what it
        reads itself, and has no public name for that."""
        self.deadline = inf
        self._handlingRequest = True
        self.setRawMode()
        self.requests = [question]
        self.site.serve(question)

    # What the client is sent

    def write(self, data: bytes) -> None:
        """Send it: at once where nothing else waits to be sent, without a turn of the reactor and three calls of the
        system in between. Where the socket does not take all of it, nothing is read until it has (`pauseProducing`)."""
        if self._socket is None or self._waitingForTransport or len(data) > MAX_AT_ONCE:
            self.transport.write(data)
        else:
            sent = self._socket.writeSomeData(data)
            if sent == len(data):
                return
            if isinstance(sent, int):  # otherwise the connection is lost, which is the transport's to report
                data = data[sent:]
            self.transport.write(data)
            self._socket.producerPaused = True  # it calls `resumeProducing` when all is sent
            self.pauseProducing()
        if self._waitingForTransport:
            self.site.hold_answer(self, len(data))

    def _send100Continue(self) -> None:
        self.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # Twisted would write past what `write` knows of

    def answer(self, answer: Answer | LaterAnswer | StreamedAnswer) -> None:
        """Answer the question that was asked last, now or, where that takes long, later."""
        if isinstance(answer, StreamedAnswer):
            self._stream = Stream(self, answer)
            self._stream.begin()  # which closes it where there is nobody
        elif self.refused:
            return
        elif isinstance(answer, Answer):
            self._answer(answer)
        else:
            self._later = answer
            self.site.hold_answer(self, answer.held)
            self.site.long_jobs.run(answer.cost, self._make_answer)

    def fail(self, failure: Failure, changes: bool) -> None:
        """Say what has become of it. `changes`: whether it may have had an effect."""
        self.answer(of_failure(failure, changes))

    def _make_answer(self) -> None:
        later, self._later = self._later, None
        if later is None:  # the client has gone
            return
        try:
            answer = later.make()
        except Exception:
            answer = of_failure(Failure(), changes=True)
        self.site.release(self)
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        if self.refused:  # there is nobody to answer
            return
        now, question = self.site.now(), self.requests[0]
        closing, with_body = self.is_closing, question.method != b"HEAD"
        self.write(on_the_wire(answer, self.site.date(now), closing=closing, with_body=with_body))
        self._answered(question, now, closing)

    @property
    def is_closing(self) -> bool:
        """Whether no other request is read on this connection."""
        return self._is_last or not self.persistent

    def streamed(self) -> None:
        """All of a long answer has been written, and taken."""
        self._stream = None
        self.paused = False  # as `pauseProducing` left it: while the answer was taken, nothing was read
        self._networkProducer.resumeProducing()
        self._answered(self.requests[0], self.site.now(), self.is_closing)

    def _answered(self, question: Question, now: float, closing: bool) -> None:
        if self._is_last:
            self._hang_up()
        elif closing or self._waitingForTransport or self._buffer or self._dataBuffer or self._half_closed:
            self.requestDone(question)
        else:  # nothing has come behind the question, so nothing is paused
            self.requests.clear()
            self._handlingRequest = False
            self.setLineMode()
            self._wait_for_request(now)

    def requestDone(self, request: Any) -> None:
        """A request has been answered."""
        if not self._waitingForTransport:
            if self.persistent and (self._buffer or any(self._dataBuffer)):
                self._wait_for_turn()
            else:
                self._wait_for_request(self.site.now())
        super().requestDone(request)
        if self._waits_for_turn:
            self._networkProducer.pauseProducing()
        if self._half_closed:
            self._close_if_done()

    def pauseProducing(self) -> None:
        """The transport holds more than it likes: until the client has taken it, nothing is read, and no request that
        has been read is begun (hazard N2)."""
        super().pauseProducing()
        self._networkProducer.pauseProducing()
        self.paused = True
        self.deadline = self.site.now() + self.site.receive_seconds

    def resumeProducing(self) -> None:
        """The client has taken everything."""
        if self.refused:
            if ITCPTransport.providedBy(self.transport):  # which does not close a half while it waits for this call
                self.transport.loseWriteConnection()
            return
        self.site.release(self)
        if self._stream is not None:
            self._waitingForTransport = False
            self.deadline = inf
            self._stream.go_on()
            return
        self.paused = False
        if not self.requests:  # or it was a 100 that had to wait, in the middle of a request
            self._wait_for_request(self.site.now())
        super().resumeProducing()
        if self._buffer:
            self._wait_for_turn()
            self._networkProducer.pauseProducing()
        elif self._half_closed:
            self._close_if_done()

    @property
    def is_full(self) -> bool:
        """Whether the client has still to take what was written."""
        return bool(self._waitingForTransport)

    def _wait_for_request(self, now: float) -> None:
        self._idle = True
        self.deadline = now + self.site.idle_seconds

    # The connection

    def connectionMade(self) -> None:
        """A client has connected."""
        super().connectionMade()
        if sends_at_once(self.transport):
            self._socket = self.transport
        self.site.opened(self)

    def readConnectionLost(self) -> None:
        """The client has closed its half, and may still wait for what it asked for."""
        self._half_closed = True
        self._close_if_done()

    def writeConnectionLost(self) -> None:
        """Our half is closed, as `_hang_up` wanted it."""

    def _close_if_done(self) -> None:
        """Close where nothing more is to be answered, once everything is sent."""
        busy = self._busyReceiving or self._handlingRequest or self._waitingForTransport or self._waits_for_turn
        if (self.refused or not busy) and not self.transport.disconnecting:
            self.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted gives no default either
        """The connection is closed. Every cycle is broken, or this object, and what its transport has not sent, would
        stay until the next collection, which comes rarely (`txraft.cli.process`)."""
        self.refused, self._later = True, None
        if self._stream is not None:
            self._stream.end()
            self._stream = None
        self.site.closed(self)
        super().connectionLost(reason)
        self.requests.clear()
        self._transferDecoder = self._networkProducer = self._socket = self.transport = None
