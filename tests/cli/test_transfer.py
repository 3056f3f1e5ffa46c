"""`txraft transfer`, against a real HTTP server on loopback, in a thread: the command has no reactor."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.transfer import Transfer, transfer
from txraft.config import Address
from txraft.errors import TransferFailed


@contextmanager
def node(status: int, line: bytes) -> Iterator[tuple[Address, list[bytes]]]:
    """Something that answers every request so: where it listens, and what it was asked."""
    asked: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path.encode() + b" " + self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(line)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Address("127.0.0.1", server.server_port), asked
        finally:
            server.shutdown()
            thread.join()


NOBODY = Address("127.0.0.1", 1)


class TransferTests(SynchronousTestCase):
    def test_first_node_that_answers(self) -> None:
        """A node that does not answer is passed over."""
        with node(200, b"transferred leadership") as (address, asked):
            transfer("2", [NOBODY, address])
        self.assertEqual(asked, [b"/transfer to=2"])

    def test_refused(self) -> None:
        """What a node says is the line, and no other node is asked."""
        with node(503, b"node 2 did not take over") as (address, asked), self.assertRaises(TransferFailed) as caught:
            transfer("2", [address, address])
        self.assertEqual(str(caught.exception), "node 2 did not take over")
        self.assertEqual(len(asked), 1)

    def test_nobody_there(self) -> None:
        """One line names the last address."""
        with self.assertRaises(TransferFailed) as caught:
            transfer("2", [NOBODY])
        self.assertIn("no node answers; the last one asked, 127.0.0.1:1:", str(caught.exception))

    def test_to_is_required(self) -> None:
        """Without --to there is nothing to do."""
        self.assertRaises(UsageError, Transfer().parseOptions, [])
