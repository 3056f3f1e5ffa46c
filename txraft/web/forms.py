"""Query strings and forms to names and values, all of them bytes, and exactly the bytes that were sent.

Stricter than most: a name without a `=`, a `%` without two digits and a part without a name are refused, because a
guess would be stored. Fast enough for a value of 1 MiB between two heartbeats (hazard S11), and linear in the worst
input that it takes (hazard N1). The standard library, and Twisted with it, split the parameters of a header in
quadratic time, so `multipart` reads those, and the parts of a form, whose heads it bounds before it looks into them.
"""

import re
from binascii import a2b_qp
from typing import TypeAlias

from multipart import (  # type: ignore[import-untyped]  # it has no annotations
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from txraft.errors import BadRequest

Fields: TypeAlias = list[tuple[bytes, bytes]]

MAX_FIELDS = 16
"""No route takes nearly as many."""
MAX_CONTENT_TYPE = 256
"""Of a Content-Type. Its boundary takes 70 at most (RFC 2046 §5.1.1). In bytes."""
MAX_PART_HEADER = 1024
"""Of each of the headers of a part, of which there may be `multipart`'s 8. In bytes."""

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def shown(text: bytes) -> str:
    """Something that a client sent, for a line of text: quoted, escaped, and its first 60 bytes."""
    return ascii(text[:60].decode("utf-8", "backslashreplace")) + ("..." if len(text) > 60 else "")


def parse_urlencoded(text: bytes) -> Fields:
    """The fields of a query string or of an `application/x-www-form-urlencoded` body. Raises BadRequest."""
    fields = []
    for part in text.split(b"&", MAX_FIELDS):
        if part:
            name, equals, value = part.partition(b"=")
            if not equals:
                raise BadRequest(f"{shown(name)} has no =; an empty value is written {shown(name + b'=')}")
            fields.append((name, value))
    if len(fields) > MAX_FIELDS:
        raise BadRequest(f"there are more than {MAX_FIELDS} parameters")
    if b"%" in text or b"+" in text:
        return [(_unquote(name), _unquote(value)) for name, value in fields]
    return fields


def _unquote(text: bytes) -> bytes:
    text = text.replace(b"+", b" ")
    if b"%" not in text:
        return text
    if _BAD_ESCAPE.search(text):
        raise BadRequest("a % must be followed by two hexadecimal digits; a % itself is written %25")
    # Quoted-printable writes =41 for %41, and its decoder is in C: 1 MiB takes 20 ms and not 300.
    return a2b_qp(text.replace(b"=", b"=3D").replace(b"%", b"="))


def type_of_body(content_type: bytes) -> str:
    """What a body is said to be, for the beginning of a line of text."""
    return f"the body is of type {shown(content_type)}" if content_type else "the body has no Content-Type"


def parse_form(content_type: bytes, body: bytes) -> Fields:
    """The fields of a body of this Content-Type. Raises BadRequest."""
    if len(content_type) > MAX_CONTENT_TYPE:
        raise BadRequest(f"the Content-Type is longer than {MAX_CONTENT_TYPE} bytes")
    kind, options = parse_options_header(content_type.decode("latin-1"))
    match kind:
        case "application/x-www-form-urlencoded":
            return parse_urlencoded(body)
        case "multipart/form-data":
            return _parse_multipart(options.get("boundary", "").encode("latin-1"), body)
    raise BadRequest(
        f"{type_of_body(content_type)}; send a form, as application/x-www-form-urlencoded or multipart/form-data"
    )


def _parse_multipart(boundary: bytes, body: bytes) -> Fields:
    """RFC 7578. Names and values are latin-1 on their way, which keeps every byte."""
    if not boundary:
        raise BadRequest("the form's Content-Type names no boundary")
    fields: Fields = []
    value: list[bytes] = []
    try:
        with PushMultipartParser(
            boundary, max_header_size=MAX_PART_HEADER, max_segment_count=MAX_FIELDS, header_charset="latin-1"
        ) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    name, value = _name(event), []
                elif event is not None:
                    value.append(event)
                else:
                    fields.append((name, b"".join(value)))
    except MultipartError as error:
        raise BadRequest(f"the form cannot be read: {error}") from error
    return fields


def _name(part: MultipartSegment) -> bytes:
    if not part.name:
        raise BadRequest("a part of the form has no name")
    name: bytes = part.name.encode("latin-1")
    if part.header("Content-Transfer-Encoding", "binary").lower() not in ("7bit", "8bit", "binary"):
        raise BadRequest(f"the part {shown(name)} is encoded; send it as it is")
    return name
