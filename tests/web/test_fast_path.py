"""Heads that are known: who goes the short way, and that nobody can tell by the answers."""

import re
from typing import Literal, TypeAlias, get_args
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.web.test_slow_clients import SlowTransport
from tests.web.wire import Wire
from txraft.errors import NotLeader
from txraft.kv import Result
from txraft.web.channel import ApiChannel
from txraft.web.fast_path import FastPath
from txraft.web.turns import LONG

ANSWER = re.compile(rb"HTTP/1.1 [2-5]")
HOST = b"Host: x\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


def request(
    line: bytes, body: bytes | None = None, headers: bytes = HOST, length: bytes | None = None, version: bytes = b"1.1"
) -> bytes:
    """The bytes of a request; `length` is its Content-Length, which is right if it is not given."""
    if body is not None:
        headers += b"Content-Length: %b\r\n" % (b"%d" % len(body) if length is None else length) + FORM
    return b"%b HTTP/%b\r\n%b\r\n%b" % (line, version, headers, body or b"")


GET = request(b"GET /get?key=k")
POST = request(b"POST /set", b"key=k&val=v")


class WayTests(SynchronousTestCase):
    def goes_fast(self, first: bytes, *pieces: bytes, answers: int = 1) -> bool:
        """Whether what comes in these pieces, after a first request, is not read by Twisted. It is answered."""
        wire = Wire()
        wire.send(first)
        wire.transport.clear()
        with patch.object(wire.protocol, "lineReceived", side_effect=wire.protocol.lineReceived) as parser:
            for piece in pieces:
                wire.send(piece)
        self.assertEqual(len(ANSWER.findall(wire.transport.value())), answers, pieces)
        return not parser.called

    def test_fast(self) -> None:
        """The same head, with whatever target and body; a method has a head of its own."""
        for first, second in (
            (GET, GET),
            (GET, request(b"GET /set?key=k&val=%ff+?")),
            (GET, request(b"GET /status")),
            (GET, request(b"GET /nowhere?")),
            (GET, request(b"GET /transfer?to=1")),  # which takes no GET
            (POST, POST),
            (POST, request(b"POST /cas", b"key=k&old=" + b"o" * 1000 + b"&val=v")),
            (POST, request(b"POST /delete?key=k", b"")),
            (POST, request(b"POST /set", b"key=k&val=v", length=b"0011")),
            (GET + POST, GET),
            (request(b"POST /set?key=k&val=v"), request(b"POST /delete?key=k")),
            (request(b"GET /get?key=k", b"x"), request(b"GET /get?key=l", b"")),
            (request(b"GET /get?key=k", headers=HOST + b"Origin: http://x\r\n"),) * 2,
        ):
            self.assertTrue(self.goes_fast(first, second), (first, second))

    def test_body_behind_its_head(self) -> None:
        """A body may come in a packet of its own, and the first may have come so too."""
        end = POST.index(b"\r\n\r\n") + 4
        for cut in (end, end + 1):
            self.assertTrue(self.goes_fast(POST, POST[:cut], POST[cut:]))
            self.assertFalse(self.goes_fast(POST, POST[:cut], POST[cut:-1], POST[-1:]))
            self.assertFalse(self.goes_fast(POST, POST[:cut], POST[cut:] + POST, answers=2))
        long = request(b"POST /set", b"key=k&val=" + b"v" * LONG)
        self.assertFalse(self.goes_fast(POST, long[:-LONG], long[-LONG:]))
        wire = Wire()
        for piece in (POST[:end], POST[end:], POST[:end]):
            wire.send(piece)
        self.assertEqual(wire.protocol._fast_path.begun, POST[:end])

    def test_slow(self) -> None:
        """Whatever is cut, joined, or different in a byte."""
        for first, *pieces in (
            (GET, GET[:-1], GET[-1:]),
            (GET, GET[:5], GET[5:]),
            (GET, b"\r\n" + GET),
            (GET, GET.replace(b"Host: x", b"Host: y")),
            (GET, GET.replace(b"Host: x", b"host: x")),
            (GET, GET.replace(b"Host: x", b"Host: x\r\nX: y")),
            (GET, GET.replace(b"GET", b"HEAD")),
            (GET, GET.replace(b"/get", b"http://x/get")),
            (GET, GET.replace(b"/get", b"get")),
            (GET, GET.replace(b"=k", b"=\x7f")),
            (GET, GET.replace(b"GET ", b"GET  ")),
            (GET, request(b"GET /get?key=" + b"k" * LONG)),
            (GET, POST),
            (POST, GET),
            (POST, request(b"POST /set", b"key=k&val=" + b"v" * LONG)),
            (POST, request(b"POST /set", b"key=k&val=v", length=b"1x")),
            (POST, POST.replace(b"x-www", b"y-www")),
            (POST, request(b"POST /set", b"key=k&val=v", length=b"9" * 30)),
            (b"\r\n" + GET, GET),
            (GET.replace(b"/get", b"http://y/get"), GET),
            (GET.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),) * 2,
        ):
            self.assertFalse(self.goes_fast(first, *pieces), (first, pieces))
        self.assertFalse(self.goes_fast(GET, GET + GET, answers=2))
        other = POST.replace(b"Content-Length", b"X-Content-Length: %d\r\nContent-Length")
        length = len(POST.partition(b"\r\n\r\n")[2])
        self.assertFalse(self.goes_fast(other % 0, other % (length + len(GET)) + GET, answers=2))
        self.assertFalse(self.goes_fast(GET[:-9], GET[-9:], GET, answers=2))
        self.assertFalse(self.goes_fast(GET + GET.replace(b" x", b" y"), GET.replace(b" x", b" y")))
        chunked = request(b"POST /set", headers=HOST + b"Transfer-Encoding: chunked\r\n")
        self.assertFalse(self.goes_fast(chunked + b"0\r\n\r\n", chunked, b"0\r\n\r\n"))

    def test_behind_the_last(self) -> None:
        """What was read from the socket before it was closed is not looked at."""
        for last in (request(b"GET /status", headers=HOST + b"Connection: close\r\n"), GET.replace(b"1.1", b"1.0")):
            for behind in (GET, last, b"\x16"):
                wire = Wire()
                wire.send(GET)
                wire.send(last)
                wire.transport.clear()
                self.assertTrue(wire.transport.disconnecting)
                wire.transport.disconnecting = False  # or the transport would complain
                wire.send(behind)
                wire.send(GET)
                self.assertEqual(wire.transport.value(), b"")

    def test_pages_of_other_sites(self) -> None:
        """Headers with which a page may read do not let it write, however they have been read (hazard N7)."""
        for page in (b"Origin: http://evil\r\n", b"Referer: http://evil/\r\n", b"Sec-Fetch-Site: cross-site\r\n"):
            wire = Wire()
            wire.send(request(b"GET /get?key=k", headers=HOST + page))
            self.assertEqual(wire.response().code, 404)
            wire.send(request(b"GET /set?key=k&val=v", headers=HOST + page))
            self.assertEqual((wire.response().code, wire.replica.proposals), (403, 0))
            for own, other, status in ((page, b"", 403), (b"", page, 200)):
                wire = Wire()
                wire.send(request(b"GET /status", headers=HOST + own) + request(b"GET /status", headers=HOST + other))
                wire.transport.clear()
                wire.send(request(b"GET /set?key=k&val=v", headers=HOST + own))
                self.assertEqual(wire.response().code, status)

    def test_behind_a_question(self) -> None:
        """While one is decided what follows is left in the socket, and read when it has been answered (hazard N2)."""
        wire = Wire(transport=SlowTransport())
        wire.send(GET)
        wire.replica.waiting = []
        wire.send(request(b"GET /set?key=k&val=v"))
        self.assertEqual(wire.transport.producerState, "producing")
        wire.send(GET)
        wire.send(GET)
        self.assertEqual((wire.transport.producerState, wire.replica.barriers), ("paused", 1))
        wire.replica.waiting.pop().callback(Result.DONE.value)
        wire.clock.advance(0)
        self.assertEqual((wire.transport.producerState, wire.replica.barriers), ("producing", 3))
        self.assertEqual(len(ANSWER.findall(wire.transport.value())), 4)

    def test_slow_decision(self) -> None:
        """A question that is decided slowly is not the client's fault."""
        wire = Wire()
        wire.send(GET)
        wire.response()
        wire.replica.waiting = []
        wire.send(request(b"GET /set?key=k&val=v"))
        wire.clock.pump([1] * 1000)
        wire.replica.waiting.pop().callback(Result.DONE.value)
        self.assertEqual(wire.response().code, 200)

    def test_client_goes(self) -> None:
        """Its question goes its way, and is answered to nobody."""
        wire = Wire()
        wire.send(GET)
        wire.replica.waiting = []
        wire.send(request(b"GET /set?key=k&val=v"))
        wire.transport.clear()
        wire.disconnect()
        wire.replica.waiting.pop().callback(Result.DONE.value)
        self.assertEqual(wire.transport.value(), b"")

    def test_time_for_the_body(self) -> None:
        """A head that is known sets the deadline for its body (hazard N6)."""
        wire = Wire(transport=SlowTransport())
        wire.send(POST)
        wire.response()
        wire.send(POST[:-5])
        self.assertNotEqual(wire.protocol._fast_path.begun, b"")
        wire.clock.pump([1] * int(wire.site.receive_seconds))
        self.assertEqual(wire.response().code, 408)


