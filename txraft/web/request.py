"""A request that is being read: what its head must be like, and its body."""

# mypy: allow-untyped-calls
# (Most of Twisted's HTTP classes have no annotations.)

import re
from io import BytesIO
from typing import TYPE_CHECKING, TypeAlias

from twisted.web import http

from txraft.web.forms import shown
from txraft.web.question import Head, Question

if TYPE_CHECKING:
    from txraft.web.channel import ApiChannel

_ABSOLUTE = re.compile(rb"https?://([^/?]+)(.*)", re.IGNORECASE | re.DOTALL)
"""A target with scheme and host, as proxies are sent it. Its host counts, not the Host header (RFC 9112 §3.2.2)."""
MAX_TRAILER = 4 * 1024
"""Of all that comes behind the last chunk of a body. In bytes."""
SMALL_CHUNKS = 100
"""How many chunks of a body may be smaller than CHUNK_SIZE on average."""
CHUNK_SIZE = 64
"""In bytes."""
Refusal: TypeAlias = tuple[int, str]
"""The status, and a line that says why."""


class ApiRequest(http.Request):
    """A request until it has come whole: then it is a `Question`. Its body stays in memory, since it is bounded."""

    channel: "ApiChannel"
    content: BytesIO
    _received = 0
    _chunks = 0

    def parseCookies(self) -> None:
        """Nothing here has a use for them."""

    def gotLength(self, length: int | None) -> None:
        """The headers have been read; `length` is the body's, None where it comes in chunks."""
        self.content = BytesIO()
        refusal = self._wrong_target() or self._wrong_body()
        if refusal is not None:
            self.requestHeaders.removeHeader(b"expect")  # or Twisted goes on to invite the body
            self.channel.refuse(*refusal)
        elif length is not None:
            self._check_length(length)
        else:
            self.channel._transferDecoder._maxTrailerHeadersSize = MAX_TRAILER

    def _wrong_target(self) -> Refusal | None:
        """What is wrong with whom and what the request asks; None where nothing is."""
        headers, channel = self.requestHeaders, self.channel
        hosts = headers.getRawHeaders(b"host", ())
        if len(hosts) != 1 and (hosts or channel._version == b"HTTP/1.1"):
            return 400, "a request has one Host header"
        if channel._path[:1] != b"/":
            target = _ABSOLUTE.fullmatch(channel._path)
            if target is None:
                return 400, "the target of a request is a path, as in GET /status"
            hosts, channel._path = (target[1],), target[2] or b"/"
            headers.setRawHeaders(b"host", hosts)
        if not channel.site.serves(hosts[0] if hosts else b""):
            host = f"the Host {shown(hosts[0])}" if hosts else "a request without a Host"
            return 403, f"{host} is not in allowed_hosts of this node's configuration"
        return None

    def _wrong_body(self) -> Refusal | None:
        """What is wrong with how the body is to come; None where nothing is."""
        headers = self.requestHeaders
        if self.channel._version != b"HTTP/1.1" and headers.hasHeader(b"transfer-encoding"):
            return 400, "HTTP/1.0 has no Transfer-Encoding"
        if any(each.lower() != b"identity" for each in headers.getRawHeaders(b"content-encoding", ())):
            return 415, "the body is encoded; send it without a Content-Encoding"
        if any(each.lower() != b"100-continue" for each in headers.getRawHeaders(b"expect", ())):
            return 417, "the only thing to Expect here is 100-continue"
        return None

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        self._received += len(data)
        self._check_length(self._received)
        if self.channel.length is None and self.channel._transferDecoder.state == "CRLF":  # the end of a chunk
            self._count_chunk()
        if not self.channel.refused:
            self.content.write(data)
            self.channel.site.hold_body(self.channel, self._received)
        if self.channel.refused:  # it has its answer; this ends the decoder's loop over what is buffered
            raise http._MalformedChunkedDataError

    def _check_length(self, length: int) -> None:
        limit = self.channel.site.body_limit
        if length > limit:
            self.requestHeaders.removeHeader(b"expect")  # or Twisted goes on to invite the body
            self.channel.refuse(413, f"the body is longer than {limit} bytes, which is more than any may be")

    def _count_chunk(self) -> None:
        self._chunks += 1
        if self._chunks > SMALL_CHUNKS + self._received // CHUNK_SIZE:
            self.channel.refuse(400, "the body comes in too many small chunks; send larger ones, or a Content-Length")

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: ARG002  Twisted's signature
        """All of the request is here."""
        if not self.channel.refused:
            path, _, query = path.partition(b"?")
            body = self.content.getvalue()
            self.channel.ask(Question(self.channel, command, path, query, Head(self.requestHeaders), body))

    def drop_body(self) -> None:
        """It will never be read."""
        self.content = BytesIO()
