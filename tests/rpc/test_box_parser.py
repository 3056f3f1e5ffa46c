"""The parser of boxes: AMP's boxes, however they are cut, with work that is linear."""

from functools import partial
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.test_boxes import pair
from tests.web.test_work import work
from txraft.errors import MalformedMessage
from txraft.rpc.arguments import MAX_VALUE
from txraft.rpc.boxes import GREETING_KEYS, GREETING_VALUE, MAX_KEY, MAX_KEYS, BoxParser

values = st.one_of(st.binary(), st.sampled_from((255, 256, MAX_VALUE - 1, MAX_VALUE)).map(bytes))
boxes = st.dictionaries(st.one_of(st.binary(min_size=1, max_size=4), st.just(b"k" * MAX_KEY)), values, min_size=1)
END = b"\0\0"


def read(pieces: list[bytes], trusted: bool = True) -> list[Any]:
    """What a new parser makes of pieces: boxes, and an error at the end where there is one."""
    parser, found = BoxParser(), list[Any]()
    if trusted:
        parser.trust()
    try:
        for piece in pieces:
            found.extend(parser.feed(piece))
    except MalformedMessage as error:
        found.append(str(error))
    return found


def cut(data: bytes, places: list[float]) -> list[bytes]:
    """The data in pieces, cut at these places of 0 to 1."""
    ends = sorted(round(place * len(data)) for place in places)
    return [data[begin:end] for begin, end in pairwise((0, *ends, len(data)))]


def by_size(data: bytes, size: int) -> list[bytes]:
    """The data in pieces of `size`."""
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


class BoxParserTests(SynchronousTestCase):
    """What it reads."""

    @given(st.lists(boxes, max_size=4), st.lists(st.floats(0, 1)))
    def test_cut_anywhere(self, boxes: list[dict[bytes, bytes]], places: list[float]) -> None:
        """Boxes arrive as AMP reads them, wherever the stream is cut."""
        data = b"".join(amp.AmpBox(box).serialize() for box in boxes)
        self.assertTrue(read(cut(data, places)) == boxes == amp.parseString(data))

    @given(st.lists(st.one_of(st.binary(), boxes.map(lambda box: amp.AmpBox(box).serialize()))), st.booleans())
    def test_nonsense(self, parts: list[bytes], trusted: bool) -> None:
        """What makes no sense is refused at the same place and in the same words, whole or byte by byte."""
        data = b"".join(parts)[:5000]
        self.assertEqual(read([data], trusted), read(by_size(data, 1), trusted))

    def test_limits(self) -> None:
        """What is just within the limits is read, also in one piece, and what is just beyond them refused."""
        for trusted, keys, value in ((False, GREETING_KEYS, GREETING_VALUE), (True, MAX_KEYS, MAX_VALUE)):
            full = {b"%d" % number: bytes(value) for number in range(keys)}
            data = b"".join(pair(key, text) for key, text in full.items())
            self.assertTrue(read([data + END], trusted) == [full])
            self.assertEqual(read([data + pair(b"1", b"") + END], trusted), ["a box with a key that comes twice"])
            self.assertEqual(read([data + pair(b"one", b"") + END], trusted), [f"a box of more than {keys} keys"])
        self.assertEqual(read([pair(b"k", bytes(GREETING_VALUE + 1))], False), ["a key or value of 4097 bytes"])
        self.assertEqual(read([pair(b"k" * 256, b"")]), ["a key or value of 256 bytes"])

    def test_trust(self) -> None:
        """Trust begins with the next box, also of the same piece."""
        parser = BoxParser()
        long = pair(b"k", bytes(MAX_VALUE)) + END
        found = parser.feed(pair(b"a", b"b") + END + long)
        self.assertEqual(next(found), {b"a": b"b"})
        parser.trust()
        self.assertEqual(next(found), {b"k": bytes(MAX_VALUE)})

    def test_clear(self) -> None:
        """Nothing is held after `clear`."""
        parser = BoxParser()
        self.assertEqual(list(parser.feed(pair(b"a", b"bc") + b"\0\1k\0\5abc")), [])
        self.assertEqual(parser.size, 3 + 1 + 5)
        parser.clear()
        self.assertEqual(parser.size, 0)


class WorkTests(SynchronousTestCase):
    """How much it does: twice as much for twice as many bytes, as they come at worst (hazard N1)."""

    def test_instructions(self) -> None:
        """Many pieces, strings, keys or boxes."""
        for piece in (b"\0\1k\0\1v", pair(b"k", bytes(300)), pair(b"k", b"v") + END):
            for size in (1, 7, 1000):
                once, twice = (work(partial(read, by_size(piece * count, size))) for count in (50, 100))
                self.assertLess(sum(twice), 2.5 * sum(once), (piece, size))

    def test_copies(self) -> None:
        """A byte is put aside a few times before it is read, however long what it belongs to takes to come."""
        data = (pair(b"k", bytes(MAX_VALUE)) + pair(b"l", b"short")) * 3 + END
        for size in (1, 100, 1460, 40_000, MAX_VALUE, len(data)):
            copied = list[int]()

            def copy(source: bytes = b"", copied: list[int] = copied) -> bytearray:
                copied.append(len(source))
                return bytearray(source)

            with patch("txraft.rpc.boxes.bytearray", copy, create=True):
                self.assertEqual(len(read(by_size(data, size))), 1)
            self.assertLess(sum(copied), 2 * len(data), size)
