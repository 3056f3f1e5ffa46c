"""A request that has come whole. Both ways to read a request end here: Twisted's parser (`txraft.web.request`) and the
shorter one for heads that are known (`txraft.web.fast_path`)."""

from functools import cached_property
from typing import TYPE_CHECKING

from attrs import define
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from txraft.kv.commands import Condition
from txraft.web import conditional
from txraft.web.forms import shown

if TYPE_CHECKING:
    from txraft.web.channel import ApiChannel


class Head:
    """The headers of a request, and what they say, which is found out once, however many requests have this head."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    @cached_property
    def content_type(self) -> bytes:
        """Of the body; empty where there is none."""
        return self._headers.getRawHeaders(b"content-type", (b"",))[-1]

    @cached_property
    def other_site(self) -> str | None:
        """Which page of another origin made a browser send the request; None where none did (hazard N7).

        Browsers send Sec-Fetch-Site over TLS and to localhost only; Origin with every POST, `null` where they will not
        say; Referer with a GET, unless the page forbids it. Programs send none of the three.
        """
        headers = self._headers
        if any(site not in (b"same-origin", b"none") for site in headers.getRawHeaders(b"sec-fetch-site", ())):
            return "a page of another site, or of another port,"
        host = headers.getRawHeaders(b"host", (b"",))[0].lower()
        for page in (*headers.getRawHeaders(b"origin", ()), *headers.getRawHeaders(b"referer", ())):
            if _authority(page) != host:
                return f"a page of {shown(page)}"
        return None

    @cached_property
    def if_match(self) -> Condition | None:
        """What the key must be like. Raises BadRequest."""
        return conditional.if_match(self._headers)

    @cached_property
    def if_none_match(self) -> Condition | None:
        """What the key must not be like. Raises BadRequest."""
        return conditional.if_none_match(self._headers)

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """Both, where there are any. Raises BadRequest."""
        return tuple(each for each in (self.if_match, self.if_none_match) if each is not None)

    @cached_property
    def rest(self) -> tuple[str, int] | None:
        """The entity tag of a file that the client has the beginning of, and how many bytes of it; None where it wants
        a whole one, or does not say of which file it wants a part."""
        return conditional.rest(self._headers)

    @cached_property
    def idempotency_key(self) -> bytes | None:
        """What makes the request safe to send again (hazard C5). Raises BadRequest."""
        return conditional.idempotency_key(self._headers)


@define(eq=False)
class Question:
    """What one client asks."""

    channel: "ApiChannel"
    method: bytes
    path: bytes
    query: bytes
    """What stands behind the `?`."""
    head: Head
    body: bytes

    @property
    def length(self) -> int:
        """Of the target and the body, in bytes."""
        return len(self.path) + len(self.query) + len(self.body)

    def drop_body(self) -> None:
        """It has been read, or never will be."""
        self.body = b""

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  Twisted's signature
        """The client has gone. What it asked for goes its way all the same, unless nobody has read it yet."""
        self.drop_body()


def _authority(url: bytes) -> bytes | None:
    """The `host:port` of a URL. None where it has none."""
    return url.partition(b"://")[2].partition(b"/")[0].lower() or None
