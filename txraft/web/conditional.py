"""The headers that make a request conditional, or ask for the rest of a file (RFC 9110 §13, §14), and the one that
makes it safe to send again.

A key's ETag is its `mod_revision` in quotes. `If-Match: "7", "9"` holds where it is one of these, and `If-Match: *`
where there is such a key; `If-None-Match` holds where it is none of them, or where there is no such key. A proxy that
compresses an answer makes its ETag a weak one, `W/"7"`. That is no `If-Match` for any key (RFC 9110 §13.1.1).
"""

import re

from twisted.web.http_headers import Headers

from txraft.errors import BadRequest
from txraft.kv.commands import Condition
from txraft.kv.records import NO_REVISION
from txraft.web.forms import shown

MAX_IDEMPOTENCY_KEY = 255
"""In bytes. What came of 100,000 requests is kept, and their keys with it."""

_ETAG = re.compile(rb'(W/)?"([1-9][0-9]{0,18})"')
_STRONG = re.compile(rb'"([0-9a-f]{1,64})"')
_TO_THE_END = re.compile(rb"bytes=([0-9]{1,18})-")


def if_match(headers: Headers) -> Condition | None:
    """What the key must be like; None where that does not matter. Raises BadRequest."""
    return _condition(headers, "If-Match", is_one=True)


def if_none_match(headers: Headers) -> Condition | None:
    """What the key must not be like; None where that does not matter. Raises BadRequest."""
    return _condition(headers, "If-None-Match", is_one=False)


def _condition(headers: Headers, name: str, is_one: bool) -> Condition | None:
    lines = headers.getRawHeaders(name.encode())
    if lines is None:
        return None
    text = b",".join(lines).strip()
    if text == b"*":
        return Condition((NO_REVISION,), not is_one)
    tags = [tag for tag in map(bytes.strip, text.split(b",")) if tag]
    if not tags:
        raise BadRequest(f"{name} is empty; leave it out, or send an ETag that /get gave")
    revisions = []
    for tag in tags:
        match = _ETAG.fullmatch(tag)
        if match is None:
            raise BadRequest(f'{name} is *, or ETags that /get gave, as in "7", "9"; not {shown(tag)}')
        if not (match[1] and is_one):
            revisions.append(int(match[2]))
    return Condition(tuple(revisions), is_one)


def rest(headers: Headers) -> tuple[str, int] | None:
    """The ETag of a file that the client has the beginning of, without its quotes, and how many bytes that is. None
    where it asks for no such thing: also for another part, which a server may pass over, and for a part without an
    If-Range."""
    (part, tag) = (headers.getRawHeaders(name, (b"",))[-1] for name in (b"range", b"if-range"))
    begin, strong = _TO_THE_END.fullmatch(part.strip()), _STRONG.fullmatch(tag.strip())
    if begin is None or strong is None:
        return None
    return strong[1].decode(), int(begin[1])


def idempotency_key(headers: Headers) -> bytes | None:
    """The key of the request; None where it has none. Raises BadRequest."""
    keys = headers.getRawHeaders(b"idempotency-key")
    if keys is None:
        return None
    if len(keys) > 1:
        raise BadRequest("there is more than one Idempotency-Key")
    if not 1 <= len(keys[0]) <= MAX_IDEMPOTENCY_KEY:
        raise BadRequest(f"the Idempotency-Key has {len(keys[0])} bytes; it may have 1 to {MAX_IDEMPOTENCY_KEY}")
    return keys[0]
