"""How much work is done for what a stranger sends, at its worst: twice as much for twice as many bytes (hazard N1).

Work is Python's instructions, and the lengths of the strings that methods of strings are called on, so that a search
through the same bytes again and again counts, though it is one instruction. Nothing measures time.
"""

import contextlib
import sys
from collections.abc import Callable
from email.message import Message
from functools import partial
from types import FrameType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.web.wire import Wire
from txraft.errors import BadRequest
from txraft.web.forms import parse_form, parse_urlencoded

PIECE = 512
"""Bytes that come at once, of what is many lines."""
WHOLE = 1 << 16
"""The same of one line, which is as much as a reactor reads. Twisted looks through an unfinished line again with every
piece that comes, so in smaller ones the work is not linear; it is bounded, because a line has 64 KiB at most."""


def work(call: Callable[[], object]) -> tuple[int, int]:
    """What a call takes: instructions, and bytes."""
    instructions = scanned = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal instructions
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        instructions += event == "opcode"
        return trace

    def profile(_: FrameType, event: str, called: Any) -> None:
        nonlocal scanned
        if event == "c_call" and isinstance(text := getattr(called, "__self__", None), str | bytes | bytearray):
            scanned += len(text)

    tracer, profiler = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.settrace(tracer)
        sys.setprofile(profiler)
    return instructions, scanned


def form(content_type: bytes, body: bytes) -> None:
    """Read a form, or refuse it."""
    with contextlib.suppress(BadRequest):
        parse_form(content_type, body)


def urlencoded(text: bytes) -> None:
    """Read a query string, or refuse it."""
    with contextlib.suppress(BadRequest):
        parse_urlencoded(text)


def request(data: bytes, at_once: int = PIECE) -> None:
    """Send it on a connection of its own, in pieces."""
    wire = Wire()
    for begin in range(0, len(data), at_once):
        wire.send(data[begin : begin + at_once])


