"""A shorter way for the requests that most clients send: the same head again and again.

A client that keeps its connection open sends the same headers with each request. So the first is read by Twisted, and
judged by `txraft.web.request`; its headers are remembered as the bytes that came and as what Twisted made of them. What
comes later, all at once, and is a request line, those very bytes, and a body of the length that it says, is the same
request with another target and another body. To see that takes one regular expression and a comparison, in place of
two thirds of the time that a request takes.

Everything else goes the long way: whatever is cut, joined or pipelined, longer than LONG, chunked or 1.0, expects a
100, has another method than GET or POST, a target that is no path, or headers that differ in a byte. So there is
nothing here that refuses. What depends on the target or the body (routes, methods, parameters, pages of other sites) is
judged behind both ways, by the same code.

A body may come in a packet of its own behind its head, which is how many programs send it.
"""

import re
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.web.http_headers import Headers

from txraft.web.question import Head, Question
from txraft.web.turns import LONG

if TYPE_CHECKING:
    from txraft.web.channel import ApiChannel

_REQUEST_LINE = re.compile(rb"(GET|POST) (/[!->@-~]*)\??([!-~]*) HTTP/1\.1\r\n")
"""With a path of visible ASCII without a `?`, and a query, which may be empty."""
_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE | re.MULTILINE)
"""Of the headers that Twisted has read, whose lines hold no line feed."""
_MAX_DIGITS = len(str(LONG))


_NEVER_KNOWN = (b"expect", b"transfer-encoding")
"""Headers that change how the connection goes on."""


@frozen
class _Known:
    """The headers of a request, and the empty line behind them, as they came."""

    head: Head
    before: bytes
    """What came up to the digits of the Content-Length; all of it where there is none."""
    after: bytes | None
    """What came behind these digits; None where there is no Content-Length."""

    def body_in(self, data: bytes, begin: int) -> tuple[int, int]:
        """Where the body begins and ends, if this head stands in `data` from `begin` on. -1 where it does not."""
        digits = begin + len(self.before)
        if not data.startswith(self.before, begin):
            return -1, -1
        if self.after is None:
            return digits, digits
        end = data.find(b"\r", digits, digits + _MAX_DIGITS + 1)
        length = data[digits:end]
        if not (length.isdigit() and data.startswith(self.after, end)):
            return -1, -1
        body = end + len(self.after)
        return body, body + int(length)


class FastPath:
    """Of one connection, whose channel comes with each call: to keep it here would be a cycle."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}
        """The head that came last, by method."""
        self._beginning = b""
        """What came first of the request that is being read the long way."""
        self.begun = b""
        """A request whose head is known and whose body has still to come."""

    def take(self, channel: "ApiChannel", data: bytes) -> bool:
        """Whether the first that comes of a request is all of it, and its head is known. Then it has been asked. Where
        only its body is missing, it has `begun`."""
        size = len(data)
        if size <= LONG:
            end = self._ask_if_whole(channel, data) if channel.persistent else -1
            if end == size:
                return True
            if size < end <= LONG:
                self.begun = data
            else:
                self._beginning = data
        return False

    def go_on(self, channel: "ApiChannel", data: bytes) -> bytes:
        """Take what comes behind what has `begun`: the rest of it, or nothing is known of it any more. Gives back what
        is to go the long way: all of it, or nothing."""
        data, self.begun = self.begun + data, b""
        return b"" if self._ask_if_whole(channel, data) == len(data) else data

    def _ask_if_whole(self, channel: "ApiChannel", data: bytes) -> int:
        """Where the request that `data` begins with ends, by its head. It is asked if it ends with `data`. -1 where its
        head is not known."""
        line = _REQUEST_LINE.match(data)
        if line is None:
            return -1
        method, path, query = line.groups()
        known = self._known.get(method)
        if known is None:
            return -1
        begin, end = known.body_in(data, line.end())
        if len(data) == end:
            channel.ask(Question(channel, method, path, query, known.head, data[begin:]))
        return end

    def learn(self, headers: Headers) -> None:
        """Remember the head of a request that has been read the long way, and that nothing was wrong with."""
        data, self._beginning = self._beginning, b""
        line = _REQUEST_LINE.match(data)
        if line is None or any(map(headers.hasHeader, _NEVER_KNOWN)):
            return
        end = data.find(b"\r\n\r\n", line.end())
        if end < 0:
            return
        head = data[line.end() : end + 4]
        if not headers.hasHeader(b"content-length"):
            self._known[line[1]] = _Known(Head(headers), head, None)
        elif length := _LENGTH.search(head):
            self._known[line[1]] = _Known(Head(headers), head[: length.start(1)], head[length.end(1) :])
