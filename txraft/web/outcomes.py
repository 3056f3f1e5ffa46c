"""From an outcome to a status code: here and nowhere else. (What HTTP itself does not allow is refused by `channel` and
`request` before there is an outcome.)

| outcome | status | X-Txraft-Outcome |
| --- | --- | --- |
| done, found | 200 | |
| BadRequest, NoSuchVoter | 400 | |
| CrossSite | 403 | |
| no such key; no such path | 404 | |
| a method that the path does not take | 405 | |
| a compare-and-set that did not compare | 409 | |
| TooLarge | 413 | |
| NotApplied | 503, Retry-After | not-applied |
| OutcomeUnknown | 503, Retry-After | unknown |
| CommandFailed | 500 | |
| anything else | 500 | unknown, where the request changes something |
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial

from attrs import frozen
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http

from txraft.errors import (
    BadRequest,
    CommandFailed,
    CrossSite,
    NoSuchVoter,
    NotApplied,
    OutcomeUnknown,
    TooLarge,
    TxraftError,
    Undecided,
)
from txraft.kv.commands import Result, decode_result
from txraft.values import value_class

TEXT = b"text/plain; charset=utf-8"
BYTES = b"application/octet-stream"
JSON = b"application/json"

SHARE_OF_DECODING = 4
"""To see whether so many bytes are UTF-8, and to send them, takes as long as to read one of a form."""

_log = Logger()


@value_class
class Answer:
    """A response."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = TEXT


@frozen
class LaterAnswer:
    """A response that is still to be made, which takes long enough to wait for its turn (hazard N1)."""

    make: Callable[[], Answer]
    """May raise OutcomeUnknown."""
    cost: int
    """To make it, and to send it: how many bytes of a form could be read meanwhile (`txraft.web.turns`)."""
    held: int
    """What it is made of and nobody else keeps, in bytes."""


TRANSFERRED = Answer(200, b"transferred leadership")
NO_SUCH_KEY = Answer(404, b"there is no such key")

# What each command answers, by its result, as that is sent.
SET = {Result.DONE.value: Answer(200, b"set value")}
DELETE = {Result.DONE.value: Answer(200, b"deleted value"), Result.NOT_FOUND.value: NO_SUCH_KEY}
COMPARE_AND_SET = {
    Result.DONE.value: Answer(200, b"set value"),
    Result.NOT_FOUND.value: Answer(409, b"there is no such key"),
    Result.MISMATCH.value: Answer(409, b"the value is not `old`"),
}

ON_EVERY_ANSWER = ((b"Cache-Control", b"no-store"), (b"X-Content-Type-Options", b"nosniff"))

NOTHING_DONE = ((b"X-Txraft-Outcome", b"not-applied"), (b"Retry-After", b"1"))

_RETRY = (b"Retry-After", b"1")
_UNKNOWN = (b"X-Txraft-Outcome", b"unknown")

_OF_ERRORS: tuple[tuple[type[TxraftError], int, tuple[tuple[bytes, bytes], ...]], ...] = (
    (TooLarge, 413, ()),
    (CrossSite, 403, ()),
    (BadRequest, 400, ()),
    (NoSuchVoter, 400, ()),
    (NotApplied, 503, NOTHING_DONE),
    (Undecided, 503, (_UNKNOWN, _RETRY)),
    (CommandFailed, 500, ()),
)
"""The first that fits counts."""


def of_result(data: bytes, answers: Mapping[bytes, Answer]) -> Answer:
    """The answer for what the state machine gave. Raises OutcomeUnknown where that one did not understand the command:
    it is committed, and nodes of a later version may."""
    answer = answers.get(data)
    if answer is None:
        decode_result(data)  # which raises, too, if it is none
        raise OutcomeUnknown("the leader did not understand the command; do all nodes run the same version?")
    return answer


def of_value(value: bytes | None) -> Answer | LaterAnswer:
    """The answer for what a key holds; None where there is no such key."""
    if value is None:
        return NO_SUCH_KEY
    if value.isascii():
        return Answer(200, value, content_type=TEXT)
    return LaterAnswer(partial(_of_bytes, value), len(value) // SHARE_OF_DECODING, held=0)


def _of_bytes(value: bytes) -> Answer:
    try:
        value.decode()
    except UnicodeDecodeError:
        return Answer(200, value, content_type=BYTES)
    return Answer(200, value, content_type=TEXT)


def of_failure(failure: Failure, changes: bool) -> Answer:
    """The answer for a request that failed. `changes`: whether it may have had an effect."""
    error = failure.value
    for kind, status, headers in _OF_ERRORS:
        if isinstance(error, kind):
            return Answer(status, " ".join(str(error).split()).encode("utf-8", "replace"), headers)
    _log.failure("A request failed in a way that nobody expected", failure)
    return Answer(500, b"something went wrong in this node; its log says what", (_UNKNOWN,) if changes else ())


def no_such_path(paths: Iterable[bytes]) -> Answer:
    """The answer on any other path than `paths`."""
    return Answer(404, b"there is no such path; there are " + b", ".join(sorted(paths)))


def no_such_method(methods: Iterable[bytes]) -> Answer:
    """The answer to any other method than `methods`."""
    allowed = b", ".join(sorted(methods))
    return Answer(405, b"this path takes " + allowed, ((b"Allow", allowed),))


def on_the_wire(answer: Answer, date: bytes, *, closing: bool, with_body: bool) -> bytes:
    """The bytes of an answer. `closing`: no other request is read on this connection."""
    return b"%bContent-Length: %d\r\nDate: %b\r\n%b\r\n%b" % (
        _head(answer.status, answer.content_type, answer.headers),
        len(answer.body),
        date,
        b"Connection: close\r\n" if closing else b"",
        answer.body if with_body else b"",
    )


@lru_cache(maxsize=64)
def _head(status: int, content_type: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """What an answer shares with others, made once: all routes together have a few dozen."""
    head = b"HTTP/1.1 %d %b\r\n" % (status, http.RESPONSES.get(status, b"Refused"))
    for name, value in ((b"Content-Type", content_type), *ON_EVERY_ANSWER, *headers):
        head += b"%b: %b\r\n" % (name, value)
    return head
