"""The first lines of a request, as far as they are taken: what is too long, too much, or no HTTP is refused in a line.

A request line, a header, all headers together and a header's name have each a greatest size (hazard N1): Twisted
remembers 10,000 names of headers for ever, and takes 40 µs for each KiB of a URL.
"""

# mypy: allow-untyped-calls
# (Most of Twisted's HTTP classes have no annotations.)

import re
from abc import ABC, abstractmethod

from twisted.web import http

MAX_LINE = 8 * 1024
"""Of the request line, and of a header. In bytes."""
MAX_HEADERS = MAX_LINE + 16 * 1024
"""Of the request line and all headers. In bytes."""
MAX_HEADER_COUNT = 100
MAX_HEADER_NAME = 100
"""In bytes."""

NO_BEGINNING = re.compile(rb"[^\t\r\n -~]")
"""What no request begins with, but TLS does, whose client would wait for an answer without ever ending a line."""
NO_REQUEST_LINE = (
    "the first line of a request is METHOD URL HTTP/1.1; in the URL, a space is written %20, and so is every byte"
    " outside ASCII, as in %C3%A9"
)


class HeadChannel(http.HTTPChannel, ABC):
    """Reads the request line and the headers."""

    MAX_LENGTH = MAX_LINE
    totalHeadersSize = MAX_HEADERS
    maxHeaders = MAX_HEADER_COUNT

    @abstractmethod
    def refuse(self, status: int, line: str) -> None:
        """Answer the request that is being read, and read no more of it, or of any other."""

    def lineLengthExceeded(self, _: bytes) -> None:
        """The request line, or a header, is longer than MAX_LINE."""
        if self.requests:
            self.refuse(431, f"a header is longer than {MAX_LINE} bytes")
        else:
            self.refuse(414, f"the URL is longer than {MAX_LINE} bytes; send it as POST form fields")

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Twisted's name for what it does with any head that it does not take; its own answer is a bare status line.
        if self._receivedHeaderCount > MAX_HEADER_COUNT:
            self.refuse(431, f"there are more than {MAX_HEADER_COUNT} headers")
        elif self._receivedHeaderSize > MAX_HEADERS:
            self.refuse(431, f"the URL and the headers have more than {MAX_HEADERS} bytes together")
        else:
            self.refuse(400, "this is not a valid HTTP/1.1 request")

    def lineReceived(self, line: bytes) -> None:
        """The request line, a header, or the empty line behind them."""
        if line[:1] in (b" ", b"\t"):  # a header that goes on: nobody sends it, and to join the lines is quadratic
            self.refuse(400, "a header, or the request, begins with a space")
        elif line and not self.requests and (line.count(b" ") != 2 or not line.isascii()):
            self.refuse(400, NO_REQUEST_LINE)
        else:
            super().lineReceived(line)

    def headerReceived(self, line: bytes) -> bool:
        """A header. False where the request has been refused for it."""
        name, colon, value = line[: MAX_HEADER_NAME + 1].partition(b":")
        if not colon and len(line) > MAX_HEADER_NAME:
            self.refuse(431, f"the name of a header is longer than {MAX_HEADER_NAME} bytes")
            return False
        if len(name) == 14 and name.lower() == b"content-length" and len(value) > 20:  # int() has a limit of its own
            self.refuse(400, "the Content-Length is no number of bytes")
            return False
        if len(name) == 17 and name.lower() == b"transfer-encoding" and value.strip().lower() != b"chunked":
            self.refuse(501, "the only Transfer-Encoding here is chunked")
            return False
        received: bool = super().headerReceived(line)
        return received