Pieces: TypeAlias = tuple[bytes, ...]
Event: TypeAlias = Literal["decide", "hold", "refuse", "read", "stop reading", "close", "wait", "wait long"]


class LongWay(FastPath):
    """Takes nothing."""

    def take(self, channel: ApiChannel, data: bytes) -> bool:  # noqa: ARG002  FastPath's signature
        return False


LINES = [b"GET /get?key=k", b"GET /set?key=k&val=v", b"POST /set", b"POST /get"]
ODD_LINES = [
    b"HEAD /get?key=k",
    b"GET /get?key=k&consistency=stale",
    b"GET /set?key=%6b&val=%zz",
    b"GET /",
    b"GET /get?",
    b"GET /get?key=a?b",
    b"GET /set?key=" + b"k" * (LONG - 40),
    b"GET /set?key=k&val=" + b"v" * 9000,
    b"GET http://y/get?key=k",
    b"GET *",
    b"GET  /get?key=k",
    b"GET /get?key=\x7f",
    b"GET /get?key=\xff",
    b"POST /transfer?to=1",
    b"POST /cas?old=v",
    b"PUT /set?key=k&val=v",
    b"\r\nGET /get?key=k",
]
ODD_HEADERS = [
    b"",
    b"host:x\r\n",
    *(
        HOST + header + b"\r\n"
        for header in (
            b"Origin: http://x",
            b"Origin: http://y",
            b"Sec-Fetch-Site: cross-site",
            b"Connection: close",
            b"Expect: 100-continue",
            b"Host: y",
            b"Content-Encoding: identity",
            b"Content-Length: 1",
            b"Transfer-Encoding: chunked",
            b" folded",
            b"X: " + b"x" * LONG,
        )
    ),
]
BODIES = [b"key=k&val=v", b"key=k&val=vw", b"key=k"]
ODD_BODIES = [None, b"", b"key", b"key=k&val=" + b"v" * LONG, b"key=" + b"k" * 9000, b"0\r\n\r\n", GET]
ODD_LENGTHS = [b"0", b"007", b"0011", b"12", b"9000", b"", b"1x", b"-1", b"9" * 25]
ODD_WAYS = ["several", "wrong", "cut", "cut between"]