class WorkTests(SynchronousTestCase):
    def linear(
        self, take: Callable[[bytes], object], size: int, piece: bytes, before: bytes = b"", after: bytes = b""
    ) -> None:
        """Twice as many of `piece` are twice the work, or less where a limit is reached before."""
        take(before + piece + after)  # what is done once
        once, twice = (sum(work(partial(take, before + piece * number + after))) for number in (size, 2 * size))
        self.assertLess(twice, 2.5 * once, piece)

    def test_the_measure_sees_what_is_not_linear(self) -> None:
        """The standard library splits the parameters of a header in quadratic time."""

        def parse(content_type: bytes) -> None:
            message = Message()
            message["Content-Type"] = content_type.decode()
            message.get_param("boundary")

        self.assertRaises(self.failureException, self.linear, parse, 1000, b";", b"a/b")

    def test_urlencoded(self) -> None:
        """Whatever a query string or a form is full of."""
        for piece in (b"&", b"a=b&", b"=", b"%41", b"%", b"+", b"a", b"\xff", b"%3D=+", b"a=%&"):
            self.linear(urlencoded, 5_000, piece, b"key=")

    def test_values(self) -> None:
        """A value of 1 MiB, with every byte escaped, and as a part of a form, takes a few hundred instructions, and is
        looked through a few times: it does not stall the reactor for a heartbeat (hazard S11)."""
        size = 1 << 20
        part = b'--B\r\nContent-Disposition: form-data; name="val"\r\n\r\n' + b"v" * size + b"\r\n--B--"
        for call, length in (
            (partial(urlencoded, b"val=" + b"%ff%41" * (size // 2)), 3 * size),
            (partial(form, b"multipart/form-data; boundary=B", part), size),
        ):
            instructions, scanned = work(call)
            self.assertLess(instructions, 2000)
            self.assertLess(scanned, 10 * length)

    def test_content_type(self) -> None:
        """Whatever its parameters are full of, and where they are too long to be looked at."""
        for piece in (b";", b'"', b";a=b", b'a="\\', b"; boundary", b"=", b" ", b'\\"', b'";'):
            for start in (b"multipart/form-data; boundary=B", b'multipart/form-data; boundary=B"', b""):
                for size in (100 // len(piece), 1_000):
                    self.linear(partial(form, body=b"x"), size, piece, start)

    def test_multipart(self) -> None:
        """Whatever a form, the head of a part, or a value is full of."""
        parse = partial(form, b"multipart/form-data; boundary=B")
        head = b'--B\r\nContent-Disposition: form-data; name="key"'
        for piece in (b";", b'";', b'a="\\', b"\r\n ", b"\r\nA: b", b"\r\nA", b"\r", b"\n", b" ", b"\r\n--", b"%22"):
            for start, end in ((head, b"\r\n\r\nk"), (head + b"\r\n\r\n", b""), (b"", b""), (b"--B\r\n", b"\r\n\r\nk")):
                self.linear(parse, 5_000, piece, start, end + b"\r\n--B--")
        self.linear(parse, 1000, head + b"\r\n\r\nk\r\n")
        self.linear(partial(form, b"multipart/form-data; boundary=" + b"-" * 70), 5_000, b"-", b"\r\n")

    def test_heads(self) -> None:
        """The request line, and headers, as long as they may be, and longer."""
        start = b"GET /status HTTP/1.1\r\nHost: x\r\n"
        for before, piece, size in (
            (b"GET /", b"x", 8_000),
            (b"GET /status?", b"%41", 3_000),
            (b"GET /status?", b"a=b&", 2_000),
            (b"GET /", b" ", 8_000),
            (b"GET http://", b"x/", 4_000),
            (b"", b"X", 8_000),
            (start + b"X: ", b"x", 8_000),
            (start + b"X: ", b"\x0b", 8_000),
            (start + b"Cookie: ", b"a=b; ", 2_000),
            (start + b"Accept: ", b"a, ", 3_000),
            (start + b"Connection: ", b"a ", 4_000),
            (start + b"Content-Length: ", b"9", 2_000),
            (start + b"Transfer-Encoding: ", b"chunked,", 2_000),
            (start + b"Expect: ", b"100-continue,", 2_000),
            (start, b"x", 8_000),
            (start, b":", 8_000),
        ):
            self.linear(partial(request, at_once=WHOLE), size, piece, before, b"\r\n\r\n")

    def test_many_headers(self) -> None:
        """Headers, and lines that go on, up to their limits and beyond."""
        start = b"GET /status HTTP/1.1\r\nHost: x\r\n"
        for piece in (
            b"X: y\r\n",
            b"X: y\r\n ",
            b"X:\r\n",
            b"X" * 99 + b": y\r\n",
            b"Cookie: a=b\r\n",
            b"\r\n",
            b" \r\n",
        ):
            for size in (200, 1000):
                self.linear(request, size, piece, start, b"\r\n\r\n")

    def test_pipelined(self) -> None:
        """One request after the other."""
        self.linear(request, 200, b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")

    def test_chunks(self) -> None:
        """Chunks of a byte, their extensions, and the trailer."""
        start = b"POST /get HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        for before, piece, size in (
            (b"", b"1\r\nx\r\n", 2000),
            (b"", b"1;" + b"e" * 1000 + b"\r\nx\r\n", 20),
            (b"", b"1;" * 400 + b"\r\nx\r\n", 20),
            (b"", b"00000000000001\r\nx\r\n", 1000),
            (b"FFFFF\r\n", b"x", 5_000),
            (b"0\r\n", b"x: y\r\n", 4000),
        ):
            self.linear(request, size, piece, start + before)
        for before, piece in ((b"", b"0"), (b"0\r\n", b"x"), (b"0\r\n", b"\r")):
            self.linear(partial(request, at_once=WHOLE), 5_000, piece, start + before)
