"""Query strings and forms, byte for byte."""

from urllib.parse import urlencode

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import BadRequest
from txraft.web.forms import MAX_FIELDS, Fields, parse_form, parse_urlencoded

fields_strategy = st.lists(st.tuples(st.binary(min_size=1), st.binary()), max_size=5)


class UrlencodedTests(SynchronousTestCase):
    @given(fields_strategy)
    @example([(b"k", b"=%41 +&\r\n==\n")])
    def test_round_trip(self, fields: Fields) -> None:
        """Every byte arrives as it was."""
        self.assertEqual(parse_urlencoded(urlencode(fields).encode()), fields)

    @given(fields_strategy)
    def test_every_byte_escaped(self, fields: Fields) -> None:
        """The longest way to write it, in small digits."""
        text = "&".join("=".join("".join(f"%{byte:02x}" for byte in part) for part in field) for field in fields)
        self.assertEqual(parse_urlencoded(text.encode()), fields)

    def test_bytes_that_need_no_escape(self) -> None:
        """Values may hold =, and bytes over 127 as they are."""
        self.assertEqual(parse_urlencoded(b"&key=a=b=&val=\xff%3D&"), [(b"key", b"a=b="), (b"val", b"\xff=")])
        self.assertEqual(parse_urlencoded(b"key=a=41=\n%20"), [(b"key", b"a=41=\n ")])

    def test_malformed(self) -> None:
        """No guesses: they would be stored."""
        for text, line in (
            (b"key=a&val", "^'val' has no =; an empty value is written 'val='$"),
            (b"key=100%", "^a % must be followed by two hexadecimal digits; a % itself is written %25$"),
            (b"key=%4g", "%25"),
            (b"&".join([b"a=b"] * (MAX_FIELDS + 1)), "more than"),
            (b"&".join([b"a=b"] * 100_000), "more than|no ="),
        ):
            self.assertRegex(str(self.assertRaises(BadRequest, parse_urlencoded, text)), line)


def multipart(fields: Fields, boundary: bytes = b"XX") -> bytes:
    """A form, as browsers and curl write it."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (boundary, *field) for field in fields
    ]
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


class FormTests(SynchronousTestCase):
    @given(st.binary(), st.binary())
    @example(b"\r\n--X", b"\r\n\r\n\r\n--")
    @example(b"", b"\n\r\r\n")
    def test_multipart(self, key: bytes, value: bytes) -> None:
        """Every byte arrives as it was, line ends too."""
        fields = [(b"key", key), (b"val", value)]
        boundary = b"a boundary that no value holds"
        found = parse_form(b'multipart/form-data; boundary="%b"' % boundary, multipart(fields, boundary))
        self.assertEqual(found, fields)

    def test_file(self) -> None:
        """`curl -F val=@file` adds a file's name and type; they change nothing."""
        body = (
            b'preamble\r\n--XX\r\nContent-Disposition: form-data; filename="name=\\"key\\""; name="val"\r\n'
            b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7BIT\r\n\r\nSubject: x\r\n\r\ny\r\n--XX--"
        )
        self.assertEqual(parse_form(b"multipart/form-data; boundary=XX", body), [(b"val", b"Subject: x\r\n\r\ny")])

    def test_types(self) -> None:
        """The type is compared without its case and its parameters."""
        found = parse_form(b"Application/X-WWW-Form-Urlencoded; charset=utf-8", b"key=a")
        self.assertEqual(found, [(b"key", b"a")])

    def test_refused(self) -> None:
        """What is no form, or half of one, is told so."""
        whole = multipart([(b"key", b"a"), (b"val", b"b")])
        form = b"multipart/form-data; boundary=XX"
        for content_type, body, line in (
            (b"application/json", b"{}", "'application/json'"),
            (b"", b"x", "the body has no Content-Type; send a form"),
            (b"multipart/form-data", whole, "no boundary"),
            (b"multipart/form-data; boundary=YY", whole, "cannot be read"),
            (form, whole[:-8], "cannot be read"),
            (form, b"--XX\r\nContent-Disposition: form-data\r\n\r\na\r\n--XX--", "no name"),
            (form, b'--XX\r\nContent-Disposition: form-data; name="key"\r\n--XX--', "cannot be read"),
            (form, whole.replace(b"\r\n\r\na", b"\r\nContent-Transfer-Encoding: base64\r\n\r\na"), "encoded"),
            (form, multipart([(b"a", b"")] * 100), "count exceeded"),
        ):
            self.assertIn(line, str(self.assertRaises(BadRequest, parse_form, content_type, body)))
