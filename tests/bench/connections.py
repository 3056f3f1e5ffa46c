"""HTTP that costs little here, so that what is measured is the node: requests are bytes, and of an answer only its
status and its body are read, which has a `Content-Length` or comes in chunks.
"""

from collections import deque
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

MOST: Final = 256
"""Connections that a pool opens. Further requests wait until one is free."""


@frozen
class Answer:
    """What a node said."""

    code: int
    body: bytes


def post(path: str, body: bytes, kind: str = "application/json", method: str = "POST") -> bytes:
    """A whole request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(LineReceiver):
    """Requests may be sent before those before them are answered."""

    delimiter = b"\r\n"
    transport: Any  # of TCP, or one in memory

    def __init__(self) -> None:
        self._asked: deque[Deferred[Answer]] = deque()
        self._code = 0
        self._missing = 0
        """Bytes of the body, or of a chunk of it, that have not arrived."""
        self._chunked = False
        """Whether there is another chunk."""
        self._in_chunks = False
        self._body: list[bytes] = []
        self.lost = False

    def ask(self, request: bytes) -> "Deferred[Answer]":
        """Fails as the connection does. Cancelling it ends the connection."""
        asked: Deferred[Answer] = Deferred(self._cancelled)
        self._asked.append(asked)
        self.transport.write(request)
        return asked

    def close(self) -> None:
        """Without another word."""
        if not self.lost:
            self._abort()

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):  # one in memory has none
            self.transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        if self.lost:  # an aborted connection has still given what it had
            return
        if self._in_chunks:
            self._read_between_chunks(line)
        else:
            self._read_head(line)

    def _read_head(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if line.startswith(b"HTTP/"):
            self._code = int(line.split()[1])
        elif name.lower() == b"content-length":
            self._missing = int(value)
        elif name.lower() == b"transfer-encoding":
            self._chunked = True
        elif not line and self._chunked:
            self._in_chunks = True
        elif not line and self._missing:
            self.setRawMode()
        elif not line:
            self._answered()

    def _read_between_chunks(self, line: bytes) -> None:
        if self._chunked and line:  # not the empty one behind a chunk
            self._missing = int(line.partition(b";")[0], 16)
            self._chunked = self._missing > 0
            if self._chunked:
                self.setRawMode()
        elif not self._chunked and not line:
            self._answered()

    def rawDataReceived(self, data: bytes) -> None:
        if self.lost:
            return
        self._body.append(data[: self._missing])
        rest = data[self._missing :]
        self._missing -= len(self._body[-1])
        if not self._missing:
            if not self._in_chunks:
                self._answered()
            self.setLineMode(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        while self._asked:
            self._asked.popleft().errback(reason)

    def _answered(self) -> None:
        answer = Answer(self._code, b"".join(self._body))
        self._in_chunks = False
        self._body.clear()
        self._asked.popleft().callback(answer)

    def _cancelled(self, asked: "Deferred[Answer]") -> None:
        self._asked.remove(asked)
        self._abort()

    def _abort(self) -> None:
        self.lost = True  # nobody is to take it from now on
        self.transport.abortConnection()


async def connect(reactor: Any, url: str) -> Connection:
    """To a node. Fails where none listens."""
    parts = urlsplit(url)
    endpoint = TCP4ClientEndpoint(reactor, str(parts.hostname), int(parts.port or 80), timeout=5)
    return await connectProtocol(endpoint, Connection())


async def ask(reactor: Any, url: str, request: bytes, patience: float) -> Answer | None:
    """Ask once, on a connection of its own. None where there is no answer within `patience` seconds."""
    connection = None
    try:
        connection = await connect(reactor, url)
        return await connection.ask(request).addTimeout(patience, reactor)
    except Exception:  # it is not up yet, or not any more: for whoever asks again it is all the same
        return None
    finally:
        if connection is not None:
            connection.close()


class Pool:
    """Connections to one node, each of which has one request at a time: as many as it takes, up to MOST."""

    def __init__(self, reactor: Any, url: str, patience: float | None = None) -> None:
        """`patience`: seconds after which a request that was sent fails, with the connection that it was sent on."""
        self._reactor = reactor
        self._url = url
        self._patience = patience
        self._idle: list[Connection] = []
        self._opened = 0
        self._waiting: deque[Deferred[None]] = deque()
        self._open: set[Connection] = set()

    async def ask(self, request: bytes) -> Answer:
        """Fails as connections do."""
        while not self._idle and self._opened >= MOST:
            free: Deferred[None] = Deferred()
            self._waiting.append(free)
            await free
        connection = await self._take()
        try:
            asked = connection.ask(request)
            return await (asked if self._patience is None else asked.addTimeout(self._patience, self._reactor))
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """End all connections. Requests under way fail."""
        for connection in list(self._open):
            connection.close()

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost:
                return connection
            self._forget(connection)
        self._opened += 1
        try:
            connection = await connect(self._reactor, self._url)
        except BaseException:
            self._opened -= 1
            self._next()
            raise
        self._open.add(connection)
        return connection

    def _give_back(self, connection: Connection) -> None:
        if connection.lost:
            self._forget(connection)
        else:
            self._idle.append(connection)
        self._next()

    def _forget(self, connection: Connection) -> None:
        self._opened -= 1
        self._open.discard(connection)

    def _next(self) -> None:
        if self._waiting:
            self._waiting.popleft().callback(None)
