"""HTTP for programs that block, by http.client of the standard library: it keeps connections open, goes through no
proxy, follows no redirect and sends nothing twice. urllib3 would bring retries and a pool, of which the session has the
one and the other is a list; and a package that every installation had to have, for the console commands.
"""

import select
import threading
import time
from collections import defaultdict
from contextlib import closing, suppress
from http.client import BadStatusLine, HTTPConnection, HTTPException, HTTPResponse, IncompleteRead

from txraft.addresses import Address
from txraft.client.http import LONGEST_ANSWER, SHOWN, HttpAnswer, HttpRequest, line_of
from txraft.errors import NoHttpAnswer, OutcomeUnknown, Unreachable

CONNECT_TIMEOUT = 2.0
"""Seconds in which a node must take the connection; its kernel does, however busy the node is."""
MAX_IDLE = 8
"""Connections to one node that are kept."""
PIECE = 256 * 1024
"""Bytes that are read at once, between two looks at the clock."""


class BlockingTransport:
    """A `Transport` whose coroutines never wait: what they do has been done when they are driven for the first time.

    Several threads may use it. Each takes a connection out of those that are kept, or makes one. No time limit is kept
    by the system where it looks up a name."""

    def __init__(self) -> None:
        self._idle: defaultdict[Address, list[HTTPConnection]] = defaultdict(list)
        self._lock = threading.Lock()

    async def send(self, address: Address, request: HttpRequest, timeout: float) -> HttpAnswer:
        """As Transport."""
        deadline = self.now() + timeout
        connection = self._take(address) or _connect(address, min(timeout, CONNECT_TIMEOUT))
        try:
            answer, may_be_kept = self._ask(connection, request, deadline)
        except (OSError, HTTPException) as error:
            connection.close()
            kind = NoHttpAnswer if isinstance(error, ConnectionError | BadStatusLine) else OutcomeUnknown
            raise kind(_what_happened(error, timeout)) from error
        except BaseException:  # Ctrl-C, say: whatever comes on this connection is the answer to this request
            connection.close()
            raise
        if may_be_kept:
            self._keep(address, connection)
        else:
            connection.close()
        return answer

    async def sleep(self, seconds: float) -> None:
        """As Transport."""
        time.sleep(seconds)

    def now(self) -> float:
        """As Transport."""
        return time.monotonic()

    def close(self) -> None:
        """Close the connections that are kept."""
        with self._lock:
            connections = [each for kept in self._idle.values() for each in kept]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def _take(self, address: Address) -> HTTPConnection | None:
        """One that is kept, and that the node has not closed meanwhile."""
        while True:
            with self._lock:
                kept = self._idle[address]
                connection = kept.pop() if kept else None
            if connection is None or not _has_something_to_read(connection):
                return connection
            connection.close()

    def _keep(self, address: Address, connection: HTTPConnection) -> None:
        with self._lock:
            kept = self._idle[address]
            if len(kept) < MAX_IDLE:
                kept.append(connection)
                return
        connection.close()

    def _ask(self, connection: HTTPConnection, request: HttpRequest, deadline: float) -> tuple[HttpAnswer, bool]:
        """The answer, and whether the connection is good for another request."""
        self._limit(connection, deadline)
        # A node that refuses a request, one that is too large say, does not read all of it; its answer is there.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(request.method, request.target, request.body or None, dict(request.headers))
        self._limit(connection, deadline)
        response = connection.getresponse()
        with closing(response):  # without which http.client takes no other request, though all of the body was read
            body = self._read(connection, response, deadline)
        headers = {name.lower(): value for name, value in response.getheaders()}
        return HttpAnswer(response.status, headers, body), not response.will_close

    def _read(self, connection: HTTPConnection, response: HTTPResponse, deadline: float) -> bytes:
        body = bytearray()
        while len(body) <= LONGEST_ANSWER:
            self._limit(connection, deadline)
            piece = response.read1(PIECE)
            if piece:
                body += piece
            elif response.length:  # http.client takes the end of the connection for that of the body
                raise IncompleteRead(bytes(body[:SHOWN]), response.length)
            else:
                return bytes(body)
        raise HTTPException(f"an answer of more than {LONGEST_ANSWER} bytes")

    def _limit(self, connection: HTTPConnection, deadline: float) -> None:
        """Each wait for the socket takes no longer than what is left. Raises TimeoutError."""
        left = deadline - self.now()
        if left <= 0:
            raise TimeoutError
        if connection.sock is not None:  # it goes to the response where the node closes the connection behind it
            connection.sock.settimeout(left)


def _connect(address: Address, timeout: float) -> HTTPConnection:
    connection = HTTPConnection(address.host, address.port, timeout=timeout)
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        raise Unreachable(f"cannot be reached: {line_of(error)}") from error
    return connection


def _has_something_to_read(connection: HTTPConnection) -> bool:
    """Whether there is the end of the connection, or what nobody has asked for."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _what_happened(error: Exception, timeout: float) -> str:
    match error:
        case TimeoutError():
            return f"no answer within {timeout:.3g} s"
        case OSError():
            return f"no answer: {line_of(error)}"
    return f"no answer of a node: {line_of(error) or type(error).__name__}"
