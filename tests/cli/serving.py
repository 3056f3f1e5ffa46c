"""An HTTP server on loopback, for commands that block and ask a node."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from txraft.addresses import Address


class QuietHandler(BaseHTTPRequestHandler):
    """Says nothing on stderr."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serving(handler: type[QuietHandler]) -> Iterator[Address]:
    """Where it is served, on threads of its own, which have ended afterwards."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Address("127.0.0.1", server.server_port)
        finally:
            server.shutdown()
            thread.join()