@st.composite
def clients(draw: st.DrawFn) -> list[Pieces | Event]:
    """What a client does and meets. Its requests are usual ones, but for some oddities, which it repeats."""
    choose = {
        name: st.sampled_from(usual * 4 + [draw(st.sampled_from(odd))] * len(usual))
        for name, usual, odd in (
            ("line", LINES, ODD_LINES),
            ("headers", [HOST], ODD_HEADERS),
            ("body", BODIES, ODD_BODIES),
            ("length", [None], ODD_LENGTHS),
            ("version", [b"1.1"] * 3, [b"1.0", b"2", b"1.1 "]),
            ("way", ["whole"], ODD_WAYS),
            ("event", ["send"], get_args(Event)),
        )
    }

    def one() -> bytes:
        line, body = draw(choose["line"]), draw(choose["body"])
        if not line.startswith(b"POST"):
            body = None
        return request(line, body, draw(choose["headers"]), draw(choose["length"]), draw(choose["version"]))

    def sent() -> Pieces:
        data, cuts = one(), []
        match draw(choose["way"]):
            case "several":
                data += one() + one()
            case "wrong":
                at = draw(st.integers(0, len(data) - 1))
                data = data[:at] + draw(st.binary(max_size=2)) + data[at + 1 :]
            case "cut":
                cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
            case "cut between":
                cuts = [match.end() for match in re.finditer(rb"\r\n\r\n", data)]
        return tuple(data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True))

    events = [draw(choose["event"]) for _ in range(draw(st.integers(3, 15)))]
    return [sent() if event == "send" else event for event in events]


