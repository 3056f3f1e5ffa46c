"""`txraft transfer`, against real servers on loopback, in threads: the command has no reactor."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from threading import Thread
from unittest.mock import patch

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

import txraft.cli.transfer
from tests.cli.serving import QuietHandler, serving
from txraft.addresses import Address
from txraft.cli import asking, main
from txraft.cli.asking import CONNECT_TIMEOUT
from txraft.cli.transfer import Transfer, transfer
from txraft.errors import OutcomeUnknown, TransferFailed, TxraftError, Unreachable

DONE = b"transferred leadership"
SOON = 0.05
"""Seconds to wait for an answer that does not come."""
LONG = 600.0
"""Seconds to wait for one that does, on any machine."""

asked: list[tuple[str, str, bytes]] = []
"""What nodes were asked in a test: path, type and body."""

THE_REQUEST = ("/transfer", "application/x-www-form-urlencoded", b"to=2")

DOUBT = "node 2 may lead or not, which `txraft status` tells"


@contextmanager
def node(status: int = 200, said: bytes = DONE, header: tuple[str, str] = ("X-A", "b")) -> Iterator[Address]:
    """Something that answers every request so; see `asked`."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers["Content-Type"], body))
            self.send_response(status)
            self.send_header(*header)
            self.end_headers()
            self.wfile.write(said)

    with serving(Handler) as address:
        yield address


