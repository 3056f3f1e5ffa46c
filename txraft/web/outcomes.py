"""From an outcome to a status code: here and nowhere else. (What HTTP itself does not allow is refused by `channel` and
`request` before there is an outcome.)

| outcome | status | X-Txraft-Outcome |
| --- | --- | --- |
| done, found | 200 | |
| BadRequest, NoSuchVoter | 400 | |
| CrossSite | 403 | |
| what `If-None-Match` of a read has | 304 | |
| no such key; no such path | 404 | |
| a method that the path does not take | 405 | |
| a compare-and-set that did not compare; ChangeRefused | 409; with Retry-After for ChangeUnderWay | |
| a condition that does not hold | 412 | |
| TooLarge | 413 | |
| IdempotencyKeyUsed | 422 | |
| NotApplied | 503, Retry-After | not-applied |
| OutcomeUnknown | 503, Retry-After | unknown |
| SnapshotFailed | 503, Retry-After | not-applied |
| anything, once the node has failed | 503, Retry-After | not-applied |
| CommandFailed | 500 | |
| anything else | 500 | unknown, where the request changes something |
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.errors import (
    BadRequest,
    ChangeRefused,
    ChangeUnderWay,
    CommandFailed,
    CrossSite,
    IdempotencyKeyUsed,
    NoSuchVoter,
    NotApplied,
    OutcomeUnknown,
    SnapshotFailed,
    TooLarge,
    TxraftError,
    Undecided,
)
from txraft.kv.commands import Result, decode_result
from txraft.kv.records import mod_revision_of, value_of
from txraft.values import value_class
from txraft.web.question import Head
from txraft.web.turns import LONG

TEXT = b"text/plain; charset=utf-8"
BYTES = b"application/octet-stream"
JSON = b"application/json"

NOT_MODIFIED = 304
"""An answer with the head of another, and without its body."""

COST_OF_VALUES = 4
"""To see whether so many bytes are UTF-8, and to send them, takes as long as to read one of a form."""
SHORT = LONG * COST_OF_VALUES
"""A record of so many bytes waits for no turn. What waits for one is the store's own, and its value is copied only when
its turn has come: hundreds of clients could ask for a long one at once (hazard N2)."""

_log = Logger()


@value_class
class Answer:
    """A response."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = TEXT
    revision: int = 0
    """What its ETag says; 0 for none."""


@frozen
class LaterAnswer:
    """A response that is still to be made, which takes long enough to wait for its turn (hazard N1)."""

    make: Callable[[], Answer]
    """May raise OutcomeUnknown."""
    cost: int
    """To make it, and to send it: how many bytes of a form could be read meanwhile (`txraft.web.turns`)."""
    held: int
    """What it is made of and nobody else keeps, in bytes."""


class Body(Protocol):
    """What a long answer is read from."""

    def read(self) -> "Deferred[bytes]":
        """The next piece; nothing at the end. One call at a time."""
        ...

    def close(self) -> None:
        """Read no more. May be called twice."""
        ...


@frozen
class StreamedAnswer:
    """A response that is too long to be held: its body is read as the client takes it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    content_type: bytes
    size: int
    """Of the body, in bytes."""
    body: Body


TRANSFERRED = Answer(200, b"transferred leadership")
NO_SUCH_KEY = Answer(404, b"there is no such key")
NOT_AS_ASKED = Answer(412, b"the key is not as If-Match and If-None-Match want it; nothing was done")

# What each command answers, by its result, as that is sent.
SET = {Result.DONE.value: Answer(200, b"set value"), Result.PRECONDITION.value: NOT_AS_ASKED}
DELETE = {
    Result.DONE.value: Answer(200, b"deleted value"),
    Result.NOT_FOUND.value: NO_SUCH_KEY,
    Result.PRECONDITION.value: NOT_AS_ASKED,
}
COMPARE_AND_SET = {
    Result.DONE.value: Answer(200, b"set value"),
    Result.NOT_FOUND.value: Answer(409, b"there is no such key"),
    Result.MISMATCH.value: Answer(409, b"the value is not `old`"),
    Result.PRECONDITION.value: NOT_AS_ASKED,
}

ON_EVERY_ANSWER = ((b"Cache-Control", b"no-store"), (b"X-Content-Type-Options", b"nosniff"))

NOTHING_DONE = ((b"X-Txraft-Outcome", b"not-applied"), (b"Retry-After", b"1"))

NODE_HAS_FAILED = Answer(503, b"this node has failed, and serves nothing; its log says why", NOTHING_DONE)

_WITHOUT = b"%bContent-Length: %d\r\nDate: %b\r\n%b\r\n%b"
_WITH_ETAG = b'%bContent-Length: %d\r\nETag: "%d"\r\nDate: %b\r\n%b\r\n%b'

_RETRY = (b"Retry-After", b"1")
_UNKNOWN = (b"X-Txraft-Outcome", b"unknown")

_OF_ERRORS: tuple[tuple[type[TxraftError], int, tuple[tuple[bytes, bytes], ...]], ...] = (
    (TooLarge, 413, ()),
    (CrossSite, 403, ()),
    (IdempotencyKeyUsed, 422, ()),
    (BadRequest, 400, ()),
    (NoSuchVoter, 400, ()),
    (ChangeUnderWay, 409, (_RETRY,)),
    (ChangeRefused, 409, ()),
    (NotApplied, 503, NOTHING_DONE),
    (SnapshotFailed, 503, NOTHING_DONE),
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


def of_record(record: bytes | None, head: Head) -> Answer | LaterAnswer:
    """The answer for what is kept of a key; None where there is no such key."""
    if record is None:
        return NO_SUCH_KEY
    status, revision = 200, mod_revision_of(record)
    if head.conditions:
        if head.if_match is not None and not head.if_match.holds(revision):
            return NOT_AS_ASKED
        if head.if_none_match is not None and not head.if_none_match.holds(revision):
            status = NOT_MODIFIED
    if len(record) <= SHORT and (value := value_of(record)).isascii():
        return Answer(status, value, (), TEXT, revision)
    return LaterAnswer(partial(_of_value, status, record, revision), len(record) // COST_OF_VALUES, held=0)


def _of_value(status: int, record: bytes, revision: int) -> Answer:
    value = value_of(record)  # a copy, which is why it waits for its turn
    return Answer(status, value, (), TEXT if _is_text(value) else BYTES, revision)


def _is_text(value: bytes) -> bool:
    if not value.isascii():  # which takes a fraction of the time
        try:
            value.decode()
        except UnicodeDecodeError:
            return False
    return True


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
    head = _head(answer.status, answer.content_type, answer.headers)
    body = answer.body if with_body and answer.status != NOT_MODIFIED else b""
    end = b"Connection: close\r\n" if closing else b""
    if answer.revision:
        return _WITH_ETAG % (head, len(answer.body), answer.revision, date, end, body)
    return _WITHOUT % (head, len(answer.body), date, end, body)


def head_on_the_wire(answer: StreamedAnswer, date: bytes, *, closing: bool) -> bytes:
    """The bytes before its body."""
    head = _make_head(answer.status, answer.content_type, answer.headers)
    return _WITHOUT % (head, answer.size, date, b"Connection: close\r\n" if closing else b"", b"")


def _make_head(status: int, content_type: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    head = b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())
    for name, value in ((b"Content-Type", content_type), *ON_EVERY_ANSWER, *headers):
        head += b"%b: %b\r\n" % (name, value)
    return head


_head = lru_cache(maxsize=64)(_make_head)
"""What an answer shares with others, made once: all routes together have a few dozen."""