class Client:
    """A connection, and what can be seen of it."""

    def __init__(self) -> None:
        self.transport = SlowTransport()
        self.wire = Wire(transport=self.transport)
        self.replica = self.wire.replica
        self.received = b""
        self.reads = True
        self.closed = False
        """It sends nothing more."""

    def do(self, event: Pieces | Event) -> None:
        """What happens."""
        match event:
            case "decide":
                waiting, self.replica.waiting, self.replica.failure = self.replica.waiting, None, None
                for each in waiting or ():
                    each.callback(Result.DONE.value)
            case "hold":
                self.replica.waiting = self.replica.waiting or []
            case "refuse":
                self.replica.failure = NotLeader(None)
            case "read" | "stop reading":
                self.reads = event == "read"
                self.transport.FULL = 1 << 16 if self.reads else 100  # type: ignore[misc]  # two answers are more
            case "close" if not self.closed:
                self.closed = True
                self.wire.protocol.readConnectionLost()
            case "wait" | "wait long":
                self.wire.clock.pump([1] * (5 if event == "wait" else 31))
            case tuple(pieces):
                for piece in pieces:
                    if not (self.closed or self.transport.disconnecting):
                        self.wire.send(piece)
        if self.reads:
            self.received += self.transport.value()
            if self.wire.protocol._waitingForTransport:
                self.transport.take()
            self.transport.clear()

    def seen(self) -> tuple[object, ...]:
        """All that the client, the node and the site can see."""
        return (
            re.sub(rb"\r\nDate: [^\r]*", b"", self.received + self.transport.value()),
            self.transport.producerState,
            self.transport.disconnecting,
            self.transport.disconnected,
            self.transport.half_closed,
            self.replica.proposals,
            self.replica.barriers,
            self.replica.transfers,
            self.wire.protocol.deadline,
            self.wire.protocol.refused,
        )


class AlikeTests(SynchronousTestCase):
    @given(clients())
    def test_alike(self, events: list[Pieces | Event]) -> None:
        """Whatever a client sends, however it is cut, and whatever happens meanwhile: the same bytes at the same time,
        the same proposals, the same state of the connection, with the fast path and without it."""
        fast, slow = Client(), Client()
        slow.wire.protocol._fast_path = LongWay()
        for event in ((GET,), (POST,), *events):
            fast.do(event)
            slow.do(event)
            self.assertEqual(fast.seen(), slow.seen(), event)
        self.assertEqual(self.flushLoggedErrors(), [])