@contextmanager
def listener() -> Iterator[tuple[socket.socket, Address]]:
    """A port where a connection is taken, by the kernel, and no more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LONG)
        yield server, Address(*server.getsockname())


@contextmanager
def no_node(says: bytes) -> Iterator[Address]:
    """Something that reads a request, says something and hangs up."""
    with listener() as (server, address):

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(LONG)
                received = b""
                while not received.endswith(THE_REQUEST[2]):
                    received += connection.recv(4096)
                connection.sendall(says)

        thread = Thread(target=serve)
        thread.start()
        yield address
        thread.join()


NOBODY = Address("127.0.0.1", 1)


class TransferTests(SynchronousTestCase):
    def setUp(self) -> None:
        asked.clear()

    def fails(self, kind: type[TxraftError], *addresses: Address, patience: float = LONG) -> str:
        """The line that asking them ends with."""
        with self.assertRaises(kind) as caught:
            transfer(2, addresses, patience)
        self.assertIs(type(caught.exception), kind)
        line = str(caught.exception)
        self.assertEqual(len(line.splitlines()), 1)
        return line

    def test_first_node_that_takes_a_connection(self) -> None:
        """One where nobody listens is passed over, and so is one whose name is unknown."""
        with node() as address:
            transfer(2, [NOBODY, Address("a.invalid", 80), address, address], LONG)
        self.assertEqual(asked, [THE_REQUEST])

    def test_no_other_is_asked_after_an_answer(self) -> None:
        """What a node says is the line."""
        with node(503, b"node 2 did not take over") as address:
            line = self.fails(TransferFailed, address, address)
        self.assertEqual(line, f"{address} answered 503: node 2 did not take over; {DOUBT}")
        self.assertEqual(len(asked), 1)

    def test_not_applied(self) -> None:
        """What the node promises is passed on."""
        with node(503, b"no leader was found", ("X-Txraft-Outcome", "not-applied")) as address:
            line = self.fails(TransferFailed, address)
        self.assertEqual(line, f"{address} answered 503: no leader was found; nothing was changed")

    def test_nobody_there(self) -> None:
        """Nothing was sent, and the line says so, and why the last one was not asked."""
        line = self.fails(Unreachable, Address("a.invalid", 80), NOBODY)
        self.assertIn("nothing was asked; the last one asked, 127.0.0.1:1: ", line)

    def test_no_answer(self) -> None:
        """It may be at it still; to ask another one would be to ask twice. Hazard C8."""
        with listener() as (_, silent), node() as address:
            line = self.fails(OutcomeUnknown, silent, address, patience=SOON)
        self.assertEqual(line, f"{silent} did not answer within 0.05 s; {DOUBT}")
        self.assertEqual(asked, [])

    def test_hangs_up(self) -> None:
        """The connection ends, as when the node is killed."""
        with no_node(b"") as gone, node() as address:
            line = self.fails(OutcomeUnknown, gone, address)
        self.assertIn(f"{gone} did not answer: ", line)
        self.assertIn("; a node is asked at its HTTP address, its KVADDR, and not at that of Raft; ", line)
        self.assertEqual(asked, [])

    def test_does_not_speak_http(self) -> None:
        """Whatever listens there, and however little of it is text, it makes one line."""
        for says in (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\x15\x03\x01\x00\x02\x02\x46",
            b"\x1b[2Jx\n",
            b"HTTP/9.9 200 OK\r\n\r\n",
        ):
            with no_node(says) as stranger, node() as address:
                line = self.fails(OutcomeUnknown, stranger, address)
            self.assertIn(f"{stranger} did not answer as a node does: ", line)
            self.assertIn("; a node is asked at its HTTP address, its KVADDR, ", line)
            self.assertTrue(line.isprintable(), line)
        self.assertEqual(asked, [])

    def test_cut_off(self) -> None:
        """An answer that ends in its headers is none."""
        with no_node(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n16\r\ntransf") as gone:
            self.fails(OutcomeUnknown, gone)

    def test_another_web_server(self) -> None:
        """Not every 200 means that a node leads, and nobody is sent elsewhere."""
        page = b"<html>\n<body>It works!</body>" + b"." * 10_000
        with node() as address:
            for status, header in ((200, ("X-A", "b")), (302, ("Location", f"http://{address}/transfer"))):
                with node(status, page, header) as stranger:
                    line = self.fails(TransferFailed, stranger, address)
                self.assertIn(f"{stranger} answered {status}: <html> <body>It works!", line)
                self.assertLess(len(line), 400)
            with node(404, b"") as stranger:
                self.assertEqual(self.fails(TransferFailed, stranger), f"{stranger} answered 404: nothing more")
        self.assertEqual(len(asked), 3)  # each of the strangers, once

    def test_interrupted(self) -> None:
        """Ctrl-C: the request is on its way."""
        with node() as address, patch.object(HTTPConnection, "getresponse", side_effect=KeyboardInterrupt):
            self.assertIn("had not answered yet; node 2 may lead or not", self.fails(OutcomeUnknown, address))

    def test_proxy(self) -> None:
        """Nodes are asked themselves, whatever proxy the environment names."""
        with node() as address, patch.dict(os.environ, {"http_proxy": f"http://{NOBODY}", "no_proxy": ""}):
            transfer(2, [address], LONG)
        self.assertEqual(len(asked), 1)


class CommandTests(SynchronousTestCase):
    def config(self, *addresses: Address, timing: str) -> str:
        path = Path(self.mktemp())
        lines = ["[timing]", timing]
        for id, address in enumerate(addresses):
            lines += ["[[cluster]]", f"id = {id}", f'address = "localhost:{id + 1}"', f'kvaddr = "{address}"']
        path.write_text("\n".join(lines))
        return str(path)

    def run_main(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
            status = main(["transfer", *arguments])
        return status, output.getvalue(), errors.getvalue()

    def test_waits_as_long_as_the_node_may_take(self) -> None:
        """Which is its request_timeout; the defaults ten times as slow take 50 s, and a day is the longest."""
        with patch.object(txraft.cli.transfer, "transfer") as asked_for:
            self.run_main("--to", "2", "--config", self.config(NOBODY, timing="slow_coefficient = 10"))
        target, addresses, patience = asked_for.call_args.args
        self.assertEqual((target, addresses), (2, [NOBODY]))
        self.assertGreater(patience, 50)
        with node() as address:
            config = self.config(address, timing="request_timeout = 86_400_000")
            self.assertEqual(self.run_main("--to", "2", "--config", config), (0, "node 2 leads\n", ""))

    def test_a_node_that_takes_no_connection_is_given_up(self) -> None:
        """Its machine may be gone, and nobody says so."""
        with node() as address, patch.object(socket, "create_connection", wraps=socket.create_connection) as connect:
            transfer(2, [address], LONG)
        self.assertEqual(connect.call_args.args[1], CONNECT_TIMEOUT)

    def test_unknown_is_a_failure(self) -> None:
        """Status 4, and one line that ends with a node that may lead."""
        self.patch(asking, "MARGIN", 0.0)
        with listener() as (_, silent):
            config = self.config(silent, timing="request_timeout = 50")
            status, output, errors = self.run_main("--to", "2", "--config", config)
        self.assertEqual((status, output), (4, ""))
        self.assertRegex(errors, r"\Atxraft: 127.0.0.1:\d+ did not answer within 0.05 s; node 2 may lead or not.*\n\Z")

    def test_to(self) -> None:
        """Without --to there is nothing to do, and it is a node's id."""
        self.assertRaises(UsageError, Transfer().parseOptions, [])
        status, _, errors = self.run_main("--to", "two\udcff")
        self.assertEqual(status, 2)
        self.assertIn("--to takes a whole number, not 'two\\udcff'", errors)
